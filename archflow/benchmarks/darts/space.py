"""DARTS (Liu, Simonyan and Yang, ICLR 2019), the space of NAS-Bench-301 (Zela, Siems et al., ICLR 2022).

An architecture is two cells, the normal and the reduction cell. In each, nodes 0 and 1 are the cell's inputs; nodes 2
to 5 each add up two edges from different earlier nodes, and an edge carries one of seven operations. The cell's output
joins nodes 2 to 5. There are 1.08e18 such pairs.

Here the operations are the nodes of the graph, and one graph holds both cells: for each cell its two inputs, eight
operations and its output. An operation on an edge from node j reads the two operations that end in j, or that input;
the output reads all eight. The vocabulary tells the two cells apart. Which two operations share a node cannot be told
from the edges alone, so it lies in the order of the graph's nodes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float, Int, Integer, UInt8
from numba import njit
from numpy import ndarray

from archflow.archs.batch import ArchBatch
from archflow.benchmarks.space import Space

OPERATIONS = (
    *("max_pool_3x3", "avg_pool_3x3", "skip_connect", "sep_conv_3x3", "sep_conv_5x5"),
    *("dil_conv_3x3", "dil_conv_5x5"),
)
CELLS = ("normal", "reduce")

_TARGET = np.repeat([2, 3, 4, 5], 2)
"""The node in which each of a cell's eight edges ends."""
_SOURCES = np.array([(low, high) for high in range(1, 5) for low in range(high)], np.uint8)
"""Every pair of different sources; node n may have the first n(n − 1)/2."""
_RADICES = np.array([radix for node in range(2, 6) for radix in (node * (node - 1) // 2, 7, 7)] * 2)
"""The digits of a key: for each node of each cell its pair of sources, then the operations on the edges from them."""
_PLACES = np.cumprod(np.append(_RADICES[1:], 1)[::-1])[::-1]
_SIZE = int(np.prod(_RADICES))

_NODES, _NAMES = 11, 10
"""Nodes of a cell in the graph, and its names in the vocabulary: two inputs, operations, the output."""
_READS = np.array([0b1, 0b10, *(0b11 << 2 * source - 2 for source in range(2, 5))])
"""The nodes of the graph, as bits, that an operation with each source reads."""
_ALL_OPERATIONS = 0b11111111 << 2


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
    flow_defaults = (12, 0.1)
    size = _SIZE
    proxies = ("parameters", "flops")

    def enumerate(self) -> ArchBatch:
        """Not possible.

        Raises:
            ValueError: always; the space is too large.
        """
        raise ValueError(f"{self.name} is too large to be listed: it has {self.size:,} architectures; draw a sample")

    def sample(self, n: int, seed: int = 0) -> ArchBatch:
        """``n`` different architectures, uniformly at random.

        Raises:
            ValueError: ``n`` is less than 1 or more than the space has.
        """
        if not 1 <= n <= self.size:
            raise ValueError(f"cannot draw {n} different architectures: {self.name} has {self.size:,}")
        return self.from_keys(_different(n, self.size, np.random.default_rng(seed)))

    def mutate(self, archs: ArchBatch, seed: int = 0) -> ArchBatch:
        """Each architecture with one edge changed at random: its operation, or its source where there is another.

        Each of the 28 choices (16 operations, and 12 sources, as node 2 always reads both inputs) is equally likely.
        """
        rng = np.random.default_rng(seed)
        choices = self.choices(archs)
        rows = np.arange(len(choices))
        choice = rng.integers(28, size=len(choices))
        moved = choice >= 16
        cell, edge = np.divmod(np.where(moved, choice - 16, choice), np.where(moved, 6, 8))
        edge += 2 * moved
        source, operation = choices[rows, cell, edge].T.astype(np.int64)
        step = rng.integers(1, np.where(moved, _TARGET[edge] - 1, len(OPERATIONS)))

        other = choices[rows, cell, edge ^ 1, 0]
        new = step - 1  # counted among the sources that neither edge has
        new += new >= np.minimum(source, other)
        new += new >= np.maximum(source, other)
        choices[rows, cell, edge, 0] = np.where(moved, new, source)
        choices[rows, cell, edge, 1] = np.where(moved, operation, (operation + step) % len(OPERATIONS))
        return self.from_choices(choices)

    def format(self, archs: ArchBatch) -> list[str]:
        """Each as ``Genotype(normal=[('sep_conv_3x3', 0), …], normal_concat=[2, 3, 4, 5], reduce=[…], …)``.

        The edges of a node are in the order of their sources.
        """
        edges = np.array([[f"('{name}', {source})" for name in OPERATIONS] for source in range(5)], dtype=object)
        pattern = ", ".join(f"{cell}=[{', '.join(['%s'] * 8)}], {cell}_concat=[2, 3, 4, 5]" for cell in CELLS)
        choices = self.choices(archs)
        texts = edges[choices[..., 0], choices[..., 1]].reshape(-1, 16)
        return [f"Genotype({pattern})" % tuple(row) for row in texts]

    def parse(self, strings: Sequence[str], first_line: int = 1) -> ArchBatch:
        """The architectures that the strings denote, in either of two notations.

        One is that of :meth:`format`, where ``range(2, 6)`` may stand for ``[2, 3, 4, 5]``. The other is NASLib's
        compact one, ``(((0,3),(1,2),…),(…))``: eight pairs a cell of source and index into ``OPERATIONS``.

        Raises:
            ValueError: a string is malformed; the message gives its line (the first is ``first_line``) and the reason.
        """
        choices = np.empty((len(strings), 2, 8, 2), dtype=np.int64)
        for row, string in enumerate(strings):
            try:
                choices[row] = _parse_architecture(string.strip())
            except ValueError as error:
                raise ValueError(f"line {first_line + row}: {error}, in {string!r}") from None
        return self.from_choices(choices)

    def parameters(self, archs: ArchBatch) -> Int[ndarray, " archs"]:
        """Trainable parameters of the CIFAR-10 network with 8 cells and 32 channels, exactly; 392,426 to 1,664,234.

        This is NASLib's network of the space: the third and sixth cells reduce, the norms of the operations have no
        scale and shift, and the auxiliary head, which only training uses, is not counted. The networks that
        NAS-Bench-301 trained have such scales and count the head's 468,234 parameters.
        """
        return self._sums(archs, 0)

    def flops(self, archs: ArchBatch) -> Int[ndarray, " archs"]:
        """Multiply-accumulates of the network of :meth:`parameters` for one image; 82,343,424 to 276,575,744.

        Counted as in the tables that NASLib published (by tensorwatch): the convolutions and the classifier, and for
        each element one for a rectifier, one for a norm or two where it has scale and shift, nine for a pooled one.
        """
        return self._sums(archs, 1)

    def proxy(self, name: str, archs: ArchBatch) -> Float[ndarray, " archs"]:
        """One of ``proxies``: the number of parameters or of multiply-accumulates.

        Raises:
            ValueError: the name is none of ``proxies``.
        """
        if name not in self.proxies:
            raise ValueError(f"unknown proxy '{name}' of {self.name}; known: {', '.join(self.proxies)}")
        return self._sums(archs, self.proxies.index(name)).astype(float)

    def keys(self, archs: ArchBatch) -> Int[ndarray, " archs"]:
        """The number of each architecture among all of the space, from 0; the order of a node's edges does not matter.

        Raises:
            ValueError: see :meth:`choices`.
        """
        pairs = self.choices(archs).reshape(-1, 2, 4, 2, 2)
        low, high = pairs[..., 0, 0], pairs[..., 1, 0]
        digits = np.concatenate([(high * (high - 1) // 2 + low)[..., None], pairs[..., 1]], axis=-1)
        return digits.reshape(-1, len(_PLACES)) @ _PLACES

    def from_keys(self, keys: Int[ndarray, " archs"]) -> ArchBatch:
        """The inverse of :meth:`keys`, for numbers from 0 to below ``size``."""
        digits = np.empty((len(keys), len(_PLACES)), np.uint8)
        for column, (place, radix) in enumerate(zip(_PLACES, _RADICES, strict=True)):
            digits[:, column] = keys // place % radix
        pairs, operations = digits.reshape(-1, 2, 4, 3)[..., 0], digits.reshape(-1, 2, 4, 3)[..., 1:]
        return self.from_choices(np.stack([_SOURCES[pairs], operations], axis=-1).reshape(-1, 2, 8, 2))

    def choices(self, archs: ArchBatch) -> UInt8[ndarray, "archs 2 8 2"]:
        """For each edge of the normal and of the reduction cell its source (0 to 4) and its index into ``OPERATIONS``.

        Edges are in the order of the nodes in which they end, those of a node in the order of their sources.

        Raises:
            ValueError: the batch has another vocabulary, or a graph is not of the space. Its nodes must be in the order
                of the vocabulary's cells: two inputs, the operations by the node in which they end, the output.
        """
        archs.require_vocabulary(self.vocabulary, self.name)
        wrong = np.diff(archs.node_offsets) != 2 * _NODES
        if not wrong.any():
            # Other operations than a cell's own come out as 7 or more: below 0 these numbers wrap around.
            codes = archs.operations.reshape(-1, 2, _NODES) - np.array([[0], [_NAMES]], np.uint8)
            ends, operations = codes[..., [0, 1, -1]], codes[..., 2:-1] - np.uint8(2)
            sources, wrong = _sources(archs.edges, archs.edge_offsets)
            wrong |= (ends != [0, 1, _NAMES - 1]).any(axis=(1, 2)) | (operations >= len(OPERATIONS)).any(axis=(1, 2))
        if wrong.any():
            raise ValueError(
                f"architecture {int(np.argmax(wrong))} is not of {self.name}: for each cell it must have two inputs, "
                "for each of four nodes two operations that read different earlier nodes, and the output, in this order"
            )
        return _by_source(np.stack([sources, operations], axis=-1))

    def from_choices(self, choices: Integer[ndarray, "archs 2 8 2"]) -> ArchBatch:
        """The inverse of :meth:`choices`; the edges of a node may be in any order."""
        # Built in blocks that stay in the processor's cache, which halves the time and keeps the memory small.
        blocks = (choices[start : start + 8192] for start in range(0, max(len(choices), 1), 8192))
        return ArchBatch.concatenate([self._block(_by_source(block.astype(np.uint8))) for block in blocks])

    def _block(self, choices: UInt8[ndarray, "archs 2 8 2"]) -> ArchBatch:
        codes = np.empty((len(choices), 2, _NODES), np.uint8)
        codes[..., [0, 1, -1]] = 0, 1, _NAMES - 1
        codes[..., 2:-1] = choices[..., 1] + 2
        codes[:, 1] += _NAMES

        # Room for two edges to each operation and eight to the output; an operation that reads an input needs but one.
        sources = np.empty((len(choices), 2, 24), np.uint8)
        begins, present = choices[..., 0], np.ones(sources.shape, bool)
        present[..., 1:16:2] = begins >= 2
        sources[..., 0:16:2] = np.where(begins >= 2, 2 * begins - 2, begins)
        sources[..., 1:16:2] = sources[..., 0:16:2] + 1
        sources[..., 16:] = np.arange(2, 10)
        sources[:, 1] += _NODES
        targets = (np.repeat([*range(2, 10), 10], [2] * 8 + [8]) + np.array([[0], [_NODES]])).astype(np.uint8)
        return ArchBatch(
            codes.reshape(-1),
            np.arange(len(choices) + 1) * 2 * _NODES,
            np.stack([sources[present], np.broadcast_to(targets, sources.shape)[present]]),
            np.append(0, np.cumsum(present.sum(axis=(1, 2)))),
            self.vocabulary,
        )

    def _sums(self, archs: ArchBatch, which: int) -> Int[ndarray, " archs"]:
        """Parameters (0) or multiply-accumulates (1): those of the frame, and those of each edge's operations."""
        choices = self.choices(archs)
        costs = _COSTS[[[0], [1]], choices[..., 1], (choices[..., 0] < 2).astype(np.uint8), which]
        return _FRAME[which] + costs.sum(axis=(1, 2))


def _different(n: int, size: int, rng: np.random.Generator) -> Int[ndarray, " n"]:
    """``n`` different numbers below ``size``: drawn one by one, and drawn again where they repeat."""
    numbers = rng.integers(size, size=n)
    while len(kept := np.unique(numbers)) < n:
        numbers = rng.permutation(np.append(kept, rng.integers(size, size=n - len(kept))))
    return numbers


def _by_source(choices: UInt8[ndarray, "archs 2 8 2"]) -> UInt8[ndarray, "archs 2 8 2"]:
    """The same with the two edges of each node in the order of their sources."""
    first, second = choices[:, :, 0::2], choices[:, :, 1::2]
    swap = first[..., :1] > second[..., :1]
    return np.stack([np.where(swap, second, first), np.where(swap, first, second)], axis=3).reshape(choices.shape)


@njit(cache=True)
def _sources(edges: ndarray, edge_offsets: ndarray) -> tuple[ndarray, ndarray]:
    """The source of each choice in graphs of 22 nodes, and which graphs do not have the edges of an architecture."""
    archs = len(edge_offsets) - 1
    sources, wrong = np.zeros((archs, 2, 8), np.uint8), np.zeros(archs, np.bool_)
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
                sources[arch, cell, edge] = source
                wrong[arch] |= source == node or (edge % 2 == 1 and source == sources[arch, cell, edge - 1])
    return sources, wrong


# Sizes: of each layer [parameters, multiply-accumulates], for feature maps of `size` by `size` elements


def _conv(c_in: int, c_out: int, size: int, kernel: int = 1, groups: int = 1) -> Int[ndarray, " sizes"]:
    weights = kernel * kernel * c_in * c_out // groups
    return np.array([weights, weights * size * size])


def _norm(channels: int, size: int, affine: bool) -> Int[ndarray, " sizes"]:
    return np.array([2 * channels * affine, (1 + affine) * channels * size * size])


def _rectifier(channels: int, size: int) -> Int[ndarray, " sizes"]:
    return np.array([0, channels * size * size])


def _operation(name: str, c: int, size: int, stride: int) -> Int[ndarray, " sizes"]:
    """An operation that makes feature maps of that size from maps ``stride`` times as large."""
    norm = _norm(c, size, affine=False)
    if name == "skip_connect":
        # Two convolutions of half the channels each, one of them on maps that are shifted by one element.
        return _rectifier(c, size * stride) + _conv(c, c, size) + norm if stride == 2 else np.zeros(2, np.int64)
    if "pool" in name:
        return np.array([0, 9 * c * size * size]) + norm
    kernel = int(name[-1])
    convs = _conv(c, c, size, kernel, groups=c) + _conv(c, c, size) + norm
    once = _rectifier(c, size * stride) + convs
    return once + _rectifier(c, size) + convs if name.startswith("sep") else once


def _network() -> tuple[Int[ndarray, " sizes"], Int[ndarray, "2 7 2 sizes"]]:
    """The sizes of all but the operations, and those of [an operation in a cell, from another node or an input]."""
    channels, image = 32, 32
    stem = (3 * channels, image)
    frame = _conv(3, 3 * channels, image, kernel=3) + _norm(3 * channels, image, affine=True)
    operations = np.zeros((2, len(OPERATIONS), 2, 2), np.int64)
    inputs = [stem, stem]
    for cell in (0, 0, 1, 0, 0, 1, 0, 0):
        channels *= 1 + cell
        before = inputs[1][1]
        for c_in, size in inputs:  # where the older input is larger, it is made smaller like a skip_connect
            frame += _rectifier(c_in, size) + _conv(c_in, channels, before) + _norm(channels, before, affine=True)
        after = before // (1 + cell)
        for index, name in enumerate(OPERATIONS):
            for from_input in (0, 1):
                operations[cell, index, from_input] += _operation(name, channels, after, 1 + cell * from_input)
        inputs = [inputs[1], (4 * channels, after)]
    features, size = inputs[1]
    # The last pooling counts as a window that is one larger than it is (tensorwatch), the classifier without its bias.
    head = np.array([10 * features + 10, features * (size + 1) ** 2 + 10 * features])
    return frame + head, operations


_FRAME, _COSTS = _network()


# Strings

_SPACES = re.compile(r"\s+(?=[(),=\[\]])|(?<=[(),=\[\]])\s+")
_GENOTYPE = re.compile(
    r"Genotype\(normal=\[\((.*)\)\],normal_concat=(.*),reduce=\[\((.*)\)\],reduce_concat=(.*)\)", re.DOTALL
)
_COMPACT = re.compile(r"\(\(\((.*)\)\),\(\((.*)\)\)\)", re.DOTALL)


def _parse_architecture(string: str) -> list[list[tuple[int, int]]]:
    text = _SPACES.sub("", string)
    if found := _COMPACT.fullmatch(text):
        known = {str(index): index for index in range(len(OPERATIONS))}
        cells = [[pair.partition(",")[::2] for pair in cell.split("),(")] for cell in found.groups()]
    elif found := _GENOTYPE.fullmatch(text.replace('"', "'")):
        known = {f"'{name}'": index for index, name in enumerate(OPERATIONS)}
        for cell, nodes in zip(CELLS, found.group(2, 4), strict=True):
            if nodes not in ("[2,3,4,5]", "range(2,6)"):
                raise ValueError(f"the {cell} cell's output must join nodes [2, 3, 4, 5], not {nodes}")
        cells = [[pair.partition(",")[::-2] for pair in cell.split("),(")] for cell in found.group(1, 3)]
    else:
        raise ValueError(
            "an architecture is written as Genotype(normal=[('sep_conv_3x3', 0), …], normal_concat=[2, 3, 4, 5], "
            "reduce=[…], reduce_concat=[2, 3, 4, 5]) or as (((0,3),…),(…))"
        )
    return [_parse_cell(cell, edges, known) for cell, edges in zip(CELLS, cells, strict=True)]


def _parse_cell(cell: str, edges: Sequence[Sequence[str]], known: Mapping[str, int]) -> list[tuple[int, int]]:
    """The choices of a cell from the text of each edge's source and operation."""
    if len(edges) != 8:
        raise ValueError(f"the {cell} cell must have 8 edges, not {len(edges)}")
    choices: list[tuple[int, int]] = []
    for index, (source, operation) in enumerate(edges):
        node = 2 + index // 2
        if source not in ("0", "1", "2", "3", "4")[:node]:
            raise ValueError(f"node {node} of the {cell} cell must read from 0 … {node - 1}, not '{source}'")
        if operation not in known:
            raise ValueError(f"unknown operation {operation} in the {cell} cell (known: {', '.join(known)})")
        choices.append((int(source), known[operation]))
        if index % 2 and choices[-1][0] == choices[-2][0]:
            raise ValueError(f"node {node} of the {cell} cell must read from two nodes, not twice from {source}")
    return choices
