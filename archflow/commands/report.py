"""``archflow report``: an HTML page about a ranker and its ranking."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from archflow.commands.options import ArchColumn, CheckpointSpace, Device, Input, Json, Seed
from archflow.commands.shared import agreed_space, read, require_output, say, titled


def report(
    ranker: Annotated[Path, typer.Argument(help="Ranker from 'finetune'.")],
    input: Input = None,
    table: Annotated[str | None, typer.Option(help="Name of a table with true accuracies.")] = None,
    space: CheckpointSpace = None,
    arch_column: ArchColumn = "arch",
    label_column: Annotated[
        str, typer.Option(help="Column of accuracies, higher is better; by default the table's own.")
    ] = "",
    out: Annotated[Path, typer.Option(help="The HTML page.")] = Path("report.html"),
    seed: Seed = 0,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Write a self-contained HTML page about a ranker and its ranking."""
    import numpy as np

    from archflow.benchmarks.registry import published
    from archflow.benchmarks.tables import table as make_table
    from archflow.flow import FlowDraw, flow_surrogate
    from archflow.ranking.metrics import scores_of
    from archflow.ranking.ranker import Ranker
    from archflow.report.page import Report, write_report

    require_output(out)
    model = Ranker.load(ranker, device)
    name = agreed_space(space, model.provenance, ranker)
    data = make_table(table) if table else read(name, input, arch_column)
    label_column = label_column or data.default
    accuracy = data[label_column] if label_column else None
    scores = model.predict(data.archs)
    rows = []
    if accuracy is not None:
        known = ~np.isnan(accuracy)
        row = {"method": str(ranker), **asdict(scores_of(accuracy[known], scores[known]))}
        rows.append({**row, "architectures": int(known.sum())})
    flow = published(data.space.name)
    draw = FlowDraw.sample(len(data.space.vocabulary), flow.k, flow.std, seed)
    curves = {
        "Pre-training loss": model.provenance.get("losses", {}),
        "Fine-tuning loss": {"fine-tuning": model.losses},
        "Kendall's τ on the validation architectures": {"validation": model.validation_taus},
    }
    provenance = {key: value for key, value in model.provenance.items() if key != "losses"}
    page = Report(
        title=f"{ranker.stem} on {data.space.name}",
        archs=data.archs,
        strings=data.space.format(data.archs),
        scores={ranker.stem: scores},
        accuracy=accuracy,
        surrogate=flow_surrogate(data.archs, draw).numpy(),
        curves={title: lines for title, lines in curves.items() if any(len(line) for line in lines.values())},
        rows=[titled(row) for row in rows],
        settings={"ranking": asdict(model.settings), **provenance},
    )
    write_report(out, page)
    say(as_json, {"out": str(out), "architectures": len(data), "rows": rows}, f"report: {out}")
