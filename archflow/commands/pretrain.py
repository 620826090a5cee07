"""``archflow pretrain``: an encoder that has learned from a whole space, without labels."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from archflow.commands.options import (
    ArchColumn,
    Device,
    EncoderName,
    Hidden,
    Input,
    Json,
    Lambda1,
    Lambda2,
    Layers,
    Overwrite,
    Preset,
    PretrainEpochs,
    Proxy,
    ProxyLoss,
    Resume,
    Sample,
    Seed,
    SpaceName,
)
from archflow.commands.shared import given, read, require_new, require_output, say


def pretrain(
    space: SpaceName = "nasbench201",
    input: Input = None,
    sample: Sample = None,
    arch_column: ArchColumn = "arch",
    encoder: EncoderName = "resgatedgcn",
    hidden: Hidden = None,
    layers: Layers = None,
    task: Annotated[str, typer.Option(help="Pretext task: fgp, zero-cost, arch2vec, gmae or graphcl.")] = "fgp",
    proxy: Proxy = None,
    proxy_loss: ProxyLoss = None,
    lambda1: Lambda1 = None,
    lambda2: Lambda2 = None,
    preset: Preset = None,
    k: Annotated[int | None, typer.Option(help="Width of the flow surrogate; by default the space's.")] = None,
    std: Annotated[
        float | None, typer.Option(help="Standard deviation of the flow draw; by default the space's.")
    ] = None,
    draws: Annotated[int | None, typer.Option(help="Number of flow draws, concatenated; by default 1.")] = None,
    passes: Annotated[str | None, typer.Option(help="Passes of the flow: both (default), forward or backward.")] = None,
    rounds: Annotated[int | None, typer.Option(help="Rounds of forward and backward flow; by default 1.")] = None,
    pretrain_epochs: PretrainEpochs = None,
    batch_size: Annotated[int | None, typer.Option(help="Architectures in a minibatch; by default 256.")] = None,
    lr: Annotated[float | None, typer.Option(help="Learning rate; by default 0.001.")] = None,
    precision: Annotated[
        str | None, typer.Option(help="As in Lightning Fabric: 32-true (default), bf16-mixed, …")
    ] = None,
    processes: Annotated[int | None, typer.Option(help="Processes that share each minibatch; by default 1.")] = None,
    checkpoint_seconds: Annotated[
        float | None, typer.Option(help="Seconds between checkpoints; by default 30.")
    ] = None,
    resume: Resume = False,
    overwrite: Overwrite = False,
    out: Annotated[Path, typer.Option(help="File for the encoder; an unfinished run is kept in OUT.partial.")] = Path(
        "encoder.archflow"
    ),
    seed: Seed = 0,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Pre-train an encoder on all architectures of a space, without labels."""
    from archflow.encoding.files import save_encoder
    from archflow.encoding.registry import seeded_encoder
    from archflow.pretraining import loop
    from archflow.pretraining.registry import make_task
    from archflow.studies.preset import preset as named_preset
    from archflow.support.files import locked
    from archflow.support.progress import Display
    from archflow.zero_cost.columns import proxy_values

    require_output(out)
    unfinished = out.with_name(out.name + ".partial")
    require_new(out, overwrite, unfinished, resume)
    exact = named_preset(preset, space) if preset else None
    of_encoder = {**(exact.encoder_settings(encoder) if exact else {}), **given(hidden=hidden, layers=layers)}
    proxy = proxy or (exact.proxies if exact else "closed-form")
    data = read(space, input, arch_column, sample, seed)
    model = seeded_encoder(encoder, data.archs.vocabulary, seed, of_encoder)
    settings = exact.task_settings(task) if exact else {}
    settings |= given(k=k, std=std, draws=draws, passes=passes, rounds=rounds)
    settings |= given(proxy_loss=proxy_loss, lambda1=lambda1, lambda2=lambda2)
    learned = make_task(task, data.space.name, data.archs, proxy_values(data, proxy), seed, settings)
    with locked(out), Display() as progress:
        outcome = loop.pretrain(
            model,
            data.archs,
            learned,
            **given(epochs=pretrain_epochs, batch_size=batch_size, lr=lr, precision=precision, processes=processes),
            schedule=exact.pretraining.schedule if exact else loop.PretrainSettings.schedule,
            **given(checkpoint_seconds=checkpoint_seconds),
            checkpoint=unfinished,
            resume=resume,
            seed=seed,
            device=device,
            progress=progress,
        )
        about = {"space": data.space.name, "proxy": proxy}
        save_encoder(model, out, **about, pretraining=outcome.settings, losses=outcome.losses)
        unfinished.unlink(missing_ok=True)
    last = {name: curve[-1] for name, curve in outcome.losses.items()}
    result = {"out": str(out), "seconds": outcome.seconds, "losses": last, "settings": outcome.settings}
    losses = ", ".join(f"{name} {value:.4g}" for name, value in last.items())
    say(as_json, result, f"pre-trained on {len(data):,} architectures in {outcome.seconds:.0f} s ({losses}): {out}")
