"""One run of a study, and how runs that share a pre-training are made together."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields
from functools import cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
from filelock import FileLock
from jaxtyping import Int
from numpy import ndarray

from archflow.archs.batch import ArchBatch
from archflow.benchmarks.registry import Space
from archflow.benchmarks.table import Table, table
from archflow.encoding.base import Encoder
from archflow.encoding.registry import load_encoder, save_encoder
from archflow.pretraining.loop import fingerprint
from archflow.studies.evaluate import (
    VALIDATION,
    Split,
    default_pool,
    new_encoder,
    permuted,
    pretrain_task,
    proxy_column,
    split,
    tested,
    versions,
)
from archflow.studies.lines import append, read
from archflow.support.progress import Progress, silent


@dataclass(frozen=True)
class Place:
    """A place in a grid.

    Attributes:
        space: name of the space.
        encoder: name of the encoder.
        pretext: how the study calls its pre-training.
        labels: how many of the pool are labelled, see :func:`archflow.studies.evaluate.split`.
        share: how much of the space is pre-trained on, or "pool", the training pool of the split.
        seed: fixes the first weights, the draw and all orders.
        split: number of the permutation.
    """

    space: str
    encoder: str
    pretext: str
    labels: float
    share: float | Literal["pool"]
    seed: int
    split: int


AXES = tuple(axis.name for axis in fields(Place))
"""What a grid varies; a line of results has each of them."""


@dataclass(frozen=True)
class Cell(Place):
    """One run: an encoder, pre-trained or not, fine-tuned on the labels of a split and tested on the rest.

    Attributes:
        table: name of the table with the accuracies.
        data: digest of its architectures and accuracies.
        encoder_settings: keyword arguments of the encoder.
        task: name of the pre-training task, or "none".
        task_settings: its keyword arguments.
        proxy: see :func:`archflow.studies.evaluate.proxy_column`.
        code: digest of the files with the encoder and the task, where they are a person's own.
        pretraining: keyword arguments of :func:`archflow.pretrain`.
        fine_tuning: keyword arguments of :class:`archflow.Ranker`.
    """

    table: str
    data: str
    encoder_settings: dict[str, Any] = field(default_factory=dict)
    task: str = "none"
    task_settings: dict[str, Any] = field(default_factory=dict)
    proxy: str = "none"
    code: str = ""
    pretraining: dict[str, Any] = field(default_factory=dict)
    fine_tuning: dict[str, Any] = field(default_factory=dict)

    def pretrained(self) -> dict[str, Any]:
        """The settings on which the pre-trained encoder depends."""
        mine = {name: value for name, value in asdict(self).items() if name not in ("pretext", "labels", "fine_tuning")}
        if self.share != "pool":
            del mine["split"]
        if not self.code:
            del mine["code"]
        if self.task == "none":
            for name in ("task_settings", "proxy", "pretraining", "share"):
                del mine[name]
        return mine

    @property
    def encoder_key(self) -> str:
        """A digest of :meth:`pretrained`."""
        return digest(self.pretrained())

    @property
    def key(self) -> str:
        """A digest of all settings on which the result depends."""
        return digest({**self.pretrained(), "labels": self.labels, "split": self.split, "tuning": self.fine_tuning})


@dataclass(frozen=True)
class Group:
    """Cells that begin with the same encoder, and where their results go."""

    cells: Sequence[Cell]
    folder: Path
    device: str


def run_group(group: Group, wait: bool, progress: Progress = silent) -> list[tuple[Cell, Exception]]:
    """Pre-train an encoder unless that is done, then make the runs that are not done yet, each to a line.

    A pre-training that was killed goes on from its last checkpoint.

    Args:
        group: the runs.
        wait: for the same group if another process is at work on it.
        progress: told how many of the runs are done.

    Returns:
        The runs that failed, and why; the others are made all the same.

    Raises:
        filelock.Timeout: another process is at work on the group, and is not waited for.
        ValueError: the table is not what it was when the runs were planned.
    """
    failed: list[tuple[Cell, Exception]] = []
    first = group.cells[0]
    encoders = group.folder / "encoders"
    encoders.mkdir(parents=True, exist_ok=True)
    with FileLock(encoders / f"{first.encoder_key}.lock", blocking=wait):  # a process that dies lets go of it
        done = {line["key"] for line in read(group.folder)}
        todo = [cell for cell in group.cells if cell.key not in done]
        if not todo:
            return failed
        known = known_table(first.table)
        if fingerprint_of(first.table, first.space) != first.data:
            raise ValueError(f"the table {first.table} was added anew since this began; begin again")
        ready = []
        for cell in todo:
            try:
                ready.append((cell, the_split(known, cell.labels, cell.split)))
            except ValueError as error:  # so few labels are too few
                failed.append((cell, error))
        if not ready:
            return failed
        model, seconds = _encoder(first, known, encoders / f"{first.encoder_key}.archflow", group.device, progress)
        for number, (cell, part) in enumerate(ready, start=1):
            try:
                accuracy = known[known.default]
                found = tested(model, known.archs, accuracy, part, cell.seed, group.device, cell.fine_tuning)
            except Exception as error:
                failed.append((cell, error))
            else:
                append(group.folder, _line(cell, found, seconds, group.device))
            progress("fine-tuning", number, len(ready))
    return failed


RATES = {"resgatedgcn": 9000, "gin": 9000, "digcn": 9000, "mlp": 9000, "transformer": 3000, "flowerformer": 900}
"""About how many architectures a second each encoder learns from on one thread of a CPU, at its usual size."""


def guess(cells: Sequence[Cell], pretraining: bool) -> float | None:
    """About how many seconds runs of one encoder take on one thread; None if the encoder's speed is not known."""
    first = cells[0]
    if first.encoder not in RATES:
        return None
    rate = RATES[first.encoder] * _size(first.encoder, {}) / _size(first.encoder, first.encoder_settings)
    known = known_table(first.table)
    pool = _pool(known)
    learned = pretraining * first.pretraining["epochs"] * len(_pretrained_on(known, first))
    for cell in cells:
        labelled = cell.labels * pool if cell.labels <= 1 else cell.labels
        learned += 5 * cell.fine_tuning.get("epochs", 500) * (labelled + VALIDATION)  # small batches take longer
    return learned / rate


def _size(name: str, settings: dict[str, Any]) -> float:
    made = new_encoder(name, ("input", "output"), 0, settings).settings
    return made["hidden"] * made["layers"]


def fingerprint_of(name: str, space: str) -> str:
    """A digest of a table's architectures and accuracies.

    Raises:
        ValueError: there is no such table, it is of another space, or it does not say which column is the accuracy.
        ModuleNotFoundError: the package that ships it is not installed.
    """
    found = known_table(name)
    if found.space.name != space:
        raise ValueError(f"the table {name} is of the space {found.space.name}, not of {space}")
    if not found.default:
        raise ValueError(f"the table {name} does not say which of its columns is the accuracy; add it with --column")
    return fingerprint(found.archs, [found[found.default]])


def the_split(known: Table, labels: float, number: int) -> Split:
    """A split of the architectures whose accuracy is known, as in :func:`archflow.studies.evaluate.evaluate`."""
    rows = _labelled(known)
    return Split(*(rows[part] for part in split(len(rows), _pool(known), labels, number)))


def _labelled(known: Table) -> Int[ndarray, " labelled"]:
    """The architectures whose accuracy is known."""
    return np.flatnonzero(~np.isnan(known[known.default]))


def _pool(known: Table) -> int:
    return default_pool(known.space.name, len(_labelled(known)))


def _encoder(first: Cell, known: Table, file: Path, device: str, progress: Progress) -> tuple[Encoder, float]:
    """The encoder of a group, and the seconds that its pre-training took."""
    model = new_encoder(first.encoder, known.archs.vocabulary, first.seed, first.encoder_settings)
    if first.task == "none":
        return model, 0.0
    if file.exists():
        kept, provenance = load_encoder(file)
        return kept, provenance["seconds"]
    proxy = proxy_column(known, first.proxy)
    rows = _pretrained_on(known, first)
    unfinished = file.with_suffix(".partial")
    outcome = pretrain_task(
        first.task,
        model,
        known.space,
        known.archs[rows],
        None if proxy is None else proxy[rows],
        first.seed,
        first.task_settings,
        **{"device": device, "progress": progress, "checkpoint": unfinished, "resume": True, **first.pretraining},
    )
    save_encoder(
        model,
        file,
        space=first.space,
        proxy=first.proxy,
        pretraining=outcome.settings,
        losses=outcome.losses,
        seconds=outcome.seconds,
    )
    unfinished.unlink(missing_ok=True)
    return model, outcome.seconds


def _pretrained_on(known: Table, cell: Cell) -> Int[ndarray, " learned"]:
    """Which architectures of the table the encoder learns from, in rising order."""
    if cell.share == "pool":
        rows = _labelled(known)
        return np.sort(rows[permuted(len(rows), cell.split)[: _pool(known)]])
    # Not the permutation of a split, which would pre-train on all that is labelled and nothing that is tested.
    order = np.random.default_rng([cell.seed, 1]).permutation(len(known))
    return np.sort(order[: round(cell.share * len(known))])


def _line(cell: Cell, found: dict[str, Any], pretrain_seconds: float, device: str) -> dict[str, Any]:
    settings = {name.name: getattr(cell, name.name) for name in fields(cell) if name.name not in AXES}
    return {
        **{name: getattr(cell, name) for name in AXES},
        **{name: value for name, value in found.items() if not name.endswith("_seconds")},
        "seconds": found["finetune_seconds"] + found["predict_seconds"],
        "pretrain_seconds": pretrain_seconds,
        "device": device,
        "settings": settings,
        "versions": versions(),
        "key": cell.key,
    }


def digest(settings: dict[str, Any]) -> str:
    """Sixteen hexadecimal digits that stand for settings, whatever their order."""
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:16]


def all_or_some(space: Space, most: int, seed: int) -> ArchBatch:
    """All architectures of a space, or so many at random where there are more, or nobody has counted them."""
    return space.enumerate() if (space.size or most + 1) <= most else space.sample(most, seed)


@cache
def known_table(name: str) -> Table:
    """A table, which is read once; ``known_table.cache_clear()`` where it may have been added anew."""
    return table(name)
