"""Labels of architectures: what can be learned from, and what becomes of an architecture that is labelled twice."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from jaxtyping import Float, UInt64
from numpy import ndarray
from torch import Tensor

from archflow.archs.batch import ArchBatch
from archflow.archs.neighbourhoods import scramble
from archflow.ranking.head import Examples


def check_labels(archs: ArchBatch, labels: Any, what: str) -> Float[ndarray, " archs"]:
    """The labels as float64, if they can teach a ranking of the architectures.

    Args:
        archs: the architectures.
        labels: whatever NumPy can read as one number for each of them: a list, a column of a data frame, a tensor, ….
        what: what to call the labels in a message.

    Raises:
        ValueError: not numbers, another length than the architectures, fewer than two, a NaN or infinity, or all equal.
    """
    labels = numbers(labels, what)
    if labels.shape != (len(archs),):
        raise ValueError(f"there are {len(archs):,} architectures, but the {what} have shape {labels.shape}")
    require_rankable(labels, what)
    return labels


def require_rankable(labels: Float[ndarray, " archs"], what: str) -> None:
    """Raise ValueError if there are fewer than two labels, one is NaN or infinite, or all are equal."""
    if len(labels) < 2:
        raise ValueError(f"a ranking needs at least two {what}, not {len(labels)}")
    if not np.isfinite(labels).all():
        raise ValueError(
            f"the {what} contain NaN or infinity (the first at number {1 + int(np.argmin(np.isfinite(labels)))})"
        )
    if (labels == labels[0]).all():
        raise ValueError(f"all {what} are equal, so there is nothing to rank")


def numbers(values: Any, what: str) -> Float[ndarray, "*shape"]:
    """Whatever NumPy can read as numbers, as float64; what is masked becomes NaN.

    Raises:
        ValueError: it holds something else.
    """
    if isinstance(values, Tensor):
        values = values.detach().cpu().double().numpy()
    try:
        if np.ma.isMaskedArray(values):
            values = np.ma.filled(values.astype(float), np.nan)
        return np.array(values, dtype=float)
    except (TypeError, ValueError) as error:
        raise ValueError(f"the {what} are not numbers: {' '.join(str(error).split())}") from None


def contents(archs: ArchBatch) -> UInt64[ndarray, " archs"]:
    """A number for each architecture, equal where operations and edges are, node by node.

    It is a 64-bit sum of random-looking numbers: of a million different architectures, two have the same one with
    probability below 3e-8.
    """

    def sums(values: UInt64[ndarray, " items"], offsets: ndarray) -> UInt64[ndarray, " archs"]:
        """Of each architecture's values, modulo 2^64."""
        return np.diff(np.concatenate([np.zeros(1, np.uint64), np.cumsum(values)])[offsets])

    place = np.arange(len(archs.operations)) - np.repeat(archs.node_offsets[:-1], np.diff(archs.node_offsets))
    source, target = archs.edges.astype(np.int64)
    nodes = scramble((place << 24) + archs.operations, 0)
    return sums(nodes, archs.node_offsets) + sums(scramble((source << 24) + target, 1), archs.edge_offsets)


def merged(examples: Examples, what: str) -> Examples:
    """Every architecture once, in the order of first appearance, with the mean of its labels; warns if they differ.

    Raises:
        ValueError: fewer than two architectures are left, or all means are equal.
    """
    archs, columns, labels = examples
    _, first, group = np.unique(contents(archs), return_index=True, return_inverse=True)
    if len(first) == len(archs):
        return examples
    place = np.argsort(np.argsort(first))[group]
    first = np.sort(first)
    lowest, highest = np.full(len(first), np.inf), np.full(len(first), -np.inf)
    np.minimum.at(lowest, place, labels)
    np.maximum.at(highest, place, labels)
    means = np.where(lowest < highest, np.bincount(place, labels) / np.bincount(place), lowest)
    require_rankable(means, f"{what} of different architectures")
    if different := int((lowest < highest).sum()):
        warnings.warn(
            f"{different} of the architectures have several different {what}; each counts once, with their mean",
            stacklevel=3,
        )
    return Examples(archs[first], columns[first], means)


def joined(first: Examples, second: Examples) -> Examples:
    """All examples of both."""
    return Examples(
        ArchBatch.concatenate([first.archs, second.archs]),
        np.concatenate([first.columns, second.columns]),
        np.concatenate([first.labels, second.labels]),
    )
