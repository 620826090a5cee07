"""Deep kernel learning: an encoder trained by the marginal likelihood of the process that reads its embedding."""

from __future__ import annotations

import copy

import torch
from jaxtyping import Float, Int
from numpy import ndarray
from torch import Tensor

from archflow.archs.batch import ArchBatch
from archflow.encoding.base import Encoder
from archflow.encoding.registry import encode
from archflow.ranking.columns import Blocks, normal_scores
from archflow.ranking.gp import GaussianProcess, Hyperparameters, distances, log_marginal_likelihood, log_prior

STEPS = 40


def tuned(
    model: Encoder,
    archs: ArchBatch,
    blocks: Blocks,
    known: Int[ndarray, " n"],
    labels: Float[ndarray, " n"],
    rate: float,
) -> Encoder:
    """A copy of an encoder, trained by the marginal likelihood of the process with all blocks and its embedding."""
    model = copy.deepcopy(model).train()
    head = GaussianProcess()
    embedding = encode(model, archs).double()
    mean, std = embedding.mean(0), embedding.std(0).clamp(min=1e-6)
    first = {**blocks, "embedding": embedding.numpy()}
    head.fit({name: columns[known] for name, columns in first.items()}, labels, first)
    names, y, few = list(head.columns.scalings), torch.from_numpy(normal_scores(labels)), archs[known]
    log_theta = [value.log().requires_grad_() for value in head.theta]
    groups = [{"params": list(model.parameters()), "lr": rate}, {"params": log_theta, "lr": 0.02}]
    optimiser = torch.optim.Adam(groups)
    for _ in range(STEPS):
        z = (model(few).double() - mean) / std
        X = [z if block == "embedding" else x for block, x in zip(names, head.X, strict=True)]
        r = torch.stack([safe_distances(x) for x in X])
        theta = Hyperparameters(*(value.exp() for value in log_theta))
        loss = -log_marginal_likelihood(r, y, theta, head.settings.kernel) - log_prior(theta, head.settings)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return model.eval()


def safe_distances(x: Float[Tensor, "n width"]) -> Float[Tensor, "n n"]:
    """Distances whose gradient is finite where they are 0."""
    if not x.requires_grad:
        return distances([x], [x])[0]
    return ((x[:, None] - x[None]).square().mean(-1) + 1e-12).sqrt()
