"""The pairwise ranking loss, and the MLP head for losses."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn


def pairwise_margin_loss(
    score: Float[Tensor, "*lists archs"],
    target: Float[Tensor, "*lists archs"],
    margin: float = 0.1,
    max_pairs: int | None = None,
    generator: torch.Generator | None = None,
) -> Float[Tensor, ""]:
    """Mean over pairs with target_i > target_j of max(0, margin − (score_i − score_j)); 0 if there is no such pair.

    Args:
        score: predictions, in one list or several, whose losses are averaged.
        target: the values by which the predictions should be ordered.
        margin: how far apart a pair's scores should be; 0.1 is the usual value.
        max_pairs: if there are more pairs, this many are drawn at random from ``generator``.
        generator: a CPU generator; torch's own if None.
    """
    pairs: Bool[Tensor, "*lists archs archs"] = target[..., :, None] > target[..., None, :]
    if max_pairs is not None:
        flat = pairs.flatten().nonzero()[:, 0]
        if len(flat) > max_pairs:
            drawn = flat[torch.randperm(len(flat), generator=generator)[:max_pairs].to(flat.device)]
            pairs = torch.zeros_like(pairs).flatten().index_fill_(0, drawn, True).view_as(pairs)
    short = torch.relu(score[..., None, :] - (score[..., :, None] - margin))
    return ((short * pairs).sum((-2, -1)) / pairs.sum((-2, -1)).clamp(min=1)).mean()


def mlp(inputs: int, hidden: int, outputs: int) -> nn.Sequential:
    """A multilayer perceptron with one hidden layer."""
    return nn.Sequential(nn.Linear(inputs, hidden), nn.ReLU(), nn.Linear(hidden, outputs))
