"""``archflow proxies``: zero-cost proxies measured on untrained networks."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from archflow.commands.options import ArchColumn, Device, Input, Json, Overwrite, Resume, Sample, Seed, SpaceName
from archflow.commands.shared import given, read, require_new, require_output, say


def proxies(
    space: SpaceName = "nasbench201",
    input: Input = None,
    sample: Sample = None,
    arch_column: ArchColumn = "arch",
    proxy: Annotated[
        str | None,
        typer.Option(
            help="Any of params, flops, l2_norm, grad_norm, snip, grasp, fisher, synflow, jacov, nwot, zen, plain, "
            "epe_nas, joined by commas; by default all."
        ),
    ] = None,
    images: Annotated[
        str,
        typer.Option(
            help="natural or white (Gaussian noise with random labels), or a folder with the CIFAR-10 batches."
        ),
    ] = "natural",
    batch_size: Annotated[int | None, typer.Option(help="Images in the minibatch; by default 64.")] = None,
    size: Annotated[
        int | None, typer.Option(help="Height and width of the images; by default the benchmark's.")
    ] = None,
    width: Annotated[int | None, typer.Option(help="Channels of the first cells; by default the benchmark's.")] = None,
    depth: Annotated[
        int | None, typer.Option(help="Number of cells, or of cells per stage; by default the benchmark's.")
    ] = None,
    classes: Annotated[int | None, typer.Option(help="Number of classes; by default the benchmark's.")] = None,
    processes: Annotated[
        int | None, typer.Option(help="Processes that share the work; by default one per core.")
    ] = None,
    resume: Resume = False,
    overwrite: Overwrite = False,
    out: Annotated[
        Path,
        typer.Option(
            help="CSV, JSONL or Parquet file; an unfinished run is kept in OUT.partial. JSONL has null for failures "
            "and for the -inf of disconnected networks."
        ),
    ] = Path("proxies.parquet"),
    seed: Seed = 0,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Measure zero-cost proxies on the untrained networks of a space, or of a file of architectures."""
    from archflow.benchmarks.networks import family
    from archflow.benchmarks.registry import space as make_space
    from archflow.support.progress import Display
    from archflow.zero_cost import bulk
    from archflow.zero_cost.measures import PROXIES, require_known

    names = list(PROXIES) if proxy is None else proxy.split(",")
    require_output(out, table=True)
    require_new(out, overwrite, out.with_name(out.name + ".partial"), resume)
    require_known(names)
    family(make_space(space).name)  # raises if the space has no networks
    data = read(space, input, arch_column, sample, seed)
    started = time.monotonic()
    with Display() as progress:
        found = bulk.proxies(
            space,
            data.archs,
            names,
            images=images,
            **given(batch_size=batch_size, size=size, width=width, depth=depth, classes=classes),
            seed=seed,
            processes=processes,
            device=device,
            out=out,
            resume=resume,
            progress=progress,
        )
    facts = {"out": str(out), "architectures": len(found), "proxies": list(found.columns)}
    facts["seconds"] = time.monotonic() - started
    say(as_json, facts, f"{len(found.columns)} proxies of {len(found):,} architectures: {out}")
