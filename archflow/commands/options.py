"""Options that several verbs share. A default of None leaves the choice to the function behind the verb."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Seed = Annotated[int, typer.Option(min=0, max=2**63 - 1, help="Fixes everything random.")]
Device = Annotated[str, typer.Option(help="cpu, cuda, cuda:1, … or auto, which uses a GPU if there is one.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on standard output.")]
Resume = Annotated[bool, typer.Option("--resume", help="Resume an interrupted or killed run.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace what another run wrote to --out.")]

SpaceName = Annotated[str, typer.Option("--space", help="Name of a search space; 'archflow spaces' lists them.")]
CheckpointSpace = Annotated[
    str | None, typer.Option("--space", help="Search space; by default the one recorded in the file.")
]
Input = Annotated[
    Path | None,
    typer.Option("--input", help="CSV, JSONL or Parquet file of architectures; by default the whole space."),
]
ArchColumn = Annotated[str, typer.Option(help="Column of architectures in the space's native notation.")]
LabelColumn = Annotated[str, typer.Option(help="Column of accuracies, higher is better.")]
Sample = Annotated[int | None, typer.Option(help="Use that many random architectures of the space instead of all.")]

EncoderName = Annotated[str, typer.Option("--encoder", help="digcn, flowerformer, gin, mlp, resgatedgcn, transformer.")]
Hidden = Annotated[int | None, typer.Option(help="Width of the encoder; by default its own.")]
Layers = Annotated[int | None, typer.Option(help="Layers of the encoder; by default its own.")]

Preset = Annotated[str | None, typer.Option(help="paper: its settings to the letter, except those that are given.")]
Proxy = Annotated[
    str | None,
    typer.Option(
        help="measured (all values from 'archflow proxies'), closed-form (all that the space has), individual ones "
        "joined by commas (measured/nwot,parameters), a column, or none; by default closed-form."
    ),
]
ProxyLoss = Annotated[
    str | None, typer.Option(help="How FGP and zero-cost learn proxies: ranking (default) or regression.")
]
Lambda1 = Annotated[
    float | None, typer.Option(help="FGP's weight of the reconstruction; by default 0.05; 0 disables it.")
]
Lambda2 = Annotated[float | None, typer.Option(help="FGP's weight of the proxies; by default 0.5; 0 disables them.")]

PretrainEpochs = Annotated[int | None, typer.Option(help="Epochs of pre-training; by default 200.")]
FinetuneEpochs = Annotated[int | None, typer.Option(help="Epochs of fine-tuning; by default 500.")]
Seeds = Annotated[int, typer.Option(help="Number of seeds, starting with --seed.")]
Splits = Annotated[int, typer.Option(help="Number of splits for each seed.")]
