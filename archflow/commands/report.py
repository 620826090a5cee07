"""``archflow report``: an HTML page about a ranker and its ranking."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from archflow.commands.options import ArchColumn, CheckpointSpace, Device, Input, Json, Seed
from archflow.commands.shared import agreed_space, read, require_output, say, titled

_REMARK = (
    "± is one standard deviation over 100 bootstrap resamples of the architectures compared. Architectures that the "
    "ranker was fitted on are scored apart, as training scores."
)


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
    """Write a self-contained HTML page about a ranker and its ranking.

    Architectures that the ranker was fitted on are marked, and scored apart from the others.
    """
    import numpy as np

    from archflow.benchmarks.registry import published
    from archflow.benchmarks.tables import table as make_table
    from archflow.flow import FlowDraw, flow_surrogate
    from archflow.ranking.metrics import scores_of, spread_of
    from archflow.ranking.ranker import Ranker
    from archflow.report.page import Report, write_report
    from archflow.support.versions import versions

    require_output(out)
    model = Ranker.load(ranker, device)
    name = agreed_space(space, model.provenance, ranker)
    data = make_table(table) if table else read(name, input, arch_column)
    label_column = label_column or data.default
    accuracy = data[label_column] if label_column else None
    known = np.zeros(len(data), bool) if accuracy is None else ~np.isnan(accuracy)
    if accuracy is not None and known.sum() < 2:
        raise ValueError(f"'{label_column}' has {known.sum()} labels, but at least two are needed to score a ranking")
    scores = model.predict(data.archs)
    held_out = ~model.trained(data.archs)
    rows: list[dict[str, Any]] = []
    shown: dict[bool, list[dict[str, Any]]] = {False: [], True: []}
    for training, chosen in ((False, held_out), (True, ~held_out)):
        compared = chosen & known
        if accuracy is not None and compared.sum() > 1:
            pair = accuracy[compared], scores[compared]
            found, spread = asdict(scores_of(*pair)), asdict(spread_of(*pair, seed=seed))
            method = f"{ranker}, training scores" if training else str(ranker)
            about = {"method": method, "architectures": int(compared.sum())}
            rows.append({**about, **found, "spread": spread})
            shown[training].append({**about, **titled({key: (value, spread[key]) for key, value in found.items()})})
    try:
        intervals = {ranker.stem: model.intervals(data.archs)}
    except ValueError:  # a head that does not say how sure it is
        intervals = {}
    best_trained = None if (known & ~held_out).any() else float(model.labelled.labels.max())
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
        rows=shown[False],
        apart=shown[True],
        settings={
            "ranker": str(ranker),
            "table": table or str(input or f"all of {name}"),
            "column": label_column or None,
            "head": model.head,
            "labels": len(model.labelled.labels),
            "ranker seed": model.seed,
            "seed": seed,
            "encoder": model.encoder and model.encoder.name,
            "ranking": asdict(model.settings),
            **provenance,
            "versions": versions(),
        },
        held_out=held_out,
        intervals=intervals,
        best_trained=best_trained,
        remark=_REMARK if rows else "",
    )
    write_report(out, page)
    result = {"out": str(out), "architectures": len(data), "trained": int((~held_out).sum()), "rows": rows}
    say(as_json, result, f"report: {out}")
