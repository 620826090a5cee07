"""A zero-cost proxy alone: learn to rank architectures by it. It is FGP without the reconstruction."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from numpy import ndarray
from torch import Tensor, nn

from archflow.archs.batch import ArchBatch
from archflow.encoding.base import Encoder
from archflow.pretraining.fgp import ProxyLoss, ProxyLossName, count_proxies


@dataclass(frozen=True, eq=False)
class ZeroCost:
    """The pre-training task.

    Attributes:
        proxy: a zero-cost proxy for each architecture that will be pre-trained on, (archs,), or several,
            (archs, proxies), whose losses are averaged; NaN where unknown.
        proxy_loss: "ranking", as published: the pairwise margin ranking loss. "regression": the squared error of ranks,
            scaled to variance 1.
        margin: of the ranking loss.
        proxy_width: hidden width of the head, an MLP with one hidden layer.
    """

    proxy: Float[ndarray, " archs"] | Float[ndarray, "archs proxies"]
    proxy_loss: ProxyLossName = "ranking"
    margin: float = 1.0
    proxy_width: int = 64

    def build(self, encoder: Encoder, archs: ArchBatch) -> ZeroCostObjective:
        """The encoder with a head and the proxy of all architectures.

        Raises:
            ValueError: the proxy has another length than the architectures or no two different values, or
                ``proxy_loss`` is unknown.
        """
        return ZeroCostObjective(self, encoder, archs)

    def describe(self) -> dict[str, Any]:
        """The settings, JSON-able; the arrays are left out."""
        settings = {name: getattr(self, name) for name in ("proxy_loss", "margin", "proxy_width")}
        return {"task": "zero-cost", "proxies": count_proxies(self.proxy), **settings}


class ZeroCostObjective(nn.Module):
    """The loss as a function of which architectures are in the minibatch."""

    def __init__(self, task: ZeroCost, encoder: Encoder, archs: ArchBatch) -> None:
        super().__init__()
        self.encoder, self.archs = encoder, archs
        encoder.prepare(archs)
        self.proxy_loss = ProxyLoss(
            task.proxy, len(archs), encoder.width, task.proxy_loss, task.margin, task.proxy_width
        )

    def forward(self, chosen: Int[ndarray, " batch"]) -> dict[str, Tensor]:
        """The one term of the loss on the chosen architectures, by name."""
        z = self.encoder(self.archs[chosen])
        return {"proxies": self.proxy_loss(z, torch.from_numpy(chosen).to(z.device))}
