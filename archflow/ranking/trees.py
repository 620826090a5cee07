"""Extremely randomised trees (Geurts, Ernst and Wehenkel, Machine Learning 2006) on blocks of columns.

A rival of the Gaussian process, and a good companion: a tree looks at single columns and cuts, where the process looks
at all columns of a block at once and is smooth. Each tree sees its own bootstrap sample of the labels. At each node, so
many columns are drawn, each with one cut drawn uniformly between the extremes of the labelled architectures there; the
one that most reduces the squared error is kept. Leaves hold the mean of their normal scores.

Compiled loops: these lines, rather than a dependency on scikit-learn, as a forest of a hundred labels is small.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from jaxtyping import Float
from numba import njit
from numpy import ndarray
from torch import Tensor

from archflow.ranking.columns import Blocks, Columns, checked_labels, count, normal_scores, to_labels

_IN_CACHE = 256
"""Rows that are asked together."""
_FOREST = ("column", "cut", "child", "value", "roots")


@dataclass(frozen=True)
class TreesSettings:
    """Settings of a forest.

    Attributes:
        trees: how many.
        columns: share of the columns that are drawn at each node.
        leaf: nodes of so many labels or fewer are not split.
    """

    trees: int = 200
    columns: float = 1.0
    leaf: int = 1

    def __post_init__(self) -> None:
        if self.trees < 1 or not 0 < self.columns <= 1 or self.leaf < 1:
            raise ValueError(f"a forest needs trees ≥ 1, 0 < columns ≤ 1 and leaf ≥ 1, not {self}")


class ExtraTrees:
    """A forest that ranks architectures by blocks of columns; used like a ``GaussianProcess``."""

    columns: Columns
    labels: Float[ndarray, " n"]
    forest: dict[str, ndarray]
    out_of_bag: Float[ndarray, " n"]
    """After fitting, not kept in a file: for each label the mean of the trees that did not see it, as a normal score;
    NaN where all did."""

    def __init__(self, settings: TreesSettings | None = None, seed: int = 0) -> None:
        self.settings, self.seed = settings or TreesSettings(), seed

    def fit(self, blocks: Blocks, y: Float[ndarray, " n"], reference: Blocks | None = None) -> Self:
        """Learn from labelled architectures; as :meth:`GaussianProcess.fit`, and with the same errors."""
        labels = checked_labels(blocks, y)
        return self.grow(Columns.of(blocks, reference), blocks, labels)

    def grow(self, columns: Columns, blocks: Blocks, labels: Float[ndarray, " n"]) -> Self:
        """Learn from labels that are checked, by columns that another head has scaled."""
        self.columns, self.labels = columns, labels
        rng = np.random.default_rng(self.seed)
        X = np.concatenate(self.columns(blocks), axis=1)
        drawn = max(1, round(self.settings.columns * X.shape[1]))
        *grown, seen = _grown(X, normal_scores(labels), self.settings.trees, drawn, self.settings.leaf, rng)
        self.forest = dict(zip(_FOREST, grown, strict=True))
        self.out_of_bag = _unseen(X, seen, *grown)
        return self

    def predict(
        self, blocks: Blocks, with_noise: bool = False
    ) -> tuple[Float[ndarray, " archs"], Float[ndarray, " archs"]]:
        """Mean and standard deviation for each architecture; as :meth:`GaussianProcess.predict`.

        The deviation is that over the trees, each of which was grown on other labels, so it holds the noise already and
        ``with_noise`` changes nothing.
        """
        mean, std = np.empty((2, count(blocks)))
        for rows, part in self.columns.in_parts(blocks):
            mean[rows], std[rows] = _asked(np.concatenate(part, axis=1), *self.forest.values())
        return mean, std

    def to_labels(self, scores: Float[ndarray, "*any"]) -> Float[ndarray, "*any"]:
        """Normal scores, such as mean ± 1.28 std, on the scale of the labels."""
        return to_labels(scores, self.labels)

    def state(self) -> dict[str, Tensor]:
        """All that was learned, as named tensors for a file; with ``settings``, :meth:`from_state` restores it."""
        arrays = {"labels": self.labels, **self.forest}
        return self.columns.state() | {name: torch.from_numpy(array) for name, array in arrays.items()}

    @classmethod
    def from_state(cls, state: Mapping[str, Tensor], settings: TreesSettings) -> Self:
        """A forest that predicts what the one predicted whose :meth:`state` this is.

        Raises:
            ValueError: a tensor is missing, or none names a block.
        """
        forest = cls(settings)
        forest.columns = Columns.from_state(state)
        try:
            forest.labels = state["labels"].numpy()
            forest.forest = {name: state[name].numpy() for name in _FOREST}
        except KeyError as error:
            raise ValueError(f"the state of the forest lacks {error}") from None
        return forest


@njit(cache=True)
def _grown(
    X: ndarray, y: ndarray, trees: int, drawn: int, leaf: int, rng: np.random.Generator
) -> tuple[ndarray, ndarray, ndarray, ndarray, ndarray, ndarray]:
    """A forest as arrays over the nodes of all trees: column, cut, left child (the right one is next), value; roots.

    Leaves have no child, −1. Then, for each tree and label, whether the tree saw the label.
    """
    labels, width = X.shape
    columns = X.T.copy()  # one column after the other fits the cache
    most = trees * 2 * labels
    column, child = np.zeros(most, np.int64), np.full(most, -1, np.int64)
    cut, value, roots = np.zeros(most), np.zeros(most), np.zeros(trees, np.int64)
    order, rows, stack = np.arange(width), np.empty(labels, np.int64), np.empty((2 * labels, 3), np.int64)
    values_here, labels_here = np.empty(labels), np.empty(labels)
    seen, nodes = np.zeros((trees, labels), np.bool_), 0
    for tree in range(trees):
        rows[:] = rng.integers(0, labels, labels)
        for row in rows:
            seen[tree, row] = True
        roots[tree], waiting = nodes, 1
        stack[0] = nodes, 0, labels
        nodes += 1
        while waiting:
            waiting -= 1
            node, start, stop = stack[waiting]
            here, count = rows[start:stop], stop - start
            labels_here[:count] = y[here]
            total = y[here].sum()
            value[node] = total / count
            best = total * total / count + 1e-12
            if count <= leaf:
                continue
            for number in range(drawn):
                other = number + int((width - number) * rng.random())
                order[number], order[other] = order[other], order[number]
                c = order[number]
                x = columns[c]
                low = high = x[here[0]]
                for place in range(count):
                    value_here = x[here[place]]
                    values_here[place] = value_here
                    low, high = min(low, value_here), max(high, value_here)
                if low == high:
                    continue
                at = low + (high - low) * rng.random()
                left, on_left = 0.0, 0
                for place in range(count):  # without a branch, which would be mispredicted every other time
                    is_left = values_here[place] <= at
                    left += labels_here[place] * is_left
                    on_left += is_left
                if on_left == count:  # the cut was rounded up to the largest value
                    continue
                score = left * left / on_left + (total - left) ** 2 / (count - on_left)
                if score > best:
                    best, column[node], cut[node], child[node] = score, c, at, nodes
            if child[node] < 0:
                continue
            middle = start
            for position in range(start, stop):
                if columns[column[node], rows[position]] <= cut[node]:
                    rows[middle], rows[position] = rows[position], rows[middle]
                    middle += 1
            stack[waiting] = nodes, start, middle
            stack[waiting + 1] = nodes + 1, middle, stop
            nodes, waiting = nodes + 2, waiting + 2
    return column[:nodes].copy(), cut[:nodes].copy(), child[:nodes].copy(), value[:nodes].copy(), roots, seen


@njit(cache=True)
def _unseen(
    X: ndarray, seen: ndarray, column: ndarray, cut: ndarray, child: ndarray, value: ndarray, roots: ndarray
) -> ndarray:
    """The mean over the trees that did not see a row of what they say of it; NaN where there is none."""
    total, trees = np.zeros(len(X)), np.zeros(len(X))
    for tree, root in enumerate(roots):
        for row in np.flatnonzero(~seen[tree]):
            node = root
            while child[node] >= 0:
                node = child[node] + (X[row, column[node]] > cut[node])
            total[row] += value[node]
            trees[row] += 1
    return np.where(trees > 0, total / np.maximum(trees, 1), np.nan)


@njit(cache=True)
def _asked(
    X: ndarray, column: ndarray, cut: ndarray, child: ndarray, value: ndarray, roots: ndarray
) -> tuple[ndarray, ndarray]:
    """Mean and standard deviation of what the trees say of each row.

    Some rows go down one tree before the next, so that the tree and the rows stay in the cache.
    """
    mean, std = np.zeros(len(X)), np.zeros(len(X))
    for start in range(0, len(X), _IN_CACHE):
        for root in roots:
            for row in range(start, min(start + _IN_CACHE, len(X))):
                node = root
                while child[node] >= 0:
                    node = child[node] + (X[row, column[node]] > cut[node])
                mean[row] += value[node]
                std[row] += value[node] ** 2
    mean /= len(roots)
    return mean, np.sqrt(np.maximum(std / len(roots) - mean**2, 0))
