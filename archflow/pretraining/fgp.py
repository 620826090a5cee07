"""FGP: reconstruct the flow surrogate, and rank by a zero-cost proxy (NeurIPS 2025, arXiv:2510.18360).

    L = λ1 · mean (s − g(z))² + λ2 · pairwise margin ranking loss of a score of z on the proxy

with z the encoding, s the flow surrogate of the architecture, g a decoder; the mean is over architectures and
coordinates. Both heads are thrown away afterwards.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy import ndarray
from scipy.stats import rankdata
from torch import Tensor, nn

from archflow.archs.batch import ArchBatch
from archflow.encoding.base import Encoder
from archflow.encoding.losses import mlp, pairwise_margin_loss
from archflow.flow import FlowDraw, Passes, flow_surrogate

ProxyLossName = Literal["ranking", "regression"]
"""How proxies are learned."""


@dataclass(frozen=True, eq=False)
class FGP:
    """The pre-training task.

    Attributes:
        draw: the random vectors of the flow surrogate, or several draws, whose surrogates stand side by side.
        proxy: a zero-cost proxy for each architecture that will be pre-trained on, (archs,), e.g. its parameters, or
            several, (archs, proxies), whose losses are averaged; NaN where unknown. None leaves this part out, whatever
            ``lambda2``.
        lambda1: weight λ1 of the reconstruction; 0 leaves it out. Published is 0.5 for the unscaled surrogate; the
            standardised one is so much larger that 0.5 crowds the proxies out.
        lambda2: weight λ2 of the proxies; 0 leaves them out.
        proxy_loss: how proxies are learned. "ranking", as published: the pairwise margin ranking loss. "regression":
            the squared error of their ranks, scaled to variance 1, which also says how far apart two architectures are.
        margin: of the ranking loss.
        alpha: α of the flow surrogate.
        passes: which passes of the flow surrogate are made; see :func:`archflow.flow_surrogate`.
        rounds: how many times it flows forward and back.
        standardise: scale each coordinate of the surrogate to mean 0 and variance 1 over the architectures. With
            vectors of standard deviation 0.1 the coordinates differ by about 0.02, and the unscaled squared error
            (False, as published) vanishes beside the ranking loss.
        decoder_width: hidden width of the decoder, an MLP with one hidden layer.
        proxy_width: hidden width of the proxy's head, likewise.
    """

    draw: FlowDraw | Sequence[FlowDraw]
    proxy: Float[ndarray, " archs"] | Float[ndarray, "archs proxies"] | None = None
    lambda1: float = 0.05
    lambda2: float = 0.5
    proxy_loss: ProxyLossName = "ranking"
    margin: float = 1.0
    alpha: float = 0.5
    passes: Passes = "both"
    rounds: int = 1
    standardise: bool = True
    decoder_width: int = 128
    proxy_width: int = 64

    def build(self, encoder: Encoder, archs: ArchBatch) -> FGPObjective:
        """The encoder with its two heads and the targets of all architectures.

        Raises:
            ValueError: a weight is negative or not finite, or neither part is left in, there is no draw or it does not
                fit the architectures, or the proxy has another length than they or no two different values.
        """
        return FGPObjective(self, encoder, archs)

    @property
    def draws(self) -> tuple[FlowDraw, ...]:
        """The draw or draws."""
        return (self.draw,) if isinstance(self.draw, FlowDraw) else tuple(self.draw)

    def describe(self) -> dict[str, Any]:
        """The settings, JSON-able; the arrays are left out."""
        return {
            "task": "fgp",
            "k": sum(draw.r.numel() for draw in self.draws),
            "draws": len(self.draws),
            "proxies": 0 if self.proxy is None else count_proxies(self.proxy),
            **{name: getattr(self, name) for name in ("lambda1", "lambda2", "proxy_loss", "margin", "alpha")},
            **{name: getattr(self, name) for name in ("passes", "rounds")},
            **{name: getattr(self, name) for name in ("standardise", "decoder_width", "proxy_width")},
        }


class FGPObjective(nn.Module):
    """FGP's loss as a function of which architectures are in the minibatch."""

    surrogate: Float[Tensor, "archs k"]

    def __init__(self, task: FGP, encoder: Encoder, archs: ArchBatch) -> None:
        super().__init__()
        self.encoder, self.archs = encoder, archs
        encoder.prepare(archs)
        if not (0 <= task.lambda1 < np.inf and 0 <= task.lambda2 < np.inf):
            raise ValueError(f"lambda1 and lambda2 must be 0 or more, not {task.lambda1} and {task.lambda2}")
        require_proxy_loss(task.proxy_loss)
        self.lambda1, self.lambda2 = task.lambda1, task.lambda2 if task.proxy is not None else 0.0
        if not self.lambda1 and not self.lambda2:
            raise ValueError("FGP has nothing to learn: both the reconstruction and the proxies are off")
        if self.lambda1:
            if not task.draws:
                raise ValueError("FGP needs at least one draw of the flow surrogate")
            each = [flow_surrogate(archs, draw, task.alpha, task.passes, task.rounds).float() for draw in task.draws]
            surrogate = torch.cat(each, 1)
            self.register_buffer("surrogate", standardised(surrogate) if task.standardise else surrogate, False)
            self.decoder = mlp(encoder.width, task.decoder_width, surrogate.shape[1])
        if self.lambda2 and task.proxy is not None:
            self.proxy_loss = ProxyLoss(
                task.proxy, len(archs), encoder.width, task.proxy_loss, task.margin, task.proxy_width
            )

    def forward(self, chosen: Int[ndarray, " batch"]) -> dict[str, Tensor]:
        """The weighted terms of the loss on the chosen architectures, by name; their sum is L."""
        z = self.encoder(self.archs[chosen])
        index = torch.from_numpy(chosen).to(z.device)
        terms = {}
        if self.lambda1:
            terms["reconstruction"] = self.lambda1 * (self.decoder(z) - self.surrogate[index]).square().mean()
        if self.lambda2:
            terms["proxies"] = self.lambda2 * self.proxy_loss(z, index)
        return terms


class ProxyLoss(nn.Module):
    """How badly a head on the encodings orders proxies; the mean over the proxies.

    Args:
        proxy: a column for each proxy; NaN where unknown.
        archs: how many architectures there are.
        width: of the encodings.
        kind: how proxies are learned, see :class:`FGP`.
        margin: of the ranking loss.
        hidden: hidden width of the head.

    Raises:
        ValueError: the kind is unknown, or the proxy has not ``archs`` rows or no two different values.
    """

    proxies: Float[Tensor, "archs proxies"]

    def __init__(
        self,
        proxy: Float[ndarray, " archs"] | Float[ndarray, "archs proxies"],
        archs: int,
        width: int,
        kind: ProxyLossName,
        margin: float,
        hidden: int,
    ) -> None:
        super().__init__()
        require_proxy_loss(kind)
        self.kind, self.margin = kind, margin
        self.register_buffer("proxies", _scaled_ranks(proxy, archs), False)
        self.head = mlp(width, hidden, self.proxies.shape[1])

    def forward(self, z: Float[Tensor, "batch width"], index: Int[Tensor, " batch"]) -> Float[Tensor, ""]:
        """The loss on encodings of the architectures with these numbers."""
        score, proxy = self.head(z), self.proxies[index]
        if self.kind == "regression":
            known = ~proxy.isnan()
            return torch.where(known, score - proxy, 0).square().sum() / known.sum().clamp(min=1)
        return pairwise_margin_loss(score.t(), proxy.t(), self.margin)


def require_proxy_loss(kind: str) -> None:
    """Raise ValueError unless there is such a way to learn proxies."""
    if kind not in get_args(ProxyLossName):
        raise ValueError(f"unknown proxy_loss '{kind}'; known: {', '.join(get_args(ProxyLossName))}")


def count_proxies(proxy: Float[ndarray, " archs"] | Float[ndarray, "archs proxies"]) -> int:
    """How many columns there are; a vector is one."""
    return int(np.atleast_2d(np.transpose(proxy)).shape[0])


def standardised(columns: Float[Tensor, "archs k"]) -> Float[Tensor, "archs k"]:
    """Each column to mean 0 and variance 1; a column that is constant up to rounding to 0."""
    centred = columns.double() - columns.double().mean(0)
    spread = centred.square().mean(0).sqrt()
    constant = spread <= 1e-6 * columns.double().abs().amax(0)
    return torch.where(constant, 0.0, centred / spread).to(columns.dtype)


def _scaled_ranks(
    proxy: Float[ndarray, " archs"] | Float[ndarray, "archs proxies"], archs: int
) -> Float[Tensor, "archs proxies"]:
    """The ranks of each proxy, equal where it is equal, scaled to mean 0 and variance 1; NaN where it is NaN."""
    columns = np.asarray(proxy, dtype=float)
    if columns.ndim not in (1, 2) or len(columns) != archs:
        raise ValueError(f"the proxy has shape {columns.shape}, but there are {archs:,} architectures")
    columns = columns.reshape(archs, -1)
    if any(len(np.unique(column[~np.isnan(column)])) < 2 for column in columns.T):
        raise ValueError("a proxy has no two different values, so it ranks nothing")
    ranks = rankdata(columns, axis=0, nan_policy="omit")
    return torch.from_numpy(((ranks - np.nanmean(ranks, axis=0)) / np.nanstd(ranks, axis=0)).astype(np.float32))
