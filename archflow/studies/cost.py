"""The remaining work of a study, and a rough estimate of its time."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from archflow.encoding.registry import seeded_encoder
from archflow.studies.protocol import AXES, VALIDATION, Run
from archflow.studies.runner import ENCODERS, Job, RunGroup, done_keys, labelled_table

RATES = {"resgatedgcn": 9000, "gin": 9000, "digcn": 9000, "mlp": 9000, "transformer": 3000, "flowerformer": 900}
"""Rough training speed of each encoder in architectures per second, at its default size on one CPU thread."""


def cost(jobs: Sequence[Job], folder: Path) -> list[dict[str, Any]]:
    """The remaining work: a dict for each space, encoder and pretext.

    Returns:
        "runs", "done" and "pretrainings" (those still to do) are counts; "hours" is an estimate for one CPU thread,
        None where the speed is unknown.
    """
    done = done_keys(folder)
    found: dict[tuple[str, ...], dict[str, Any]] = {}
    for job in jobs:
        place = {axis: getattr(job.runs[0], axis) for axis in AXES[:3] if hasattr(job.runs[0], axis)}
        row = found.setdefault(tuple(place.values()), {**place, "runs": 0, "done": 0, "pretrainings": 0, "hours": 0.0})
        left = [run for run in job.runs if run.key not in done]
        row["runs"] += len(job.runs)
        row["done"] += len(job.runs) - len(left)
        if not left:
            continue
        seconds = None
        if isinstance(job, RunGroup):
            first = job.runs[0]
            new = first.task != "none" and not (folder / ENCODERS / f"{first.encoder_key}.archflow").exists()
            row["pretrainings"] += new
            seconds = _seconds([run for run in left if isinstance(run, Run)], new)
        row["hours"] = None if seconds is None or row["hours"] is None else row["hours"] + seconds / 3600
    return list(found.values())


def _seconds(runs: Sequence[Run], pretraining: bool) -> float | None:
    """Estimated seconds on one thread for runs that share an encoder; None if its speed is unknown."""
    first = runs[0]
    if first.encoder == "none":
        return 1.0 * len(runs)
    if first.encoder not in RATES:
        return None
    rate = RATES[first.encoder] * _size(first.encoder, {}) / _size(first.encoder, first.encoder_settings)
    source = first.source
    data = labelled_table(source.table, source.column, source.pool)
    learned = 0.0
    if pretraining:
        learned += first.pretraining.epochs * len(data.pretraining_rows(first.share, first.seed, first.split))
    for run in runs:
        if run.head == "finetune":
            labelled = run.labels * data.pool if run.labels <= 1 else run.labels
            learned += 5 * run.head_settings.epochs * (labelled + VALIDATION)  # small batches take longer
    return learned / rate


def _size(name: str, settings: Any) -> float:
    made = seeded_encoder(name, ("input", "output"), 0, settings).settings
    return float(made.hidden * made.layers)
