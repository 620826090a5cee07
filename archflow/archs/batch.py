"""Many architectures at once: a batch of directed acyclic graphs as a few flat arrays.

An architecture is a DAG whose nodes each carry an operation from a vocabulary. A batch concatenates the nodes of all
architectures, and likewise their edges; two arrays of offsets say where each architecture starts. There is neither a
Python object per architecture nor a loop over architectures.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Bool, Int, Integer, Shaped
from numpy import ndarray
from torch import nn

from archflow.archs import convert
from archflow.archs.checks import check_names, check_sizes, check_values, check_vocabulary, sorted_edges
from archflow.archs.exported import graphs_of_programs
from archflow.archs.kinds import with_vocabulary
from archflow.archs.neighbourhoods import refined
from archflow.archs.onnx_files import graphs_of_files
from archflow.archs.ragged import Ragged, offsets_of, positions
from archflow.archs.recorded import graphs_of_modules
from archflow.archs.sweep import Sweep, generations, sources_of_nodes, sweep
from archflow.support.digests import digest_arrays
from archflow.support.files import load_tensors, save_tensors

if TYPE_CHECKING:
    import networkx
    import torch_geometric.data

Graph = tuple[Sequence[str], Sequence[tuple[int, int]]]
"""One architecture as plain Python: the operation of each node, and the edges between node numbers."""

Words = Sequence[str] | None
_ARRAYS = ("operations", "node_offsets", "edges", "edge_offsets")


@dataclass(frozen=True, eq=False, repr=False)
class ArchBatch:
    """A batch of architectures, validated on construction.

    Attributes:
        operations: the operation of every node, an index into ``vocabulary``; all architectures concatenated.
        node_offsets: architecture ``i`` owns the nodes ``node_offsets[i]:node_offsets[i + 1]``; int64.
        edges: source and target of every edge, as node numbers *within* its architecture (from 0); sorted by target,
            then source.
        edge_offsets: architecture ``i`` owns the edges ``edge_offsets[i]:edge_offsets[i + 1]``; int64.
        vocabulary: the names of the operations.

    The inputs of an architecture are its nodes without predecessors, whatever their names. Operations and edges are
    stored in the smallest unsigned integer type that holds them.

    Raises:
        ValueError: an architecture is not a DAG, has an operation outside the vocabulary or an edge to a missing node,
            or the batch is empty; the message names the architecture's index.
    """

    operations: Integer[ndarray, " nodes"]
    node_offsets: Int[ndarray, " archs+1"]
    edges: Integer[ndarray, "2 edges"]
    edge_offsets: Int[ndarray, " archs+1"]
    vocabulary: tuple[str, ...]
    _node_columns: dict[str, Shaped[ndarray, " nodes"]] = field(default_factory=dict)
    """Derived values for each node, which are kept when the batch is sliced."""

    def __post_init__(self) -> None:
        set_ = object.__setattr__
        set_(self, "vocabulary", tuple(self.vocabulary))
        for name in ("node_offsets", "edge_offsets"):
            set_(self, name, np.asarray(getattr(self, name), dtype=np.int64))
        operations, edges = np.asarray(self.operations), np.asarray(self.edges)
        operations = operations if operations.size else np.zeros(0, np.uint8)
        edges = edges if edges.size else np.zeros((2, 0), np.uint8)
        check_sizes(operations, self.node_offsets, edges, self.edge_offsets, self.vocabulary)
        check_values(operations, self.node_offsets, edges, self.edge_offsets, self.vocabulary)
        set_(self, "operations", operations.astype(np.min_scalar_type(len(self.vocabulary) - 1)))
        set_(self, "edges", edges.astype(np.min_scalar_type(int(edges.max(initial=0)))))
        set_(self, "edges", self.edges[:, sorted_edges(self.node_offsets, self.edges, self.edge_offsets)])
        self._node_columns["generation"] = generations(self.predecessors, self.successors, self.node_offsets)
        # The neighbour lists take six times the memory of the batch, so they are recomputed when needed.
        self.__dict__.pop("predecessors")
        self.__dict__.pop("successors")

    # Constructors

    @classmethod
    def from_graphs(cls, graphs: Iterable[Graph], vocabulary: Sequence[str]) -> ArchBatch:
        """From pairs (operation names, edges), e.g. ``(["input", "conv", "output"], [(0, 1), (1, 2)])``.

        Raises:
            ValueError: see the class; or an operation name is not in ``vocabulary``.
        """
        graphs = list(graphs)
        number = {name: index for index, name in enumerate(vocabulary)}
        names = list(chain.from_iterable(graph[0] for graph in graphs))
        operations = np.fromiter((number.get(name, -1) for name in names), np.int64, len(names))
        node_offsets = offsets_of([len(graph[0]) for graph in graphs])
        check_names(names, operations, node_offsets, vocabulary)
        ends = chain.from_iterable(chain.from_iterable(graph[1] for graph in graphs))
        edges = np.fromiter(ends, np.int64).reshape(-1, 2).T
        return cls(operations, node_offsets, edges, offsets_of([len(graph[1]) for graph in graphs]), tuple(vocabulary))

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
        """Architectures with equally many nodes; ``adjacency[i, u, v]`` is whether architecture i has the edge u→v."""
        archs, nodes = operations.shape
        _, sources, targets = np.nonzero(adjacency)
        return cls(
            operations.reshape(-1),
            np.arange(archs + 1) * nodes,
            np.stack([sources, targets]),
            offsets_of(adjacency.sum(axis=(1, 2))),
            tuple(vocabulary),
        )

    @classmethod
    def from_networkx(cls, graphs: Iterable[networkx.DiGraph], vocabulary: Sequence[str]) -> ArchBatch:
        """From networkx graphs whose nodes have an ``operation`` name; nodes are numbered in the graph's order."""
        return cls.from_graphs(map(convert.from_networkx, graphs), vocabulary)

    @classmethod
    def from_pyg(cls, batch: torch_geometric.data.Batch, vocabulary: Sequence[str]) -> ArchBatch:
        """From a PyTorch Geometric batch: ``x`` (nodes,) operation numbers, ``edge_index`` (2, edges), ``ptr``."""
        return cls(*convert.from_pyg(batch), tuple(vocabulary))

    @classmethod
    def from_modules(cls, modules: Iterable[nn.Module], example_input: Any, vocabulary: Words = None) -> ArchBatch:
        """From PyTorch models, by :func:`.recorded`; operations that a given vocabulary lacks become "other"."""
        return cls.from_graphs(*with_vocabulary(graphs_of_modules(modules, example_input), vocabulary))

    @classmethod
    def from_exported(cls, programs: Iterable[Any], vocabulary: Words = None) -> ArchBatch:
        """From programs of ``torch.export.export``; the vocabulary as for :meth:`from_modules`."""
        return cls.from_graphs(*with_vocabulary(graphs_of_programs(programs), vocabulary))

    @classmethod
    def from_onnx(cls, paths: Iterable[str | Path], vocabulary: Words = None) -> ArchBatch:
        """From ONNX files; the vocabulary as for :meth:`from_modules`."""
        return cls.from_graphs(*with_vocabulary(graphs_of_files(paths), vocabulary))

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
            offsets_of(np.concatenate([np.diff(batch.node_offsets) for batch in batches])),
            np.concatenate([batch.edges for batch in batches], axis=1),
            offsets_of(np.concatenate([np.diff(batch.edge_offsets) for batch in batches])),
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
        """The inverse of :meth:`tensors`; a KeyError names a missing array."""
        operations, node_offsets, edges, edge_offsets = (tensors[name].numpy() for name in _ARRAYS)
        return cls(operations, node_offsets, edges, edge_offsets, tuple(vocabulary))

    # Conversions

    def save(self, path: str | Path) -> None:
        """Write the batch to one safetensors file."""
        save_tensors(path, "archs", self.tensors(), {"vocabulary": self.vocabulary})

    def tensors(self) -> dict[str, torch.Tensor]:
        """The batch's arrays by name, sharing its memory, to be saved."""
        return {name: torch.from_numpy(getattr(self, name)) for name in _ARRAYS}

    def graph(self, index: int) -> Graph:
        """Architecture ``index`` as plain Python: its operations' names and its edges.

        Raises:
            IndexError: there is no such architecture.
        """
        index = range(len(self))[index]
        nodes, edges = (slice(*offsets[index : index + 2]) for offsets in (self.node_offsets, self.edge_offsets))
        names = [self.vocabulary[operation] for operation in self.operations[nodes]]
        return names, [(int(source), int(target)) for source, target in self.edges[:, edges].T]

    def to_networkx(self) -> list[networkx.DiGraph]:
        """One ``networkx.DiGraph`` per architecture; nodes have the name of their ``operation``."""
        return [convert.to_networkx(*self.graph(index)) for index in range(len(self))]

    def to_pyg(self) -> torch_geometric.data.Batch:
        """A PyTorch Geometric ``Batch``: ``x`` (nodes,) int64 operation numbers, ``edge_index``, ``batch``, ``ptr``."""
        return convert.to_pyg(self.operations, self.node_offsets, self.edges, self.edge_offsets)

    # Properties

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
        nodes, node_offsets = positions(self.node_offsets, chosen)
        edges, edge_offsets = positions(self.edge_offsets, chosen)
        columns = {name: column[nodes] for name, column in self._node_columns.items()}
        return self._trusted(
            self.operations[nodes], node_offsets, self.edges[:, edges], edge_offsets, self.vocabulary, columns
        )

    @property
    def shape(self) -> tuple[int]:
        """As NumPy's; scikit-learn slices by an array only what has one."""
        return (len(self),)

    @property
    def nbytes(self) -> int:
        """Size of the batch's arrays in bytes, including those derived for each node."""
        return sum(array.nbytes for array in (*(getattr(self, name) for name in _ARRAYS), *self._node_columns.values()))

    @property
    def generations(self) -> Integer[ndarray, " nodes"]:
        """Length of the longest path from a node without predecessors to each node."""
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
    def predecessors(self) -> Ragged[ndarray]:
        """The nodes that each node reads from, as node numbers of the whole batch."""
        return Ragged(*sources_of_nodes(self.edges, self.edge_offsets, self.node_offsets))

    @cached_property
    def successors(self) -> Ragged[ndarray]:
        """The nodes that read from each node, as node numbers of the whole batch."""
        return self.predecessors.reversed()

    @cached_property
    def neighbours(self) -> Ragged[ndarray]:
        """Predecessors and successors of each node: the graph with edges in both directions."""
        return self.predecessors.followed_by(self.successors)

    def neighbourhoods(self, hops: int, directed: bool = False) -> list[Integer[ndarray, " nodes"]]:
        """For 0, 1, …, ``hops``, a class for each node: equal if everything within that many edges is equal.

        Two nodes are in the same class of h + 1 hops if they are in the same class of h hops and the multisets of their
        neighbours' classes of h hops are equal (Weisfeiler-Leman refinement). Edges count in both directions; if
        ``directed``, predecessors and successors are counted separately. A message-passing network of h layers gives
        both nodes the same value, which it needs to compute only once. The numbers are valid for this batch and its
        slices. Neighbourhoods are compared by 64-bit sums of random numbers: among a million distinct ones, the
        probability that any two collide is below 3e-8.
        """
        names = [f"{'directed ' if directed else ''}hop{hop}" for hop in range(hops + 1)]
        if names[-1] not in self._node_columns:
            around = [self.predecessors, self.successors] if directed else [self.neighbours]
            self._node_columns.update(zip(names, refined(self.operations, around, hops), strict=True))
        return [self._node_columns[name] for name in names]

    @cached_property
    def sweep(self) -> Sweep:
        """The nodes in order of generation, with their neighbours in that numbering."""
        return sweep(self.generations, self.predecessors, self.successors, self.node_offsets)

    def digest(self, *columns: ndarray) -> str:
        """16 hexadecimal digits that identify these architectures and any columns that belong to them."""
        return digest_arrays((*(getattr(self, name) for name in _ARRAYS), *columns))

    def require_vocabulary(self, vocabulary: Sequence[str], whose: str) -> None:
        """Raise ValueError unless the batch has this vocabulary; ``whose`` says in the message whose it is."""
        check_vocabulary(self.vocabulary, tuple(vocabulary), whose)

    @classmethod
    def _trusted(cls, *fields: Any) -> ArchBatch:
        """A batch made from parts of valid ones, without checking them again; every field in order."""
        batch = object.__new__(cls)
        for name, value in zip(cls.__dataclass_fields__, fields, strict=True):
            object.__setattr__(batch, name, value)
        return batch
