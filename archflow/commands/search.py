"""``archflow search``: train what a strategy proposes, until the budget is spent."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from archflow.commands.options import Device, Json, Resume, Seed, SpaceName
from archflow.commands.shared import require_output, say

if TYPE_CHECKING:
    from archflow.search.results import SearchResult, TrialRow

_SHOWN = 10
"""Architectures in the live table."""


def search(
    objective: Annotated[
        str,
        typer.Option(
            help="table:NAME or table:NAME:COLUMN, digits, or a command that is given an architecture and prints its "
            "score last."
        ),
    ],
    space: SpaceName = "nasbench201",
    strategy: Annotated[
        str,
        typer.Option(help="flow, exhaustive, random, evolution, local, weisfeiler-leman, proxy, or Optuna's tpe, gp."),
    ] = "flow",
    budget: Annotated[int, typer.Option(help="Trainings in all.")] = 50,
    workers: Annotated[int, typer.Option(help="Processes that train at once.")] = 1,
    storage: Annotated[
        str | None, typer.Option(help="SQLite file or URL of a database, which keeps the search; needed to resume.")
    ] = None,
    resume: Resume = False,
    timeout: Annotated[float | None, typer.Option(help="Seconds after which a command is stopped.")] = None,
    stop_early: Annotated[
        bool, typer.Option("--stop-early", help="Stop trainings whose reports are weak (successive halving).")
    ] = False,
    out: Annotated[Path | None, typer.Option(help="CSV, JSONL or Parquet file for all trainings.")] = None,
    seed: Seed = 0,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Search a space for the architecture with the highest score."""
    if importlib.util.find_spec("optuna") is None:
        raise ModuleNotFoundError("search needs the package optuna: pip install archflow[search]")
    from archflow.benchmarks.own_tables import write_table
    from archflow.search.loop import run
    from archflow.support.devices import resolve_device

    if out is not None:
        require_output(out, table=True)
    resolve_device(device)
    with _Watch(budget) as watch:
        result = run(
            space,
            objective,
            strategy=strategy,
            budget=budget,
            workers=workers,
            storage=storage,
            resume=resume,
            timeout=timeout,
            stop_early=stop_early,
            seed=seed,
            device=device,
            watch=watch,
        )
    if out is not None:
        write_table(out, result.columns())
    best, failed = result.best, sum(row.state == "failed" for row in result.rows)
    if best is None:
        why = next((row.why for row in result.rows if row.why), "all were stopped early")
        print(f"archflow: none of {len(result.rows):,} trainings gave a score: {why}", file=sys.stderr)
        raise typer.Exit(1)
    facts: dict[str, Any] = {
        "space": result.space,
        "strategy": strategy,
        "trainings": len(result.rows),
        "failed": failed,
        "best": {"arch": best.arch, "score": best.score, "trial": best.trial},
        "out": out and str(out),
    }
    lines = [
        f"{best.score:.4f}  {best.arch}",
        f"the best of {len(result.rows):,} trainings; {failed:,} failed",
    ]
    if out is not None:
        lines.append(f"all written to {out}")
    say(as_json, facts, "\n".join(lines))


class _Watch:
    """Shows the best so far on standard error: a live table on a terminal, else a plain line for each training."""

    def __init__(self, budget: int) -> None:
        from rich.console import Console
        from rich.live import Live

        console = Console(stderr=True)
        self._budget, self._shown = budget, 0
        self._live = Live(console=console, refresh_per_second=4) if console.is_terminal else None

    def __enter__(self) -> _Watch:
        if self._live:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live:
            self._live.stop()

    def __call__(self, result: SearchResult) -> None:
        if self._live:
            self._live.update(self._table(result))
            return
        for row in result.rows[self._shown :]:
            self._shown += 1
            print(f"search: {self._shown:,}/{self._budget:,} {_line(row)}", file=sys.stderr, flush=True)

    def _table(self, result: SearchResult) -> Any:
        from rich.table import Table

        title = f"{len(result.rows):,} of {self._budget:,} trainings, {result.running:,} running"
        table = Table("score", "training", "seconds", "architecture", title=title)
        done = [(row.score, place, row) for place, row in enumerate(result.rows, 1) if row.state == "done"]
        for score, place, row in sorted(done, key=lambda each: (-(each[0] or 0), each[1]))[:_SHOWN]:
            table.add_row(f"{score:.4f}", str(place), f"{row.seconds:.1f}", row.arch)
        return table


def _line(row: TrialRow) -> str:
    best = "" if row.best is None else f", best {row.best:.4f}"
    if row.state == "failed":
        return f"failed: {row.why}{best}"
    return f"{'no score' if row.score is None else f'{row.score:.4f}'}{best}, {row.arch}"
