"""Heads on blocks of columns: the encoding, the path features, and the proxies.

``gp`` is a Gaussian process with a kernel for each block, averaged with extremely randomised trees by weights that the
labels decide. It fits to all labels within a second or so, says how sure it is, and needs no encoder. ``trees`` are the
trees alone.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy import ndarray
from torch import Tensor

from archflow.archs.batch import ArchBatch
from archflow.archs.simplify import simplified
from archflow.encoding.base import Encoder
from archflow.encoding.registry import encode
from archflow.paths import path_features
from archflow.ranking.columns import Blocks, widened
from archflow.ranking.ensemble import Ensemble, EnsembleSettings
from archflow.ranking.gp import GaussianProcess, GPSettings
from archflow.ranking.head import Examples, Head, named, part
from archflow.ranking.trees import ExtraTrees, TreesSettings
from archflow.support.devices import resolve_device
from archflow.support.progress import Progress, silent

_AT_ONCE = 12_500
"""Architectures of which path features and encodings are held at once."""
_CONSIDERED = 1_000
"""So many candidates with the highest upper confidence, or ten times those asked for, may be chosen."""
_CONFIDENCE = 2.0
"""So many standard deviations above the mean are candidates looked at: from 20 labels of NAS-Bench-201 on, ten more a
round, the best cell of all was in the third round for six seeds of six; with 0, in the seventh.
"""


class BlocksHead(Head):
    """What heads on the blocks "paths", "simplified paths", "proxies" and "embedding" share.

    Simplified paths are those of what an architecture computes, without operations that pass nothing on or change
    nothing, where the vocabulary has such. There are "proxies" where there are columns, and an "embedding" where there
    is an encoder.
    """

    model: GaussianProcess | Ensemble | ExtraTrees

    def new(self, seed: int) -> GaussianProcess | Ensemble | ExtraTrees:
        """The model, not fitted yet."""
        raise NotImplementedError

    def from_state(self, state: Mapping[str, Tensor]) -> GaussianProcess | Ensemble | ExtraTrees:
        """The model whose state is given."""
        raise NotImplementedError

    def fit(
        self,
        encoder: Encoder | None,
        archs: ArchBatch,
        columns: Float[ndarray, "archs columns"],
        labels: Float[ndarray, " archs"],
        *,
        validation: Examples | None = None,
        seed: int = 0,
        device: str = "auto",
        progress: Progress = silent,
    ) -> None:
        """Fit the model, see :meth:`Head.fit`; columns are scaled among the labelled architectures and candidates.

        Raises:
            ValueError: no column of any block varies, or the architectures have another vocabulary.
        """
        self.encoder = None if encoder is None else copy.deepcopy(encoder).to(resolve_device(device)).eval()
        known = reference = self.blocks(archs, columns)
        if self.candidates is not None:
            others = self.blocks(*self.candidates)
            reference = {name: np.concatenate([known[name], others[name]]) for name in known}
        self.model = self.new(seed).fit(known, labels, reference)

    def predict(
        self, archs: ArchBatch, columns: Float[ndarray, "archs columns"]
    ) -> tuple[Float[ndarray, " archs"], Float[ndarray, " archs"]]:
        """The median of one more label of each architecture, and a standard deviation, both on the labels' scale.

        The deviation is half the width of the interval that holds 68 % of the labels, noise included.
        """
        scores, std = self.scores(archs, columns, with_noise=True)
        low, middle, high = (self.model.to_labels(scores + sign * std) for sign in (-1, 0, 1))
        return middle, (high - low) / 2

    def intervals(
        self, archs: ArchBatch, columns: Float[ndarray, "archs columns"], level: float
    ) -> Float[ndarray, "archs 2"]:
        """Between which two values one more label lies with probability ``level``; each tail has half of the rest."""
        scores, std = self.scores(archs, columns, with_noise=True)
        half = std * torch.special.ndtri(torch.tensor((1 + level) / 2, dtype=torch.float64)).item()
        return np.stack([self.model.to_labels(scores - half), self.model.to_labels(scores + half)], axis=1)

    def tensors(self) -> dict[str, Tensor]:
        """What the model learned, and the weights of the encoder if there is one."""
        weights = {} if self.encoder is None else self.encoder.state_dict()
        return {**named("encoder", weights), **named("model", self.model.state())}

    def restore(self, encoder: Encoder | None, tensors: Mapping[str, Tensor], device: str = "auto") -> None:
        """The inverse of :meth:`tensors`."""
        if encoder is not None:
            encoder.load_state_dict(part(tensors, "encoder"))
            encoder.to(resolve_device(device)).eval()
        self.encoder = encoder
        state = part(tensors, "model")
        wrong = [name for name, tensor in state.items() if tensor.dtype not in (torch.float64, torch.int64)]
        if wrong:
            raise ValueError(f"model.{wrong[0]} is {state[wrong[0]].dtype}, not torch.float64")
        self.model = self.from_state(state)

    def blocks(self, archs: ArchBatch, columns: Float[ndarray, "archs columns"]) -> Blocks:
        """All that is known of architectures."""
        blocks = {"paths": path_features(archs).values}
        simple = simplified(archs)
        if simple is not archs:  # its vocabulary has operations that do not compute
            blocks["simplified paths"] = path_features(simple).values
        if columns.shape[1]:
            blocks["proxies"] = columns
        if self.encoder is not None:
            blocks["embedding"] = encode(self.encoder, archs).cpu().numpy()
        return blocks

    def scores(
        self, archs: ArchBatch, columns: Float[ndarray, "archs columns"], with_noise: bool
    ) -> tuple[Float[ndarray, " archs"], Float[ndarray, " archs"]]:
        """Mean and deviation as normal scores, a part of the architectures after the other."""
        parts = [slice(start, start + _AT_ONCE) for start in range(0, len(archs), _AT_ONCE)]
        found = [self.model.predict(self.blocks(archs[rows], columns[rows]), with_noise) for rows in parts]
        mean, std = (np.concatenate(both) for both in zip(*found, strict=True))
        return mean, widened(std, mean, len(self.model.labels)) if with_noise else std


@dataclass(frozen=True)
class GaussianProcessHeadSettings(GPSettings):
    """Settings of the process, and how many trees it is averaged with; 0 for the process alone."""

    trees: int = TreesSettings.trees

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.trees < 0:
            raise ValueError(f"trees must be 0 or more, not {self.trees}")


class GaussianProcessHead(BlocksHead):
    """A Gaussian process, averaged with trees."""

    name = "gp"
    Settings = GaussianProcessHeadSettings
    settings: GaussianProcessHeadSettings
    model: GaussianProcess | Ensemble

    def new(self, seed: int) -> GaussianProcess | Ensemble:
        """The process, or the ensemble."""
        return Ensemble(self._ensemble(), seed) if self.settings.trees else GaussianProcess(self.settings)

    def from_state(self, state: Mapping[str, Tensor]) -> GaussianProcess | Ensemble:
        """The process or ensemble whose state is given."""
        if self.settings.trees:
            return Ensemble.from_state(state, self._ensemble())
        return GaussianProcess.from_state(state, self.settings)

    def choose(self, archs: ArchBatch, columns: Float[ndarray, "archs columns"], n: int) -> Int[ndarray, " n"]:
        """Greedily by upper confidence, as if each choice had been labelled as expected (GP-BUCB, Desautels et al.,
        JMLR 2014): those like it become certain, so a batch is diverse.
        """
        process = self.model.gp if isinstance(self.model, Ensemble) else self.model
        mean, std = self.scores(archs, columns, with_noise=False)
        count = min(len(archs), max(_CONSIDERED, 10 * n))
        best = np.argsort(-(mean + _CONFIDENCE * std), kind="stable")[:count]
        covariance = process.joint(self.blocks(archs[best], columns[best]))[1]
        noise, chosen, is_left = process.theta.noise.item(), [], np.ones(count, bool)
        for _ in range(n):
            upper = mean[best] + _CONFIDENCE * np.sqrt(np.maximum(covariance.diagonal(), 0))
            one = int(np.argmax(np.where(is_left, upper, -np.inf)))
            chosen.append(one)
            is_left[one] = False
            covariance = covariance - np.outer(covariance[one], covariance[one]) / (covariance[one, one] + noise)
        return best[chosen]

    def _ensemble(self) -> EnsembleSettings:
        return EnsembleSettings(self.settings, TreesSettings(self.settings.trees))


class TreesHead(BlocksHead):
    """Extremely randomised trees alone."""

    name = "trees"
    Settings = TreesSettings
    settings: TreesSettings

    def new(self, seed: int) -> ExtraTrees:
        """The forest."""
        return ExtraTrees(self.settings, seed)

    def from_state(self, state: Mapping[str, Tensor]) -> ExtraTrees:
        """The forest whose state is given."""
        return ExtraTrees.from_state(state, self.settings)
