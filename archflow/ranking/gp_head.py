"""The head ``gp``: a Gaussian process on the encoding, the path features and the columns, a kernel for each block.

It fits to all labels within a second or so, says how sure it is, and needs no encoder.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy import ndarray
from torch import Tensor

from archflow.archs.batch import ArchBatch
from archflow.encoding.base import Encoder
from archflow.encoding.registry import encode
from archflow.paths import path_features
from archflow.ranking.gp import GaussianProcess, GPSettings
from archflow.ranking.head import Examples, Head, named, part
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


class GaussianProcessHead(Head):
    """A Gaussian process on the blocks "embedding" (with an encoder), "paths" and "proxies" (with columns)."""

    name = "gp"
    Settings = GPSettings
    settings: GPSettings

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
        """Fit the process, see :meth:`Head.fit`; nothing is random.

        Raises:
            ValueError: no column of any block varies, or the architectures have another vocabulary.
        """
        self.encoder = None if encoder is None else copy.deepcopy(encoder).to(resolve_device(device)).eval()
        self.process = GaussianProcess(self.settings).fit(self._blocks(archs, columns), labels)

    def predict(
        self, archs: ArchBatch, columns: Float[ndarray, "archs columns"]
    ) -> tuple[Float[ndarray, " archs"], Float[ndarray, " archs"]]:
        """The median of one more label of each architecture, and a standard deviation, both on the labels' scale.

        The deviation is half the width of the interval that holds 68 % of the labels, noise included.
        """
        scores, std = self._scores(archs, columns, with_noise=True)
        low, middle, high = (self.process.to_labels(scores + sign * std) for sign in (-1, 0, 1))
        return middle, (high - low) / 2

    def intervals(
        self, archs: ArchBatch, columns: Float[ndarray, "archs columns"], level: float
    ) -> Float[ndarray, "archs 2"]:
        """Between which two values one more label lies with probability ``level``; each tail has half of the rest."""
        scores, std = self._scores(archs, columns, with_noise=True)
        half = std * torch.special.ndtri(torch.tensor((1 + level) / 2, dtype=torch.float64)).item()
        return np.stack([self.process.to_labels(scores - half), self.process.to_labels(scores + half)], axis=1)

    def choose(self, archs: ArchBatch, columns: Float[ndarray, "archs columns"], n: int) -> Int[ndarray, " n"]:
        """Greedily by upper confidence, as if each choice had been labelled as expected (GP-BUCB, Desautels et al.,
        JMLR 2014): those like it become certain, so a batch is diverse.
        """
        scores, std = self._scores(archs, columns, with_noise=False)
        count = min(len(archs), max(_CONSIDERED, 10 * n))
        best = np.argsort(-(scores + _CONFIDENCE * std), kind="stable")[:count]
        mean, covariance = self.process.joint(self._blocks(archs[best], columns[best]))
        noise, chosen = self.process.theta.noise.item(), []
        is_left = np.ones(count, bool)
        for _ in range(n):
            upper = mean + _CONFIDENCE * np.sqrt(np.maximum(covariance.diagonal(), 0))
            one = int(np.argmax(np.where(is_left, upper, -np.inf)))
            chosen.append(one)
            is_left[one] = False
            covariance = covariance - np.outer(covariance[one], covariance[one]) / (covariance[one, one] + noise)
        return best[chosen]

    def tensors(self) -> dict[str, Tensor]:
        """What the process learned, and the weights of the encoder if there is one."""
        weights = {} if self.encoder is None else self.encoder.state_dict()
        return {**named("encoder", weights), **named("process", self.process.state())}

    def restore(self, encoder: Encoder | None, tensors: Mapping[str, Tensor], device: str = "auto") -> None:
        """The inverse of :meth:`tensors`."""
        if encoder is not None:
            encoder.load_state_dict(part(tensors, "encoder"))
            encoder.to(resolve_device(device)).eval()
        self.encoder = encoder
        state = part(tensors, "process")
        wrong = [name for name, tensor in state.items() if tensor.dtype not in (torch.float64, torch.int64)]
        if wrong:
            raise ValueError(f"process.{wrong[0]} is {state[wrong[0]].dtype}, not torch.float64")
        self.process = GaussianProcess.from_state(state, self.settings)

    def _blocks(
        self, archs: ArchBatch, columns: Float[ndarray, "archs columns"]
    ) -> dict[str, Float[ndarray, "archs _"]]:
        blocks = {"paths": path_features(archs).values}
        if columns.shape[1]:
            blocks["proxies"] = columns
        if self.encoder is not None:
            blocks["embedding"] = encode(self.encoder, archs).cpu().numpy()
        return blocks

    def _scores(
        self, archs: ArchBatch, columns: Float[ndarray, "archs columns"], with_noise: bool
    ) -> tuple[Float[ndarray, " archs"], Float[ndarray, " archs"]]:
        """Mean and deviation as normal scores, a part of the architectures after the other."""

        def parts() -> Iterator[tuple[ndarray, ndarray]]:
            for start in range(0, len(archs), _AT_ONCE):
                rows = slice(start, start + _AT_ONCE)
                yield self.process.predict(self._blocks(archs[rows], columns[rows]), with_noise)

        mean, std = (np.concatenate(both) for both in zip(*parts(), strict=True))
        return mean, std
