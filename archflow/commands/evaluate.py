"""``archflow evaluate``: the paper's protocol on one table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from archflow.commands.options import (
    ArchColumn,
    Device,
    EncoderName,
    FinetuneEpochs,
    Hidden,
    Json,
    Lambda1,
    Lambda2,
    Layers,
    Preset,
    PretrainEpochs,
    Proxy,
    ProxyLoss,
    Seed,
    Seeds,
    Splits,
)
from archflow.commands.shared import given, read, require_output, show_outcome


def evaluate(
    space: Annotated[str | None, typer.Option(help="Search space; by default the table's, or nasbench201.")] = None,
    table: Annotated[str | None, typer.Option(help="Name of a table; by default the first of the space.")] = None,
    input: Annotated[
        Path | None, typer.Option("--input", help="Your own file of architectures and accuracies.")
    ] = None,
    arch_column: ArchColumn = "arch",
    label_column: Annotated[
        list[str] | None, typer.Option(help="Column of accuracies; may be repeated; by default the table's own.")
    ] = None,
    labels: Annotated[
        list[float] | None, typer.Option(help="Labelled share of the pool, or a count if above 1; may be repeated.")
    ] = None,
    method: Annotated[
        list[str] | None,
        typer.Option(
            help="none, fgp, zero-cost, arch2vec, gmae or graphcl, each also with a head (fgp+gp), or proxy:NAME; "
            "may be repeated; by default none and fgp."
        ),
    ] = None,
    seeds: Seeds = 3,
    splits: Splits = 3,
    pool: Annotated[int | None, typer.Option(help="Size of the training pool; by default the published size.")] = None,
    encoder: EncoderName = "resgatedgcn",
    hidden: Hidden = None,
    layers: Layers = None,
    proxy: Proxy = None,
    preset: Preset = None,
    proxy_loss: ProxyLoss = None,
    lambda1: Lambda1 = None,
    lambda2: Lambda2 = None,
    pretrain_epochs: PretrainEpochs = None,
    finetune_epochs: FinetuneEpochs = None,
    out: Annotated[Path, typer.Option(help="Folder for the results; runs that it already holds are kept.")] = Path(
        "evaluate"
    ),
    seed: Seed = 0,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Compare methods over seeds × splits: mean and standard deviation."""
    from archflow.benchmarks.registry import space as make_space
    from archflow.benchmarks.tables import table as make_table
    from archflow.benchmarks.tables import tables
    from archflow.pretraining.loop import PretrainSettings
    from archflow.ranking.finetune import FinetuneSettings
    from archflow.studies import evaluate as study
    from archflow.studies.methods import method as method_named
    from archflow.studies.methods import pretext
    from archflow.studies.preset import preset as named_preset
    from archflow.support.progress import Display

    require_output(out / "results.jsonl")
    if input is not None:
        data = read(space or "nasbench201", input, arch_column)
    else:
        known = tables(make_space(space or "nasbench201").name)
        if not table and not known:
            raise ValueError(f"there is no table for the space {space}; give your own with --input")
        data = make_table(table or known[0])
        if space and data.space.name != space:
            raise ValueError(f"the table {table} belongs to the space {data.space.name}, not to {space}")
    methods = method or study.DEFAULT_METHODS
    exact = named_preset(preset, data.space.name) if preset else None
    tasks = _by_task(methods, lambda1=lambda1, lambda2=lambda2, proxy_loss=proxy_loss)
    for task in {pretext(method_named(each).pretext).task for each in methods} if exact else ():
        if own := exact.task_settings(task) if exact else {}:
            tasks[task] = {**own, **tasks.get(task, {})}
    with Display() as progress:
        outcome = study.evaluate(
            data,
            label_column or (),
            labels=[int(each) if each > 1 and each.is_integer() else each for each in labels or [0.01]],
            methods=methods,
            seeds=seeds,
            splits=splits,
            first_seed=seed,
            pool=pool,
            encoder=encoder,
            encoder_settings={
                **(exact.encoder_settings(encoder) if exact else {}),
                **given(hidden=hidden, layers=layers),
            },
            proxies=proxy or (exact.proxies if exact else "closed-form"),
            task_settings=tasks,
            pretraining=replace(exact.pretraining if exact else PretrainSettings(), **given(epochs=pretrain_epochs)),
            finetuning=replace(exact.finetuning if exact else FinetuneSettings(), **given(epochs=finetune_epochs)),
            device=device,
            out=out,
            progress=progress,
        )
    show_outcome(outcome, as_json, table=data.name)


def _by_task(methods: Sequence[str], **settings: Any) -> dict[str, dict[str, Any]]:
    """The given settings by the tasks that accept them; by FGP, which reports its absence, if none does."""
    tasks = [method.partition("+")[0] for method in methods]
    learn_proxies = [task for task in ("fgp", "zero-cost") if task in tasks] or ["fgp"]
    found: dict[str, dict[str, Any]] = {}
    for name, value in given(**settings).items():
        for task in learn_proxies if name == "proxy_loss" else ["fgp"]:
            found.setdefault(task, {})[name] = value
    return found
