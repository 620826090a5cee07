"""Compare methods on one table: a study of one grid, on any table of a user's own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

from archflow.benchmarks.table import Table
from archflow.encoding.registry import seeded_encoder
from archflow.pretraining.loop import PretrainSettings
from archflow.pretraining.registry import make_task
from archflow.ranking.finetune import FinetuneSettings
from archflow.studies.grids import configured, proxies_at, require_size
from archflow.studies.lines import read
from archflow.studies.methods import method, pretext
from archflow.studies.protocol import GridPoint, LabelledTable, Run
from archflow.studies.reproduce import grouped
from archflow.studies.runner import Outcome, make_all
from archflow.studies.tables import gains_table, ranking_table
from archflow.support.devices import resolve_device
from archflow.support.files import write_atomically
from archflow.support.progress import Progress, silent

DEFAULT_METHODS = ("none", "fgp")


def evaluate(
    table: Table,
    columns: Sequence[str] = (),
    *,
    labels: Sequence[float] = (0.01,),
    methods: Sequence[str] = DEFAULT_METHODS,
    seeds: int = 3,
    splits: int = 3,
    first_seed: int = 0,
    pool: int | None = None,
    encoder: str = "resgatedgcn",
    encoder_settings: Mapping[str, Any] | None = None,
    proxies: str = "closed-form",
    task_settings: Mapping[str, Mapping[str, Any]] | None = None,
    pretraining: PretrainSettings | None = None,
    finetuning: FinetuneSettings | None = None,
    device: str = "auto",
    out: str | Path = "evaluate",
    progress: Progress = silent,
) -> Outcome:
    """Compare methods on a table; every run is one line in the folder of the results.

    For each seed the encoder is made and, as the method says, pre-trained on all architectures of the table; for each
    split a head is then fitted and tested. Architectures without a number in a column are pre-trained on like all
    others, but are in no split of it. The folder is that of a study, see :mod:`archflow.studies.reproduce`: the same
    call goes on where an earlier one was stopped, and runs with other settings are further lines.

    Args:
        table: architectures with accuracies.
        columns: columns of accuracies, each evaluated by itself, from the same pre-trained encoders; the table's
            default if empty.
        labels: how many of the pool are labelled, each a share if at most 1, else a number.
        methods: see :func:`archflow.studies.methods.method`.
        seeds: how many; a seed fixes the first weights, the flow draw and all orders.
        splits: how many splits for each seed.
        first_seed: seeds are counted from here.
        pool: size of the training pool; the published one of the space if None.
        encoder: the encoder's name.
        encoder_settings: its keyword arguments.
        proxies: names of proxies, see :func:`archflow.zero_cost.columns.proxy_values`.
        task_settings: for a pretext task's name its keyword arguments; for FGP "k", "std", "draws" and "draw_seed" of
            the flow draw, too.
        pretraining: settings of the pre-training, the published ones if None; its seed is not used.
        finetuning: settings of the fine-tuning, the published ones of NAS-Bench-201 if None.
        device: "cpu", "cuda", …, or "auto".
        out: the folder.
        progress: told how much is done of each phase, and of the runs.

    Returns:
        The lines of all runs, with their table.

    Raises:
        ValueError: an unknown method, encoder, setting, proxy or column, accuracies that cannot be ranked, or a table
            that is too small.
        OSError: the folder cannot be written.
    """
    if seeds < 1 or splits < 1:
        raise ValueError("seeds and splits must be at least 1")
    require_size(seeds, splits, len(methods), len(labels), len(columns or [""]))
    if not methods or not labels:
        raise ValueError("no method is named" if not methods else "it is not said how many are labelled")
    device = str(resolve_device(device))
    task_settings = task_settings or {}
    compared = list(dict.fromkeys(method(name) for name in methods))
    tasks = [pretext(each.pretext).task for each in compared]
    if not task_settings.keys() <= set(tasks):
        others = ", ".join(sorted(task_settings.keys() - set(tasks)))
        raise ValueError(f"there are settings for {others}, which is not compared")
    data = [LabelledTable(table, column, pool) for column in dict.fromkeys(columns or [table.default])]
    for each in data:
        for share in labels:
            each.split(share, 0)  # raises if the table is too small
    seeded_encoder(encoder, table.archs.vocabulary, first_seed, encoder_settings or {})
    space = table.space
    runs: list[Run] = []
    for (pretext_name, head, has_encoder), task in zip(compared, tasks, strict=True):
        settings = {**pretext(pretext_name).settings, **task_settings.get(task, {})}
        first = GridPoint(
            space.name,
            encoder if has_encoder else "none",
            pretext_name,
            head,
            labels=labels[0],
            share=1.0,
            seed=first_seed,
            split=0,
        )
        names = proxies_at(first, space, proxies)
        values = data[0].proxies(names.proxies)  # raises if one is unknown
        data[0].proxies(names.head_proxies)
        if task != "none":  # raises if a setting is unknown
            make_task(task, space.name, table.archs, values, first_seed, settings)
        grid = product(range(first_seed, first_seed + seeds), data, labels, range(splits))
        runs += [
            configured(
                replace(first, seed=seed, labels=float(share), split=number),
                its.source(*names),
                space,
                encoder_settings=encoder_settings or {},
                task=task,
                task_settings=settings,
                pretraining=pretraining or PretrainSettings(),
                finetuning=finetuning or FinetuneSettings(),
            )
            for seed, its, share, number in grid
        ]
    folder = Path(out)
    failures = make_all(grouped(runs, device, table), folder, 1, progress)
    done = {line["key"]: line for line in read(folder)}
    lines = [done[run.key] for run in runs if run.key in done]
    if not lines:
        return Outcome([], len(runs), failures, "", [])
    text = "\n".join(filter(None, (ranking_table(lines), gains_table(lines))))
    file = folder / "evaluate.md"
    write_atomically(file, text)
    return Outcome(lines, len(runs), failures, text, [file])
