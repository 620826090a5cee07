"""NAS-Bench-101 (Ying et al., ICML 2019): 423,624 cells of at most seven vertices and nine edges.

A cell is a directed acyclic graph from ``input`` to ``output``, and every vertex lies on a path between the two. An
inner vertex applies one of three operations to the sum of what it reads; the output concatenates what it reads.

Many matrices denote the same network. The benchmark lists them by number of vertices, then by the bits above their
diagonal (read down the columns, the last bit counts most), then by their operations, and it trained the first of each
network. The place in that list is the network's key here: the vertices times 2³¹, the bits times 2¹⁰, and two bits for
each operation, those of the first vertex foremost. Everything here goes through these keys.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from functools import cache
from hashlib import md5
from itertools import permutations
from math import isqrt
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8
from numba import njit
from numpy import ndarray

from archflow.archs.batch import ArchBatch
from archflow.benchmarks.nasbench101 import closed_form as signal
from archflow.benchmarks.space import Space

OPERATIONS = ("conv3x3-bn-relu", "conv1x1-bn-relu", "maxpool3x3")
MAX_VERTICES, MAX_EDGES = 7, 9

_KERNELS = np.array([0, 3, 1, 0, 0])
"""Width of the convolution of each operation of the vocabulary; 0 where there is none."""
_PAIRS = np.array([(source, target) for target in range(MAX_VERTICES) for source in range(target)]).T
"""Source and target of the edge that each bit of a matrix stands for, whatever the number of vertices."""
_ORDERS = np.array([[0, *(5 - np.array(order[::-1])), 6] for order in permutations(range(5))])
"""Every renumbering of five inner vertices; in the first n! rows only the first n of them change places."""
_STACKS = ((128, 128, 32), (128, 256, 16), (256, 512, 8))
"""Channels that enter, channels that leave, and height (= width) of the feature maps in each stack of three modules."""
_NASLIB_OPERATIONS = ("input", "output", "maxpool3x3", "conv1x1-bn-relu", "conv3x3-bn-relu")
_LABELS = {name: label for label, name in enumerate((*OPERATIONS, "input", "output"))}
_FAULTS = (
    "it must have 2 to 7 vertices",
    "it must have at most 9 edges",
    "it must have one input and one output",
    "every vertex must lie on a path from the input to the output",
)

Cell = tuple[Sequence[Sequence[int]] | ndarray, Sequence[str]]
"""A cell as the benchmark's ``ModelSpec`` takes it: upper triangular matrix, operations of all vertices."""


class NASBench101(Space):
    """The space ``nasbench101``: 423,624 cells, as DAGs of 2 to 7 nodes over a vocabulary of 5."""

    name = "nasbench101"
    vocabulary = ("input", *OPERATIONS, "output")
    flow_defaults = (4, 1.0)
    size = 423_624
    proxies = ("parameters", "flops", *signal.PROXIES)

    def enumerate(self) -> ArchBatch:
        """All cells, in the benchmark's order and each in the numbering that the benchmark trained."""
        return self.from_keys(_all_keys())

    def sample(self, n: int, seed: int = 0) -> ArchBatch:
        """``n`` different cells, uniformly at random.

        Raises:
            ValueError: ``n`` is not between 1 and 423,624.
        """
        if not 1 <= n <= self.size:
            raise ValueError(f"cannot draw {n} different architectures: {self.name} has {self.size:,}")
        return self.from_keys(np.random.default_rng(seed).choice(_all_keys(), n, replace=False))

    def mutate(self, archs: ArchBatch, seed: int = 0) -> ArchBatch:
        """Another cell for each: one edge is added or removed, or one operation changed, at random.

        A cell of fewer than seven vertices is first filled up with vertices that do nothing, at random places and with
        random edges. The new edge may bring such vertices in, as a removed one may leave others without use; these go.
        A change that leaves the network what it was, or leads out of the space, is drawn again.
        """
        return self.from_keys(_mutated(self.keys(archs), np.random.default_rng(seed)))

    def format(self, archs: ArchBatch) -> list[str]:
        """Each cell as ``010001000:conv3x3-bn-relu``, in the numbering that the benchmark trained.

        That is its matrix row by row, then the operations of the vertices between input and output.
        """
        sizes, matrices, operations = _unpacked(self.keys(archs))
        strings = []
        for size, matrix, row in zip(sizes.tolist(), matrices.astype(np.uint8), operations.tolist(), strict=True):
            bits = (matrix[:size, :size] + ord("0")).tobytes().decode()
            strings.append(f"{bits}:{','.join(self.vocabulary[operation] for operation in row[1 : size - 1])}")
        return strings

    def parse(self, strings: Sequence[str], first_line: int = 1) -> ArchBatch:
        """The cells that the strings denote, pruned, in the numbering that the benchmark trained.

        A string is what :meth:`format` writes, or a module spec of the benchmark as JSON,
        ``{"matrix": [[0, 1], [0, 0]], "ops": ["input", "output"]}``, or NASLib's tuple ``(0, 1, 0, 0, 0, 1)``: the
        matrix row by row, then the operations (0 input, 1 output, 2 maxpool3x3, 3 conv1x1, 4 conv3x3).

        Raises:
            ValueError: a string is malformed or its cell not in the space, see :func:`prune`; the message gives its
                line (the first is ``first_line``) and the reason.
        """
        keys = np.empty(len(strings), dtype=np.int64)
        for row, string in enumerate(strings):
            try:
                keys[row] = _key(*_read(string))
            except ValueError as error:
                raise ValueError(f"line {first_line + row}: {error}, in {string!r}") from None
        return self.from_keys(keys)

    def from_cells(self, cells: Iterable[Cell]) -> ArchBatch:
        """Cells given as matrix and operations, pruned, in the numbering that the benchmark trained.

        Raises:
            ValueError: a cell is not in the space, see :func:`prune`; the message gives its index.
        """
        keys = []
        for index, cell in enumerate(cells):
            try:
                keys.append(_key(*prune(*cell)))
            except ValueError as error:
                raise ValueError(f"architecture {index}: {error}") from None
        return self.from_keys(np.array(keys, dtype=np.int64))

    def parameters(self, archs: ArchBatch) -> Int[ndarray, " archs"]:
        """Trainable parameters of the CIFAR-10 network, exactly; 227,274 to 49,979,274."""
        weights, outputs = _convolutions(self.keys(archs))
        stem, head = 3 * 128 * 9 + 2 * 128, 512 * 10 + 10
        return stem + (weights + 2 * outputs).sum(axis=1) + head

    def flops(self, archs: ArchBatch) -> Int[ndarray, " archs"]:
        """Multiply-accumulates of the CIFAR-10 network for one image; 37,098,496 to 7,335,187,456.

        Those of the convolutions and of the classifier. The benchmark itself counts none; NASLib's "flops" are these,
        and 2 for each number that is normalised, 1 for each that is rectified, and 9 (between stacks 4) for each that
        a maximum pooling gives.
        """
        weights, _ = _convolutions(self.keys(archs))
        stem, head = 3 * 128 * 9 * 32 * 32, 512 * 10
        return stem + weights @ np.array([side**2 for _, _, side in _STACKS]) + head

    def proxy(self, name: str, archs: ArchBatch) -> Float[ndarray, " archs"]:
        """One of ``proxies`` for each cell, in closed form; see :mod:`archflow.benchmarks.nasbench101.closed_form`.

        Raises:
            ValueError: the name is none of ``proxies``.
        """
        if name not in self.proxies:
            raise ValueError(f"unknown proxy '{name}' of {self.name}; known: {', '.join(self.proxies)}")
        if name in ("parameters", "flops"):
            return (self.parameters(archs) if name == "parameters" else self.flops(archs)).astype(float)
        _, matrices, operations = _unpacked(self.keys(archs))
        return signal.proxy(name, matrices, operations)

    def keys(self, archs: ArchBatch) -> Int[ndarray, " archs"]:
        """The key of each network, whichever way its nodes are numbered; ascending in :meth:`enumerate`.

        Raises:
            ValueError: an architecture is not of this space; the message names its index.
        """
        archs.require_vocabulary(self.vocabulary, self.name)
        keys = _keys(archs.operations, archs.node_offsets, archs.edges, archs.edge_offsets)
        if (keys < 0).any():
            index = int(np.argmax(keys < 0))
            raise ValueError(f"architecture {index} is not of {self.name}: {_FAULTS[-1 - keys[index]]}")
        return keys

    def from_keys(self, keys: Int[ndarray, " archs"]) -> ArchBatch:
        """The inverse of :meth:`keys`, for keys of this space."""
        sizes, matrices, operations = _unpacked(keys)
        present = matrices[:, *_PAIRS]
        return ArchBatch(
            operations[np.arange(MAX_VERTICES) < sizes[:, None]],
            np.concatenate([[0], np.cumsum(sizes)]),
            _PAIRS[:, np.nonzero(present)[1]],
            np.concatenate([[0], np.cumsum(present.sum(axis=1))]),
            self.vocabulary,
        )

    def module_hash(self, archs: ArchBatch) -> list[str]:
        """The MD5 hash by which the benchmark's files call each network, as 32 hexadecimal digits.

        A vertex begins as the hash of its degrees and operation. As many times as there are vertices, it becomes the
        hash of those of the vertices it reads, of those that read it, and of its own. The cell's is the hash of all.
        """
        sizes, matrices, operations = _unpacked(self.keys(archs))
        cells = zip(sizes.tolist(), matrices.tolist(), operations.tolist(), strict=True)
        return [_module_hash(matrix[:size], row[:size]) for size, matrix, row in cells]


def prune(
    matrix: Sequence[Sequence[int]] | ndarray, operations: Sequence[str]
) -> tuple[UInt8[ndarray, "left left"], list[str]]:
    """A cell without the vertices that lie on no path from input to output.

    Args:
        matrix: 0 and 1, shape (vertices, vertices), zero on and below the diagonal; vertex 0 is the input, the last the
            output.
        operations: one for each vertex, the first ``input``, the last ``output``.

    Returns:
        matrix and operations of the vertices that are left, in their order.

    Raises:
        ValueError: the cell is malformed, its input and output are not connected, or what is left has more than seven
            vertices, more than nine edges, or an unknown operation.
    """
    edges, vertices = np.asarray(matrix, dtype=object), len(operations)
    if list(operations[:1]) != ["input"] or list(operations[-1:]) != ["output"]:
        raise ValueError("the first operation must be input, the last output")
    if edges.shape != (vertices, vertices):
        raise ValueError(
            f"a matrix of shape {edges.shape} does not fit {vertices} operations, input and output included"
        )
    if not ((edges == 0) | (edges == 1)).all():
        raise ValueError("the matrix must hold 0 and 1 only")
    if np.tril(edges).any():
        raise ValueError("the matrix must be zero on and below its diagonal")
    live = np.flatnonzero(_live(edges.astype(np.bool_)))
    if not len(live):
        raise ValueError("input and output are not connected")
    edges, left = edges[np.ix_(live, live)].astype(np.uint8), [operations[vertex] for vertex in live.tolist()]
    if unknown := [name for name in left[1:-1] if name not in OPERATIONS]:
        raise ValueError(f"unknown operation '{unknown[0]}' (known: {', '.join(OPERATIONS)})")
    if len(left) > MAX_VERTICES:
        raise ValueError(f"the cell has {len(left)} vertices, more than {MAX_VERTICES}")
    if np.count_nonzero(edges) > MAX_EDGES:
        raise ValueError(f"the cell has {np.count_nonzero(edges)} edges, more than {MAX_EDGES}")
    return edges, left


# Keys


def _key(matrix: UInt8[ndarray, "vertices vertices"], operations: Sequence[str]) -> int:
    """The key of a cell once pruned; errors are those of :func:`prune`."""
    key = int(_pruned_key(matrix, np.array([_LABELS.get(name, -1) for name in operations])))
    if key < 0:
        prune(matrix, operations)
    return key


def _unpacked(
    keys: Int[ndarray, " archs"],
) -> tuple[Int[ndarray, " archs"], Bool[ndarray, "archs 7 7"], Int[ndarray, "archs 7"]]:
    """Vertices, matrix and operations (numbers of the vocabulary) of each cell.

    Rows and columns beyond the last vertex are zero, operations from there on ``output``.
    """
    sizes, vertex = keys >> 31, np.arange(MAX_VERTICES)
    matrices = np.zeros((len(keys), MAX_VERTICES, MAX_VERTICES), dtype=bool)
    matrices[:, *_PAIRS] = keys[:, None] >> (10 + np.arange(_PAIRS.shape[1])) & 1
    after = sizes[:, None] - 2 - vertex
    operations = np.where(after >= 0, 1 + (keys[:, None] >> 2 * np.maximum(after, 0) & 3), len(OPERATIONS) + 1)
    operations[:, 0] = 0
    return sizes, matrices, operations


@cache
def _all_keys() -> Int[ndarray, " archs"]:
    return _enumerated()


@njit(cache=True)
def _enumerated() -> ndarray:
    """The keys of all cells, ascending: those matrices and operations that no other numbering makes smaller."""
    found, edges = [], np.empty((MAX_EDGES, 2), np.int64)
    for size in range(2, MAX_VERTICES + 1):
        places = size * (size - 1) // 2
        for bits in range(1 << places):
            count = 0
            for place in range(places):
                if bits >> place & 1:
                    if count < MAX_EDGES:
                        edges[count, 0], edges[count, 1] = _PAIRS[0, place], _PAIRS[1, place]
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
    """The key of a cell: the smallest of any numbering in which each vertex follows those it reads.

    ``edges`` are pairs (source, target), ``labels`` indices into ``OPERATIONS``. Vertex 0 must be the input, the last
    the output; those between them may come in any order.
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
    """Whether all vertices but the last are read and all but the first read.

    In an acyclic graph that is to say: all lie on a path from the first to the last.
    """
    read, reading = 0, 0
    for source, target in edges:
        read, reading = read | 1 << source, reading | 1 << target
    return read == (1 << size - 1) - 1 and reading == (1 << size) - 2


@njit(cache=True)
def _keys(operations: ndarray, node_offsets: ndarray, edges: ndarray, edge_offsets: ndarray) -> ndarray:
    """The key of each architecture of a batch, or -1 minus the position of its fault in ``_FAULTS``."""
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
def _live(matrix: ndarray) -> ndarray:
    """Which vertices of an upper triangular matrix lie on a path from the first to the last."""
    size = len(matrix)
    reached, reaching = np.zeros(size, np.bool_), np.zeros(size, np.bool_)
    reached[0] = reaching[-1] = True
    for vertex in range(1, size):
        reached[vertex] = (reached & matrix[:, vertex]).any()
    for vertex in range(size - 2, -1, -1):
        reaching[vertex] = (reaching & matrix[vertex]).any()
    return reached & reaching


@njit(cache=True)
def _pruned_key(matrix: ndarray, labels: ndarray) -> int:
    """The key of a cell once pruned, -1 if :func:`prune` would refuse it; 3 and 4 label the input and the output."""
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
def _mutated(keys: ndarray, rng: np.random.Generator) -> ndarray:
    mutated = keys.copy()
    for arch, key in enumerate(keys):
        while mutated[arch] == key:
            matrix, labels = _filled(key, rng)
            choice = int(26 * rng.random())  # 0 … 20: an edge; 21 … 25: the operation of vertex 1 … 5
            if choice < 21:
                source, target = _PAIRS[0, choice], _PAIRS[1, choice]
                matrix[source, target] = not matrix[source, target]
            else:
                labels[choice - 20] = (labels[choice - 20] + 1 + int(2 * rng.random())) % 3
            live = np.flatnonzero(_live(matrix))
            edges = np.argwhere(matrix[live][:, live])
            if len(live) and len(edges) <= MAX_EDGES:
                mutated[arch] = _smallest(edges, labels[live])
    return mutated


@njit(cache=True)
def _filled(key: int, rng: np.random.Generator) -> tuple[ndarray, ndarray]:
    """A cell of seven vertices, matrix and labels, that is the key's once pruned.

    What is pruned stands at random places and has random edges and operations.
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
        for source, target in _PAIRS.T:
            matrix[source, target] = rng.random() < 0.25
        for bit in range(size * (size - 1) // 2):
            matrix[places[_PAIRS[0, bit]], places[_PAIRS[1, bit]]] = key >> (10 + bit) & 1
        for vertex in range(1, size - 1):
            labels[places[vertex]] = key >> 2 * (size - 2 - vertex) & 3
        if (_live(matrix) == used).all():
            return matrix, labels


# What the benchmark makes of a cell


def _module_hash(matrix: list[list[bool]], operations: list[int]) -> str:
    vertices = range(len(operations))
    reads = [[source for source in vertices if matrix[source][vertex]] for vertex in vertices]
    readers = [[target for target in vertices if matrix[vertex][target]] for vertex in vertices]
    labels = [-1, *(operation - 1 for operation in operations[1:-1]), -2]
    hashes = [_md5(f"({len(readers[v])}, {len(reads[v])}, {labels[v]})") for v in vertices]
    for _ in vertices:
        of = hashes.__getitem__
        hashes = [
            _md5(f"{''.join(sorted(map(of, reads[v])))}|{''.join(sorted(map(of, readers[v])))}|{hashes[v]}")
            for v in vertices
        ]
    return _md5(str(sorted(hashes)))


def _md5(text: str) -> str:
    return md5(text.encode(), usedforsecurity=False).hexdigest()


def _convolutions(keys: Int[ndarray, " archs"]) -> tuple[Int[ndarray, "archs 3"], Int[ndarray, "archs 3"]]:
    """Weights and output channels of all convolutions in each stack.

    They have no bias, and a batch normalisation behind them. What an inner vertex or the output reads of the cell's
    input passes one of 1 × 1 first.
    """
    sizes, matrices, operations = _unpacked(keys)
    kernels = _KERNELS[operations]
    weights, outputs = np.empty((2, len(keys), len(_STACKS)), dtype=np.int64)
    for stack, (entering, leaving, _) in enumerate(_STACKS):
        channels = _channels(leaving, sizes, matrices)
        projected = (matrices[:, 0] * channels).sum(axis=1)
        weights[:, stack] = 3 * ((kernels * channels) ** 2).sum(axis=1)
        weights[:, stack] += (entering + 2 * leaving) * projected
        outputs[:, stack] = 3 * (((kernels > 0) * channels).sum(axis=1) + projected)
    return weights, outputs


def _channels(
    leaving: int, sizes: Int[ndarray, " archs"], matrices: Bool[ndarray, "archs 7 7"]
) -> Int[ndarray, "archs 7"]:
    """Channels of each vertex but the input; 0 where there is no vertex.

    Those that the output reads share its channels, the first ones get one more where they do not divide evenly. Others
    have as many as the largest of their readers.
    """
    rows = np.arange(len(sizes))
    shares = matrices[rows, :, sizes - 1]
    shares[:, 0] = False
    share, rest = np.divmod(leaving, np.maximum(shares.sum(axis=1), 1))
    channels = shares * (share[:, None] + (np.cumsum(shares, axis=1) <= rest[:, None]))
    for vertex in range(MAX_VERTICES - 2, 0, -1):
        largest = (matrices[:, vertex] * channels).max(axis=1)
        channels[:, vertex] = np.where(shares[:, vertex], channels[:, vertex], largest)
    channels[rows, sizes - 1] = leaving
    return channels


# Strings


def _read(string: str) -> tuple[UInt8[ndarray, "vertices vertices"], list[str]]:
    text = string.strip()
    if text.startswith("{"):
        return _read_json(text)
    if re.fullmatch(r"\([0-9](, *[0-9])+\)", text):
        numbers = [int(digit) for digit in re.findall("[0-9]", text)]
        vertices = isqrt(len(numbers))
        if vertices * (vertices + 1) != len(numbers) or max(numbers[-vertices:]) >= len(_NASLIB_OPERATIONS):
            raise ValueError(
                f"a tuple holds V·V matrix entries and V operations of 0 … 4, not these {len(numbers)} numbers"
            )
        names = [_NASLIB_OPERATIONS[number] for number in numbers[-vertices:]]
        return np.array(numbers[:-vertices], np.uint8).reshape(vertices, vertices), names
    bits, separator, operations = text.partition(":")
    vertices = isqrt(len(bits))
    if not separator or vertices * vertices != len(bits):
        raise ValueError(
            "a cell is written as matrix:operations, e.g. 010001000:maxpool3x3, with the V·V entries of the matrix row "
            "by row, or as a JSON module spec, or as NASLib's tuple"
        )
    names = ["input", *operations.split(","), "output"] if operations else ["input", "output"]
    matrix = np.frombuffer(bits.encode("ascii", "replace"), np.uint8) - np.uint8(ord("0"))
    return matrix.reshape(vertices, vertices), names


def _read_json(text: str) -> tuple[UInt8[ndarray, "vertices vertices"], list[str]]:
    try:
        spec: dict[str, Any] = json.loads(text)
    except (ValueError, RecursionError):
        raise ValueError("the module spec is no valid JSON") from None
    matrix, operations = spec.get("matrix"), spec.get("ops")
    if not (isinstance(operations, list) and all(isinstance(name, str) for name in operations)):
        raise ValueError('the module spec must have a list of operations, "ops"')
    if not (
        isinstance(matrix, list)
        and all(isinstance(row, list) and len(row) == len(matrix) for row in matrix)
        and all(entry in (0, 1) for row in matrix for entry in row)
    ):
        raise ValueError('the module spec must have a square "matrix" of 0 and 1')
    return np.array(matrix, np.uint8), operations
