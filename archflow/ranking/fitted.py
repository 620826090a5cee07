"""What a ranker learned, and its file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Shaped
from numpy import ndarray
from torch import Tensor

from archflow.archs.batch import ArchBatch
from archflow.benchmarks.registry import space as make_space
from archflow.benchmarks.space import Space
from archflow.encoding.base import Encoder
from archflow.encoding.files import describe, from_description
from archflow.ranking.head import Candidates, Head, named, part
from archflow.ranking.labels import contents, numbers
from archflow.ranking.registry import make_head
from archflow.ranking.sources import Columns, columns_of
from archflow.support.files import load_tensors, save_tensors

_VERSION = 2
"""Of the file; a file of another version is refused."""
_CANDIDATES = 5_000
"""So many candidates at most are handed to a head before it is fitted."""


class Labelled(NamedTuple):
    """The architectures that a ranker was fitted on, those for validation included, and their labels."""

    archs: ArchBatch
    labels: Float[ndarray, " archs"]


@dataclass(frozen=True, eq=False)
class Fitted:
    """A fitted head, and what it was fitted on.

    Attributes:
        head: the head.
        encoder: that which the head was given.
        space: the space of the architectures, where it is known.
        columns: names of the columns that the head read.
        labelled: the labelled architectures.
        seed: the head's.
    """

    head: Head
    encoder: Encoder | None
    space: Space | None
    columns: tuple[str, ...]
    labelled: Labelled
    seed: int

    def read(self, archs: ArchBatch, proxies: Any) -> Float[ndarray, "archs columns"]:
        """The same columns for other architectures.

        Raises:
            ValueError: the architectures have another vocabulary, or other columns.
        """
        archs.require_vocabulary(self.labelled.archs.vocabulary, "the ranker's")
        found = read_columns(self.head, archs, self.space, proxies)
        require_columns(found, self.columns)
        return found.values

    def keys(self, archs: ArchBatch) -> Shaped[ndarray, " archs"]:
        """Equal where two architectures are one network to their space, or are equal node by node if there is none."""
        return contents(archs) if self.space is None else self.space.keys(archs)

    def save(self, path: str | Path, provenance: dict[str, Any]) -> None:
        """Write everything to one file."""
        labelled = {**self.labelled.archs.tensors(), "labels": torch.tensor(self.labelled.labels)}
        about = {
            "version": _VERSION,
            "encoder": None if self.encoder is None else describe(self.encoder),
            "head": self.head.name,
            "settings": asdict(self.head.settings),
            "seed": self.seed,
            "losses": self.head.losses,
            "validation_taus": self.head.validation_taus,
            "space": None if self.space is None else self.space.name,
            "columns": self.columns,
            "vocabulary": self.labelled.archs.vocabulary,
            "provenance": provenance,
        }
        save_tensors(path, "ranker", {**named("head", self.head.tensors()), **named("labelled", labelled)}, about)

    @classmethod
    def load(cls, path: str | Path, device: str) -> tuple[Fitted, dict[str, Any]]:
        """What :meth:`save` wrote, and the provenance.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: the file is truncated, foreign, of another version, or does not fit together; or its encoder,
                head or space is not known here.
        """
        tensors, about = load_tensors(path, "ranker")
        if about.get("version") != _VERSION:
            raise ValueError(f"{path} was written by another version of archflow; fit the ranker again")
        try:
            labelled = part(tensors, "labelled")
            archs = ArchBatch.from_tensors(labelled, about["vocabulary"])
            # JSON has no tuples.
            settings = {name: tuple(v) if isinstance(v, list) else v for name, v in about["settings"].items()}
            head = make_head(about["head"], **settings)
            head.losses, head.validation_taus = about["losses"], about["validation_taus"]
            fitted = cls(
                head,
                None if about["encoder"] is None else from_description(about["encoder"]),
                None if about["space"] is None else make_space(about["space"]),
                tuple(about["columns"]),
                Labelled(archs, labelled["labels"].numpy()),
                about["seed"],
            )
            provenance = about["provenance"]
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"{path} is damaged ({type(error).__name__}: {error}); fit the ranker again") from None
        try:
            learned = part(tensors, "head")
            head.restore(fitted.encoder, learned, device)
            _require_alike(head.tensors(), learned)
        except (KeyError, RuntimeError, ValueError) as error:
            raise ValueError(f"the weights in {path} do not fit: {' '.join(str(error).split())}") from None
        return fitted, provenance


def read_columns(head: Head, archs: ArchBatch, space: Space | None, proxies: Any) -> Columns:
    """The columns of architectures that a head reads.

    Raises:
        ValueError: an architecture is not of the space; the proxies do not fit; or the head reads none.
    """
    if space is not None:
        archs.require_vocabulary(space.vocabulary, space.name)
    if head.reads_columns:
        return columns_of(archs, space, proxies)
    if proxies is not None:
        raise ValueError(f"the head '{head.name}' reads no proxies; the head 'gp' does")
    return Columns((), np.empty((len(archs), 0)))


def read_candidates(
    head: Head, archs: ArchBatch, space: Space | None, proxies: Any, fitted: tuple[str, ...]
) -> Candidates:
    """Some of the candidates, evenly spread, with columns that are called as those of the labelled architectures.

    Raises:
        ValueError: as :func:`read_columns`; or the columns are other ones, or not as many as candidates.
    """
    if proxies is not None:
        proxies = numbers(proxies, "candidates' proxies")
        if len(proxies) != len(archs):
            raise ValueError(f"there are {len(archs):,} candidates, but their proxies have shape {proxies.shape}")
    rows = np.unique(np.linspace(0, len(archs) - 1, min(len(archs), _CANDIDATES)).astype(np.int64))
    columns = read_columns(head, archs[rows], space, None if proxies is None else proxies[rows])
    require_columns(columns, fitted)
    return Candidates(archs[rows], columns.values)


def require_columns(found: Columns, fitted: tuple[str, ...]) -> None:
    """Raise ValueError unless columns are called as those of the labelled architectures."""
    if found.names != fitted:
        raise ValueError(
            f"these architectures have the proxies {', '.join(found.names) or 'none'}, but the labelled ones "
            f"{', '.join(fitted) or 'none'}"
        )


def _require_alike(learned: Mapping[str, Tensor], stored: Mapping[str, Tensor]) -> None:
    """Raise ValueError unless the tensors of a file are those that the head has of them, in shape and type."""
    for name, tensor in learned.items():
        if name not in stored or (stored[name].dtype, stored[name].shape) != (tensor.dtype, tensor.shape):
            there = f"{stored[name].dtype} of {tuple(stored[name].shape)}" if name in stored else "missing"
            raise ValueError(f"{name} is {there}, not {tensor.dtype} of {tuple(tensor.shape)}")
