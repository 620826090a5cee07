"""Compiled loops that find the key of a NAS-Bench-101 cell, the smallest over all numberings; see :mod:`.space`."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from itertools import permutations

import numpy as np
from jaxtyping import Int, UInt8
from numba import njit
from numpy import ndarray

from archflow.benchmarks.nasbench101.cells import MAX_EDGES, MAX_VERTICES, OPERATIONS, PAIRS, on_a_path, prune

FAULTS = (
    "it must have 2 to 7 vertices",
    "it must have at most 9 edges",
    "it must have one input and one output",
    "every vertex must lie on a path from the input to the output",
)
"""What can be wrong with an architecture; :func:`keys_or_faults` gives -1 minus the position."""

_ORDERS = np.array([[0, *(5 - np.array(order[::-1])), 6] for order in permutations(range(5))])
"""Every renumbering of five inner vertices; the first n! rows only permute the first n of them."""
_LABELS = {name: label for label, name in enumerate((*OPERATIONS, "input", "output"))}
_live = njit(cache=True)(on_a_path)


def pruned_key(matrix: UInt8[ndarray, "vertices vertices"], operations: Sequence[str]) -> int:
    """The key of a cell after pruning; errors are those of :func:`.prune`."""
    key = int(_pruned_key(matrix, np.array([_LABELS.get(name, -1) for name in operations])))
    if key < 0:
        prune(matrix, operations)
    return key


@cache
def all_keys() -> Int[ndarray, " archs"]:
    """The keys of all cells, ascending."""
    return _enumerated()


@njit(cache=True)
def _enumerated() -> ndarray:
    """The keys of all matrices and operations that no other numbering makes smaller."""
    found, edges = [], np.empty((MAX_EDGES, 2), np.int64)
    for size in range(2, MAX_VERTICES + 1):
        places = size * (size - 1) // 2
        for bits in range(1 << places):
            count = 0
            for place in range(places):
                if bits >> place & 1:
                    if count < MAX_EDGES:
                        edges[count, 0], edges[count, 1] = PAIRS[0, place], PAIRS[1, place]
                    count += 1
            labels, matrix_key = np.zeros(size, np.int64), size << 31 | bits << 10
            if count > MAX_EDGES or not _is_whole(edges[:count], size) or _smallest(edges[:count], labels) < matrix_key:
                continue
            for number in range(3 ** (size - 2)):
                key, rest = matrix_key, number
                for vertex in range(size - 2, 0, -1):
                    labels[vertex] = rest % 3
                    key |= labels[vertex] << 2 * (size - 2 - vertex)
                    rest //= 3
                if _smallest(edges[:count], labels) == key:
                    found.append(key)
    return np.array(found)


@njit(cache=True)
def _smallest(edges: ndarray, labels: ndarray) -> int:
    """The key of a cell: the smallest over all numberings in which each vertex follows those it reads.

    ``edges`` are pairs (source, target), ``labels`` indices into ``OPERATIONS``. Vertex 0 must be the input and the
    last vertex the output; the vertices between them may be in any order.
    """
    size, renumberings, best = len(labels), 1, -1
    for inner in range(2, size - 1):
        renumberings *= inner
    for order in _ORDERS[:renumberings]:
        bits = 0
        for source, target in edges:
            if order[source] >= order[target]:
                bits = -1
                break
            bits |= 1 << (order[source] + order[target] * (order[target] - 1) // 2)
        if bits < 0:
            continue
        key = size << 31 | bits << 10
        for vertex in range(1, size - 1):
            key |= labels[vertex] << 2 * (size - 2 - order[vertex])
        if best < 0 or key < best:
            best = key
    return best


@njit(cache=True)
def _is_whole(edges: ndarray, size: int) -> bool:
    """Whether every vertex but the last is read, and every vertex but the first reads one.

    In an acyclic graph this means that all vertices lie on a path from the first to the last.
    """
    read, reading = 0, 0
    for source, target in edges:
        read, reading = read | 1 << source, reading | 1 << target
    return read == (1 << size - 1) - 1 and reading == (1 << size) - 2


@njit(cache=True)
def keys_or_faults(operations: ndarray, node_offsets: ndarray, edges: ndarray, edge_offsets: ndarray) -> ndarray:
    """The key of each architecture of a batch, or -1 minus the position of its fault in ``FAULTS``."""
    keys = np.empty(len(node_offsets) - 1, np.int64)
    for arch in range(len(keys)):
        keys[arch] = _key_or_fault(
            operations[node_offsets[arch] : node_offsets[arch + 1]],
            edges[:, edge_offsets[arch] : edge_offsets[arch + 1]],
        )
    return keys


@njit(cache=True)
def _key_or_fault(operations: ndarray, edges: ndarray) -> int:
    size = len(operations)
    if not 2 <= size <= MAX_VERTICES:
        return -1
    if edges.shape[1] > MAX_EDGES:
        return -2
    if (operations == 0).sum() != 1 or (operations == 4).sum() != 1:
        return -3
    number, labels, inner = np.empty(size, np.int64), np.zeros(size, np.int64), 0
    for node, operation in enumerate(operations):
        if operation == 0:
            number[node] = 0
        elif operation == 4:
            number[node] = size - 1
        else:
            inner += 1
            number[node], labels[inner] = inner, operation - 1
    numbered = np.empty((edges.shape[1], 2), np.int64)
    for edge in range(len(numbered)):
        numbered[edge, 0], numbered[edge, 1] = number[edges[0, edge]], number[edges[1, edge]]
    return _smallest(numbered, labels) if _is_whole(numbered, size) else -4


@njit(cache=True)
def _pruned_key(matrix: ndarray, labels: ndarray) -> int:
    """The key of a cell after pruning, -1 if :func:`prune` would refuse it; 3 and 4 label the input and the output."""
    size = len(labels)
    if matrix.shape != (size, size) or size < 2 or labels[0] != 3 or labels[-1] != 4:
        return -1
    for source in range(size):
        for target in range(size):
            if matrix[source, target] > (source < target):
                return -1
    live = np.flatnonzero(_live(matrix == 1))
    edges, inner = np.argwhere(matrix[live][:, live]), labels[live[1:-1]]
    if not 2 <= len(live) <= MAX_VERTICES or len(edges) > MAX_EDGES or (inner < 0).any() or (inner > 2).any():
        return -1
    return _smallest(edges, labels[live])


@njit(cache=True)
def pruned_keys(matrices: ndarray, labels: ndarray) -> ndarray:
    """The key of each cell; see :func:`_pruned_key`."""
    keys = np.empty(len(matrices), np.int64)
    for cell in range(len(keys)):
        keys[cell] = _pruned_key(matrices[cell], labels[cell])
    return keys


@njit(cache=True)
def mutated(keys: ndarray, rng: np.random.Generator) -> ndarray:
    """For each key, the key of another cell; see :meth:`.NASBench101.mutate`."""
    found = keys.copy()
    for arch, key in enumerate(keys):
        while found[arch] == key:
            matrix, labels = _filled(key, rng)
            choice = int(26 * rng.random())  # 0 … 20: an edge; 21 … 25: the operation of vertex 1 … 5
            if choice < 21:
                source, target = PAIRS[0, choice], PAIRS[1, choice]
                matrix[source, target] = not matrix[source, target]
            else:
                labels[choice - 20] = (labels[choice - 20] + 1 + int(2 * rng.random())) % 3
            live = np.flatnonzero(_live(matrix))
            edges = np.argwhere(matrix[live][:, live])
            if len(live) and len(edges) <= MAX_EDGES:
                found[arch] = _smallest(edges, labels[live])
    return found


@njit(cache=True)
def _filled(key: int, rng: np.random.Generator) -> tuple[ndarray, ndarray]:
    """Matrix and labels of a cell of seven vertices that pruning reduces to the key's cell.

    The vertices that pruning removes have random places, edges and operations.
    """
    size = key >> 31
    while True:
        used, labels = np.ones(MAX_VERTICES, np.bool_), np.zeros(MAX_VERTICES, np.int64)
        spare = MAX_VERTICES - size
        for place in range(1, MAX_VERTICES - 1):
            used[place] = (MAX_VERTICES - 1 - place) * rng.random() >= spare
            labels[place] = int(3 * rng.random())
            spare -= not used[place]
        places = np.flatnonzero(used)
        matrix = np.zeros((MAX_VERTICES, MAX_VERTICES), np.bool_)
        for source, target in PAIRS.T:
            matrix[source, target] = rng.random() < 0.25
        for bit in range(size * (size - 1) // 2):
            matrix[places[PAIRS[0, bit]], places[PAIRS[1, bit]]] = key >> (10 + bit) & 1
        for vertex in range(1, size - 1):
            labels[places[vertex]] = key >> 2 * (size - 2 - vertex) & 3
        if (_live(matrix) == used).all():
            return matrix, labels
