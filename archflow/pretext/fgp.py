"""FGP: reconstruct the flow surrogate, and rank by a zero-cost proxy (NeurIPS 2025, arXiv:2510.18360).

    L = λ1 · mean ‖s − g(z)‖² + λ2 · pairwise margin ranking loss of a score of z on the proxy

with z the encoding, s the flow surrogate of the architecture, g a decoder. Both heads are thrown away afterwards.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy import ndarray
from torch import Tensor, nn

from archflow.encoders.base import Encoder
from archflow.flow import FlowDraw, flow_surrogate
from archflow.graphs import ArchBatch
from archflow.metrics import pairwise_margin_loss


@dataclass(frozen=True, eq=False)
class FGP:
    """The pre-training task; the defaults are METHOD's settings.

    Attributes:
        draw: the random vectors of the flow surrogate.
        proxy: a zero-cost proxy for each architecture that will be pre-trained on, (archs,), e.g. its parameters, or
            several, (archs, proxies), whose losses are averaged; NaN where unknown. None leaves the ranking out,
            whatever ``lambda2``.
        lambda1: weight λ1 of the reconstruction; 0 leaves it out.
        lambda2: weight λ2 of the ranking; 0 leaves it out.
        alpha: α of the flow surrogate.
        standardise: scale each coordinate of the surrogate to mean 0 and variance 1 over the architectures. With
            vectors of standard deviation 0.1 the coordinates differ by about 0.02, and the unscaled squared error
            (False, as published) vanishes beside the ranking loss.
        decoder_width: hidden width of the decoder, an MLP with one hidden layer.
        proxy_width: hidden width of the proxy's head, likewise.
    """

    draw: FlowDraw
    proxy: Float[ndarray, " archs"] | Float[ndarray, "archs proxies"] | None = None
    lambda1: float = 0.5
    lambda2: float = 0.5
    alpha: float = 0.5
    standardise: bool = True
    decoder_width: int = 128
    proxy_width: int = 64

    def build(self, encoder: Encoder, archs: ArchBatch) -> FGPObjective:
        """The encoder with its two heads and the targets of all architectures.

        Raises:
            ValueError: neither part is left in, or the proxy has another length than the architectures or no two
                different values.
        """
        return FGPObjective(self, encoder, archs)

    def describe(self) -> dict[str, Any]:
        """The settings, JSON-able; the arrays are left out."""
        return {
            "task": "fgp",
            "k": self.draw.r.numel(),
            **{name: getattr(self, name) for name in ("lambda1", "lambda2", "alpha", "standardise")},
            **{name: getattr(self, name) for name in ("decoder_width", "proxy_width")},
        }


class FGPObjective(nn.Module):
    """FGP's loss as a function of which architectures are in the minibatch."""

    surrogate: Float[Tensor, "archs k"]
    proxies: Float[Tensor, "archs proxies"]

    def __init__(self, task: FGP, encoder: Encoder, archs: ArchBatch) -> None:
        super().__init__()
        self.encoder, self.archs = encoder, archs
        encoder.prepare(archs)
        self.lambda1, self.lambda2 = task.lambda1, task.lambda2 if task.proxy is not None else 0.0
        if not self.lambda1 and not self.lambda2:
            raise ValueError("FGP has nothing to learn: both the reconstruction and the proxy ranking are off")
        if self.lambda1:
            surrogate = flow_surrogate(archs, task.draw, task.alpha).float()
            self.register_buffer("surrogate", standardised(surrogate) if task.standardise else surrogate, False)
            self.decoder = mlp(encoder.width, task.decoder_width, surrogate.shape[1])
        if self.lambda2 and task.proxy is not None:
            self.register_buffer("proxies", _ranks(task.proxy, len(archs)), False)
            self.proxy_head = mlp(encoder.width, task.proxy_width, self.proxies.shape[1])

    def forward(self, chosen: Int[ndarray, " batch"]) -> dict[str, Tensor]:
        """The weighted terms of the loss on the chosen architectures, by name; their sum is L."""
        z = self.encoder(self.archs[chosen])
        index = torch.from_numpy(chosen).to(z.device)
        terms = {}
        if self.lambda1:
            terms["reconstruction"] = self.lambda1 * (self.decoder(z) - self.surrogate[index]).square().sum(1).mean()
        if self.lambda2:
            pairs = zip(self.proxy_head(z).unbind(1), self.proxies[index].unbind(1), strict=True)
            losses = [pairwise_margin_loss(score, proxy) for score, proxy in pairs]
            terms["proxy ranking"] = self.lambda2 * torch.stack(losses).mean()
        return terms


def standardised(columns: Float[Tensor, "archs k"]) -> Float[Tensor, "archs k"]:
    """Each column to mean 0 and variance 1; a column that is constant up to rounding to 0."""
    centred = columns.double() - columns.double().mean(0)
    spread = centred.square().mean(0).sqrt()
    constant = spread <= 1e-6 * columns.double().abs().amax(0)
    return torch.where(constant, 0.0, centred / spread).to(columns.dtype)


def mlp(inputs: int, hidden: int, outputs: int) -> nn.Sequential:
    """A multilayer perceptron with one hidden layer."""
    return nn.Sequential(nn.Linear(inputs, hidden), nn.ReLU(), nn.Linear(hidden, outputs))


def _ranks(proxy: Float[ndarray, archs *proxies], archs: int) -> Float[Tensor, "archs proxies"]:
    """Dense ranks as float32, which order as the proxies do and cannot lose the last digits of a large number."""
    columns = np.asarray(proxy, dtype=float)
    if columns.ndim not in (1, 2) or len(columns) != archs:
        raise ValueError(f"the proxy has shape {columns.shape}, but there are {archs:,} architectures")
    columns = columns.reshape(archs, -1)
    ranks = np.full(columns.shape, np.nan, dtype=np.float32)
    for number, column in enumerate(columns.T):
        known = ~np.isnan(column)
        values, ranks[known, number] = np.unique(column[known], return_inverse=True)
        if len(values) < 2:
            raise ValueError("the proxy has no two different values, so it ranks nothing")
    return torch.from_numpy(ranks)
