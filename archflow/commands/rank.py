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
    exclude_trained: Annotated[
        bool, typer.Option("--exclude-trained", help="Leave out the architectures that the ranker was fitted on.")
    ] = False,
    top: Annotated[int | None, typer.Option(min=1, help="Keep only that many of the best.")] = None,
    out: Annotated[Path | None, typer.Option(help="CSV, JSONL or Parquet file for the ranking.")] = None,
    seed: Seed = 0,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Score architectures, and sort them best first; those that the ranker was fitted on are marked.

    With --models, ONNX files are ranked by a ranker that was fitted on such files.
    """
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
    scores, trained = model.predict(archs), model.trained(archs)
    order = np.argsort(-scores, kind="stable")
    if exclude_trained:
        order = order[~trained[order]]
        if not len(order):
            raise ValueError(f"{ranker} was fitted on all of these architectures, so --exclude-trained leaves none")
    order = order[:top]
    strings = data.space.format(archs[order]) if models is None else [files[row] for row in order]
    scores, marks = scores[order], trained[order]
    if out is not None:
        ranks = np.arange(1, len(order) + 1)
        write_table(out, {"rank": ranks, "arch": strings, "score": scores, "trained": marks.astype(int)})
    best = [
        {"arch": arch, "score": float(score), "trained": bool(mark)}
        for arch, score, mark in zip(strings, scores, marks, strict=True)
    ][:10]
    known = int(trained.sum())
    if as_json:
        facts = {"architectures": len(archs), "trained": known, "ranked": len(order), "out": out and str(out)}
        print(strict_json({**facts, "best": best}))
        return
    print("rank     score    arch")
    for number, row in enumerate(best, start=1):
        print(f"{number:4}  {row['score']:8.4f}  {'*' if row['trained'] else ' '} {row['arch']}")
    if marks.any():
        print(f"* one of {known:,} that the ranker was fitted on; --exclude-trained leaves them out")
    if out is not None:
        print(f"{len(order):,} written to {out}")
