"""Path features: named columns that describe the paths of an architecture.

For a set S of operations there are three sweeps from the nodes without predecessors (sources) to those without
successors (sinks), each in a different semiring. Restricting features to S follows GRAF (Kadlecová et al., ICML 2024).

    [i ∈ S]      1 if the operation of node i is in S, else 0
    cost_i(S)    1 if it is in S, 0 if node i is an input or output of the network, else ∞

    d_i(S) = cost_i(S) + min d_j(S)      shortest path that uses only operations in S          (min, +)
    m_i(S) = [i ∈ S] + max m_j(S)        most operations of S on any one path                  (max, +)
    n_i(S) = [cost_i(S) < ∞] Σ n_j(S)    number of paths that use only operations in S         (+, ×)

with j over the predecessors of i; for a source the minimum and the maximum are 0, and the sum is 1. The values at the
sinks are reduced by the same min, max or sum. A backward sweep finds the nodes that lead to a sink through S alone:

    e_i(S) = [cost_i(S) < ∞] max e_j(S)  with j over the successors of i; for a sink the maximum is 1    (max, ×)

Node i is on a path of S if n_i(S) e_i(S) > 0; such nodes of S are counted per operation. They are the part of an
architecture that stays alive if operations outside S cut paths, as "none" does in NAS-Bench-201. Further columns are,
for each S, the number of edges from a source to a node of S and from such a node to a sink; the counts of operations;
and the size and shape of the whole graph. Every feature is an exact number or a function of one, so it depends neither
on the numbering of the nodes nor on the other architectures of a batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from math import comb
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, Float32, Int
from numba import njit
from numpy import ndarray

from archflow.archs.batch import ArchBatch

if TYPE_CHECKING:
    import scipy.sparse

OF_A_SET = ("shortest path", "most on a path", "paths", "from sources", "into sinks")
"""The columns for each set of operations; the number of paths n is given as log(1 + n)."""
OF_THE_GRAPH = ("nodes", "edges", "depth", "width", "skips")
"""Depth is the longest path in edges, width the size of the largest generation, skips the edges from source to sink."""

_MAX_COLUMNS = 400
"""Larger sets are added as long as there are fewer columns than this."""
_CHUNK = 1 << 20
"""Nodes times sets to sweep at a time."""
_MAX_PATHS = 2.0**53
"""Paths are counted up to here, below which float64 holds every integer."""


@dataclass(frozen=True, eq=False)
class PathFeatures:
    """Named columns for each architecture.

    Attributes:
        names: such as "paths of conv3x3+pool", "count of pool" or "depth".
        values: float32, one row per architecture.
    """

    names: tuple[str, ...]
    values: Float32[ndarray, "archs features"]


def path_features(archs: ArchBatch) -> PathFeatures:
    """Path features of every architecture, the same columns for all batches of one vocabulary.

    The sets S are those of one operation, of two, and so on while there are fewer than 400 columns, and the set of all
    operations. Operations whose names begin with "input" or "output" are in none of them. If no path is restricted to
    S, the shortest is taken to be one longer than the most operations on any path. Constant columns are kept.
    """
    inner = [number for number, name in enumerate(archs.vocabulary) if not name.startswith(("input", "output"))]
    sets = operation_sets(inner)
    place = np.full((len(archs.vocabulary), len(sets)), -1)
    for column, chosen in enumerate(sets):
        place[chosen, column] = column
    place.T[place.T >= 0] = np.arange((place >= 0).sum())
    names = _names(archs.vocabulary, sets)
    values = np.empty((len(archs), len(names)), np.float32)
    step = max(1, _CHUNK * len(archs) // (len(archs.operations) * len(sets)))
    for start in range(0, len(archs), step):
        values[start : start + step] = np.concatenate(_columns(archs[start : start + step], place), axis=1)
    return PathFeatures(names, values)


def operation_sets(inner: Sequence[int]) -> list[list[int]]:
    """The sets S of path features by size; the last holds all of ``inner``, which may be empty."""
    sets = [[number] for number in inner] if len(inner) > 1 else []
    columns = len(inner) * (2 * len(OF_A_SET) + 1)
    for size in range(2, len(inner)):
        columns += comb(len(inner), size) * (len(OF_A_SET) + size)
        if columns >= _MAX_COLUMNS:
            break
        sets += [list(chosen) for chosen in combinations(inner, size)]
    return [*sets, list(inner)]


def weisfeiler_leman_features(archs: ArchBatch, hops: int, directed: bool = False) -> scipy.sparse.csr_array:
    """Counts of each class of neighbourhood in each architecture, one column per class of 0, 1, …, ``hops`` hops.

    The classes are those of :meth:`ArchBatch.neighbourhoods`, numbered for this batch and its slices, so labelled and
    candidate architectures must come from one batch to share columns.

    Args:
        archs: any DAGs.
        hops: the largest neighbourhood.
        directed: whether predecessors and successors are counted apart.

    Returns:
        Counts, float32, of shape (archs, classes).

    Raises:
        ValueError: ``hops`` is negative.
    """
    if hops < 0:
        raise ValueError(f"hops must be 0 or more, not {hops}")
    import scipy.sparse

    parts = []
    for classes in archs.neighbourhoods(hops, directed):
        ones = np.ones(len(classes), np.float32)
        parts.append(scipy.sparse.coo_array((ones, (archs.owners, classes.astype(np.int64)))).tocsr())
    return scipy.sparse.csr_array(scipy.sparse.hstack(parts, "csr"))


def _names(vocabulary: Sequence[str], sets: Sequence[Sequence[int]]) -> tuple[str, ...]:
    set_names = ["+".join(vocabulary[number] for number in chosen) for chosen in sets[:-1]] + ["all"]
    return (
        *(f"{feature} of {name}" for feature in OF_A_SET for name in set_names),
        *(
            f"{vocabulary[number]} on paths of {name}"
            for name, chosen in zip(set_names, sets, strict=True)
            for number in chosen
        ),
        *(f"count of {name}" for name in vocabulary),
        *OF_THE_GRAPH,
    )


def _columns(archs: ArchBatch, place: Int[ndarray, "operations sets"]) -> list[Float[ndarray, "archs _"]]:
    """The groups of columns in the order of their names."""
    shortest, most, paths, on_paths = _flows(archs, place)
    no_path = most[:, -1:] + 1  # the last set holds every operation

    source, target = archs.edge_index
    from_source = archs.predecessors.counts[source] == 0
    into_sink = archs.successors.counts[target] == 0
    entered, left = _sums(archs, target, from_source), _sums(archs, source, into_sink)
    count = _sums(archs, np.arange(len(archs.operations)), np.ones(len(archs.operations)))
    member = place >= 0

    generations = archs.generations.astype(np.int64)
    depth = np.maximum.reduceat(generations, archs.node_offsets[:-1])
    in_generation = np.zeros((len(archs), int(depth.max()) + 1))
    np.add.at(in_generation, (archs.owners, generations), 1)
    skips = np.bincount(archs.owners[source], from_source & into_sink, len(archs))
    sizes, edges = np.diff(archs.node_offsets), np.diff(archs.edge_offsets)
    graph = np.stack([sizes, edges, depth, in_generation.max(axis=1), skips], axis=1)
    return [
        *(np.where(np.isinf(shortest), no_path, shortest), most, np.log1p(paths)),
        *(entered @ member, left @ member, on_paths, count, graph),
    ]


def _sums(
    archs: ArchBatch, nodes: Int[ndarray, " n"], weights: Float[ndarray, " n"]
) -> Float[ndarray, "archs operations"]:
    """The sums of node weights per architecture and operation."""
    operations = len(archs.vocabulary)
    places = archs.owners[nodes] * operations + archs.operations[nodes]
    return np.bincount(places, weights, len(archs) * operations).reshape(-1, operations)


def _flows(
    archs: ArchBatch, place: Int[ndarray, "operations sets"]
) -> tuple[Float[ndarray, "archs sets"], Float[ndarray, "archs sets"], Float[ndarray, "archs sets"], ndarray]:
    """Shortest paths, most operations on a path, numbers of paths, and the nodes on paths, each in its ``place``."""
    ends = np.array([name.startswith(("input", "output")) for name in archs.vocabulary])
    cost = np.where(place >= 0, 1, np.where(ends[:, None], 0, np.inf))
    sweep = archs.sweep
    operations, owners = archs.operations[sweep.nodes], archs.owners[sweep.nodes]
    before, behind = sweep.predecessors, sweep.successors
    return _swept(
        *(operations, owners, len(archs), before.values, before.offsets, behind.values, behind.offsets, cost, place)
    )


@njit(cache=True)
def _swept(
    operations: ndarray,
    owners: ndarray,
    archs: int,
    predecessors: ndarray,
    starts: ndarray,
    successors: ndarray,
    ends: ndarray,
    cost: ndarray,
    place: ndarray,
) -> tuple[ndarray, ndarray, ndarray, ndarray]:
    """All flows in one loop, as each row of the sweep comes after those that it reads from."""
    rows, sets = len(operations), cost.shape[1]
    d, m, n, e = np.empty((rows, sets)), np.empty((rows, sets)), np.empty((rows, sets)), np.empty((rows, sets))
    shortest, most, paths = np.full((archs, sets), np.inf), np.zeros((archs, sets)), np.zeros((archs, sets))
    on_paths = np.zeros((archs, place.max() + 1))
    for i in range(rows):
        is_source, is_sink = starts[i] == starts[i + 1], ends[i] == ends[i + 1]
        arch, operation = owners[i], operations[i]
        d[i], m[i], n[i] = 0.0 if is_source else np.inf, 0.0, 1.0 if is_source else 0.0
        for j in predecessors[starts[i] : starts[i + 1]]:
            for s in range(sets):
                d[i, s] = min(d[i, s], d[j, s])
                m[i, s] = max(m[i, s], m[j, s])
                n[i, s] = min(n[i, s] + n[j, s], _MAX_PATHS)
        for s in range(sets):
            d[i, s] += cost[operation, s]
            m[i, s] += place[operation, s] >= 0
            n[i, s] *= cost[operation, s] < np.inf
            if is_sink:
                shortest[arch, s] = min(shortest[arch, s], d[i, s])
                most[arch, s] = max(most[arch, s], m[i, s])
                paths[arch, s] = min(paths[arch, s] + n[i, s], _MAX_PATHS)
    for i in range(rows - 1, -1, -1):
        arch, operation = owners[i], operations[i]
        e[i] = 1.0 if ends[i] == ends[i + 1] else 0.0
        for j in successors[ends[i] : ends[i + 1]]:
            for s in range(sets):
                e[i, s] = max(e[i, s], e[j, s])
        for s in range(sets):
            e[i, s] *= cost[operation, s] < np.inf
            if place[operation, s] >= 0 and n[i, s] * e[i, s] > 0:
                on_paths[arch, place[operation, s]] += 1
    return shortest, most, paths, on_paths
