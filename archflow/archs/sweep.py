"""The nodes of a batch in the order in which information flows through them, generation by generation."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Int, Integer
from numba import njit
from numpy import ndarray

from archflow.archs.ragged import Ragged, grouped, inverse, offsets_of, owner


class Generation(NamedTuple):
    """The rows of a generation in a sweep; ``inner`` are those with successors, which come first."""

    rows: slice
    inner: slice


class Sweep(NamedTuple):
    """The nodes of a batch sorted by generation.

    Attributes:
        nodes: the node (of the whole batch) in each row of the sweep; int64.
        row: the row of each node, the inverse of ``nodes``; int64.
        generations: the rows of each generation, from the first.
        predecessors: for each row the rows that it reads from.
        successors: for each row the rows that read from it.
        sources: for each architecture the rows of its nodes without predecessors.
        sinks: for each architecture the rows of its nodes without successors.
    """

    nodes: Int[ndarray, " nodes"]
    row: Int[ndarray, " nodes"]
    generations: list[Generation]
    predecessors: Ragged[ndarray]
    successors: Ragged[ndarray]
    sources: Ragged[ndarray]
    sinks: Ragged[ndarray]


def generations(
    predecessors: Ragged[ndarray], successors: Ragged[ndarray], node_offsets: Int[ndarray, " archs+1"]
) -> Integer[ndarray, " nodes"]:
    """Longest path to each node, for all architectures at once: Kahn's algorithm, one generation per step.

    A node joins the generation after its last predecessor's; nodes that never join one are on or behind a cycle.

    Raises:
        ValueError: there is a cycle; the message names the architecture's number.
    """
    waiting = predecessors.counts
    generation = np.full(len(waiting), -1, dtype=np.int64)
    frontier, step = np.flatnonzero(waiting == 0), 0
    while len(frontier):
        generation[frontier] = step
        reached, hits = np.unique(successors.take(frontier).values, return_counts=True)
        waiting[reached] -= hits
        frontier, step = reached[waiting[reached] == 0], step + 1
    if (generation < 0).any():
        arch = owner(node_offsets, int(np.argmin(generation)))
        raise ValueError(f"architecture {arch}: its edges form a cycle, but an architecture must be acyclic")
    return generation.astype(np.min_scalar_type(int(generation.max())))


def sweep(
    generation: Integer[ndarray, " nodes"],
    predecessors: Ragged[ndarray],
    successors: Ragged[ndarray],
    node_offsets: Int[ndarray, " archs+1"],
) -> Sweep:
    """Sort the nodes by generation, and renumber their neighbours accordingly."""
    is_source, is_sink = predecessors.counts == 0, successors.counts == 0
    key = 2 * generation.astype(np.promote_types(generation.dtype, np.uint16)) + is_sink
    # The last generation has no inner nodes, so the largest key is odd and the bounds come in pairs.
    nodes, bounds = grouped(key, int(key.max()) + 1)
    row = inverse(nodes)

    def of_each_arch(chosen: Bool[ndarray, " nodes"]) -> Ragged[ndarray]:
        return Ragged(row[chosen], offsets_of(np.add.reduceat(chosen, node_offsets[:-1], dtype=np.int64)))

    starts, middles, ends = (part.tolist() for part in (bounds[:-1:2], bounds[1::2], bounds[2::2]))
    return Sweep(
        nodes,
        row,
        [
            Generation(slice(start, end), slice(start, middle))
            for start, middle, end in zip(starts, middles, ends, strict=True)
        ],
        predecessors.take(nodes, row),
        successors.take(nodes, row),
        of_each_arch(is_source),
        of_each_arch(is_sink),
    )


@njit(cache=True)
def sources_of_nodes(edges: ndarray, edge_offsets: ndarray, node_offsets: ndarray) -> tuple[ndarray, ndarray]:
    """The nodes that each node reads from, as node numbers of the whole batch, from edges sorted by target."""
    sources, offsets = np.empty(edges.shape[1], np.int64), np.zeros(node_offsets[-1] + 1, np.int64)
    for arch in range(len(node_offsets) - 1):
        for edge in range(edge_offsets[arch], edge_offsets[arch + 1]):
            sources[edge] = node_offsets[arch] + edges[0, edge]
            offsets[node_offsets[arch] + edges[1, edge] + 1] += 1
    return sources, np.cumsum(offsets)
