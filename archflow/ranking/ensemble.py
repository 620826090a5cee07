"""A Gaussian process and extremely randomised trees, averaged: better than either, as they err differently.

mean  ½ (mean of the process + mean of the trees), both on the scale of normal scores
std   that of the process: its intervals hold as many labels around this mean as they say
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Self

from jaxtyping import Float
from numpy import ndarray
from torch import Tensor

from archflow.ranking.columns import Blocks
from archflow.ranking.gp import GaussianProcess, GPSettings
from archflow.ranking.trees import ExtraTrees, TreesSettings


@dataclass(frozen=True)
class EnsembleSettings:
    """Settings of both members."""

    gp: GPSettings = field(default_factory=GPSettings)
    trees: TreesSettings = field(default_factory=TreesSettings)


class Ensemble:
    """A process and a forest; used like a ``GaussianProcess``."""

    def __init__(self, settings: EnsembleSettings | None = None, seed: int = 0) -> None:
        self.settings = settings or EnsembleSettings()
        self.gp, self.trees = GaussianProcess(self.settings.gp), ExtraTrees(self.settings.trees, seed)

    def fit(self, blocks: Blocks, y: Float[ndarray, " n"], reference: Blocks | None = None) -> Self:
        """Learn from labelled architectures; as :meth:`GaussianProcess.fit`, and with the same errors."""
        self.gp.fit(blocks, y, reference)
        self.trees.grow(self.gp.columns, blocks, self.gp.labels)
        return self

    def predict(
        self, blocks: Blocks, with_noise: bool = False
    ) -> tuple[Float[ndarray, " archs"], Float[ndarray, " archs"]]:
        """Mean and standard deviation for each architecture; as :meth:`GaussianProcess.predict`."""
        mean, std = self.gp.predict(blocks, with_noise)
        return (mean + self.trees.predict(blocks)[0]) / 2, std

    def to_labels(self, scores: Float[ndarray, "*any"]) -> Float[ndarray, "*any"]:
        """Normal scores, such as mean ± 1.28 std, on the scale of the labels."""
        return self.gp.to_labels(scores)

    def state(self) -> dict[str, Tensor]:
        """All that was learned, as named tensors for a file; with ``settings``, :meth:`from_state` restores it."""
        return self.trees.state() | self.gp.state()

    @classmethod
    def from_state(cls, state: Mapping[str, Tensor], settings: EnsembleSettings) -> Self:
        """The ensemble whose :meth:`state` this is.

        Raises:
            ValueError: a tensor is missing, or none names a block.
        """
        ensemble = cls(settings)
        ensemble.gp = GaussianProcess.from_state(state, settings.gp)
        ensemble.trees = ExtraTrees.from_state(state, settings.trees)
        return ensemble
