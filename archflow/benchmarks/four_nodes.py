"""Four-node cells whose six edges carry operations, which NAS-Bench-201 and TransNAS-Bench-101 have in common."""

from __future__ import annotations

from functools import cache
from hashlib import md5

import numpy as np
from jaxtyping import Bool, Int
from numpy import ndarray

from archflow.archs.batch import ArchBatch
from archflow.benchmarks.skeleton import SharedSkeleton
from archflow.benchmarks.space import Decision

CELL_EDGES = ((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3))
"""The cell's edges in the order of its string: grouped by target node, then by source."""
NONE = 0
"""The operation that stands for a missing edge."""

_SKELETON = [
    *((0, 1 + i) for i, (source, _) in enumerate(CELL_EDGES) if source == 0),
    *((1 + i, 1 + j) for i, a in enumerate(CELL_EDGES) for j, b in enumerate(CELL_EDGES) if a[1] == b[0]),
    *((1 + i, 7) for i, (_, target) in enumerate(CELL_EDGES) if target == 3),
]


class FourNodes(SharedSkeleton):
    """A space of four-node cells, as DAGs of 8 nodes and 10 edges: ``input``, the cell's six edges, ``output``.

    An operation reads the operations whose edges end where its own edge starts. The choices are the operations of the
    cell's edges, in the order of ``CELL_EDGES``.
    """

    skeleton = tuple(sorted(_SKELETON, key=lambda edge: edge[::-1]))
    form = "it must have the 8 nodes and 10 edges of a cell, in order"

    @property
    def decisions(self) -> tuple[Decision, ...]:
        """The operation of each of the cell's edges."""
        return tuple(Decision(f"edge {source}→{target}", self.vocabulary[1:-1]) for source, target in CELL_EDGES)


def live(cells: Int[ndarray, "cells 6"]) -> Bool[ndarray, "cells 6"]:
    """Which operations lie on a path from the cell's input to its output without a missing edge.

    Args:
        cells: operations of the edges in the order of ``CELL_EDGES``, 0 for a missing edge.
    """
    present = cells != NONE
    reached = {0: np.ones(len(cells), dtype=bool)}
    for node in (1, 2, 3):
        reached[node] = np.logical_or.reduce(
            [present[:, e] & reached[i] for e, (i, j) in enumerate(CELL_EDGES) if j == node]
        )
    reaching = {3: np.ones(len(cells), dtype=bool)}
    for node in (2, 1, 0):
        reaching[node] = np.logical_or.reduce(
            [present[:, e] & reaching[j] for e, (i, j) in enumerate(CELL_EDGES) if i == node]
        )
    return np.stack([present[:, e] & reached[i] & reaching[j] for e, (i, j) in enumerate(CELL_EDGES)], axis=1)


def stand_ins(kind: type[FourNodes], archs: ArchBatch, wire: int | None) -> ArchBatch:
    """For each cell, the first cell of the space whose live operations form the same graph; see :func:`first_alike`.

    Raises:
        ValueError: an architecture is not of the space.
    """
    space = kind()
    return space.decode(_all_stand_ins(kind, wire)[space.keys(archs)])  # type: ignore[arg-type]  # a class can be hashed


@cache
def _all_stand_ins(kind: type[FourNodes], wire: int | None) -> Int[ndarray, "cells 6"]:
    cells = kind().encode(kind().enumerate())
    return cells[first_alike(cells, wire)]


def first_alike(cells: Int[ndarray, "cells 6"], wire: int | None) -> Int[ndarray, " cells"]:
    """For each cell, the position of the first one whose live operations form the same graph.

    Args:
        cells: operations of the edges in the order of ``CELL_EDGES``, 0 for a missing edge.
        wire: the operation that passes its input on unchanged; None if there is none.
    """
    forms = [_form(cell, alive, wire) for cell, alive in zip(cells.tolist(), live(cells).tolist(), strict=True)]
    first: dict[str, int] = {}
    return np.array([first.setdefault(form, number) for number, form in enumerate(forms)])


def _form(cell: list[int], alive: list[bool], wire: int | None) -> str:
    """A name for the graph of the live operations, equal for isomorphic graphs: Weisfeiler–Leman refinement."""

    def sources(node: int) -> list[int]:
        """The summands of a node: operations by the number of their edge, the input as -1."""
        if node == 0:
            return [-1]
        edges = [edge for edge, (_, target) in enumerate(CELL_EDGES) if target == node and alive[edge]]
        return [source for e in edges for source in (sources(CELL_EDGES[e][0]) if cell[e] == wire else [e])]

    reads = {edge: sources(CELL_EDGES[edge][0]) for edge in range(6) if alive[edge] and cell[edge] != wire}
    reads |= {-1: [], 6: sources(3)}
    readers = {node: [reader for reader, read in reads.items() for source in read if source == node] for node in reads}
    names = {node: str(cell[node]) if 0 <= node < 6 else f"end {node}" for node in reads}
    for _ in reads:
        around = {node: [sorted(names[other] for other in side[node]) for side in (reads, readers)] for node in reads}
        names = {
            node: md5(f"{names[node]} {around[node]}".encode(), usedforsecurity=False).hexdigest() for node in reads
        }
    return " ".join(sorted(names.values()))
