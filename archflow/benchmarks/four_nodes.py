"""Cells of four nodes whose six edges carry operations: what NAS-Bench-201 and TransNAS-Bench-101 have in common."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from hashlib import md5

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray
from torch import Tensor, nn

from archflow.archs.batch import ArchBatch
from archflow.benchmarks.nasbench201.closed_form import live
from archflow.benchmarks.nasbench201.space import CELL_EDGES
from archflow.benchmarks.skeleton import SharedSkeleton


class Cell(nn.Module):
    """Each node is the sum of what its edges make of earlier nodes; without any, zeros.

    Args:
        operations: of the edges in the order of ``CELL_EDGES``, None where there is none.
        channels: of the nodes but the first.
        stride: by how much the edges that begin at the first node make the image smaller.
    """

    def __init__(self, operations: Sequence[nn.Module | None], channels: int, stride: int = 1) -> None:
        super().__init__()
        self.channels, self.stride = channels, stride
        present = zip(CELL_EDGES, operations, strict=True)
        self.edges = nn.ModuleDict(
            {f"{source}{target}": each for (source, target), each in present if each is not None}
        )

    def forward(self, maps: Float[Tensor, "batch c_in h w"]) -> Float[Tensor, "batch c_out h2 w2"]:
        """The last node; h2 and w2 are h and w over the stride, rounded up."""
        nodes = [maps]
        for target in (1, 2, 3):
            read = [edge(nodes[int(name[0])]) for name, edge in self.edges.items() if name[1] == str(target)]
            nodes.append(sum(read[1:], read[0]) if read else self._zeros(maps))
        return nodes[-1]

    def _zeros(self, maps: Tensor) -> Tensor:
        return maps.new_zeros(len(maps), self.channels, *(-(-side // self.stride) for side in maps.shape[2:]))


def stand_ins(kind: type[SharedSkeleton], archs: ArchBatch, wire: int | None) -> ArchBatch:
    """For each cell of a space the first one of it whose live operations form the same graph; see :func:`first_alike`.

    Raises:
        ValueError: an architecture is not of the space.
    """
    found = _all_stand_ins(kind, wire)  # type: ignore[arg-type]  # a class can be hashed
    return kind().from_operations(found[kind().keys(archs)])


@cache
def _all_stand_ins(kind: type[SharedSkeleton], wire: int | None) -> Int[ndarray, "cells 6"]:
    operations = kind().operations(kind().enumerate())
    return operations[first_alike(operations, wire)]


def first_alike(cells: Int[ndarray, "cells 6"], wire: int | None) -> Int[ndarray, " cells"]:
    """For each cell of six operations the first one whose live operations form the same graph.

    Args:
        cells: operations of the edges in the order of ``CELL_EDGES``, 0 where there is none.
        wire: the operation that hands on what it reads; None if there is no such.
    """
    forms = [_form(cell, alive, wire) for cell, alive in zip(cells.tolist(), live(cells).tolist(), strict=True)]
    first: dict[str, int] = {}
    return np.array([first.setdefault(form, number) for number, form in enumerate(forms)])


def _form(cell: list[int], alive: list[bool], wire: int | None) -> str:
    """A name for the graph of the live operations, equal for isomorphic ones: Weisfeiler and Leman's refinement."""

    def sources(node: int) -> list[int]:
        """What is added up in a node of the cell: operations by the number of their edge, the input as -1."""
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
