"""Columns of any scale, and labels, turned into normal scores: the normal quantile at the rank of each value.

Zero-cost proxies have heavy tails and proxies of one kind differ by powers of ten, yet all that they say is in their
order. Counts are turned alike, so that there is one rule for all columns.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray
from scipy.special import ndtri
from scipy.stats import rankdata

_KNOTS = 256
"""A column's ranks are kept at so many of its values at most; between them they are interpolated."""
_ROWS = 20_000
"""Ranks are taken among so many rows of the reference at most, evenly spread."""


def normal_scores(values: Float[ndarray, " n"]) -> Float[ndarray, " n"]:
    """The normal quantile at the rank of each value, 0 in the middle; equal values share their mean rank."""
    return ndtri((rankdata(values) - 0.5) / len(values))


@dataclass(frozen=True, eq=False)
class Scaling:
    """Turns the columns of a block into normal scores among a reference's, with mean 0 and standard deviation 1 there.

    Columns that are constant in the reference are left out.

    Attributes:
        columns: how many the block has, shape ().
        kept: those that vary.
        values: ascending values of each, the last one repeated where there are fewer than knots.
        scores: what those become.
    """

    columns: Int[ndarray, ""]
    kept: Int[ndarray, " kept"]
    values: Float[ndarray, "kept knots"]
    scores: Float[ndarray, "kept knots"]

    @classmethod
    def of(cls, reference: Float[ndarray, "rows columns"], block: str) -> Scaling:
        """From the finite values of each column; warns, by the name of the block, where others stand.

        Raises:
            ValueError: the reference is no matrix.
        """
        if reference.ndim != 2:
            raise ValueError(f"the block '{block}' must be a matrix, a row an architecture, not {reference.shape}")
        rows = np.unique(np.linspace(0, len(reference) - 1, min(len(reference), _ROWS)).astype(np.int64))
        kept, values, scores, missing = [], [], [], 0
        for number in range(reference.shape[1]):
            column = np.asarray(reference[rows, number], dtype=float)
            finite = column[np.isfinite(column)]
            missing += len(finite) < len(column)
            distinct, counts = np.unique(finite, return_counts=True)
            if len(distinct) > 1:
                score = ndtri((np.cumsum(counts) - counts / 2) / len(finite))
                mean = np.average(score, weights=counts)
                score = (score - mean) / np.sqrt(np.average((score - mean) ** 2, weights=counts))
                # Evenly spaced scores, not values, so that the tails are as fine as the middle.
                knots = np.searchsorted(score, np.linspace(score[0], score[-1], _KNOTS))
                if len(distinct) <= _KNOTS:
                    knots = np.minimum(np.arange(_KNOTS), len(distinct) - 1)
                kept.append(number)
                values.append(distinct[knots])
                scores.append(score[knots])
        if missing:
            warnings.warn(
                f"{missing} columns of the block '{block}' hold NaN or infinity: NaN counts as the column's mean, "
                f"infinity as its extreme",
                stacklevel=4,
            )
        shape = (len(kept), _KNOTS)
        return cls(
            *(np.array(reference.shape[1]), np.array(kept, dtype=np.int64)),
            *(np.reshape(values, shape).astype(float), np.reshape(scores, shape).astype(float)),
        )

    def __call__(self, columns: Float[ndarray, "rows columns"], block: str) -> Float[ndarray, "rows kept"]:
        """The columns that vary as scores, float64; NaN becomes 0, and what lies beyond the reference its extreme.

        Raises:
            ValueError: the block has another number of columns.
        """
        if columns.ndim != 2 or columns.shape[1] != self.columns:
            raise ValueError(f"the block '{block}' must have {self.columns} columns, not the shape {columns.shape}")
        scores = np.empty((len(columns), len(self.kept)))
        for place, number in enumerate(self.kept):
            scores[:, place] = np.interp(columns[:, number], self.values[place], self.scores[place])
        return np.nan_to_num(scores, copy=False)
