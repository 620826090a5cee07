"""A compiled loop that recovers the edges of the cells from the graphs of DARTS architectures."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy import ndarray

_NODES = 11
"""Nodes of a cell in the graph: two inputs, eight operations, the output."""
_READS = np.array([0b1, 0b10, *(0b11 << 2 * source - 2 for source in range(2, 5))])
"""For each source of an edge, the nodes of the graph that its operation reads, as bits."""
_ALL_OPERATIONS = 0b11111111 << 2


@njit(cache=True)
def sources_of(edges: ndarray, edge_offsets: ndarray) -> tuple[ndarray, ndarray]:
    """The source of each edge in graphs of 22 nodes, and which graphs do not have the edges of an architecture."""
    archs = len(edge_offsets) - 1
    found, wrong = np.zeros((archs, 2, 8), np.uint8), np.zeros(archs, np.bool_)
    reads = np.empty(2 * _NODES, np.int64)
    for arch in range(archs):
        reads[:] = 0
        for edge in range(edge_offsets[arch], edge_offsets[arch + 1]):
            reads[edges[1, edge]] |= 1 << edges[0, edge]
        for cell in range(2):
            first = _NODES * cell
            wrong[arch] |= reads[first] != 0 or reads[first + 1] != 0 or reads[first + 10] != _ALL_OPERATIONS << first
            for edge in range(8):
                node, source = 2 + edge // 2, 0
                while source < node and reads[first + 2 + edge] != _READS[source] << first:
                    source += 1
                found[arch, cell, edge] = source
                wrong[arch] |= source == node or (edge % 2 == 1 and source == found[arch, cell, edge - 1])
    return found, wrong
