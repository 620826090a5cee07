"""``archflow demo``: what archflow does, on a benchmark that needs no download."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from archflow.commands.options import Device, Json, Seed
from archflow.commands.shared import given, require_output

if TYPE_CHECKING:
    from archflow.commands.demonstration import Row

_NAMES = 24
"""Columns of the terminal for the name of a method."""


def demo(
    out: Annotated[Path, typer.Option(help="Folder for report.html.")] = Path("demo"),
    pretrain_epochs: Annotated[
        int | None, typer.Option(help="FGP's times through all cells; 20 by default, 200 published.")
    ] = None,
    splits: Annotated[int | None, typer.Option(help="How many sets of labels; 5 by default.")] = None,
    starts: Annotated[int | None, typer.Option(help="How many searches; 3 by default.")] = None,
    seed: Seed = 0,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Rank all of NAS-Bench-201 from 118 trained cells, find its best ones, and see what every rival finds."""
    from archflow.commands.demonstration import demonstrate
    from archflow.support.documents import strict_json
    from archflow.support.files import locked
    from archflow.support.progress import Display

    require_output(out / "report.html")
    settings = given(pretrain_epochs=pretrain_epochs, splits=splits, starts=starts)
    with locked(out / "report.html"), Display() as progress:

        def show(what: str, found: Any) -> None:
            if not as_json:
                print(text_of(what, found), flush=True)

        result = demonstrate(out, **settings, seed=seed, device=device, progress=progress, show=show)
    print(strict_json(result) if as_json else f"\nreport: {result['report']}")


def text_of(what: str, result: Any) -> str:
    """A result of the demonstration, as people read it."""
    texts: dict[str, Callable[[Any], str]] = {
        "labels": _labels,
        "row": _row,
        "first": lambda row: f"{'  (the first split)':{_NAMES}}{_scores(row)}",
        "suggestions": _suggestions,
        "second_round": _second_round,
        "search": _search,
    }
    return texts[what](result)


def _labels(counts: Mapping[str, int]) -> str:
    return (
        f"NAS-Bench-201: all {counts['cells']:,} cells ranked from {counts['all']} trained ones, the same for all\n"
        f"methods ({counts['fit']} to fit to and {counts['validation']} for validation; gp fits to all "
        f"{counts['all']}). Scores ×100 on\n{counts['test']:,} other cells, mean ± standard deviation over "
        f"splits; seconds a split.\n\n"
        f"{'ranked by':{_NAMES}}{'splits':>6}{'τ':>13}{'P@1%':>13}{'P@5%':>13}{'seconds':>9}"
    )


def _row(row: Row) -> str:
    note = f"\n  ({row.note})" if row.note else ""
    return f"{row.method:{_NAMES}}{_scores(row)}{note}"


def _scores(row: Row) -> str:
    values = ((row.tau, row.tau_std), (row.p_at_1, row.p_at_1_std), (row.p_at_5, row.p_at_5_std))
    texts = (f"{100 * mean:.1f}" + (f" ± {100 * std:4.1f}" if row.splits > 1 else " " * 7) for mean, std in values)
    return f"{row.splits:6}{''.join(f'{text:>13}' for text in texts)}{row.seconds:9.1f}"


def _suggestions(cells: Sequence[Mapping[str, Any]]) -> str:
    inside = sum(cell["low"] <= cell["accuracy"] <= cell["high"] for cell in cells)
    lines = [
        f"{number:2}  {cell['low']:5.2f} to {cell['high']:5.2f}{cell['accuracy']:10.2f}{cell['true_rank']:7,}  "
        f"{_short(cell['arch'])}"
        for number, cell in enumerate(cells, start=1)
    ]
    heading = f"    {'80 % interval':15}{'truth':>7}{'rank':>7}  cell"
    return "\n".join(
        [f"\nTo train next, after the first split ({inside} of {len(cells)} inside their interval):", heading, *lines]
    )


def _second_round(second: Mapping[str, Any]) -> str:
    best = second["best_of_second"]
    return (
        f"Best accuracy: {second['best_before']:.2f} among the {second['labels'] - 10} trained before, "
        f"{second['best_of_first']:.2f} among these ten,\n"
        f"{best['accuracy']:.2f} among ten more, suggested once these are trained (rank {best['true_rank']:,} of all)."
    )


def _search(search: Mapping[str, Any]) -> str:
    lines = [
        f"{way:{_NAMES}}{''.join(f'{curve[number - 1]:7.2f}' for number in search['after'])}"
        for way, curve in search["curves"].items()
    ]
    return "\n".join(
        [
            f"\nBest accuracy found, by the number of networks trained: {search['after'][0]} at random, then some",
            f"at a time; mean over {search['starts']} starts. The best of all cells has {search['best']:.2f}.",
            f"{'chosen by':{_NAMES}}{''.join(f'{number:7}' for number in search['after'])}",
            *lines,
            "",
        ]
    )


def _short(cell: str) -> str:
    for long, short in (("nor_conv_", ""), ("avg_pool_3x3", "pool"), ("skip_connect", "skip")):
        cell = cell.replace(long, short)
    return cell
