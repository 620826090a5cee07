"""The head ``finetune``, the paper's (arXiv:2510.18360, Section 4): encoder and a small MLP, trained to order pairs.

    score  = MLP(z), z the encoding
    L      = mean over pairs of a minibatch with label_i > label_j of max(0, margin − (score_i − score_j))

AdamW on all weights, those of the encoder included. Scores are on no scale: only their order means something.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from numpy import ndarray
from torch import Tensor, nn

from archflow.archs.batch import ArchBatch
from archflow.encoding.base import Encoder
from archflow.encoding.losses import pairwise_margin_loss
from archflow.encoding.registry import encode
from archflow.ranking.head import Examples, Head
from archflow.ranking.metrics import kendall_tau
from archflow.support.devices import resolve_device, seeded
from archflow.support.progress import Progress, silent


@dataclass(frozen=True)
class FinetuneSettings:
    """Settings of fine-tuning; the defaults are the published ones for NAS-Bench-201.

    Attributes:
        epochs: how many times to go through the labelled architectures.
        batch_size: architectures in a minibatch.
        lr: AdamW's learning rate.
        margin: how far apart the scores of a pair should be.
        max_pairs: pairs of a minibatch that enter the loss; None for all. Published for other spaces: 8 × batch_size.
        clip: largest norm of the gradient.
        weight_decay: of AdamW; published as 1e-6. With 0 it is Adam.
    """

    epochs: int = 500
    batch_size: int = 16
    lr: float = 1e-3
    margin: float = 0.1
    max_pairs: int | None = None
    clip: float = 1.0
    weight_decay: float = 0.0

    def __post_init__(self) -> None:
        if self.epochs < 1 or self.batch_size < 2 or not self.lr > 0:
            raise ValueError("a ranker needs epochs ≥ 1, batch_size ≥ 2 (it learns from pairs) and lr > 0")
        if not self.weight_decay >= 0:
            raise ValueError(f"weight_decay must be at least 0, not {self.weight_decay}")


class FinetuneHead(Head):
    """Fine-tuning; with validation labels, the weights of the epoch with the best τ on them are kept."""

    name = "finetune"
    Settings = FinetuneSettings
    needs_encoder = True
    needs_validation = True
    reads_columns = False
    settings: FinetuneSettings

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
        """Train a copy of the encoder, see :meth:`Head.fit`.

        Raises:
            ValueError: the architectures have another vocabulary, or the loss is no longer finite.
        """
        assert encoder is not None
        if validation is not None:
            encoder.prepare(validation.archs)
        encoder.prepare(archs)
        place, settings = resolve_device(device), self.settings
        with seeded(seed), encoder.threads(archs, settings.batch_size):
            model = Scorer(copy.deepcopy(encoder)).to(place).train()
            generator = torch.Generator().manual_seed(seed)
            optimizer = torch.optim.AdamW(
                model.parameters(), lr=settings.lr, weight_decay=settings.weight_decay, fused=True
            )
            ranks = torch.from_numpy(np.unique(labels, return_inverse=True)[1]).to(place)
            best = -np.inf, model.state_dict()
            for epoch in range(settings.epochs):
                total, batches = 0.0, torch.randperm(len(archs), generator=generator).split(settings.batch_size)
                for batch in batches:
                    loss = pairwise_margin_loss(
                        model(archs[batch.numpy()]), ranks[batch], settings.margin, settings.max_pairs, generator
                    )
                    optimizer.zero_grad()
                    loss.backward()
                    nn.utils.clip_grad_norm_(model.parameters(), settings.clip)
                    optimizer.step()
                    total += loss.item()
                self.losses.append(total / len(batches))
                if not np.isfinite(total):
                    raise ValueError(f"fine-tuning diverged in epoch {epoch + 1}; try a smaller lr")
                if validation is not None:
                    tau = kendall_tau(validation.labels, model.scores(validation.archs))
                    self.validation_taus.append(tau)
                    if tau > best[0]:
                        best = tau, copy.deepcopy(model.state_dict())
                progress("fine-tuning", epoch + 1, settings.epochs)
            if validation is not None:
                model.load_state_dict(best[1])
        self.model = model

    def predict(
        self, archs: ArchBatch, columns: Float[ndarray, "archs columns"]
    ) -> tuple[Float[ndarray, " archs"], None]:
        """Scores, float32, and None.

        Raises:
            ValueError: the architectures have another vocabulary.
        """
        return self.model.scores(archs), None

    def tensors(self) -> dict[str, Tensor]:
        """The weights of encoder and MLP."""
        return dict(self.model.state_dict())

    def restore(self, encoder: Encoder | None, tensors: Mapping[str, Tensor], device: str = "auto") -> None:
        """The inverse of :meth:`tensors`; the encoder becomes the fine-tuned one."""
        assert encoder is not None
        self.model = Scorer(encoder).to(resolve_device(device))
        self.model.load_state_dict(tensors)


class Scorer(nn.Module):
    """An encoder with an MLP that turns a vector into a score."""

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = nn.Sequential(nn.Linear(encoder.width, encoder.width), nn.ReLU(), nn.Linear(encoder.width, 1))

    def forward(self, archs: ArchBatch) -> Float[Tensor, " archs"]:
        """Scores, with gradients."""
        score: Tensor = self.head(self.encoder(archs))[:, 0]
        return score

    @torch.no_grad()
    def scores(self, archs: ArchBatch) -> Float[ndarray, " archs"]:
        """Scores of any number of architectures in evaluation mode, float32."""
        scores: ndarray = self.head(encode(self.encoder, archs))[:, 0].cpu().numpy()
        return scores
