"""``archflow rank``: architectures sorted by score, best first."""

from __future__ import annotations

from glob import glob
from pathlib import Path
from typing import Annotated

import typer

from archflow.commands.options import ArchColumn, CheckpointSpace, Device, Input, Json, Sample, Seed
from archflow.commands.shared import agreed_space, read, require_output


def rank(
    ranker: Annotated[Path, typer.Argument(help="Ranker from 'finetune'.")],
    input: Input = None,
    models: Annotated[str | None, typer.Option(help='ONNX files, e.g. "models/*.onnx", in place of a space.')] = None,
    sample: Sample = None,
    space: CheckpointSpace = None,
    arch_column: ArchColumn = "arch",
    top: Annotated[int | None, typer.Option(min=1, help="Keep only that many of the best.")] = None,
    out: Annotated[Path | None, typer.Option(help="CSV, JSONL or Parquet file for the ranking.")] = None,
    seed: Seed = 0,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Score architectures, and sort them best first; with --models ONNX files, by a ranker that was fitted on such."""
    import numpy as np

    from archflow.archs.batch import ArchBatch
    from archflow.benchmarks.own_tables import write_table
    from archflow.ranking.ranker import Ranker
    from archflow.support.documents import strict_json

    if out is not None:
        require_output(out, table=True)
    model = Ranker.load(ranker, device)
    if models is not None:
        if input is not None or sample is not None or space is not None:
            raise ValueError("--models excludes --input, --sample and --space")
        files = sorted(glob(models))
        if not files:
            raise ValueError(f"no file is called {models}; put the pattern in quotes")
        archs = ArchBatch.from_onnx(files, model.labelled.archs.vocabulary)
    else:
        data = read(agreed_space(space, model.provenance, ranker), input, arch_column, sample, seed)
        archs = data.archs
    scores = model.predict(archs)
    order = np.argsort(-scores, kind="stable")[:top]
    strings = data.space.format(archs[order]) if models is None else [files[row] for row in order]
    if out is not None:
        write_table(out, {"rank": np.arange(1, len(order) + 1), "arch": strings, "score": scores[order]})
    best = [{"arch": arch, "score": float(score)} for arch, score in zip(strings, scores[order], strict=True)][:10]
    if as_json:
        print(strict_json({"architectures": len(archs), "out": out and str(out), "best": best}))
        return
    for number, row in enumerate(best, start=1):
        print(f"{number:3}  {row['score']:8.4f}  {row['arch']}")
    if out is not None:
        print(f"{len(order):,} written to {out}")
