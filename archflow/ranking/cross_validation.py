"""How well a ranker ranks architectures that it has not seen, estimated from its own labels."""

from __future__ import annotations

import copy
import warnings
from dataclasses import dataclass

import numpy as np

from archflow.ranking.metrics import kendall_tau
from archflow.ranking.ranker import Ranker
from archflow.support.progress import Progress, silent

_FEWEST = 3
"""Labels in a fold: of two, τ is 1 or -1."""


@dataclass(frozen=True)
class CrossValidation:
    """Kendall's τ on folds of the labels, each ranked by a ranker that was fitted on the other folds.

    Attributes:
        taus: τ on each fold.
        fitted_on: how many labels each of these rankers had, on average.
    """

    taus: list[float]
    fitted_on: int

    @property
    def tau(self) -> float:
        """The mean."""
        return float(np.mean(self.taus))

    @property
    def tau_std(self) -> float:
        """The sample standard deviation."""
        return float(np.std(self.taus, ddof=1)) if len(self.taus) > 1 else 0.0


def cross_validated(ranker: Ranker, folds: int = 5, progress: Progress = silent) -> CrossValidation | None:
    """Cross-validate a fitted ranker over its own labelled architectures, those for validation included.

    The ranker stays as it is. Architectures that are one network to their space are in one fold, and there are fewer
    folds where one would have less than three labels. Columns of one's own are not known any more, so a ranker that
    was fitted with them cannot be cross-validated here; scikit-learn's ``cross_val_score`` takes it with its columns.

    Args:
        ranker: fitted.
        folds: how many, 2 or more.
        progress: told how many folds are done.

    Returns:
        None where there are too few labels, or equal ones, for two folds.

    Raises:
        ValueError: the ranker was not fitted, or was fitted with columns of one's own.
    """
    archs, labels = ranker.labelled
    groups = np.unique(ranker.fitted.keys(archs), return_inverse=True)[1]
    count = int(groups.max()) + 1
    folds = min(folds, count // _FEWEST)
    if folds < 2:
        return None
    fold = (np.random.default_rng(ranker.seed).permutation(count) % folds)[groups]
    taus, sizes = [], []
    progress("cross-validation", 0, folds)
    for number in range(folds):
        held = fold == number
        if min(len(np.unique(labels[held])), len(np.unique(labels[~held]))) > 1:
            part = copy.copy(ranker)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                part.fit(archs[~held], labels[~held])
            if part.fitted.columns != ranker.fitted.columns:
                raise ValueError("the ranker was fitted with proxies of your own, which it does not keep")
            taus.append(kendall_tau(labels[held], part.predict(archs[held])))
            sizes.append(int((~held).sum()))
        progress("cross-validation", number + 1, folds)
    known = [tau for tau in taus if np.isfinite(tau)]
    return CrossValidation(known, round(float(np.mean(sizes)))) if known else None
