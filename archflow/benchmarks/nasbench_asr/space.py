"""NAS-Bench-ASR (Mehrotra et al., ICLR 2021): 8,242 convolutional cells for speech recognition.

A cell has three nodes in sequence. Each applies an operation to the output of the node before it, and adds the outputs
of the cell's input and of earlier nodes where it has a skip connection from them. A cell is written as in the
benchmark, ``[[1, 0], [1, 0, 0], [4, 1, 0, 0]]``: for each node the position of its operation in ``OPERATIONS``, then 1
or 0 for a skip connection from the input, the first node and the second.

Here a cell is the graph that the benchmark itself makes of it: ``input``, three operations and ``output`` in sequence,
and an edge for each skip connection, from its source to what reads the sum (the next operation, or the output).

There are 13,824 such cells, but the benchmark takes some for the same network and trained one cell of each. A ``zero``
outputs nothing, so its edges are cut, and operations that are then on no path from the input to the output are removed
too; cells are the same network if their remaining graphs are isomorphic. Here the plainest cell represents each
network: all removed operations are ``zero``, and it has as few skip connections as possible. Everything in this file
goes through these cells.
"""

from __future__ import annotations

import json
from functools import cache
from itertools import permutations
from math import prod

import numpy as np
from jaxtyping import Bool, Int
from numpy import ndarray

from archflow.archs.batch import ArchBatch
from archflow.benchmarks.space import Decision, Space

OPERATIONS = ("linear", "conv5", "conv5d2", "conv7", "conv7d2", "zero")
"""A dense layer; convolutions of 5 and 7 frames in 100 groups, d2 with a dilation of 2; no output."""

_ZERO = OPERATIONS.index("zero")
_OPTIONS = (6, 2, 6, 2, 2, 6, 2, 2, 2)
"""The number of choices for each number of a cell, its lists concatenated."""
_PLACE_VALUES = np.array([prod(_OPTIONS[place + 1 :]) for place in range(9)])
_SOURCES = ("the input", "node 1", "node 2")
_OPERATION, _SKIP = [0, 2, 5], [1, 3, 4, 6, 7, 8]
_SKIP_SOURCES, _SKIP_READERS = np.array([[0, 0, 1, 0, 1, 2], [2, 3, 3, 4, 4, 4]])

_BLOCKS = ((600, 3), (800, 4), (1000, 5), (1200, 6))
"""Filters and cells of the network's four blocks; each begins with a convolution of 8 frames."""
_FEATURES, _MEMORY, _PHONEMES = 80, 500, 48


class NASBenchASR(Space):
    """The space ``nasbench-asr``: 8,242 cells, as DAGs of 5 nodes over a vocabulary of 8."""

    name = "nasbench-asr"
    vocabulary = ("input", *OPERATIONS, "output")
    size = 8_242
    proxies = ("parameters",)
    sizes_elsewhere = (
        "the benchmark does not say for what length of recording it counts them; the table nasbench-asr has them in "
        "its column flops"
    )
    decisions = tuple(
        decision
        for node in (1, 2, 3)
        for decision in (
            Decision(f"operation of node {node}", OPERATIONS),
            *(Decision(f"skip from {source} to node {node}", ("absent", "present")) for source in _SOURCES[:node]),
        )
    )
    """The numbers of a cell's notation: for each node its operation, then its skip connections."""

    def keys(self, archs: ArchBatch) -> Int[ndarray, " archs"]:
        """A number for each network: the position of its plainest cell among the 13,824 in the order of their notation.

        It counts from 0. The nodes of the graphs may be numbered in any order.

        Raises:
            ValueError: an architecture is not of this space; the message names its index.
        """
        archs.require_vocabulary(self.vocabulary, self.name)
        output = len(self.vocabulary) - 1
        form = "its nodes must be the input, three operations and the output, each of which reads the one before it"
        self._require(np.diff(archs.node_offsets) == 5, form)
        # The nodes are in sequence exactly if the longest paths to them have lengths 0 to 4.
        place = archs.generations.reshape(-1, 5).astype(np.int64)
        self._require((np.sort(place, axis=1) == np.arange(5)).all(axis=1), form)
        row = np.arange(len(archs))
        nodes = np.empty((len(archs), 5), dtype=np.int64)
        nodes[row[:, None], place] = archs.operations.reshape(-1, 5)
        inner = (nodes[:, 1:4] != 0) & (nodes[:, 1:4] != output)
        self._require((nodes[:, 0] == 0) & inner.all(axis=1) & (nodes[:, 4] == output), form)
        adjacency = np.zeros((len(archs), 5, 5), dtype=bool)
        owner = np.repeat(row, np.diff(archs.edge_offsets))
        adjacency[owner, place[owner, archs.edges[0]], place[owner, archs.edges[1]]] = True
        cells = np.empty((len(archs), 9), dtype=np.int64)
        cells[:, _OPERATION] = nodes[:, 1:4] - 1
        cells[:, _SKIP] = adjacency[:, _SKIP_SOURCES, _SKIP_READERS]
        return _plainest()[cells @ _PLACE_VALUES]

    def from_keys(self, keys: Int[ndarray, " archs"]) -> ArchBatch:
        """The inverse of :meth:`keys`, for keys of this space."""
        cells = _cells(keys)
        nodes = np.zeros((len(keys), 5), dtype=np.int64)
        nodes[:, 1:4] = cells[:, _OPERATION] + 1
        nodes[:, 4] = len(self.vocabulary) - 1
        return ArchBatch.from_adjacency(nodes, _adjacency(cells), self.vocabulary)

    def encode(self, archs: ArchBatch) -> Int[ndarray, "archs 9"]:
        """The choices that make the plainest cell of each network.

        Raises:
            ValueError: see :meth:`keys`.
        """
        return _cells(self.keys(archs))

    def _decode(self, choices: Int[ndarray, "archs 9"]) -> ArchBatch:
        return self.from_keys(_plainest()[choices @ _PLACE_VALUES])

    def mutate(self, archs: ArchBatch, seed: int = 0) -> ArchBatch:
        """For each cell, another one: one random operation or skip connection is changed.

        A change that does not change the network is drawn again.
        """
        rng = np.random.default_rng(seed)
        keys = self.keys(archs)
        mutated, rest = keys.copy(), np.arange(len(keys))
        while len(rest):
            cells, rows, place = _cells(keys[rest]), np.arange(len(rest)), rng.integers(9, size=len(rest))
            options = np.array(_OPTIONS)[place]
            cells[rows, place] = (cells[rows, place] + rng.integers(1, options)) % options
            mutated[rest] = _plainest()[cells @ _PLACE_VALUES]
            rest = rest[mutated[rest] == keys[rest]]
        return self.from_keys(mutated)

    def format(self, archs: ArchBatch) -> list[str]:
        """Each cell as ``[[1, 0], [1, 0, 0], [4, 1, 0, 0]]``."""
        return [str([cell[:2], cell[2:5], cell[5:]]) for cell in self.encode(archs).tolist()]

    def parse_one(self, string: str) -> list[int]:
        """The choices of the cell that a string denotes; brackets may be round.

        Raises:
            ValueError: the string is malformed; the message is the reason.
        """
        try:
            nodes = json.loads(string.replace("(", "[").replace(")", "]"))
        except (ValueError, RecursionError):
            raise ValueError("a cell is written as [[operation, skip], [operation, skip, skip], …]") from None
        if not isinstance(nodes, list) or len(nodes) != 3:
            raise ValueError("a cell is a list of 3 nodes")
        for number, node in enumerate(nodes, start=1):
            if not isinstance(node, list) or len(node) != number + 1 or any(type(choice) is not int for choice in node):
                raise ValueError(
                    f"node {number} must be a list of {number + 1} whole numbers: an operation, then its skips"
                )
            if node[0] not in range(len(OPERATIONS)):
                raise ValueError(f"node {number} has the operation {node[0]}, but there are 0 to {len(OPERATIONS) - 1}")
            if not set(node[1:]) <= {0, 1}:
                raise ValueError(f"a skip connection of node {number} must be 0 or 1")
        return [choice for node in nodes for choice in node]

    def parameters(self, archs: ArchBatch) -> Int[ndarray, " archs"]:
        """Trainable parameters of the network with its LSTM, exactly; 23,695,248 to 75,586,848.

        An operation that a ``zero`` cuts off does not count, as the cells that the benchmark trained have none.
        """
        inputs = (_FEATURES, *(filters for filters, _ in _BLOCKS))
        begin = sum(8 * source * filters + 3 * filters for source, (filters, _) in zip(inputs, _BLOCKS, strict=False))
        norms = sum(2 * filters * cells for filters, cells in _BLOCKS)
        lstm = 4 * _MEMORY * (inputs[-1] + _MEMORY + 1)
        head = (_MEMORY + 1) * _PHONEMES
        linear = sum((filters * filters + filters) * cells for filters, cells in _BLOCKS)
        conv = {k: sum((k * filters * filters // 100 + filters) * cells for filters, cells in _BLOCKS) for k in (5, 7)}
        sizes = np.array([linear, conv[5], conv[5], conv[7], conv[7], 0])
        return begin + norms + lstm + head + sizes[self.encode(archs)[:, _OPERATION]].sum(axis=1)

    def _all_keys(self) -> Int[ndarray, " archs"]:
        return np.unique(_plainest())


def _cells(numbers: Int[ndarray, " archs"]) -> Int[ndarray, "archs 9"]:
    """The cell at each position among the 13,824, its lists concatenated."""
    return numbers[:, None] // _PLACE_VALUES % np.array(_OPTIONS)


def _adjacency(cells: Int[ndarray, "archs 9"]) -> Bool[ndarray, "archs 5 5"]:
    """Whether there is an edge from the second index to the third."""
    adjacency = np.zeros((len(cells), 5, 5), dtype=bool)
    adjacency[:, np.arange(4), np.arange(1, 5)] = True
    adjacency[:, _SKIP_SOURCES, _SKIP_READERS] = cells[:, _SKIP] == 1
    return adjacency


@cache
def _plainest() -> Int[ndarray, " 13824"]:
    """For each of the 13,824 cells, the position of the plainest cell of its network.

    The code of a network is the smallest over the six orders of the nodes in its remaining graph.
    """
    cells = _cells(np.arange(prod(_OPTIONS)))
    adjacency, present = _adjacency(cells), np.ones((len(cells), 5), dtype=bool)
    present[:, 1:4] = cells[:, _OPERATION] != _ZERO
    adjacency &= present[:, :, None] & present[:, None, :]
    reached, reaching = np.zeros_like(present), np.zeros_like(present)
    reached[:, 0] = reaching[:, 4] = True
    for node in range(1, 5):
        reached[:, node] = (adjacency[:, :, node] & reached).any(axis=1)
        reaching[:, 4 - node] = (adjacency[:, 4 - node] & reaching).any(axis=1)
    left = reached & reaching
    adjacency &= left[:, :, None] & left[:, None, :]
    operations = np.where(left[:, 1:4], cells[:, _OPERATION], _ZERO)

    codes = []
    for order in permutations((1, 2, 3)):
        nodes = np.array([0, *order, 4])
        edges = adjacency[:, nodes][:, :, nodes].reshape(-1, 25) @ (1 << np.arange(25))
        codes.append(operations[:, nodes[1:4] - 1] @ np.array([36, 6, 1]) << 25 | edges)
    network = np.min(codes, axis=0)

    zeros, skips = (cells[:, _OPERATION] == _ZERO).sum(axis=1), cells[:, _SKIP].sum(axis=1)
    preference = np.lexsort([skips, -zeros])
    _, first, number = np.unique(network[preference], return_index=True, return_inverse=True)
    plainest = np.empty(len(cells), dtype=np.int64)
    plainest[preference] = preference[first][number]
    return plainest
