"""NAS-Bench-201 (Dong and Yang, ICLR 2020): 15,625 cells of four nodes; each of their six edges carries an operation.

Here the operations are the nodes of the graph: ``input``, one node for each edge of the cell, ``output``. An operation
reads the operations whose edges end where its own edge starts, so every architecture has the same 10 edges.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from archflow.archs.batch import ArchBatch
from archflow.benchmarks.four_nodes import CELL_EDGES, FourNodes
from archflow.benchmarks.nasbench201 import closed_form

OPERATIONS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")

_STAGES = ((16, 32), (32, 16), (64, 8))
"""Channels and height (= width) of the feature maps in the three stages of the CIFAR-10 network."""
_CELLS_PER_STAGE = 5


class NASBench201(FourNodes):
    """The space ``nasbench201``: 15,625 cells, as DAGs of 8 nodes over a vocabulary of 7.

    Its proxies are known in closed form; see :mod:`archflow.benchmarks.nasbench201.closed_form`.
    """

    name = "nasbench201"
    vocabulary = ("input", *OPERATIONS, "output")
    proxies = ("parameters", *closed_form.PROXIES)

    def format(self, archs: ArchBatch) -> list[str]:
        """Each cell as ``|nor_conv_3x3~0|+|none~0|skip_connect~1|+|…|``."""
        pattern = "+".join(
            "|" + "".join(f"{{}}~{source}|" for source, target in CELL_EDGES if target == node) for node in (1, 2, 3)
        )
        return [pattern.format(*cell) for cell in np.array(OPERATIONS)[self.encode(archs)]]

    def parse_one(self, string: str) -> list[int]:
        """The operations of the cell that a string denotes."""
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

    def parameters(self, archs: ArchBatch) -> Int[ndarray, " archs"]:
        """Trainable parameters of the CIFAR-10 network (N = 5, C = 16), exactly; 73,306 to 1,531,546."""
        stem, head = 3 * 16 * 9 + 2 * 16, 2 * 64 + 64 * 10 + 10
        reductions = sum(9 * c_in * c + 2 * c + 9 * c * c + 2 * c + c_in * c for (c_in, _), (c, _) in pairwise(_STAGES))
        return stem + reductions + head + self._of_convolutions(archs, lambda k, c, _: k * k * c * c + 2 * c)

    def flops(self, archs: ArchBatch) -> Int[ndarray, " archs"]:
        """Multiply-accumulates of the CIFAR-10 network for one image; 7,783,050 to 220,119,690.

        Counted as the benchmark's own "FLOPs" are: convolutions and the classifier with its bias, nothing else.
        """
        stem, head = 3 * 16 * 9 * 32 * 32, 64 * 10 + 10
        reductions = sum(
            (9 * c_in * c + 9 * c * c + c_in * c) * size * size for (c_in, _), (c, size) in pairwise(_STAGES)
        )
        return stem + reductions + head + self._of_convolutions(archs, lambda k, c, size: k * k * c * c * size * size)

    def _of_convolutions(self, archs: ArchBatch, count: Callable[[int, int, int], int]) -> Int[ndarray, " archs"]:
        """Sum ``count(kernel, channels, height of the feature map)`` over all convolutions in cells."""
        each = {kernel: _CELLS_PER_STAGE * sum(count(kernel, *stage) for stage in _STAGES) for kernel in (1, 3)}
        return np.array([0, 0, each[1], each[3], 0])[self.encode(archs)].sum(axis=1)

    def _proxies(self, names: Sequence[str], archs: ArchBatch) -> dict[str, Float[ndarray, " archs"]]:
        return closed_form.proxies(names, self.encode(archs))
