"""``archflow pretrain``: an encoder that has seen a whole space, and not one label."""

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
    PretrainEpochs,
    Proxy,
    ProxyLoss,
    Resume,
    Sample,
    Seed,
    SpaceName,
)
from archflow.commands.shared import given, read, require_output, say


def pretrain(
    space: SpaceName = "nasbench201",
    input: Input = None,
    sample: Sample = None,
    arch_column: ArchColumn = "arch",
    encoder: EncoderName = "resgatedgcn",
    hidden: Hidden = None,
    layers: Layers = None,
    task: Annotated[str, typer.Option(help="What to learn: fgp, zero-cost, arch2vec, gmae or graphcl.")] = "fgp",
    proxy: Proxy = "closed-form",
    proxy_loss: ProxyLoss = None,
    lambda1: Lambda1 = None,
    lambda2: Lambda2 = None,
    k: Annotated[int | None, typer.Option(help="Width of the flow surrogate; the space's own by default.")] = None,
    std: Annotated[float | None, typer.Option(help="Standard deviation of its draw; the space's by default.")] = None,
    draws: Annotated[int | None, typer.Option(help="How many draws of it stand side by side; 1 by default.")] = None,
    passes: Annotated[str | None, typer.Option(help="Its passes: both (by default), forward or backward.")] = None,
    rounds: Annotated[int | None, typer.Option(help="How many times it flows forward and back; 1 by default.")] = None,
    pretrain_epochs: PretrainEpochs = None,
    batch_size: Annotated[int | None, typer.Option(help="Architectures in a minibatch; 256 by default.")] = None,
    lr: Annotated[float | None, typer.Option(help="Learning rate; 0.001 by default.")] = None,
    precision: Annotated[
        str | None, typer.Option(help="Lightning Fabric's name: 32-true (by default), bf16-mixed, …")
    ] = None,
    processes: Annotated[int | None, typer.Option(help="Processes that share each minibatch; 1 by default.")] = None,
    checkpoint_seconds: Annotated[float | None, typer.Option(help="How often the run is saved; 30 by default.")] = None,
    resume: Resume = False,
    out: Annotated[Path, typer.Option(help="File for the encoder; OUT.partial holds an unfinished run.")] = Path(
        "encoder.archflow"
    ),
    seed: Seed = 0,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Pre-train an encoder on all architectures of a space, without a label."""
    from archflow.encoding.files import save_encoder
    from archflow.encoding.registry import seeded_encoder
    from archflow.pretraining import loop
    from archflow.pretraining.registry import make_task
    from archflow.support.progress import Display
    from archflow.zero_cost.columns import proxy_values

    require_output(out)
    data = read(space, input, arch_column, sample, seed)
    model = seeded_encoder(encoder, data.archs.vocabulary, seed, given(hidden=hidden, layers=layers))
    settings = given(k=k, std=std, draws=draws, passes=passes, rounds=rounds)
    settings |= given(proxy_loss=proxy_loss, lambda1=lambda1, lambda2=lambda2)
    learned = make_task(task, data.space.name, data.archs, proxy_values(data, proxy), seed, settings)
    unfinished = out.with_name(out.name + ".partial")
    with Display() as progress:
        outcome = loop.pretrain(
            model,
            data.archs,
            learned,
            **given(epochs=pretrain_epochs, batch_size=batch_size, lr=lr, precision=precision, processes=processes),
            **given(checkpoint_seconds=checkpoint_seconds),
            checkpoint=unfinished,
            resume=resume,
            seed=seed,
            device=device,
            progress=progress,
        )
    save_encoder(model, out, space=data.space.name, proxy=proxy, pretraining=outcome.settings, losses=outcome.losses)
    unfinished.unlink(missing_ok=True)
    last = {name: curve[-1] for name, curve in outcome.losses.items()}
    result = {"out": str(out), "seconds": outcome.seconds, "losses": last, "settings": outcome.settings}
    losses = ", ".join(f"{name} {value:.4g}" for name, value in last.items())
    say(as_json, result, f"pre-trained on {len(data):,} architectures in {outcome.seconds:.0f} s ({losses}): {out}")
