"""``archflow finetune``: a ranker from an encoder and a few labelled architectures."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from archflow.commands.options import ArchColumn, CheckpointSpace, Device, FinetuneEpochs, Json, LabelColumn, Seed
from archflow.commands.shared import agreed_space, given, read, require_output, say


def finetune(
    input: Annotated[Path, typer.Option("--input", help="File of labelled architectures.")],
    label_column: LabelColumn = "accuracy",
    pretrained: Annotated[
        Path | None, typer.Option(help="Encoder from 'pretrain'; without it, one with random weights.")
    ] = None,
    space: CheckpointSpace = None,
    arch_column: ArchColumn = "arch",
    validation: Annotated[
        Path | None, typer.Option(help="File of further labelled architectures, to choose the best epoch.")
    ] = None,
    head: Annotated[
        str,
        typer.Option(help="Turns vectors into scores by learning from labels: finetune (the paper's), gp or trees."),
    ] = "finetune",
    finetune_epochs: FinetuneEpochs = None,
    batch_size: Annotated[int | None, typer.Option(help="Architectures in a minibatch; by default 16.")] = None,
    lr: Annotated[float | None, typer.Option(help="Learning rate; by default 0.001.")] = None,
    out: Annotated[Path, typer.Option(help="File for the ranker.")] = Path("ranker.archflow"),
    seed: Seed = 0,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Teach an encoder to rank, from a few labelled architectures."""
    from archflow.benchmarks.registry import space as make_space
    from archflow.encoding.files import load_encoder
    from archflow.encoding.registry import seeded_encoder
    from archflow.ranking.ranker import Ranker
    from archflow.support.progress import Display

    require_output(out)
    if pretrained is None:
        name, provenance = space or "nasbench201", dict[str, Any](space=space or "nasbench201")
        model = seeded_encoder("resgatedgcn", make_space(name).vocabulary, seed, {})
    else:
        model, provenance = load_encoder(pretrained)
        name = agreed_space(space, provenance, pretrained)
    data = read(name, input, arch_column)
    held_out = None
    if validation is not None:
        others = read(name, validation, arch_column)
        held_out = others.archs, others[label_column]
    settings = given(epochs=finetune_epochs, batch_size=batch_size, lr=lr)
    ranker = Ranker(model, head, space=name, seed=seed, device=device, **settings)
    with Display() as progress:
        ranker.fit(data.archs, data[label_column], held_out, progress)
    ranker.save(out, **provenance)
    best = max(ranker.validation_taus) if ranker.validation_taus else None
    known = f", validation τ {best:.3f}" if best is not None else ""
    loss = ranker.losses[-1] if ranker.losses else None
    result = {"out": str(out), "labels": len(data), "loss": loss, "validation_tau": best}
    say(as_json, result, f"fine-tuned on {len(data):,} labels{known}: {out}")
