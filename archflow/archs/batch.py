"""Many architectures at once: a batch of directed acyclic graphs as a few flat arrays.

An architecture is a DAG whose nodes carry an operation of a vocabulary. A batch keeps the nodes of all architectures
end to end, and so the edges; two arrays of offsets say where each architecture begins. There is no Python object per
architecture, and no loop over them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Int, Integer, Shaped, UInt64
from numba import njit
from numpy import ndarray

from archflow.support.files import load_tensors, save_tensors

if TYPE_CHECKING:
    import networkx
    import torch_geometric.data

Graph = tuple[Sequence[str], Sequence[tuple[int, int]]]
"""One architecture as plain Python: the operation of each node, and the edges between node numbers."""

_ARRAYS = ("operations", "node_offsets", "edges", "edge_offsets")


class Neighbours(NamedTuple):
    """For each of many nodes a list of others, end to end.

    Attributes:
        nodes: the lists, one after the other; int64.
        starts: the list of node ``i`` is ``nodes[starts[i]:starts[i + 1]]``; int64.
    """

    nodes: Int[ndarray, " edges"]
    starts: Int[ndarray, " nodes+1"]

    def of(self, chosen: Int[ndarray, " chosen"], names: Int[ndarray, " nodes"] | None = None) -> Neighbours:
        """The lists of the chosen nodes only, in their order; with ``names``, those instead of the node numbers."""
        return Neighbours(*_lists_of(self.nodes, self.starts, chosen, names))


class Generation(NamedTuple):
    """The rows that one generation takes in the order of a sweep; ``inner``, its first, are those with successors."""

    rows: slice
    inner: slice


class Sweep(NamedTuple):
    """A batch in the order in which information flows: its nodes sorted by generation.

    Attributes:
        nodes: the node (of the whole batch) in each row of the sweep; int64.
        generations: the rows of each generation, from the first.
        predecessors: for each row the rows that it reads from.
        successors: for each row the rows that read from it.
        sources: for each architecture the rows of its nodes without predecessors.
    """

    nodes: Int[ndarray, " nodes"]
    generations: list[Generation]
    predecessors: Neighbours
    successors: Neighbours
    sources: Neighbours


@dataclass(frozen=True, eq=False, repr=False)
class ArchBatch:
    """A batch of architectures, validated on construction.

    Attributes:
        operations: the operation of every node, an index into ``vocabulary``; all architectures end to end.
        node_offsets: architecture ``i`` owns the nodes ``node_offsets[i]:node_offsets[i + 1]``; int64.
        edges: source and target of every edge, as node numbers *within* their architecture (from 0); kept in the order
            of their targets, then sources.
        edge_offsets: architecture ``i`` owns the edges ``edge_offsets[i]:edge_offsets[i + 1]``; int64.
        vocabulary: the names of the operations. Those that begin with "input" are inputs of the network.

    Operations and edges are kept in the smallest unsigned integer type that holds them.

    Raises:
        ValueError: an architecture is no DAG, lacks an input node, has an operation outside the vocabulary or an edge
            to a missing node, or the batch is empty; the message names the architecture's index.
    """

    operations: Integer[ndarray, " nodes"]
    node_offsets: Int[ndarray, " archs+1"]
    edges: Integer[ndarray, "2 edges"]
    edge_offsets: Int[ndarray, " archs+1"]
    vocabulary: tuple[str, ...]
    _node_columns: dict[str, Shaped[ndarray, " nodes"]] = field(default_factory=dict)
    """What was derived for each node and is worth keeping when the batch is sliced."""

    def __post_init__(self) -> None:
        set_ = object.__setattr__
        set_(self, "vocabulary", tuple(self.vocabulary))
        for name in ("node_offsets", "edge_offsets"):
            set_(self, name, np.asarray(getattr(self, name), dtype=np.int64))
        operations, edges = np.asarray(self.operations), np.asarray(self.edges)
        operations = operations if operations.size else np.zeros(0, np.uint8)
        edges = edges if edges.size else np.zeros((2, 0), np.uint8)
        _check_sizes(operations, self.node_offsets, edges, self.edge_offsets, self.vocabulary)
        _check_values(operations, self.node_offsets, edges, self.edge_offsets, self.vocabulary)
        set_(self, "operations", operations.astype(np.min_scalar_type(len(self.vocabulary) - 1)))
        set_(self, "edges", edges.astype(np.min_scalar_type(int(edges.max(initial=0)))))
        set_(self, "edges", self.edges[:, _sorted_edges(self)])
        self._node_columns["generation"] = _generations(self)
        # The neighbour lists take six times the room of the batch; they come back when they are asked for.
        self.__dict__.pop("predecessors")
        self.__dict__.pop("successors", None)

    # Ways in

    @classmethod
    def from_graphs(cls, graphs: Iterable[Graph], vocabulary: Sequence[str]) -> ArchBatch:
        """From pairs (operation names, edges), e.g. ``(["input", "conv", "output"], [(0, 1), (1, 2)])``.

        Raises:
            ValueError: see the class; also an operation name that is not in ``vocabulary``.
        """
        graphs = list(graphs)
        number = {name: index for index, name in enumerate(vocabulary)}
        names = list(chain.from_iterable(graph[0] for graph in graphs))
        operations = np.fromiter((number.get(name, -1) for name in names), np.int64, len(names))
        node_offsets = _offsets([len(graph[0]) for graph in graphs])
        if (operations < 0).any():
            node = int(np.argmax(operations < 0))
            raise ValueError(
                f"architecture {_owner(node_offsets, node)}: operation '{names[node]}' is not in the vocabulary "
                f"({', '.join(vocabulary)})"
            )
        ends = chain.from_iterable(chain.from_iterable(graph[1] for graph in graphs))
        edges = np.fromiter(ends, np.int64).reshape(-1, 2).T
        return cls(operations, node_offsets, edges, _offsets([len(graph[1]) for graph in graphs]), tuple(vocabulary))

    @classmethod
    def from_skeleton(
        cls, operations: Integer[ndarray, "archs nodes"], edges: Sequence[tuple[int, int]], vocabulary: Sequence[str]
    ) -> ArchBatch:
        """Architectures that share one set of edges and differ in the operations of their nodes."""
        archs, nodes = operations.shape
        return cls(
            operations.reshape(-1),
            np.arange(archs + 1) * nodes,
            np.tile(np.asarray(edges, np.int64).reshape(-1, 2).T, archs),
            np.arange(archs + 1) * len(edges),
            tuple(vocabulary),
        )

    @classmethod
    def from_adjacency(
        cls,
        operations: Integer[ndarray, "archs nodes"],
        adjacency: Bool[ndarray, "archs nodes nodes"],
        vocabulary: Sequence[str],
    ) -> ArchBatch:
        """Architectures of one size; ``adjacency[i, u, v]`` says whether architecture i has the edge u→v."""
        archs, nodes = operations.shape
        _, sources, targets = np.nonzero(adjacency)
        return cls(
            operations.reshape(-1),
            np.arange(archs + 1) * nodes,
            np.stack([sources, targets]),
            _offsets(adjacency.sum(axis=(1, 2))),
            tuple(vocabulary),
        )

    @classmethod
    def from_networkx(cls, graphs: Iterable[networkx.DiGraph], vocabulary: Sequence[str]) -> ArchBatch:
        """From networkx graphs whose nodes carry an ``operation`` name; nodes are numbered in their order."""

        def plain(graph: networkx.DiGraph) -> Graph:
            number = {node: index for index, node in enumerate(graph.nodes)}
            names = [graph.nodes[node]["operation"] for node in graph.nodes]
            return names, [(number[source], number[target]) for source, target in graph.edges]

        return cls.from_graphs(map(plain, graphs), vocabulary)

    @classmethod
    def from_pyg(cls, batch: torch_geometric.data.Batch, vocabulary: Sequence[str]) -> ArchBatch:
        """From a PyTorch Geometric batch: ``x`` (nodes,) operation numbers, ``edge_index`` (2, edges), ``ptr``."""
        node_offsets = batch.ptr.cpu().numpy().astype(np.int64)
        edge_index = batch.edge_index.cpu().numpy()
        owner = np.searchsorted(node_offsets, edge_index[0], side="right") - 1
        order = np.argsort(owner, kind="stable")
        edge_offsets = np.searchsorted(owner[order], np.arange(len(node_offsets)))
        local = edge_index[:, order] - node_offsets[owner[order]]
        return cls(batch.x.cpu().numpy().reshape(-1), node_offsets, local, edge_offsets, tuple(vocabulary))

    @classmethod
    def concatenate(cls, batches: Sequence[ArchBatch]) -> ArchBatch:
        """One batch from several with the same vocabulary, in order.

        Raises:
            ValueError: no batch is given, or their vocabularies differ.
        """
        if not batches:
            raise ValueError("no batch to concatenate")
        if any(batch.vocabulary != batches[0].vocabulary for batch in batches):
            raise ValueError("batches with different vocabularies cannot be concatenated")
        return cls._trusted(
            np.concatenate([batch.operations for batch in batches]),
            _offsets(np.concatenate([np.diff(batch.node_offsets) for batch in batches])),
            np.concatenate([batch.edges for batch in batches], axis=1),
            _offsets(np.concatenate([np.diff(batch.edge_offsets) for batch in batches])),
            batches[0].vocabulary,
            {"generation": np.concatenate([batch.generations for batch in batches])},
        )

    @classmethod
    def load(cls, path: str | Path) -> ArchBatch:
        """Read a file written by :meth:`save`; its content is validated like any other input."""
        tensors, settings = load_tensors(path, "archs")
        try:
            return cls.from_tensors(tensors, settings["vocabulary"])
        except KeyError as error:
            raise ValueError(f"{path} lacks {error}") from None

    @classmethod
    def from_tensors(cls, tensors: dict[str, torch.Tensor], vocabulary: Sequence[str]) -> ArchBatch:
        """From what :meth:`tensors` gives; a KeyError names an array that is missing."""
        operations, node_offsets, edges, edge_offsets = (tensors[name].numpy() for name in _ARRAYS)
        return cls(operations, node_offsets, edges, edge_offsets, tuple(vocabulary))

    # Ways out

    def save(self, path: str | Path) -> None:
        """Write the batch to one file, which loads without pickle."""
        save_tensors(path, "archs", self.tensors(), {"vocabulary": self.vocabulary})

    def tensors(self) -> dict[str, torch.Tensor]:
        """The batch's arrays by name, for files; they share its memory."""
        return {name: torch.from_numpy(getattr(self, name)) for name in _ARRAYS}

    def graph(self, index: int) -> Graph:
        """Architecture ``index`` as plain Python: its operations' names and its edges.

        Raises:
            IndexError: there is no such architecture.
        """
        index = range(len(self))[index]
        nodes = slice(*self.node_offsets[index : index + 2])
        edges = slice(*self.edge_offsets[index : index + 2])
        names = [self.vocabulary[operation] for operation in self.operations[nodes]]
        return names, [(int(source), int(target)) for source, target in self.edges[:, edges].T]

    def to_networkx(self) -> list[networkx.DiGraph]:
        """One ``networkx.DiGraph`` an architecture; nodes carry the name of their ``operation``."""
        import networkx

        def convert(index: int) -> networkx.DiGraph:
            names, edges = self.graph(index)
            graph = networkx.DiGraph()
            graph.add_nodes_from((node, {"operation": name}) for node, name in enumerate(names))
            graph.add_edges_from(edges)
            return graph

        return [convert(index) for index in range(len(self))]

    def to_pyg(self) -> torch_geometric.data.Batch:
        """A PyTorch Geometric ``Batch``: ``x`` (nodes,) int64 operation numbers, ``edge_index``, ``batch``, ``ptr``."""
        from torch_geometric.data import Batch, Data

        node_parts = np.split(self.operations.astype(np.int64), self.node_offsets[1:-1])
        edge_parts = np.split(self.edges.astype(np.int64), self.edge_offsets[1:-1], axis=1)
        graphs = zip(node_parts, edge_parts, strict=True)
        return Batch.from_data_list(
            [Data(x=torch.from_numpy(x), edge_index=torch.from_numpy(edges.copy())) for x, edges in graphs]
        )

    # What a batch knows

    def __len__(self) -> int:
        return len(self.node_offsets) - 1

    def __repr__(self) -> str:
        return (
            f"ArchBatch({len(self):,} architectures, {len(self.operations):,} nodes, {self.edges.shape[1]:,} edges, "
            f"{len(self.vocabulary)} operations)"
        )

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, ArchBatch)
            and self.vocabulary == other.vocabulary
            and all(np.array_equal(getattr(self, name), getattr(other, name)) for name in _ARRAYS)
        )

    __hash__ = None  # type: ignore[assignment]

    def __getitem__(self, index: int | slice | Sequence[int] | ndarray) -> ArchBatch:
        """The architectures at a number, a slice, an array of numbers (any order, repeats allowed) or a mask.

        Raises:
            IndexError: a number is out of range, or a mask has another length.
            ValueError: nothing is selected; a batch holds at least one architecture.
        """
        chosen = np.atleast_1d(np.arange(len(self))[index])
        if chosen.ndim > 1:
            raise IndexError("architectures are chosen by a number, a slice, or a one-dimensional array or mask")
        if not len(chosen):
            raise ValueError("the selection is empty: a batch holds at least one architecture")
        nodes, node_offsets = _ragged(self.node_offsets, chosen)
        edges, edge_offsets = _ragged(self.edge_offsets, chosen)
        columns = {name: column[nodes] for name, column in self._node_columns.items()}
        return self._trusted(
            self.operations[nodes], node_offsets, self.edges[:, edges], edge_offsets, self.vocabulary, columns
        )

    @property
    def nbytes(self) -> int:
        """Bytes that the batch's arrays take, those derived for each node included."""
        return sum(array.nbytes for array in (*(getattr(self, name) for name in _ARRAYS), *self._node_columns.values()))

    @property
    def generations(self) -> Integer[ndarray, " nodes"]:
        """Length of the longest path to each node from a node without predecessors (METHOD: t − 1)."""
        return self._node_columns["generation"]

    @property
    def owners(self) -> Int[ndarray, " nodes"]:
        """The architecture each node belongs to; int64."""
        return np.repeat(np.arange(len(self)), np.diff(self.node_offsets))

    @property
    def edge_index(self) -> Int[ndarray, "2 edges"]:
        """Source and target of every edge as node numbers of the whole batch; int64, PyTorch Geometric's convention."""
        return self.edges + np.repeat(self.node_offsets[:-1], np.diff(self.edge_offsets))

    @cached_property
    def predecessors(self) -> Neighbours:
        """The nodes that each node reads from, as node numbers of the whole batch."""
        return Neighbours(*_predecessors(self.edges, self.edge_offsets, self.node_offsets))

    @cached_property
    def successors(self) -> Neighbours:
        """The nodes that read from each node, as node numbers of the whole batch."""
        return Neighbours(*_reversed(*self.predecessors))

    @cached_property
    def neighbours(self) -> Neighbours:
        """Predecessors and successors of each node: the graph with edges in both directions."""
        return Neighbours(*_merged(*self.predecessors, *self.successors))

    def neighbourhoods(self, hops: int, directed: bool = False) -> list[Integer[ndarray, " nodes"]]:
        """For 0, 1, …, ``hops`` a class number for each node: equal where all that lies within so many edges is equal.

        Two nodes are in the same class of h + 1 hops if they are in the same class of h hops and so are their
        neighbours, counted (Weisfeiler and Leman's refinement). Edges count in both directions; where they are
        ``directed``, predecessors and successors are counted apart. A message-passing network of h layers gives both
        nodes the same value, so it needs to compute that value once. The numbers hold for this batch and all slices of
        it. Neighbourhoods are told apart by 64-bit sums of random numbers: for a million distinct ones, two are taken
        for equal with probability below 3e-8.
        """
        names = [f"{'directed ' if directed else ''}hop{hop}" for hop in range(hops + 1)]
        if names[-1] not in self._node_columns:
            sides = [(self.predecessors, 1), (self.successors, 3)] if directed else [(self.neighbours, 1)]
            classes = self.operations
            for hop, name in enumerate(names):
                if hop:
                    around = [_sums(scramble(classes, salt), *lists) for lists, salt in sides]
                    classes, _ = numbered(sum(around, scramble(classes, 2)))
                self._node_columns[name] = classes.astype(np.min_scalar_type(int(classes.max())))
        return [self._node_columns[name] for name in names]

    @cached_property
    def sweep(self) -> Sweep:
        """The nodes in order of generation, with their neighbours in that numbering."""
        is_source, is_sink = (np.diff(lists.starts) == 0 for lists in (self.predecessors, self.successors))
        key = 2 * self.generations.astype(np.promote_types(self.generations.dtype, np.uint16)) + is_sink
        # The last generation has no inner nodes, so the keys run up to an odd number and the bounds pair up.
        nodes, row, bounds = _sorted_by(key, int(key.max()) + 1)
        generations = [
            Generation(slice(start, stop), slice(start, middle))
            for start, middle, stop in zip(
                *(part.tolist() for part in (bounds[:-1:2], bounds[1::2], bounds[2::2])), strict=True
            )
        ]
        sources_of = np.add.reduceat(is_source, self.node_offsets[:-1], dtype=np.int64)
        return Sweep(
            nodes,
            generations,
            self.predecessors.of(nodes, row),
            self.successors.of(nodes, row),
            Neighbours(row[is_source], _offsets(sources_of)),
        )

    def require_vocabulary(self, vocabulary: Sequence[str], whose: str) -> None:
        """Raise ValueError unless the batch has this vocabulary; ``whose`` names the other side in the message."""
        if self.vocabulary != tuple(vocabulary):
            raise ValueError(
                f"the architectures are of another space than {whose}: their operations are "
                f"{', '.join(self.vocabulary)}, not {', '.join(vocabulary)}"
            )

    @classmethod
    def _trusted(
        cls,
        operations: ndarray,
        node_offsets: ndarray,
        edges: ndarray,
        edge_offsets: ndarray,
        vocabulary: tuple[str, ...],
        node_columns: dict[str, ndarray],
    ) -> ArchBatch:
        """A batch made of parts of valid ones: nothing is checked again."""
        batch = object.__new__(cls)
        values = (operations, node_offsets, edges, edge_offsets, vocabulary, node_columns)
        for name, value in zip(cls.__dataclass_fields__, values, strict=True):
            object.__setattr__(batch, name, value)
        return batch


def _offsets(counts: Sequence[int] | ndarray) -> Int[ndarray, " n+1"]:
    return np.concatenate([[0], np.cumsum(np.asarray(counts, dtype=np.int64))])


def _owner(offsets: ndarray, position: int) -> int:
    return int(np.searchsorted(offsets, position, side="right")) - 1


@njit(cache=True)
def numbered(keys: ndarray) -> tuple[ndarray, ndarray]:
    """Distinct numbers from 0 for the distinct keys, in the order of their first appearance, and where that is.

    A hash table with linear probing: a third of the time of sorting.
    """
    bits = 1
    while (1 << bits) < 2 * len(keys):
        bits += 1
    mask, shift = (1 << bits) - 1, np.uint64(64 - bits)
    slots = np.full(1 << bits, -1, np.int64)
    numbers, firsts, count = np.empty(len(keys), np.int64), np.empty(len(keys), np.int64), 0
    for position, key in enumerate(keys):
        slot = np.int64((np.uint64(key) * np.uint64(0x9E3779B97F4A7C15)) >> shift)
        while slots[slot] >= 0 and keys[slots[slot]] != key:
            slot = (slot + 1) & mask
        if slots[slot] < 0:
            slots[slot] = position
            numbers[position], firsts[count] = count, position
            count += 1
        else:
            numbers[position] = numbers[slots[slot]]
    return numbers, firsts[:count].copy()


@njit(cache=True)
def _ragged(offsets: ndarray, chosen: ndarray) -> tuple[ndarray, ndarray]:
    """Positions of the items of the chosen rows, row after row, and the offsets of those rows."""
    new = np.zeros(len(chosen) + 1, np.int64)
    for number, row in enumerate(chosen):
        new[number + 1] = new[number] + offsets[row + 1] - offsets[row]
    positions = np.empty(new[-1], np.int64)
    for number, row in enumerate(chosen):
        for item in range(new[number + 1] - new[number]):
            positions[new[number] + item] = offsets[row] + item
    return positions, new


@njit(cache=True)
def _lists_of(nodes: ndarray, starts: ndarray, chosen: ndarray, names: ndarray | None) -> tuple[ndarray, ndarray]:
    """The chosen lists end to end, by other names for their nodes if there are any, and where each begins."""
    new = np.zeros(len(chosen) + 1, np.int64)
    for number, row in enumerate(chosen):
        new[number + 1] = new[number] + starts[row + 1] - starts[row]
    found, position = np.empty(new[-1], np.int64), 0
    for row in chosen:
        for node in nodes[starts[row] : starts[row + 1]]:
            found[position] = node if names is None else names[node]
            position += 1
    return found, new


@njit(cache=True)
def _merged(first: ndarray, first_starts: ndarray, second: ndarray, second_starts: ndarray) -> tuple[ndarray, ndarray]:
    """For each node its first list, then its second."""
    starts = first_starts + second_starts
    nodes, position = np.empty(starts[-1], np.int64), 0
    for number in range(len(starts) - 1):
        for node in first[first_starts[number] : first_starts[number + 1]]:
            nodes[position] = node
            position += 1
        for node in second[second_starts[number] : second_starts[number + 1]]:
            nodes[position] = node
            position += 1
    return nodes, starts


@njit(cache=True)
def _sorted_by(keys: ndarray, count: int) -> tuple[ndarray, ndarray, ndarray]:
    """A stable order by small keys, the place of each position in it, and where each key begins (counting sort)."""
    bounds = np.zeros(count + 1, np.int64)
    for key in keys:
        bounds[key + 1] += 1
    bounds = np.cumsum(bounds)
    free, order, place = bounds.copy(), np.empty(len(keys), np.int64), np.empty(len(keys), np.int64)
    for position, key in enumerate(keys):
        place[position] = free[key]
        order[free[key]] = position
        free[key] += 1
    return order, place, bounds


@njit(cache=True)
def _sums(values: ndarray, nodes: ndarray, starts: ndarray) -> ndarray:
    """For each list the sum of the values of its nodes, modulo 2^64."""
    sums = np.zeros(len(starts) - 1, values.dtype)
    for number in range(len(sums)):
        for node in nodes[starts[number] : starts[number + 1]]:
            sums[number] += values[node]
    return sums


@njit(cache=True)
def _predecessors(edges: ndarray, edge_offsets: ndarray, node_offsets: ndarray) -> tuple[ndarray, ndarray]:
    """The lists of :attr:`ArchBatch.predecessors`, from edges that are sorted by target."""
    nodes, starts = np.empty(edges.shape[1], np.int64), np.zeros(node_offsets[-1] + 1, np.int64)
    for arch in range(len(node_offsets) - 1):
        for edge in range(edge_offsets[arch], edge_offsets[arch + 1]):
            nodes[edge] = node_offsets[arch] + edges[0, edge]
            starts[node_offsets[arch] + edges[1, edge] + 1] += 1
    return nodes, np.cumsum(starts)


@njit(cache=True)
def _reversed(nodes: ndarray, starts: ndarray) -> tuple[ndarray, ndarray]:
    """For each node the lists that it is in, ascending."""
    new = np.zeros(len(starts), np.int64)
    for node in nodes:
        new[node + 1] += 1
    new = np.cumsum(new)
    free, owners = new[:-1].copy(), np.empty(len(nodes), np.int64)
    for owner in range(len(starts) - 1):
        for node in nodes[starts[owner] : starts[owner + 1]]:
            owners[free[node]] = owner
            free[node] += 1
    return owners, new


def scramble(numbers: Integer[ndarray, " n"], salt: int) -> UInt64[ndarray, " n"]:
    """A fixed random-looking 64-bit number for each small one (the finaliser of SplitMix64)."""
    x = (numbers.astype(np.uint64) + np.uint64(salt << 60)) * np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def _check_sizes(
    operations: ndarray, node_offsets: ndarray, edges: ndarray, edge_offsets: ndarray, vocabulary: tuple[str, ...]
) -> None:
    if not all(np.issubdtype(array.dtype, np.integer) for array in (operations, edges)):
        raise ValueError("operations and edges must be arrays of integers")
    if operations.ndim != 1 or edges.ndim != 2 or edges.shape[0] != 2:
        raise ValueError(f"operations have shape (nodes,), edges (2, edges), not {operations.shape} and {edges.shape}")
    if len(set(vocabulary)) != len(vocabulary):
        raise ValueError("the vocabulary names an operation twice")
    if len(node_offsets) < 2:
        raise ValueError("the batch is empty: it needs at least one architecture")
    for offsets, size, what in ((node_offsets, len(operations), "node"), (edge_offsets, edges.shape[1], "edge")):
        if len(offsets) != len(node_offsets) or offsets[0] != 0 or offsets[-1] != size or (np.diff(offsets) < 0).any():
            raise ValueError(f"{what}_offsets must rise from 0 to the number of {what}s ({size}), one for each start")
    if (np.diff(node_offsets) == 0).any():
        raise ValueError(f"architecture {int(np.argmin(np.diff(node_offsets)))}: it has no nodes")


def _check_values(
    operations: ndarray, node_offsets: ndarray, edges: ndarray, edge_offsets: ndarray, vocabulary: tuple[str, ...]
) -> None:
    unknown = (operations < 0) | (operations >= len(vocabulary))
    if unknown.any():
        node = int(np.argmax(unknown))
        arch = _owner(node_offsets, node)
        raise ValueError(
            f"architecture {arch}: node {node - node_offsets[arch]} has operation {operations[node]}, "
            f"but the vocabulary has {len(vocabulary)}"
        )
    sizes = np.repeat(np.diff(node_offsets), np.diff(edge_offsets))
    missing = ((edges < 0) | (edges >= sizes)).any(axis=0)
    if missing.any():
        edge = int(np.argmax(missing))
        raise ValueError(
            f"architecture {_owner(edge_offsets, edge)}: edge {edges[0, edge]}→{edges[1, edge]} names a node that is "
            f"missing (it has {sizes[edge]} nodes)"
        )
    is_input = np.array([name.startswith("input") for name in vocabulary])
    inputs = np.add.reduceat(is_input[operations].astype(np.int64), node_offsets[:-1])
    if not inputs.all():
        raise ValueError(f"architecture {int(np.argmin(inputs))}: no node has an operation named 'input'")


def _sorted_edges(batch: ArchBatch) -> Int[ndarray, " edges"]:
    """The order of the edges by target, then source; refuses an edge that is given twice."""
    span = int(np.diff(batch.node_offsets).max())
    base = np.repeat(batch.node_offsets[:-1], np.diff(batch.edge_offsets))
    keys = (base + batch.edges[1]) * span + batch.edges[0]
    order = np.argsort(keys, kind="stable")
    keys = keys[order]
    if (keys[1:] == keys[:-1]).any():
        edge = int(order[np.argmax(keys[1:] == keys[:-1])])
        source, target = batch.edges[:, edge]
        raise ValueError(f"architecture {_owner(batch.edge_offsets, edge)}: edge {source}→{target} is given twice")
    return order


def _generations(batch: ArchBatch) -> Integer[ndarray, " nodes"]:
    """Longest path to each node, all architectures at once: Kahn's sweep, one generation a step.

    A node joins a generation when its last predecessor has; nodes that never join lie on or behind a cycle.
    """
    waiting = np.diff(batch.predecessors.starts)
    generation = np.full(len(waiting), -1, dtype=np.int64)
    frontier, step = np.flatnonzero(waiting == 0), 0
    while len(frontier):
        generation[frontier] = step
        reached, hits = np.unique(batch.successors.of(frontier).nodes, return_counts=True)
        waiting[reached] -= hits
        frontier, step = reached[waiting[reached] == 0], step + 1
    if (generation < 0).any():
        arch = _owner(batch.node_offsets, int(np.argmin(generation)))
        raise ValueError(f"architecture {arch}: its edges form a cycle, but an architecture is an acyclic graph")
    return generation.astype(np.min_scalar_type(int(generation.max())))
