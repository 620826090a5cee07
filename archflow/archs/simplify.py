"""Simplify architectures by removing operations that output zeros or that change nothing.

Search spaces have operations that do not compute: ``none`` and ``zero`` output zeros, ``skip_connect`` and ``identity``
output their input. A cell of NAS-Bench-201 with two of each is a much smaller network than its eight nodes suggest.
Here

* an operation that outputs zeros is removed, with its edges;
* an identity is replaced by edges from what it reads to what reads it;
* a node that is no longer on a path from a source to a sink is removed.

Sources and sinks (nodes that had no predecessors, or no successors) stay. Duplicate edges are merged.
"""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
from numba import njit
from numpy import ndarray

from archflow.archs.batch import ArchBatch

ZERO = ("none", "zero")
"""Names of operations that output zeros."""
IDENTITY = ("identity", "skip_connect", "skip")
"""Names of operations that output their input."""

_COMPUTES, _IS_ZERO, _IS_IDENTITY = 0, 1, 2


def simplified(archs: ArchBatch, zero: Collection[str] = ZERO, identity: Collection[str] = IDENTITY) -> ArchBatch:
    """Each architecture reduced to what it computes, over the same vocabulary; nodes keep their order.

    The batch itself is returned if its vocabulary has no such operation.

    Args:
        archs: any DAGs.
        zero: names of operations that output zeros. A prefix up to a slash, as in "normal/none", is ignored.
        identity: names of operations that output their input, likewise.
    """
    kinds = np.zeros(len(archs.vocabulary), np.int64)
    for number, name in enumerate(archs.vocabulary):
        base = name.rpartition("/")[2]
        kinds[number] = _IS_ZERO if base in zero else _IS_IDENTITY if base in identity else _COMPUTES
    if not kinds.any():
        return archs
    order = np.argsort(archs.generations, kind="stable")
    arrays = archs.operations, archs.node_offsets, archs.edges, archs.edge_offsets, order, archs.owners
    return ArchBatch(*_simplified(*arrays, kinds), archs.vocabulary)


@njit(cache=True)
def _simplified(
    operations: ndarray,
    node_offsets: ndarray,
    edges: ndarray,
    edge_offsets: ndarray,
    by_generation: ndarray,
    owners: ndarray,
    kinds: ndarray,
) -> tuple[ndarray, ndarray, ndarray, ndarray]:
    archs = len(node_offsets) - 1
    new_operations, new_node_offsets = np.empty_like(operations), np.zeros(archs + 1, np.int64)
    new_edge_offsets = np.zeros(archs + 1, np.int64)
    found = [np.empty((2, 0), np.int64) for _ in range(0)]
    # The nodes of each architecture in topological order.
    order, free = np.empty(len(operations), np.int64), node_offsets[:-1].copy()
    for node in by_generation:
        order[free[owners[node]]] = node - node_offsets[owners[node]]
        free[owners[node]] += 1
    total = 0
    for arch in range(archs):
        first, size = node_offsets[arch], node_offsets[arch + 1] - node_offsets[arch]
        reads = np.zeros((size, size), np.bool_)
        for edge in range(edge_offsets[arch], edge_offsets[arch + 1]):
            reads[edges[1, edge], edges[0, edge]] = True
        kind = kinds[operations[first : first + size]]
        is_source, is_sink = np.zeros(size, np.bool_), np.ones(size, np.bool_)
        for node in range(size):
            is_source[node] = not reads[node].any()
            for other in range(size):
                if reads[other, node]:
                    is_sink[node] = False
        # gives[u, v]: reading node u means reading what node v computes.
        gives, heard = np.zeros((size, size), np.bool_), np.zeros((size, size), np.bool_)
        for node in order[first : first + size]:
            for other in range(size):
                if reads[node, other]:
                    heard[node] |= gives[other]
            stays = is_source[node] or is_sink[node]
            if stays or (kind[node] == _COMPUTES and heard[node].any()):
                gives[node, node] = True
            elif kind[node] == _IS_IDENTITY:
                gives[node] |= heard[node]
        needed = is_source | is_sink
        for place in range(size - 1, -1, -1):
            node = order[first + place]
            if gives[node, node] and needed[node]:
                needed |= heard[node]
        number, count = np.full(size, -1), 0
        for node in range(size):
            if needed[node] and gives[node, node]:
                number[node] = count
                new_operations[total + count] = operations[first + node]
                count += 1
        pairs = np.empty((2, size * size), np.int64)
        edge = 0
        for target in range(size):
            for source in range(size):
                if number[target] >= 0 and number[source] >= 0 and heard[target, source]:
                    pairs[0, edge], pairs[1, edge] = number[source], number[target]
                    edge += 1
        found.append(pairs[:, :edge].copy())
        total += count
        new_node_offsets[arch + 1] = total
        new_edge_offsets[arch + 1] = new_edge_offsets[arch] + edge
    new_edges = np.empty((2, new_edge_offsets[-1]), np.int64)
    for arch in range(archs):
        new_edges[:, new_edge_offsets[arch] : new_edge_offsets[arch + 1]] = found[arch]
    return new_operations[:total], new_node_offsets, new_edges, new_edge_offsets
