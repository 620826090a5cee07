"""What every head is: it learns from a few labels, and then scores any architecture.

A head reads what a :class:`~archflow.ranking.ranker.Ranker` hands it: an encoder, the architectures, and columns of
numbers that are known of each of them, such as zero-cost proxies.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray
from torch import Tensor

from archflow.archs.batch import ArchBatch
from archflow.encoding.base import Encoder
from archflow.support.progress import Progress, silent


class Examples(NamedTuple):
    """Labelled architectures.

    Attributes:
        archs: the architectures, no one twice.
        columns: numbers known of each; maybe no column; NaN where unknown.
        labels: finite, not all equal; higher is better.
    """

    archs: ArchBatch
    columns: Float[ndarray, "archs columns"]
    labels: Float[ndarray, " archs"]


class Candidates(NamedTuple):
    """Some of the architectures that are to be ranked, without labels.

    Attributes:
        archs: the architectures.
        columns: numbers known of each, the same as of the labelled ones.
    """

    archs: ArchBatch
    columns: Float[ndarray, "archs columns"]


class Head:
    """The parent of every head. A ranker fits a copy of the head that it was given, so :meth:`fit` is called once.

    Attributes:
        name: what ``archflow.Ranker(encoder, head=…)`` calls it.
        Settings: a frozen dataclass of its settings, all with defaults; numbers, strings and tuples of them.
        needs_encoder: whether it cannot do without an encoder.
        needs_validation: whether it has a use for validation labels apart from the others. Otherwise a ranker lets it
            fit to all labels.
        reads_columns: whether it reads columns; a ranker does not fetch them for nothing.
        candidates: some of those that are to be ranked, if a ranker knows any before :meth:`fit`. A head may scale
            columns among them.
        losses: the loss of each epoch, where it learns in epochs.
        validation_taus: Kendall's τ on the validation architectures after each epoch, likewise.
    """

    name: ClassVar[str]
    Settings: ClassVar[type]
    needs_encoder: ClassVar[bool] = False
    needs_validation: ClassVar[bool] = False
    reads_columns: ClassVar[bool] = True

    def __init__(self, settings: Any = None) -> None:
        self.settings = self.Settings() if settings is None else settings
        self.candidates: Candidates | None = None
        self.losses: list[float] = []
        self.validation_taus: list[float] = []

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
        """Learn from labelled architectures, see :class:`Examples`; the same for the same seed.

        Args:
            encoder: it stays as it is, in weights and mode; None only where the head does not need one.
            archs: the labelled architectures.
            columns: numbers known of each of them.
            labels: their labels.
            validation: further ones, only where ``needs_validation``.
            seed: fixes whatever is random; the generators of the caller are left alone.
            device: where an encoder computes.
            progress: told how much is done.

        Raises:
            ValueError: the labels cannot be learned from, or the architectures have another vocabulary.
        """
        raise NotImplementedError

    def predict(
        self, archs: ArchBatch, columns: Float[ndarray, "archs columns"]
    ) -> tuple[Float[ndarray, " archs"], Float[ndarray, " archs"] | None]:
        """A score for each architecture, higher is better, and its standard deviation, None where that is unknown.

        There may be many more architectures than fit in memory with all that is derived of them.
        """
        raise NotImplementedError

    def intervals(
        self, archs: ArchBatch, columns: Float[ndarray, "archs columns"], level: float
    ) -> Float[ndarray, "archs 2"]:
        """Between which two values the label of each architecture lies with probability ``level``.

        Raises:
            ValueError: the head does not know.
        """
        raise ValueError(f"the head '{self.name}' does not say how sure it is; the head 'gp' does")

    def choose(self, archs: ArchBatch, columns: Float[ndarray, "archs columns"], n: int) -> Int[ndarray, " n"]:
        """Which ``n`` of the architectures to label next, the first first: those with the highest score by default."""
        return np.argsort(-self.predict(archs, columns)[0], kind="stable")[:n]

    def tensors(self) -> dict[str, Tensor]:
        """All that was learned, the encoder's weights included, as named tensors for a file."""
        raise NotImplementedError

    def restore(self, encoder: Encoder | None, tensors: Mapping[str, Tensor], device: str = "auto") -> None:
        """The inverse of :meth:`tensors`.

        Args:
            encoder: one like that which the head was fitted with, whose weights are to be replaced.
            tensors: what :meth:`tensors` gave.
            device: where the encoder shall compute.

        Raises:
            KeyError, RuntimeError, ValueError: the tensors do not fit the settings, or the encoder.
        """
        raise NotImplementedError


def named(part: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors under names that begin with that of the part of a head, or of a file, which they belong to."""
    return {f"{part}.{name}": tensor for name, tensor in tensors.items()}


def part(tensors: Mapping[str, Tensor], part: str) -> dict[str, Tensor]:
    """The inverse of :func:`named`: the tensors of one part."""
    return {name.removeprefix(f"{part}."): each for name, each in tensors.items() if name.startswith(f"{part}.")}
