"""``archflow finetune``: a ranker from an encoder and a few labelled architectures."""

from __future__ import annotations

from dataclasses import asdict, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from archflow.commands.options import (
    ArchColumn,
    CheckpointSpace,
    Device,
    FinetuneEpochs,
    Json,
    LabelColumn,
    Overwrite,
    Preset,
    Seed,
)
from archflow.commands.shared import agreed_space, given, read, require_new, require_output, say

if TYPE_CHECKING:
    from archflow.encoding.base import Encoder
    from archflow.ranking.cross_validation import CrossValidation


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
        str | None,
        typer.Option(
            help="What learns from the labels: gp, the best known and the default, trees, or finetune, the paper's."
        ),
    ] = None,
    preset: Preset = None,
    finetune_epochs: FinetuneEpochs = None,
    batch_size: Annotated[
        int | None, typer.Option(help="Of finetune: architectures in a minibatch; 16 by default.")
    ] = None,
    lr: Annotated[float | None, typer.Option(help="Of finetune: learning rate; 0.001 by default.")] = None,
    folds: Annotated[
        int | None,
        typer.Option(help="Of the cross-validated τ, 0 for none; 5 by default, but none for finetune, which is slow."),
    ] = None,
    out: Annotated[Path, typer.Option(help="File for the ranker.")] = Path("ranker.archflow"),
    overwrite: Overwrite = False,
    seed: Seed = 0,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Learn to rank from a few labelled architectures, with an encoder or without."""
    from archflow.benchmarks.registry import space as make_space
    from archflow.encoding.files import load_encoder
    from archflow.encoding.registry import seeded_encoder
    from archflow.ranking.cross_validation import cross_validated
    from archflow.ranking.ranker import Ranker
    from archflow.ranking.registry import HEADS
    from archflow.studies.preset import preset as named_preset
    from archflow.support.files import locked
    from archflow.support.progress import Display

    require_output(out)
    require_new(out, overwrite)
    head = head or ("finetune" if preset else "gp")
    kind, given_settings = HEADS.find(head), given(epochs=finetune_epochs, batch_size=batch_size, lr=lr)
    if unknown := given_settings.keys() - {field.name for field in fields(kind.Settings)}:
        option = {"epochs": "--finetune-epochs", "batch_size": "--batch-size", "lr": "--lr"}[min(unknown)]
        raise ValueError(f"the head '{head}' has no setting for {option}, which is for --head finetune")
    folds = (0 if kind.needs_validation else 5) if folds is None else folds
    if folds < 0 or folds == 1:
        raise ValueError(f"--folds must be 0, or 2 or more, not {folds}")
    encoder: Encoder | None = None
    if pretrained is not None:
        encoder, provenance = load_encoder(pretrained)
        name, stands_on = agreed_space(space, provenance, pretrained), str(pretrained)
    else:
        name, stands_on = space or "nasbench201", "no encoder"
        provenance = dict[str, Any](space=name)
    exact = named_preset(preset, name) if preset else None
    settings: dict[str, Any] = asdict(exact.finetuning) if exact and head == "finetune" else {}
    settings |= given_settings
    if encoder is None and kind.needs_encoder:
        of_encoder = exact.encoder_settings("resgatedgcn") if exact else {}
        encoder = seeded_encoder("resgatedgcn", make_space(name).vocabulary, seed, of_encoder)
        stands_on = "an encoder with random weights"
    data = read(name, input, arch_column)
    held_out, others = None, None
    if validation is not None:
        others = read(name, validation, arch_column)
        held_out = others.archs, others[label_column]
    ranker = Ranker(encoder, head, space=name, seed=seed, device=device, **settings)
    with locked(out), Display() as progress:
        ranker.fit(data.archs, data[label_column], held_out, progress)
        crossed = cross_validated(ranker, folds, progress) if folds else None
        ranker.save(out, **provenance)
    best = max(ranker.validation_taus) if ranker.validation_taus else None
    extra = 0 if others is None else len(others)
    labels, for_validation = len(data) + extra, extra if kind.needs_validation else 0
    used = {"labels": labels, "fit": labels - for_validation, "validation": for_validation}
    result = {
        "out": str(out),
        "space": name,
        "head": head,
        "encoder": stands_on,
        **used,
        "loss": ranker.losses[-1] if ranker.losses else None,
        "validation_tau": best,
        "cross_validation": crossed and {**asdict(crossed), "tau": crossed.tau, "tau_std": crossed.tau_std},
    }
    parts = f" ({len(data):,} + {extra:,}{' for validation' if for_validation else ''})" if extra else ""
    assumed = "" if space or pretrained else ", which is assumed; --space names another"
    say(
        as_json,
        result,
        f"{head} on {stands_on}, space {name}{assumed}\n"
        f"fitted on {labels:,} labels{parts}{f', validation τ {best:.3f}' if best is not None else ''}: {out}"
        f"{_crossed(crossed) if folds else ''}",
    )


def _crossed(found: CrossValidation | None) -> str:
    if found is None:
        return "\nthese labels are too few for a cross-validated τ"
    return (
        f"\ncross-validated τ {found.tau:.3f} ± {found.tau_std:.3f}: over {len(found.taus)} folds, each ranked by "
        f"a ranker fitted on the other labels, about {found.fitted_on:,}"
    )
