"""NAS-Bench-201 (Dong and Yang, ICLR 2020): 15,625 cells of four nodes; each of their six edges carries an operation.

Here the operations are the nodes of the graph: ``input``, one node for each edge of the cell, ``output``. An operation
reads from those that end where it begins. So every architecture has the same 8 nodes and 10 edges.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from archflow.archs.batch import ArchBatch
from archflow.benchmarks.nasbench201 import closed_form as signal
from archflow.benchmarks.skeleton import SharedSkeleton

OPERATIONS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
CELL_EDGES = ((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3))
"""The cell's edges in the order of its string: grouped by target node, then by source."""

_SKELETON = [
    *((0, 1 + i) for i, (source, _) in enumerate(CELL_EDGES) if source == 0),
    *((1 + i, 1 + j) for i, a in enumerate(CELL_EDGES) for j, b in enumerate(CELL_EDGES) if a[1] == b[0]),
    *((1 + i, 7) for i, (_, target) in enumerate(CELL_EDGES) if target == 3),
]
_STAGES = ((16, 32), (32, 16), (64, 8))
"""Channels and height (= width) of the feature maps in the three stages of the CIFAR-10 network."""
_CELLS_PER_STAGE = 5


class NASBench201(SharedSkeleton):
    """The space ``nasbench201``: 15,625 cells, as DAGs of 8 nodes over a vocabulary of 7.

    Its ``operations`` are those of the cell's edges, as indices into ``OPERATIONS``, in the order of ``CELL_EDGES``.
    """

    name = "nasbench201"
    vocabulary = ("input", *OPERATIONS, "output")
    flow_defaults = (7, 0.1)
    skeleton = tuple(sorted(_SKELETON, key=lambda edge: edge[::-1]))
    form = "it lacks the 8 nodes and 10 edges of a cell in their order"
    proxies = ("parameters", *signal.PROXIES)

    def format(self, archs: ArchBatch) -> list[str]:
        """Each cell as ``|nor_conv_3x3~0|+|none~0|skip_connect~1|+|…|``."""
        pattern = "+".join(
            "|" + "".join(f"{{}}~{source}|" for source, target in CELL_EDGES if target == node) for node in (1, 2, 3)
        )
        return [pattern.format(*cell) for cell in np.array(OPERATIONS)[self.operations(archs)]]

    def parse(self, strings: Sequence[str], first_line: int = 1) -> ArchBatch:
        """The cells that the strings denote.

        Raises:
            ValueError: a string is malformed; the message gives its line (the first is ``first_line``) and the reason.
        """
        cells = np.empty((len(strings), len(CELL_EDGES)), dtype=np.int64)
        for row, string in enumerate(strings):
            try:
                cells[row] = _parse_cell(string)
            except ValueError as error:
                raise ValueError(f"line {first_line + row}: {error}, in {string!r}") from None
        return self.from_operations(cells)

    def parameters(self, archs: ArchBatch) -> Int[ndarray, " archs"]:
        """Trainable parameters of the CIFAR-10 network (N = 5, C = 16), exactly; 73,306 to 1,531,546."""
        count = self._count
        conv = {size: sum(size * size * c * c + 2 * c for c, _ in _STAGES) * _CELLS_PER_STAGE for size in (1, 3)}
        stem = 3 * 16 * 9 + 2 * 16
        reductions = sum(9 * c_in * c + 2 * c + 9 * c * c + 2 * c + c_in * c for (c_in, _), (c, _) in pairwise(_STAGES))
        head = 2 * 64 + 64 * 10 + 10
        return (
            stem + reductions + head + conv[1] * count(archs, "nor_conv_1x1") + conv[3] * count(archs, "nor_conv_3x3")
        )

    def flops(self, archs: ArchBatch) -> Int[ndarray, " archs"]:
        """Multiply-accumulates of the CIFAR-10 network for one image; 7,783,050 to 220,119,690.

        Counted as the benchmark's own "FLOPs" are: convolutions and the classifier with its bias, nothing else.
        """
        count = self._count
        conv = {k: sum(k * k * c * c * size * size for c, size in _STAGES) * _CELLS_PER_STAGE for k in (1, 3)}
        stem = 3 * 16 * 9 * 32 * 32
        reductions = sum(
            (9 * c_in * c + 9 * c * c + c_in * c) * size * size for (c_in, _), (c, size) in pairwise(_STAGES)
        )
        head = 64 * 10 + 10
        return (
            stem + reductions + head + conv[1] * count(archs, "nor_conv_1x1") + conv[3] * count(archs, "nor_conv_3x3")
        )

    def proxy(self, name: str, archs: ArchBatch) -> Float[ndarray, " archs"]:
        """One of ``proxies`` for each cell, in closed form; see :mod:`archflow.benchmarks.nasbench201.closed_form`.

        Raises:
            ValueError: the name is none of ``proxies``.
        """
        if name not in self.proxies:
            raise ValueError(f"unknown proxy '{name}' of {self.name}; known: {', '.join(self.proxies)}")
        if name == "parameters":
            return self.parameters(archs).astype(float)
        return signal.proxy(name, self.operations(archs))

    def _count(self, archs: ArchBatch, operation: str) -> Int[ndarray, " archs"]:
        return (self.operations(archs) == OPERATIONS.index(operation)).sum(axis=1)


def _parse_cell(string: str) -> list[int]:
    nodes = string.strip().split("+")
    if len(nodes) != 3:
        raise ValueError(f"a cell has 3 groups joined by '+', not {len(nodes)}")
    cell = []
    for number, node in enumerate(nodes, start=1):
        if not re.fullmatch(r"\|([^|]+\|)+", node):
            raise ValueError(f"group {number} must look like |operation~source|…|, not '{node}'")
        edges = node[1:-1].split("|")
        if len(edges) != number:
            raise ValueError(f"group {number} must have {number} operations, not {len(edges)}")
        for source, edge in enumerate(edges):
            operation, separator, origin = edge.partition("~")
            if not separator or origin != str(source):
                raise ValueError(f"'{edge}' in group {number} must end in ~{source}")
            if operation not in OPERATIONS:
                raise ValueError(f"unknown operation '{operation}' (known: {', '.join(OPERATIONS)})")
            cell.append(OPERATIONS.index(operation))
    return cell
