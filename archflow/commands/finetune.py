"""``archflow finetune``: a ranker from an encoder and a few labelled architectures."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from archflow.commands.options import ArchColumn, CheckpointSpace, Device, FinetuneEpochs, Json, LabelColumn, Seed
from archflow.commands.shared import agreed_space, given, read, require_output, say

if TYPE_CHECKING:
    from archflow.encoding.base import Encoder


def finetune(
    input: Annotated[Path, typer.Option("--input", help="File of labelled architectures.")],
    label_column: LabelColumn = "accuracy",
    pretrained: Annotated[
        Path | None,
        typer.Option(help="Encoder from 'pretrain'; without it, gp and trees use path features and proxies alone."),
    ] = None,
    space: CheckpointSpace = None,
    arch_column: ArchColumn = "arch",
    validation: Annotated[
        Path | None,
        typer.Option(help="File of further labelled architectures; finetune chooses its best epoch by them."),
    ] = None,
    head: Annotated[
        str, typer.Option(help="What learns from the labels: gp, the best known, trees, or finetune, the paper's.")
    ] = "gp",
    finetune_epochs: FinetuneEpochs = None,
    batch_size: Annotated[
        int | None, typer.Option(help="Of finetune: architectures in a minibatch; 16 by default.")
    ] = None,
    lr: Annotated[float | None, typer.Option(help="Of finetune: learning rate; 0.001 by default.")] = None,
    out: Annotated[Path, typer.Option(help="File for the ranker.")] = Path("ranker.archflow"),
    seed: Seed = 0,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Learn to rank from a few labelled architectures, with an encoder or without."""
    from archflow.benchmarks.registry import space as make_space
    from archflow.encoding.files import load_encoder
    from archflow.encoding.registry import seeded_encoder
    from archflow.ranking.ranker import Ranker
    from archflow.ranking.registry import HEADS
    from archflow.support.files import locked
    from archflow.support.progress import Display

    require_output(out)
    settings = given(epochs=finetune_epochs, batch_size=batch_size, lr=lr)
    encoder: Encoder | None = None
    if pretrained is not None:
        encoder, provenance = load_encoder(pretrained)
        name, stands_on = agreed_space(space, provenance, pretrained), str(pretrained)
    else:
        name, stands_on = space or "nasbench201", "no encoder"
        provenance = dict[str, Any](space=name)
        if HEADS.find(head).needs_encoder:
            encoder = seeded_encoder("resgatedgcn", make_space(name).vocabulary, seed, {})
            stands_on = "an encoder with random weights"
    data = read(name, input, arch_column)
    held_out, others = None, None
    if validation is not None:
        others = read(name, validation, arch_column)
        held_out = others.archs, others[label_column]
    ranker = Ranker(encoder, head, space=name, seed=seed, device=device, **settings)
    with locked(out), Display() as progress:
        ranker.fit(data.archs, data[label_column], held_out, progress)
        ranker.save(out, **provenance)
    best = max(ranker.validation_taus) if ranker.validation_taus else None
    extra = 0 if others is None else len(others)
    labels, for_validation = len(data) + extra, extra if HEADS.find(head).needs_validation else 0
    used = {"labels": labels, "fit": labels - for_validation, "validation": for_validation}
    result = {
        "out": str(out),
        "space": name,
        "head": head,
        "encoder": stands_on,
        **used,
        "loss": ranker.losses[-1] if ranker.losses else None,
        "validation_tau": best,
    }
    parts = f" ({len(data):,} + {extra:,}{' for validation' if for_validation else ''})" if extra else ""
    assumed = "" if space or pretrained else ", which is assumed; --space names another"
    say(
        as_json,
        result,
        f"{head} on {stands_on}, space {name}{assumed}\n"
        f"fitted on {labels:,} labels{parts}{f', validation τ {best:.3f}' if best is not None else ''}: {out}",
    )
