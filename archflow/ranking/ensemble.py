"""A Gaussian process and extremely randomised trees, averaged by weights that the labels decide.

On some tables the process alone ranks better, on others the trees. Each says what it expects of a label that it did not
see: the process in closed form, the trees by those whose bootstrap sample lacks it.

    y      labels as normal scores
    g, t   what the process and the trees expect of each label without having seen it
    w      the process's weight: (n w* + prior_labels · prior_weight) / (n + prior_labels), within 0 and 1, where
           w* = Σ (y − t)(g − t) / Σ (g − t)² minimises Σ (y − w g − (1 − w) t)²
    mean   w · mean of the process + (1 − w) · mean of the trees
    std    that of the process: its intervals hold as many labels around this mean as they say
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Self

import numpy as np
import torch
from jaxtyping import Float
from numpy import ndarray
from torch import Tensor

from archflow.ranking.columns import Blocks, normal_scores
from archflow.ranking.gp import GaussianProcess, GPSettings
from archflow.ranking.trees import ExtraTrees, TreesSettings


@dataclass(frozen=True)
class EnsembleSettings:
    """Settings of both members, and of their weights.

    Attributes:
        prior_weight: the process's weight as far as the labels do not decide it.
        prior_labels: as many labels speak for the prior weight; infinity for that weight itself.
    """

    gp: GPSettings = field(default_factory=GPSettings)
    trees: TreesSettings = field(default_factory=TreesSettings)
    prior_weight: float = 0.5
    prior_labels: float = 100.0

    def __post_init__(self) -> None:
        if not (0 <= self.prior_weight <= 1 and self.prior_labels >= 0):
            raise ValueError(f"an ensemble needs 0 ≤ prior_weight ≤ 1 and prior_labels ≥ 0, not {self}")


def weight(
    y: Float[ndarray, " n"],
    g: Float[ndarray, " n"],
    t: Float[ndarray, " n"],
    prior_weight: float = 0.0,
    prior_labels: float = 0.0,
) -> float:
    """The process's weight w, see above; labels that all trees saw, whose t is NaN, do not count."""
    known = ~np.isnan(t)
    y, g, t = y[known], g[known], t[known]
    squares, n = float(np.square(g - t).sum()), len(y)
    if squares == 0:
        return prior_weight
    trust = n / (n + prior_labels)
    return float(np.clip(prior_weight + trust * ((y - t) @ (g - t) / squares - prior_weight), 0, 1))


class Ensemble:
    """A process and a forest; used like a ``GaussianProcess``.

    Attributes:
        weight: the process's, after fitting.
    """

    weight: float

    def __init__(self, settings: EnsembleSettings | None = None, seed: int = 0) -> None:
        self.settings = settings or EnsembleSettings()
        self.gp, self.trees = GaussianProcess(self.settings.gp), ExtraTrees(self.settings.trees, seed)

    def fit(self, blocks: Blocks, y: Float[ndarray, " n"], reference: Blocks | None = None) -> Self:
        """Learn from labelled architectures; as :meth:`GaussianProcess.fit`, and with the same errors."""
        self.gp.fit(blocks, y, reference)
        self.trees.grow(self.gp.columns, blocks, self.gp.labels)
        unseen = normal_scores(self.gp.labels), self.gp.left_out(), self.trees.out_of_bag
        self.weight = weight(*unseen, self.settings.prior_weight, self.settings.prior_labels)
        return self

    def predict(
        self, blocks: Blocks, with_noise: bool = False
    ) -> tuple[Float[ndarray, " archs"], Float[ndarray, " archs"]]:
        """Mean and standard deviation for each architecture; as :meth:`GaussianProcess.predict`."""
        mean, std = self.gp.predict(blocks, with_noise)
        return self.weight * mean + (1 - self.weight) * self.trees.predict(blocks)[0], std

    @property
    def labels(self) -> Float[ndarray, " n"]:
        """What it was fitted to."""
        return self.gp.labels

    def to_labels(self, scores: Float[ndarray, "*any"]) -> Float[ndarray, "*any"]:
        """Normal scores, such as mean ± 1.28 std, on the scale of the labels."""
        return self.gp.to_labels(scores)

    def state(self) -> dict[str, Tensor]:
        """All that was learned, as named tensors for a file; with ``settings``, :meth:`from_state` restores it."""
        return {"weight": torch.tensor(self.weight, dtype=torch.float64)} | self.trees.state() | self.gp.state()

    @classmethod
    def from_state(cls, state: Mapping[str, Tensor], settings: EnsembleSettings) -> Self:
        """The ensemble whose :meth:`state` this is.

        Raises:
            ValueError: a tensor is missing, or none names a block.
        """
        ensemble = cls(settings)
        ensemble.gp = GaussianProcess.from_state(state, settings.gp)
        ensemble.trees = ExtraTrees.from_state(state, settings.trees)
        if "weight" not in state:
            raise ValueError("the state of the ensemble lacks 'weight'")
        ensemble.weight = state["weight"].item()
        return ensemble
