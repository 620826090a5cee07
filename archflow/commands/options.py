"""What several verbs take, each said once. Where a default is None, that of the function behind the verb holds."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Seed = Annotated[int, typer.Option(min=0, max=2**63 - 1, help="Fixes everything random.")]
Device = Annotated[str, typer.Option(help="cpu, cuda, cuda:1, … or auto, for a GPU where there is one.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on standard output.")]
Resume = Annotated[bool, typer.Option("--resume", help="Go on with a run that was interrupted or killed.")]

SpaceName = Annotated[str, typer.Option("--space", help="Name of a search space; 'archflow spaces' lists them.")]
CheckpointSpace = Annotated[
    str | None, typer.Option("--space", help="Search space; by default the one that the file given is of.")
]
Input = Annotated[
    Path | None, typer.Option("--input", help="CSV, JSONL or Parquet file of architectures; else the whole space.")
]
ArchColumn = Annotated[str, typer.Option(help="Column of architectures in the space's native notation.")]
LabelColumn = Annotated[str, typer.Option(help="Column of accuracies, higher is better; the table's own by default.")]
Sample = Annotated[int | None, typer.Option(help="So many of the space at random rather than all.")]

EncoderName = Annotated[str, typer.Option("--encoder", help="digcn, flowerformer, gin, mlp, resgatedgcn, transformer.")]
Hidden = Annotated[int | None, typer.Option(help="Width of the encoder; its own by default.")]
Layers = Annotated[int | None, typer.Option(help="Layers of the encoder; its own by default.")]

Proxy = Annotated[
    str,
    typer.Option(
        help="measured (all that 'archflow proxies' made), closed-form (all that the space knows), some of them joined "
        "by commas (measured/nwot,parameters), a column, or none."
    ),
]
ProxyLoss = Annotated[
    str | None, typer.Option(help="How FGP and zero-cost learn proxies: ranking, by default, or regression.")
]
Lambda1 = Annotated[
    float | None, typer.Option(help="FGP's weight of the reconstruction, by default 0.05; 0 leaves it out.")
]
Lambda2 = Annotated[float | None, typer.Option(help="FGP's weight of the proxies, by default 0.5; 0 leaves them out.")]

PretrainEpochs = Annotated[int | None, typer.Option(help="Times through all architectures; 200 by default.")]
FinetuneEpochs = Annotated[int | None, typer.Option(help="Times through the labelled ones; 500 by default.")]
Seeds = Annotated[int, typer.Option(help="How many seeds, from --seed on.")]
Splits = Annotated[int, typer.Option(help="How many splits for each seed.")]
