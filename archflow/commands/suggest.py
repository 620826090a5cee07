"""``archflow suggest``: the architectures to train next."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from archflow.commands.options import ArchColumn, CheckpointSpace, Device, Input, Json, Sample, Seed
from archflow.commands.shared import agreed_space, read, require_output


def suggest(
    ranker: Annotated[Path, typer.Argument(help="Ranker from 'finetune'.")],
    input: Input = None,
    sample: Sample = None,
    space: CheckpointSpace = None,
    arch_column: ArchColumn = "arch",
    top: Annotated[int, typer.Option(min=1, help="Number of suggestions.")] = 10,
    out: Annotated[Path | None, typer.Option(help="CSV, JSONL or Parquet file for the suggestions.")] = None,
    seed: Seed = 0,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Choose architectures to train next, excluding those that the ranker was fitted on."""
    from archflow.benchmarks.own_tables import write_table
    from archflow.ranking.ranker import Ranker
    from archflow.support.documents import strict_json

    if out is not None:
        require_output(out, table=True)
    model = Ranker.load(ranker, device)
    data = read(agreed_space(space, model.provenance, ranker), input, arch_column, sample, seed)
    archs = data.archs[model.suggest(data.archs, top)]
    scores, strings = model.predict(archs), data.space.format(archs)
    if out is not None:
        write_table(out, {"arch": strings, "score": scores})
    if as_json:
        found = [{"arch": arch, "score": float(score)} for arch, score in zip(strings, scores, strict=True)]
        print(strict_json({"architectures": len(data), "out": out and str(out), "suggestions": found}))
        return
    for arch, score in zip(strings, scores, strict=True):
        print(f"{score:8.4f}  {arch}")
    if out is not None:
        print(f"{top:,} written to {out}")
