"""``archflow reproduce``: the paper's studies."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from archflow.commands.options import Device, FinetuneEpochs, Json, PretrainEpochs, Seed, Seeds, Splits
from archflow.commands.shared import listing, require_output, show_outcome


def reproduce(
    name: Annotated[str | None, typer.Argument(help="Name of a study; without it, the studies are listed.")] = None,
    only: Annotated[
        str | None,
        typer.Option(help="AXIS=VALUE, …: restrict axes to these values, e.g. encoder=gin,space=nasbench201."),
    ] = None,
    add: Annotated[
        str | None,
        typer.Option(help="AXIS=VALUE, …: add rows, e.g. encoder=mine; for space, encoder, pretext and head."),
    ] = None,
    list_runs: Annotated[bool, typer.Option("--list", help="Show the remaining work without doing it.")] = False,
    budget: Annotated[
        str, typer.Option(help="Sizes and epochs: published, two-cores, or paper, all of its settings.")
    ] = "published",
    pretrain_epochs: PretrainEpochs = None,
    finetune_epochs: FinetuneEpochs = None,
    seeds: Seeds = 3,
    splits: Splits = 3,
    table: Annotated[
        str | None, typer.Option(help="SPACE=TABLE, …: tables of accuracies; by default the first of each space.")
    ] = None,
    processes: Annotated[int, typer.Option(help="Processes that share the work, each with one thread.")] = 1,
    out: Annotated[Path, typer.Option(help="Folder for the results of all studies.")] = Path("reproduce"),
    seed: Seed = 0,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Reproduce a study of the paper: do the runs that are missing, then make its table and plots."""
    from archflow.studies import reproduce as study
    from archflow.studies.cost import cost
    from archflow.support.documents import strict_json
    from archflow.support.progress import Display

    if name is None:
        known = study.studies()
        if as_json:
            print(strict_json({"studies": known}))
        else:
            listing(["study", "question"], known.items())
        return
    choice = study.Choice(
        only=_pairs(only, "--only"),
        add=_pairs(add, "--add"),
        source=_pairs(table, "--table"),
        budget=budget,
        pretrain_epochs=pretrain_epochs,
        finetune_epochs=finetune_epochs,
        seeds=seeds,
        splits=splits,
        first_seed=seed,
        device=device,
    )
    if list_runs:
        plan = study.plan(name, choice)
        _list(cost(plan.jobs, out), plan.failures, as_json)
        return
    require_output(out / "results.jsonl")
    with Display() as progress:
        outcome = study.reproduce(name, **vars(choice), processes=processes, out=out, progress=progress)
    show_outcome(outcome, as_json, study=name)


def _list(rows: list[dict[str, Any]], failures: list[Any], as_json: bool) -> None:
    """Show the remaining work of a study, and the parts that cannot be run."""
    from archflow.support.documents import strict_json

    if as_json:
        print(strict_json({"left": rows, "failures": [vars(failure) for failure in failures]}))
        return
    texts = [
        ["?" if value is None else f"{value:.1f}" if key == "hours" else str(value) for key, value in row.items()]
        for row in rows
    ]
    listing(rows[0].keys() if rows else ["nothing"], texts)
    for failure in failures:
        print(f"cannot be run: {failure.what}: {failure.why}")


def _pairs(text: str | None, option: str) -> list[tuple[str, str]]:
    """The axis and value pairs in the text of an option."""
    pairs = []
    for part in text.split(",") if text else ():
        axis, equals, value = part.partition("=")
        if not (axis and equals and value):
            raise ValueError(f"{option} takes AXIS=VALUE, joined by commas, not '{part}'")
        pairs.append((axis.strip(), value.strip()))
    return pairs
