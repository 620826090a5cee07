"""What ``archflow demo`` computes: FGP beside plain supervised learning on NAS-Bench-201, from 78 trained cells."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from archflow.benchmarks.registry import published
from archflow.benchmarks.tables import table
from archflow.commands.shared import titled
from archflow.encoding.registry import seeded_encoder
from archflow.flow import FlowDraw, flow_surrogate
from archflow.pretraining.loop import pretrain
from archflow.pretraining.registry import make_task
from archflow.ranking.metrics import scores_of
from archflow.ranking.ranker import Ranker
from archflow.report.page import Report, write_report
from archflow.studies.protocol import LabelledTable
from archflow.support.files import require_writable
from archflow.support.progress import Progress, silent
from archflow.support.versions import versions
from archflow.zero_cost.columns import proxy_values

FGP, PLAIN = "FGP", "no pre-training"


def demonstrate(
    out: str | Path = "demo",
    *,
    pretrain_epochs: int = 100,
    labels: float = 0.01,
    seed: int = 0,
    device: str = "auto",
    progress: Progress = silent,
) -> dict[str, Any]:
    """Pre-train on all 15,625 cells without a label, fine-tune on 78, rank the rest; and the same without pre-training.

    Args:
        out: the folder for ``report.html``.
        pretrain_epochs: the published settings have 200, half of which takes under three minutes on two cores.
        labels: share of the pool of 7,813 cells that is labelled.
        seed: fixes everything random, the choice of the labelled cells too.
        device: "cpu", "cuda", …, or "auto".
        progress: told how far each phase is.

    Returns:
        "rows", a dict a method with its figures and seconds; "best", the ten best cells that FGP found among those
        without a label; "report", the page's path.

    Raises:
        ModuleNotFoundError: the package with the accuracies is not installed.
    """
    page = Path(out) / "report.html"
    require_writable(page)
    data = table("nasbench201/analog")
    accuracy = data[data.default]
    part = LabelledTable(data).split(labels, seed)
    validation = data.archs[part.validation], accuracy[part.validation]

    scores: dict[str, Float[ndarray, " archs"]] = {}
    rows: list[dict[str, Any]] = []
    curves: dict[str, dict[str, Sequence[float]]] = {}
    for method in (FGP, PLAIN):
        begun = time.monotonic()
        model = seeded_encoder("resgatedgcn", data.archs.vocabulary, seed, {})
        if method == FGP:
            task = make_task("fgp", data.space.name, data.archs, proxy_values(data, "measured/jacov"), seed, {})
            outcome = pretrain(
                model, data.archs, task, epochs=pretrain_epochs, seed=seed, device=device, progress=progress
            )
            curves["Pre-training loss"] = dict(outcome.losses)

        def named(_: str, done: int, total: int, method: str = method) -> None:
            progress(f"fine-tuning ({method})", done, total)

        ranker = Ranker(model, "finetune", space=data.space, seed=seed, device=device)
        ranker.fit(data.archs[part.labelled], accuracy[part.labelled], validation, named)
        scores[method] = ranker.predict(data.archs)
        seconds = time.monotonic() - begun
        rows.append(
            {"method": method, **asdict(scores_of(accuracy[part.test], scores[method][part.test])), "seconds": seconds}
        )
        curves.setdefault("Fine-tuning loss", {})[method] = ranker.losses
        curves.setdefault("Kendall's τ on the validation cells", {})[method] = ranker.validation_taus

    held_out = np.ones(len(data), dtype=bool)
    held_out[np.concatenate([part.labelled, part.validation])] = False
    strings = data.space.format(data.archs)
    best = best_found(accuracy, scores[FGP], held_out, strings)
    flow = published(data.space.name)
    draw = FlowDraw.sample(len(data.space.vocabulary), flow.k, flow.std, seed)
    surrogate = flow_surrogate(data.archs, draw).numpy()
    shown = {
        **{"table": data.name, "column": data.default, "labelled": len(part.labelled)},
        **{"validation": len(part.validation), "test": len(part.test), "pre-training": outcome.settings},
        **{"fine-tuning": asdict(ranker.settings), "versions": versions()},
    }
    write_report(
        page,
        Report(
            title="FGP on NAS-Bench-201",
            archs=data.archs,
            strings=strings,
            scores=scores,
            accuracy=accuracy,
            surrogate=surrogate,
            curves=curves,
            rows=[titled(row) for row in rows],
            settings=shown,
            held_out=held_out,
        ),
    )
    return {"rows": rows, "best": best, "report": str(page)}


def best_found(
    accuracy: Float[ndarray, " archs"],
    score: Float[ndarray, " archs"],
    eligible: ndarray,
    strings: list[str],
    count: int = 10,
) -> list[dict[str, Any]]:
    """The architectures with the highest scores among the eligible, with their true ranks; equals share a rank."""
    order = np.argsort(-score, kind="stable")
    chosen = order[eligible[order]][:count]
    ranks = 1 + (accuracy > accuracy[chosen, None]).sum(axis=1)
    return [
        {"arch": strings[index], "accuracy": float(accuracy[index]), "true_rank": int(rank)}
        for index, rank in zip(chosen, ranks, strict=True)
    ]
