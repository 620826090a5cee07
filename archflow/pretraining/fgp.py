"""FGP: reconstruct the flow surrogate and rank by zero-cost proxies (NeurIPS 2025, arXiv:2510.18360, Section 4).

    L = λ1 · mean (s − g(z))² + λ2 · pairwise margin ranking loss of a score of z on the proxy

with z the encoding, s the flow surrogate of the architecture, g a decoder; the mean is over architectures and
coordinates. Both heads are discarded afterwards. The task ``zero-cost`` is the second term alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Self, get_args

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy import ndarray
from torch import Tensor, nn

from archflow.archs.batch import ArchBatch
from archflow.encoding.base import Encoder
from archflow.encoding.losses import mlp, pairwise_margin_loss
from archflow.flow import FlowDraw, Passes, flow_surrogate, standardised
from archflow.pretraining.task import FlowDefaults, Objective, Task
from archflow.support.settings import check_range, check_types, short

_MAX_BYTES = 4 << 30
"""Maximum memory in bytes for the surrogates of all architectures."""

ProxyLossName = Literal["ranking", "regression"]
"""The loss for learning proxies."""


@dataclass(frozen=True, eq=False)
class FGP(Task):
    """The task ``fgp``.

    Attributes:
        draw: the random vectors of the flow surrogate, or several draws, whose surrogates are concatenated.
        proxy: a zero-cost proxy of each architecture to pre-train on, such as its parameters, (archs,), or several
            proxies, (archs, proxies), whose losses are averaged; NaN where unknown. None omits this term, whatever
            ``lambda2``.
        lambda1: weight λ1 of the reconstruction; 0 omits it. Published as 0.5 for the unscaled surrogate; the
            standardised one is so much larger that with 0.5 it dominates the proxies.
        lambda2: weight λ2 of the proxies; 0 omits them.
        proxy_loss: "ranking", as published, is the pairwise margin ranking loss; "regression" is the squared error of
            the proxies' ranks, scaled to variance 1, which also teaches how far apart two architectures are.
        margin: of the ranking loss.
        alpha: α of the flow surrogate.
        passes: the passes of the flow surrogate; see :func:`archflow.flow_surrogate`.
        rounds: how many times the flow goes forward and back.
        standardise: scale each coordinate of the surrogate to mean 0 and variance 1 over the architectures. With
            vectors of standard deviation 0.1 the coordinates differ by about 0.02, and the unscaled squared error
            (False, as published) is negligible beside the ranking loss.
        decoder_width: hidden width of the decoder, an MLP with one hidden layer.
        proxy_width: hidden width of the proxies' head, likewise an MLP with one hidden layer.

    Raises:
        ValueError: a setting is of the wrong type or out of range, there is no draw, or both terms of the loss are off.
    """

    name: ClassVar[str] = "fgp"
    arrays: ClassVar[tuple[str, ...]] = ("draw", "proxy")

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

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_widths("decoder_width", "proxy_width")
        if not (0 <= self.lambda1 < np.inf and 0 <= self.lambda2 < np.inf):
            raise ValueError(f"lambda1 and lambda2 must be 0 or more, not {self.lambda1} and {self.lambda2}")
        require_proxy_loss(self.proxy_loss)
        if not self.lambda1 and (not self.lambda2 or self.proxy is None):
            raise ValueError("FGP has nothing to learn: both the reconstruction and the proxies are off")
        if self.lambda1 and not self.draws:
            raise ValueError("FGP needs at least one draw of the flow surrogate")

    @property
    def draws(self) -> tuple[FlowDraw, ...]:
        """The draw or draws."""
        return (self.draw,) if isinstance(self.draw, FlowDraw) else tuple(self.draw)

    @classmethod
    def for_space(
        cls,
        operations: int,
        published: FlowDefaults,
        proxies: Float[ndarray, "archs proxies"] | None,
        seed: int,
        *,
        k: int | None = None,
        std: float | None = None,
        draws: int = 1,
        draw_seed: int | None = None,
        **settings: Any,
    ) -> Self:
        """FGP with ``draws`` draws of successive seeds, starting at ``draw_seed``, or at ``seed`` if that is None.

        Without proxies it learns the reconstruction alone.

        Raises:
            ValueError: a setting is out of range.
        """
        sampler = _Draws(
            published.k if k is None else k,
            published.std if std is None else std,
            draws,
            seed if draw_seed is None else draw_seed,
        )
        return cls(sampler.sample(operations), proxies, **settings)

    def describe(self) -> dict[str, Any]:
        """The settings, those of the draws (``k`` counts all coordinates), and the number of proxies."""
        first = self.draws[0] if self.draws else None
        return {
            **super().describe(),
            "k": sum(draw.r.numel() for draw in self.draws),
            "std": first and first.std,
            "draws": len(self.draws),
            "draw_seed": first and first.seed,
            "proxies": count_proxies(self.proxy),
        }

    def build(self, encoder: Encoder, archs: ArchBatch) -> FGPObjective:
        """The encoder with its two heads and the targets of all architectures.

        Raises:
            ValueError: a draw does not fit the architectures, a setting of the flow surrogate is invalid, or a proxy
                has the wrong length or is constant.
        """
        return FGPObjective(self, encoder, archs)


@dataclass(frozen=True)
class _Draws:
    """The settings of several draws of the flow surrogate with successive seeds."""

    k: int
    std: float
    draws: int
    draw_seed: int

    def __post_init__(self) -> None:
        check_types(self, "task fgp")
        check_range(self, "task fgp", 1, 4096, "k", "draws")
        check_range(self, "task fgp", 0, 2**62, "draw_seed")

    def sample(self, operations: int) -> list[FlowDraw]:
        return [FlowDraw.sample(operations, self.k, self.std, self.draw_seed + number) for number in range(self.draws)]


@dataclass(frozen=True, eq=False)
class ZeroCost(Task):
    """The task ``zero-cost``: learn to rank by zero-cost proxies, that is, FGP without the reconstruction.

    Attributes:
        proxy: see :class:`FGP`.
        proxy_loss: see :class:`FGP`.
        margin: see :class:`FGP`.
        proxy_width: see :class:`FGP`.

    Raises:
        ValueError: a setting is of the wrong type or out of range.
    """

    name: ClassVar[str] = "zero-cost"
    arrays: ClassVar[tuple[str, ...]] = ("proxy",)

    proxy: Float[ndarray, " archs"] | Float[ndarray, "archs proxies"]
    proxy_loss: ProxyLossName = "ranking"
    margin: float = 1.0
    proxy_width: int = 64

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_widths("proxy_width")
        require_proxy_loss(self.proxy_loss)

    @classmethod
    def for_space(
        cls,
        operations: int,
        published: FlowDefaults,
        proxies: Float[ndarray, "archs proxies"] | None,
        seed: int,
        **settings: Any,
    ) -> Self:
        """The task with these proxies.

        Raises:
            ValueError: there are none, or a setting is out of range.
        """
        if proxies is None:
            raise ValueError(f"the task {cls.name} learns from proxies, but there are none; name some")
        return cls(proxies, **settings)

    def describe(self) -> dict[str, Any]:
        """The settings and the number of proxies."""
        return {**super().describe(), "proxies": count_proxies(self.proxy)}

    def build(self, encoder: Encoder, archs: ArchBatch) -> FGPObjective:
        """The encoder with a head and the proxies of all architectures.

        Raises:
            ValueError: a proxy has the wrong length or is constant.
        """
        fgp = FGP(
            (),
            self.proxy,
            lambda1=0.0,
            lambda2=1.0,
            proxy_loss=self.proxy_loss,
            margin=self.margin,
            proxy_width=self.proxy_width,
        )
        return FGPObjective(fgp, encoder, archs)


class FGPObjective(Objective):
    """FGP's loss as a function of the numbers in a minibatch."""

    surrogate: Float[Tensor, "archs k"]

    def __init__(self, task: FGP, encoder: Encoder, archs: ArchBatch) -> None:
        super().__init__(encoder, archs)
        self.encoder = encoder
        self.lambda1, self.lambda2 = task.lambda1, task.lambda2 if task.proxy is not None else 0.0
        if self.lambda1:
            size = 4 * len(archs) * sum(draw.r.numel() for draw in task.draws)
            if size > _MAX_BYTES:
                raise ValueError(
                    f"the surrogates would take {size / 2**30:.0f} GiB of memory; use fewer draws or a smaller k"
                )
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
    """The loss of a head that predicts proxies from encodings, averaged over the proxies.

    Args:
        proxy: one column per proxy; NaN where unknown.
        archs: number of architectures.
        width: width of the encodings.
        kind: see ``proxy_loss`` of :class:`FGP`.
        margin: of the ranking loss.
        hidden: hidden width of the head.

    Raises:
        ValueError: ``proxy`` does not have ``archs`` rows, or a proxy is constant.
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
        self.kind, self.margin = kind, margin
        self.register_buffer("proxies", _scaled_ranks(proxy, archs), False)
        self.head = mlp(width, hidden, self.proxies.shape[1])

    def forward(self, z: Float[Tensor, "batch width"], index: Int[Tensor, " batch"]) -> Float[Tensor, ""]:
        """The loss for the encodings of the architectures at ``index``."""
        score, proxy = self.head(z), self.proxies[index]
        if self.kind == "regression":
            known = ~proxy.isnan()
            return torch.where(known, score - proxy, 0).square().sum() / known.sum().clamp(min=1)
        return pairwise_margin_loss(score.t(), proxy.t(), self.margin)


def require_proxy_loss(kind: str) -> None:
    """Raise ValueError unless ``kind`` is a known loss for proxies."""
    if kind not in get_args(ProxyLossName):
        raise ValueError(f"unknown proxy_loss {short(kind)}; known: {', '.join(get_args(ProxyLossName))}")


def count_proxies(proxy: Float[ndarray, " archs"] | Float[ndarray, "archs proxies"] | None) -> int:
    """The number of proxies; a vector is one."""
    return 0 if proxy is None else int(np.atleast_2d(np.transpose(proxy)).shape[0])


def _scaled_ranks(
    proxy: Float[ndarray, " archs"] | Float[ndarray, "archs proxies"], archs: int
) -> Float[Tensor, "archs proxies"]:
    """The ranks of each proxy, with ties equal, scaled to mean 0 and variance 1; NaN where the proxy is NaN."""
    from scipy.stats import rankdata

    columns = np.asarray(proxy, dtype=float)
    if columns.ndim not in (1, 2) or len(columns) != archs:
        raise ValueError(f"the proxy has shape {columns.shape}, but there are {archs:,} architectures")
    columns = columns.reshape(archs, -1)
    if any(len(np.unique(column[~np.isnan(column)])) < 2 for column in columns.T):
        raise ValueError("a proxy has no two different values, so it ranks nothing")
    ranks = rankdata(columns, axis=0, nan_policy="omit")
    return torch.from_numpy(((ranks - np.nanmean(ranks, axis=0)) / np.nanstd(ranks, axis=0)).astype(np.float32))
