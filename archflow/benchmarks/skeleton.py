"""Spaces whose architectures share their edges and differ in the operations of their inner nodes."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np
from jaxtyping import Int
from numpy import ndarray

from archflow.archs.batch import ArchBatch
from archflow.benchmarks.space import Space


class SharedSkeleton(Space):
    """A space up to its strings and sizes. The nodes are the input, the inner nodes and the output, in this order.

    A subclass defines its decisions, one for each inner node, whose options are the vocabulary between "input" and
    "output". Different architectures are different networks; the key of one is its position in :meth:`enumerate`,
    where the operation of the first inner node changes slowest.

    Attributes:
        skeleton: the edges in the order of a batch: by target, then by source.
        form: what an architecture must be, for error messages.
    """

    skeleton: Sequence[tuple[int, int]]
    form: str

    @property
    def size(self) -> int:
        """The number of architectures: every combination of operations."""
        return prod(len(decision.options) for decision in self.decisions)

    def encode(self, archs: ArchBatch) -> Int[ndarray, "archs decisions"]:
        """The operation of each inner node, counted from 0 after "input" in the vocabulary; int64.

        Raises:
            ValueError: the batch has another vocabulary, or a graph has other edges or its nodes in another order.
        """
        archs.require_vocabulary(self.vocabulary, self.name)
        count, output, edges = len(self.decisions) + 2, len(self.vocabulary) - 1, np.array(self.skeleton).T
        sizes, degrees = np.diff(archs.node_offsets), np.diff(archs.edge_offsets)
        self._require((sizes == count) & (degrees == edges.shape[1]), self.form)
        nodes = archs.operations.reshape(-1, count).astype(np.int64)
        inner = (nodes[:, 1:-1] > 0) & (nodes[:, 1:-1] < output)
        same_edges = (archs.edges.reshape(2, len(archs), -1) == edges[:, None]).all(axis=(0, 2))
        self._require((nodes[:, 0] == 0) & inner.all(axis=1) & (nodes[:, -1] == output) & same_edges, self.form)
        return nodes[:, 1:-1] - 1

    def _decode(self, choices: Int[ndarray, "archs decisions"]) -> ArchBatch:
        nodes = np.pad(choices + 1, ((0, 0), (1, 1)))
        nodes[:, -1] = len(self.vocabulary) - 1
        return ArchBatch.from_skeleton(nodes, self.skeleton, self.vocabulary)
