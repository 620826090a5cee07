"""Fine-tuning an encoder on a few labelled architectures, and ranking all others with it."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numpy import ndarray
from torch import Tensor, nn

from archflow.archs.batch import ArchBatch
from archflow.encoding.base import Encoder
from archflow.encoding.files import describe, from_description, load_weights
from archflow.encoding.losses import pairwise_margin_loss
from archflow.encoding.registry import encode
from archflow.ranking.metrics import kendall_tau
from archflow.support.devices import resolve_device, seeded
from archflow.support.files import load_tensors, save_tensors
from archflow.support.progress import Progress, silent


class Ranker:
    """Scores architectures so that better ones score higher; the feel of a scikit-learn regressor.

    ``fit`` leaves the encoder that it is given as it was and trains a copy, so one pre-trained encoder serves many
    rankers. The defaults are METHOD's settings for NAS-Bench-201.

    Args:
        encoder: pre-trained or not.
        epochs: how many times to go through the labelled architectures.
        batch_size: architectures in a minibatch.
        lr: Adam's learning rate.
        margin: how far apart the scores of a pair should be.
        max_pairs: pairs of a minibatch that enter the loss; None for all, 8 × batch_size is METHOD's for other spaces.
        clip: largest norm of the gradient.
        seed: fixes the head's first weights, the order of the minibatches, and what dropout drops.
        device: "cpu", "cuda", …, or "auto".

    Attributes:
        losses: mean loss of each epoch of the last ``fit``.
        validation_taus: Kendall's τ on the validation architectures after each epoch, empty if there were none.
        provenance: what was kept with a loaded ranker.
    """

    def __init__(
        self,
        encoder: Encoder,
        *,
        epochs: int = 500,
        batch_size: int = 16,
        lr: float = 1e-3,
        margin: float = 0.1,
        max_pairs: int | None = None,
        clip: float = 1.0,
        seed: int = 0,
        device: str = "auto",
    ) -> None:
        if epochs < 1 or batch_size < 2 or not lr > 0:
            raise ValueError("a ranker needs epochs ≥ 1, batch_size ≥ 2 (it learns from pairs) and lr > 0")
        self.encoder = encoder
        self.settings: dict[str, Any] = {
            **{"epochs": epochs, "batch_size": batch_size, "lr": lr, "margin": margin, "max_pairs": max_pairs},
            **{"clip": clip, "seed": seed},
        }
        self.device = device
        self.losses: list[float] = []
        self.validation_taus: list[float] = []
        self.provenance: dict[str, Any] = {}
        self._model: _Scorer | None = None

    def fit(
        self,
        archs: ArchBatch,
        accuracy: Float[ndarray, " archs"],
        validation: tuple[ArchBatch, Float[ndarray, " others"]] | None = None,
        progress: Progress = silent,
    ) -> Ranker:
        """Learn to order the labelled architectures.

        Args:
            archs: the labelled architectures.
            accuracy: for each of them a number, higher is better.
            validation: other labelled architectures; the weights of the epoch with the best τ on them are kept. Without
                them, those of the last epoch.
            progress: told how many epochs are done.

        Raises:
            ValueError: fewer than two labels, a NaN, another length, all labels equal, or another vocabulary.
        """
        labels = check_labels(archs, accuracy, "labels")
        if validation is not None:
            check_labels(*validation, "validation labels")
            self.encoder.prepare(validation[0])
        self.encoder.prepare(archs)
        device, settings = resolve_device(self.device), self.settings
        with seeded(settings["seed"]):
            model = _Scorer(copy.deepcopy(self.encoder)).to(device).train()
            generator = torch.Generator().manual_seed(settings["seed"])
            optimizer = torch.optim.Adam(model.parameters(), lr=settings["lr"], fused=True)
            ranks = torch.from_numpy(np.unique(labels, return_inverse=True)[1]).to(device)
            self.losses, self.validation_taus, best = [], [], (-np.inf, model.state_dict())
            for epoch in range(settings["epochs"]):
                total, batches = 0.0, torch.randperm(len(archs), generator=generator).split(settings["batch_size"])
                for batch in batches:
                    loss = pairwise_margin_loss(
                        model(archs[batch.numpy()]), ranks[batch], settings["margin"], settings["max_pairs"], generator
                    )
                    optimizer.zero_grad()
                    loss.backward()
                    nn.utils.clip_grad_norm_(model.parameters(), settings["clip"])
                    optimizer.step()
                    total += loss.item()
                self.losses.append(total / len(batches))
                if not np.isfinite(total):
                    raise ValueError(f"fine-tuning diverged in epoch {epoch + 1}; try a smaller lr")
                if validation is not None:
                    tau = kendall_tau(validation[1], model.scores(validation[0]))
                    self.validation_taus.append(tau)
                    if tau > best[0]:
                        best = tau, copy.deepcopy(model.state_dict())
                progress("fine-tuning", epoch + 1, settings["epochs"])
            if validation is not None:
                model.load_state_dict(best[1])
        self._model = model
        return self

    def predict(self, archs: ArchBatch) -> Float[ndarray, " archs"]:
        """A score for each architecture, float32; higher is better.

        Raises:
            ValueError: the ranker was not fitted, or the architectures have another vocabulary.
        """
        return self._fitted().scores(archs)

    def score(self, archs: ArchBatch, accuracy: Float[ndarray, " archs"]) -> float:
        """Kendall's τ of the predictions with the true accuracies."""
        return kendall_tau(accuracy, self.predict(archs))

    def save(self, path: str | Path, **provenance: Any) -> None:
        """Write the fitted ranker to one file; ``provenance`` (JSON-able) is kept with it."""
        model = self._fitted()
        curves = {"losses": self.losses, "validation_taus": self.validation_taus}
        settings = {"encoder": describe(model.encoder), "ranker": self.settings, **curves, "provenance": provenance}
        save_tensors(path, "ranker", model.state_dict(), settings)

    @classmethod
    def load(cls, path: str | Path, device: str = "auto") -> Ranker:
        """A ranker written by :meth:`save`.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: the file is truncated, foreign, or does not fit together.
        """
        tensors, settings = load_tensors(path, "ranker")
        ranker = cls(from_description(settings["encoder"]), **settings["ranker"], device=device)
        ranker.losses, ranker.validation_taus = settings["losses"], settings["validation_taus"]
        ranker.provenance = settings["provenance"]
        ranker._model = _Scorer(ranker.encoder).to(resolve_device(device))
        load_weights(ranker._model, tensors, path)
        return ranker

    def _fitted(self) -> _Scorer:
        if self._model is None:
            raise ValueError("this ranker has not been fitted yet")
        return self._model


class _Scorer(nn.Module):
    """An encoder with a head that turns a vector into a score."""

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = nn.Sequential(nn.Linear(encoder.width, encoder.width), nn.ReLU(), nn.Linear(encoder.width, 1))

    def forward(self, archs: ArchBatch) -> Float[Tensor, " archs"]:
        score: Tensor = self.head(self.encoder(archs))[:, 0]
        return score

    @torch.no_grad()
    def scores(self, archs: ArchBatch) -> Float[ndarray, " archs"]:
        scores: ndarray = self.head(encode(self.encoder, archs))[:, 0].cpu().numpy()
        return scores


def check_labels(archs: ArchBatch, labels: Float[ndarray, " archs"], what: str) -> Float[ndarray, " archs"]:
    """The labels as float64, if they can teach a ranking of the architectures.

    Raises:
        ValueError: another length than the architectures, fewer than two, a NaN or infinity, or all equal.
    """
    labels = np.asarray(labels, dtype=float)
    if labels.shape != (len(archs),):
        raise ValueError(f"there are {len(archs):,} architectures, but the {what} have shape {labels.shape}")
    if len(labels) < 2:
        raise ValueError(f"a ranking needs at least two {what}, not {len(labels)}")
    if not np.isfinite(labels).all():
        raise ValueError(
            f"the {what} contain NaN or infinity (the first at number {1 + int(np.argmin(np.isfinite(labels)))})"
        )
    if (labels == labels[0]).all():
        raise ValueError(f"all {what} are equal, so there is nothing to rank")
    return labels
