"""DARTS (Liu, Simonyan and Yang, ICLR 2019), the space of NAS-Bench-301 (Zela, Siems et al., ICLR 2022).

An architecture is two cells, the normal and the reduction cell. In each, nodes 0 and 1 are the cell's inputs; nodes 2
to 5 each sum two edges from different earlier nodes, and an edge carries one of seven operations. The cell's output
concatenates nodes 2 to 5. There are 1.08e18 such pairs.

Here the operations are the nodes of the graph, and one graph holds both cells: for each cell its two inputs, eight
operations and its output. An operation on an edge from node j reads the two operations that end in j, or the input j;
the output reads all eight. The vocabulary names the operations of each cell separately. The edges alone do not show
which two operations share a node; the order of the graph's nodes does.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Int, Integer, UInt8
from numpy import ndarray

from archflow.archs.batch import ArchBatch
from archflow.benchmarks.darts.closed_form import sizes
from archflow.benchmarks.darts.graphs import sources_of
from archflow.benchmarks.darts.notation import CELLS, OPERATIONS, read_architecture
from archflow.benchmarks.space import Decision, Space

_TARGET = np.repeat([2, 3, 4, 5], 2)
"""The node in which each of a cell's eight edges ends."""
_SOURCES = np.array([(low, high) for high in range(1, 5) for low in range(high)], np.uint8)
"""Every pair of different sources; node n may have the first n(n − 1)/2."""
_RADICES = np.array([radix for node in range(2, 6) for radix in (node * (node - 1) // 2, 7, 7)] * 2)
"""The radices of a key: for each node of each cell its pair of sources, then the operations on the edges from them."""
_PLACES = np.cumprod(np.append(_RADICES[1:], 1)[::-1])[::-1]
_FREE = np.flatnonzero(_RADICES > 1)
"""The digits that are decisions; the sources of node 2 are not, as it always reads both inputs."""

_NODES, _NAMES = 11, 10
"""Nodes of a cell in the graph, and its names in the vocabulary: two inputs, operations, the output."""
_FORM = (
    "for each cell it must have two inputs, for each of four nodes two operations that read different earlier nodes, "
    "and the output, in this order"
)


def _decisions() -> tuple[Decision, ...]:
    """For each node of each cell its sources (except for node 2), then the operations on the edges from them."""
    decisions = []
    for cell in CELLS:
        for node in range(2, 6):
            pairs = tuple(f"{low} and {high}" for low, high in _SOURCES[: node * (node - 1) // 2].tolist())
            decisions += [Decision(f"sources of node {node} in the {cell} cell", pairs)] * (node > 2)
            decisions += [
                Decision(f"operation on node {node}'s edge from its {which} source in the {cell} cell", OPERATIONS)
                for which in ("lower", "higher")
            ]
    return tuple(decisions)


class DARTS(Space):
    """The space ``darts``: pairs of cells, as DAGs of 22 nodes over a vocabulary of 20."""

    name = "darts"
    vocabulary = tuple(
        name
        for cell in CELLS
        for name in (
            *(f"input_{cell}_{number}" for number in (0, 1)),
            *(f"{cell}/{operation}" for operation in OPERATIONS),
            f"output_{cell}",
        )
    )
    proxies = ("parameters", "flops")
    decisions = _decisions()

    def keys(self, archs: ArchBatch) -> Int[ndarray, " archs"]:
        """The number of each architecture among all of the space, from 0; the order of a node's edges does not matter.

        Raises:
            ValueError: see :meth:`edges`.
        """
        return self._digits(archs) @ _PLACES

    def from_keys(self, keys: Int[ndarray, " archs"]) -> ArchBatch:
        """The inverse of :meth:`keys`, for numbers from 0 to below ``size``."""
        digits = np.empty((len(keys), len(_PLACES)), np.uint8)
        for column, (place, radix) in enumerate(zip(_PLACES, _RADICES, strict=True)):
            digits[:, column] = keys // place % radix
        return self._from_digits(digits)

    def encode(self, archs: ArchBatch) -> Int[ndarray, "archs 22"]:
        """The choices that make each architecture.

        Raises:
            ValueError: see :meth:`edges`.
        """
        return self._digits(archs)[:, _FREE].astype(np.int64)

    def _decode(self, choices: Int[ndarray, "archs 22"]) -> ArchBatch:
        digits = np.zeros((len(choices), len(_PLACES)), np.uint8)
        digits[:, _FREE] = choices
        return self._from_digits(digits)

    def mutate(self, archs: ArchBatch, seed: int = 0) -> ArchBatch:
        """Each architecture with one random edge changed: its operation, or its source where another one is possible.

        Each of the 28 changes (of 16 operations, and of 12 sources, as node 2 always reads both inputs) is equally
        likely.
        """
        rng = np.random.default_rng(seed)
        edges = self.edges(archs)
        rows = np.arange(len(edges))
        change = rng.integers(28, size=len(edges))
        moved = change >= 16
        cell, edge = np.divmod(np.where(moved, change - 16, change), np.where(moved, 6, 8))
        edge += 2 * moved
        source, operation = edges[rows, cell, edge].T.astype(np.int64)
        step = rng.integers(1, np.where(moved, _TARGET[edge] - 1, len(OPERATIONS)))

        other = edges[rows, cell, edge ^ 1, 0]
        new = step - 1  # counted among the sources that neither edge has
        new += new >= np.minimum(source, other)
        new += new >= np.maximum(source, other)
        edges[rows, cell, edge, 0] = np.where(moved, new, source)
        edges[rows, cell, edge, 1] = np.where(moved, operation, (operation + step) % len(OPERATIONS))
        return self.from_edges(edges)

    def format(self, archs: ArchBatch) -> list[str]:
        """Each as ``Genotype(normal=[('sep_conv_3x3', 0), …], normal_concat=[2, 3, 4, 5], reduce=[…], …)``.

        The edges of a node are in the order of their sources.
        """
        texts = np.array([[f"('{name}', {source})" for name in OPERATIONS] for source in range(5)], dtype=object)
        pattern = ", ".join(f"{cell}=[{', '.join(['%s'] * 8)}], {cell}_concat=[2, 3, 4, 5]" for cell in CELLS)
        edges = self.edges(archs)
        return [f"Genotype({pattern})" % tuple(row) for row in texts[edges[..., 0], edges[..., 1]].reshape(-1, 16)]

    def parse_one(self, string: str) -> list[list[tuple[int, int]]]:
        """The edges of the architecture that a string denotes, in either of two notations.

        One is that of :meth:`format`, where ``range(2, 6)`` may stand for ``[2, 3, 4, 5]``. The other is NASLib's
        compact one, ``(((0,3),(1,2),…),(…))``: eight pairs a cell of source and index into ``OPERATIONS``.

        Raises:
            ValueError: the string is malformed; the message is the reason.
        """
        return read_architecture(string.strip())

    def parameters(self, archs: ArchBatch) -> Int[ndarray, " archs"]:
        """Trainable parameters of the CIFAR-10 network with 8 cells and 32 channels, exactly; 392,426 to 1,664,234.

        This is NASLib's network of the space: the third and sixth cells reduce, the norms of the operations have no
        scale and shift, and the auxiliary head, which only training uses, is not counted. The networks that
        NAS-Bench-301 trained have such scales and count the head's 468,234 parameters.
        """
        return sizes(self.edges(archs), 0)

    def flops(self, archs: ArchBatch) -> Int[ndarray, " archs"]:
        """Multiply-accumulates of the network of :meth:`parameters` for one image; 82,343,424 to 276,575,744.

        Counted as in the tables that NASLib published (by tensorwatch): the convolutions and the classifier, and for
        each element one for a rectifier, one for a norm or two where it has scale and shift, nine for a pooled one.
        """
        return sizes(self.edges(archs), 1)

    def edges(self, archs: ArchBatch) -> UInt8[ndarray, "archs 2 8 2"]:
        """For each edge of the normal and of the reduction cell its source (0 to 4) and its index into ``OPERATIONS``.

        Edges are in the order of the nodes in which they end, those of a node in the order of their sources.

        Raises:
            ValueError: the batch has another vocabulary, or a graph is not of the space. Its nodes must be in the order
                of the vocabulary's cells: two inputs, the operations by the node in which they end, the output.
        """
        archs.require_vocabulary(self.vocabulary, self.name)
        self._require(np.diff(archs.node_offsets) == 2 * _NODES, _FORM)
        # Operations that are not the cell's own become 7 or more, as unsigned numbers below 0 wrap around.
        codes = archs.operations.reshape(-1, 2, _NODES) - np.array([[0], [_NAMES]], np.uint8)
        ends, operations = codes[..., [0, 1, -1]], codes[..., 2:-1] - np.uint8(2)
        sources, wrong = sources_of(archs.edges, archs.edge_offsets)
        wrong |= (ends != [0, 1, _NAMES - 1]).any(axis=(1, 2)) | (operations >= len(OPERATIONS)).any(axis=(1, 2))
        self._require(~wrong, _FORM)
        return _by_source(np.stack([sources, operations], axis=-1))

    def from_edges(self, edges: Integer[ndarray, "archs 2 8 2"]) -> ArchBatch:
        """The inverse of :meth:`edges`; the edges of a node may be in any order."""
        # Built in blocks that stay in the processor's cache, which halves the time and keeps the memory small.
        blocks = (edges[start : start + 8192] for start in range(0, max(len(edges), 1), 8192))
        return ArchBatch.concatenate([self._block(_by_source(block.astype(np.uint8))) for block in blocks])

    def _block(self, edges: UInt8[ndarray, "archs 2 8 2"]) -> ArchBatch:
        codes = np.empty((len(edges), 2, _NODES), np.uint8)
        codes[..., [0, 1, -1]] = 0, 1, _NAMES - 1
        codes[..., 2:-1] = edges[..., 1] + 2
        codes[:, 1] += _NAMES

        # Room for two edges into each operation and eight into the output; an operation on an input has only one.
        sources = np.empty((len(edges), 2, 24), np.uint8)
        starts, present = edges[..., 0], np.ones(sources.shape, bool)
        present[..., 1:16:2] = starts >= 2
        sources[..., 0:16:2] = np.where(starts >= 2, 2 * starts - 2, starts)
        sources[..., 1:16:2] = sources[..., 0:16:2] + 1
        sources[..., 16:] = np.arange(2, 10)
        sources[:, 1] += _NODES
        targets = (np.repeat([*range(2, 10), 10], [2] * 8 + [8]) + np.array([[0], [_NODES]])).astype(np.uint8)
        return ArchBatch(
            codes.reshape(-1),
            np.arange(len(edges) + 1) * 2 * _NODES,
            np.stack([sources[present], np.broadcast_to(targets, sources.shape)[present]]),
            np.append(0, np.cumsum(present.sum(axis=(1, 2)))),
            self.vocabulary,
        )

    def _digits(self, archs: ArchBatch) -> UInt8[ndarray, "archs 24"]:
        """The digits of each architecture's key."""
        pairs = self.edges(archs).reshape(-1, 2, 4, 2, 2)
        low, high = pairs[..., 0, 0], pairs[..., 1, 0]
        digits = np.concatenate([(high * (high - 1) // 2 + low)[..., None], pairs[..., 1]], axis=-1)
        return digits.reshape(-1, len(_PLACES))

    def _from_digits(self, digits: UInt8[ndarray, "archs 24"]) -> ArchBatch:
        by_node = digits.reshape(-1, 2, 4, 3)
        sources, operations = _SOURCES[by_node[..., 0]], by_node[..., 1:]
        return self.from_edges(np.stack([sources, operations], axis=-1).reshape(-1, 2, 8, 2))

    def _from_parsed(self, parsed: list[list[list[tuple[int, int]]]]) -> ArchBatch:
        return self.from_edges(np.array(parsed, np.int64).reshape(-1, 2, 8, 2))

    def _sample(self, n: int, seed: int) -> ArchBatch:
        assert self.size is not None
        return self.from_keys(_different(n, self.size, np.random.default_rng(seed)))


def _different(n: int, size: int, rng: np.random.Generator) -> Int[ndarray, " n"]:
    """``n`` different random numbers below ``size``; repeated ones are drawn again."""
    numbers = rng.integers(size, size=n)
    while len(kept := np.unique(numbers)) < n:
        numbers = rng.permutation(np.append(kept, rng.integers(size, size=n - len(kept))))
    return numbers


def _by_source(edges: UInt8[ndarray, "archs 2 8 2"]) -> UInt8[ndarray, "archs 2 8 2"]:
    """The same with the two edges of each node in the order of their sources."""
    first, second = edges[:, :, 0::2], edges[:, :, 1::2]
    swap = first[..., :1] > second[..., :1]
    return np.stack([np.where(swap, second, first), np.where(swap, first, second)], axis=3).reshape(edges.shape)
