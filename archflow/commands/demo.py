"""``archflow demo``: what archflow does, on a benchmark that needs no download."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from archflow.commands.options import Device, Json, Seed
from archflow.commands.shared import given, require_output


def demo(
    out: Annotated[Path, typer.Option(help="Folder for report.html.")] = Path("demo"),
    pretrain_epochs: Annotated[int | None, typer.Option(help="Times through all cells; 100 by default.")] = None,
    seed: Seed = 0,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """FGP beside plain supervised learning on all of NAS-Bench-201, from 78 trained cells."""
    from rich.console import Console
    from rich.table import Table

    from archflow.commands.demonstration import demonstrate
    from archflow.support.documents import strict_json
    from archflow.support.progress import Display

    require_output(out / "report.html")
    with Display() as progress:
        result = demonstrate(out, **given(pretrain_epochs=pretrain_epochs), seed=seed, device=device, progress=progress)
    if as_json:
        print(strict_json(result))
        return
    console = Console()
    scores = Table(title="15,625 cells ranked from 78 trained ones")
    for heading in ("pre-training", "τ ×100", "P@1% ×100", "P@5% ×100", "seconds"):
        scores.add_column(heading, justify="left" if heading == "pre-training" else "right")
    for row in result["rows"]:
        hundredths = (f"{100 * row[score]:.1f}" for score in ("tau", "p_at_1", "p_at_5"))
        scores.add_row(row["method"], *hundredths, f"{row['seconds']:.0f}")
    console.print(scores)
    best = Table(title="The ten best cells that FGP found among those without a label")
    for heading in ("", "true rank", "accuracy", "cell"):
        best.add_column(heading, justify="left" if heading == "cell" else "right", overflow="fold")
    for number, cell in enumerate(result["best"], start=1):
        best.add_row(str(number), f"{cell['true_rank']:,}", f"{cell['accuracy']:.2f}", cell["arch"])
    console.print(best)
    console.print(f"report: {result['report']}")
