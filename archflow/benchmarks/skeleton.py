"""Spaces whose architectures share their edges, and choose the operation of each inner node freely."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Int
from numpy import ndarray

from archflow.archs.batch import ArchBatch


class SharedSkeleton:
    """All of a space but its strings and sizes. The nodes are the input, the inner ones and the output, in this order.

    Attributes:
        name: of the space.
        vocabulary: "input", the operations, "output".
        skeleton: the edges, in the order in which a batch has them: by target, then source.
        form: for messages, what an architecture must be.
    """

    name: str
    vocabulary: tuple[str, ...]
    skeleton: Sequence[tuple[int, int]]
    form: str

    @property
    def size(self) -> int:
        """How many architectures the space has."""
        return self._options**self._inner

    def enumerate(self) -> ArchBatch:
        """All architectures; the operation of the first inner node changes slowest."""
        return self._numbered(np.arange(self.size))

    def sample(self, n: int, seed: int = 0) -> ArchBatch:
        """``n`` different architectures, uniformly at random.

        Raises:
            ValueError: ``n`` is not between 1 and the size of the space.
        """
        if not 1 <= n <= self.size:
            raise ValueError(f"cannot draw {n} different architectures: {self.name} has {self.size:,}")
        return self._numbered(np.random.default_rng(seed).choice(self.size, n, replace=False))

    def mutate(self, archs: ArchBatch, seed: int = 0) -> ArchBatch:
        """Each architecture with one inner node, chosen at random, carrying another operation."""
        rng = np.random.default_rng(seed)
        operations = self.operations(archs)
        rows, node = np.arange(len(operations)), rng.integers(self._inner, size=len(operations))
        step = rng.integers(1, self._options, size=len(operations))
        operations[rows, node] = (operations[rows, node] + step) % self._options
        return self.from_operations(operations)

    def keys(self, archs: ArchBatch) -> Int[ndarray, " archs"]:
        """The position of each architecture in :meth:`enumerate`: every one is a network of its own here.

        Raises:
            ValueError: see :meth:`operations`.
        """
        return self.operations(archs) @ self._digits

    def operations(self, archs: ArchBatch) -> Int[ndarray, "archs inner"]:
        """The operation of each inner node, numbered from 0 behind "input" in the vocabulary.

        Raises:
            ValueError: the batch has another vocabulary, or holds a graph with other edges, or with its nodes in
                another order.
        """
        archs.require_vocabulary(self.vocabulary, self.name)
        count, edges = self._inner + 2, np.array(self.skeleton).T
        wrong = (np.diff(archs.node_offsets) != count) | (np.diff(archs.edge_offsets) != edges.shape[1])
        if not wrong.any():
            nodes = archs.operations.reshape(-1, count).astype(np.int64)
            inner = (nodes[:, 1:-1] > 0) & (nodes[:, 1:-1] <= self._options)
            wrong = (nodes[:, 0] != 0) | ~inner.all(axis=1) | (nodes[:, -1] != self._options + 1)
            wrong |= (archs.edges.reshape(2, len(archs), -1) != edges[:, None]).any(axis=(0, 2))
        if wrong.any():
            raise ValueError(f"architecture {int(np.argmax(wrong))} is not of {self.name}: {self.form}")
        return nodes[:, 1:-1] - 1

    def from_operations(self, operations: Int[ndarray, "archs inner"]) -> ArchBatch:
        """The inverse of :meth:`operations`."""
        nodes = np.pad(operations + 1, ((0, 0), (1, 1)))
        nodes[:, -1] = self._options + 1
        return ArchBatch.from_skeleton(nodes, self.skeleton, self.vocabulary)

    def _numbered(self, numbers: Int[ndarray, " archs"]) -> ArchBatch:
        return self.from_operations(numbers[:, None] // self._digits % self._options)

    @property
    def _inner(self) -> int:
        return self.skeleton[-1][1] - 1

    @property
    def _options(self) -> int:
        return len(self.vocabulary) - 2

    @property
    def _digits(self) -> Int[ndarray, " inner"]:
        return self._options ** np.arange(self._inner)[::-1]
