"""Compare methods on one table, published or your own: a study with a single grid."""

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
from archflow.support.files import locked, write_atomically
from archflow.support.progress import Progress, shown

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
    progress: Progress | None = None,
) -> Outcome:
    """Compare methods on a table; every run is one line in the results folder.

    For each seed an encoder is created and, if the method asks for it, pre-trained on all architectures of the table;
    for each split a head is then fitted and tested. Architectures without a value in a column are pre-trained on like
    all others, but belong to no split of that column. The folder is laid out as for any study, see
    :mod:`archflow.studies.reproduce`: the same call resumes an interrupted one, and runs with other settings are added
    as further lines.

    Args:
        table: architectures with accuracies.
        columns: columns of accuracies, each evaluated separately with the same pre-trained encoders; the table's
            default if empty.
        labels: how much of the pool is labelled: values up to 1 are shares, larger ones are counts.
        methods: see :func:`archflow.studies.methods.method`.
        seeds: number of seeds; a seed fixes the initial weights, the flow draw and every shuffle.
        splits: number of splits for each seed.
        first_seed: the first seed; the others follow it.
        pool: size of the training pool; the space's published size if None.
        encoder: name of the encoder.
        encoder_settings: keyword arguments of the encoder.
        proxies: proxy names, see :func:`archflow.zero_cost.columns.proxy_values`.
        task_settings: keyword arguments by name of the pretext task; for FGP also "k", "std", "draws" and "draw_seed"
            of the flow draw.
        pretraining: settings of pre-training, the published ones if None; its seed is ignored.
        finetuning: settings of fine-tuning, those published for NAS-Bench-201 if None.
        device: "cpu", "cuda", …, or "auto".
        out: the results folder.
        progress: called as each phase advances and as runs finish; by default a bar on a terminal and in a notebook.

    Returns:
        The lines of all runs, and the table made from them.

    Raises:
        ValueError: a method, encoder, setting, proxy or column is unknown, the accuracies cannot be ranked, or the
            table is too small.
        OSError: the folder cannot be written, or another evaluation is writing it.
    """
    if seeds < 1 or splits < 1:
        raise ValueError("seeds and splits must be at least 1")
    require_size(seeds, splits, len(methods), len(labels), len(columns or [""]))
    if not methods or not labels:
        raise ValueError("no methods are given" if not methods else "no numbers of labels are given")
    device = str(resolve_device(device))
    task_settings = task_settings or {}
    compared = list(dict.fromkeys(method(name) for name in methods))
    tasks = [pretext(each.pretext).task for each in compared]
    if not task_settings.keys() <= set(tasks):
        others = ", ".join(sorted(task_settings.keys() - set(tasks)))
        raise ValueError(f"settings are given for {others}, but no method uses it")
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
                labelled.source(*names),
                space,
                encoder_settings=encoder_settings or {},
                task=task,
                task_settings=settings,
                pretraining=pretraining or PretrainSettings(),
                finetuning=finetuning or FinetuneSettings(),
            )
            for seed, labelled, share, number in grid
        ]
    folder = Path(out)
    file = folder / "evaluate.md"
    with locked(file), shown(progress) as told:
        failures = make_all(grouped(runs, device, table), folder, 1, told)
        done = {line["key"]: line for line in read(folder)}
        lines = [done[run.key] for run in runs if run.key in done]
        if not lines:
            return Outcome([], len(runs), failures, "", [])
        text = "\n".join(filter(None, (ranking_table(lines), gains_table(lines))))
        write_atomically(file, text)
    return Outcome(lines, len(runs), failures, text, [file])
