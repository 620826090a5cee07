"""How well scores rank architectures.

Kendall's τ looks at the whole ranking; Precision@K% asks whether the best are found, which is what a search needs.
"""

from __future__ import annotations

from dataclasses import astuple, dataclass

import numpy as np
from numpy import ndarray
from numpy.typing import ArrayLike


def kendall_tau(accuracy: ArrayLike, score: ArrayLike) -> float:
    """Kendall's τ-b between true accuracies and scores, −1 to 1; NaN if either has only one value.

    Raises:
        ValueError: the lengths differ, there are fewer than two, or a value is NaN.
    """
    from scipy.stats import kendalltau

    accuracy, score = _checked(accuracy, score)
    return float(kendalltau(accuracy, score).statistic)


def precision_at(accuracy: ArrayLike, score: ArrayLike, percent: float) -> float:
    """Precision@K%: the share of the top K % by score that is in the top K % by accuracy, 0 to 1.

    The top K % of n are the first K·n/100 in descending order, rounded, at least one; equals keep their order.

    Raises:
        ValueError: as :func:`kendall_tau`; also ``percent`` is not between 0 and 100.
    """
    accuracy, score = _checked(accuracy, score)
    if not 0 < percent <= 100:
        raise ValueError(f"percent must be above 0 and at most 100, not {percent}")
    count = max(1, round(len(accuracy) * percent / 100))
    best_true, best_scored = (np.argsort(-values, kind="stable")[:count] for values in (accuracy, score))
    return len(np.intersect1d(best_true, best_scored)) / count


@dataclass(frozen=True)
class RankScores:
    """How well scores rank architectures: Kendall's τ, and Precision at 1 % and at 5 %."""

    tau: float
    p_at_1: float
    p_at_5: float


def scores_of(accuracy: ArrayLike, predicted: ArrayLike) -> RankScores:
    """All that archflow's tables say of a ranking.

    Raises:
        ValueError: as :func:`kendall_tau`.
    """
    precision = (precision_at(accuracy, predicted, percent) for percent in (1, 5))
    return RankScores(kendall_tau(accuracy, predicted), *precision)


def spread_of(accuracy: ArrayLike, predicted: ArrayLike, resamples: int = 100, seed: int = 0) -> RankScores:
    """The standard deviation of :func:`scores_of` over bootstrap resamples of the architectures (Efron, 1979).

    It says how much the figures owe to which architectures were compared, not to which the ranker was fitted on.

    Raises:
        ValueError: as :func:`kendall_tau`; also there are fewer than two resamples.
    """
    true, scores = _checked(accuracy, predicted)
    if resamples < 2:
        raise ValueError(f"resamples must be 2 or more, not {resamples}")
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(resamples):
        rows = rng.integers(len(true), size=len(true))
        found.append(astuple(scores_of(true[rows], scores[rows])))
    return RankScores(*np.std(found, axis=0, ddof=1).tolist())


def _checked(accuracy: ArrayLike, score: ArrayLike) -> tuple[ndarray, ndarray]:
    accuracy, score = np.asarray(accuracy, dtype=float), np.asarray(score, dtype=float)
    if accuracy.ndim != 1 or accuracy.shape != score.shape:
        raise ValueError(f"accuracies and scores must be lists of one length, not {accuracy.shape} and {score.shape}")
    if len(accuracy) < 2:
        raise ValueError("a ranking needs at least two architectures")
    if np.isnan(accuracy).any() or np.isnan(score).any():
        raise ValueError("accuracies and scores must not contain NaN")
    return accuracy, score
