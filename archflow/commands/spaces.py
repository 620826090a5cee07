"""``archflow spaces``: the search spaces and their architectures."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from archflow.commands.options import Device, Json, Sample, Seed
from archflow.commands.shared import listing, require_output, say

if TYPE_CHECKING:
    from archflow.benchmarks.space import Space


def spaces(
    name: Annotated[str | None, typer.Argument(help="Name of a space.")] = None,
    sample: Sample = None,
    out: Annotated[Path | None, typer.Option(help="CSV, JSONL or Parquet file for the space's architectures.")] = None,
    seed: Seed = 0,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """List the search spaces, or write the architectures of one to a file."""
    del device  # every verb accepts --device; this one has no use for it
    if name is None and out is not None:
        raise ValueError("give the name of a space with --out")
    if sample is not None and out is None:
        raise ValueError("--sample needs the name of a space, and --out")
    if name is None:
        _list(as_json)
        return
    from archflow.benchmarks.own_tables import write_table
    from archflow.benchmarks.registry import space as make_space

    space = make_space(name)
    if out is None:
        facts = {"space": name, **_facts(space)}
        say(as_json, facts, f"{name}: {_count(space.size)} architectures")
        return
    require_output(out, table=True)
    archs = space.enumerate() if sample is None else space.sample(sample, seed)
    columns: dict[str, Any] = {"arch": space.format(archs)}
    for column in ("parameters", "flops"):
        try:
            columns[column] = getattr(space, column)(archs)
        except ValueError:  # the space has no closed form for it
            continue
    write_table(out, columns)
    say(as_json, {"space": name, "architectures": len(archs), "out": str(out)}, f"{len(archs):,} written to {out}")


def _list(as_json: bool) -> None:
    from archflow.benchmarks import registry
    from archflow.benchmarks.tables import tables
    from archflow.encoding.registry import encoders
    from archflow.support.documents import strict_json

    found = [registry.space(name) for name in registry.spaces()]
    if as_json:
        rows = [{"space": space.name, **_facts(space)} for space in found]
        print(strict_json({"spaces": rows, "tables": tables(), "encoders": encoders()}))
        return
    rows_of_texts = ((space.name, _count(space.size), ", ".join(space.vocabulary)) for space in found)
    listing(("space", "architectures", "operations"), rows_of_texts)


def _facts(space: Space) -> dict[str, Any]:
    return {"architectures": space.size, "operations": list(space.vocabulary)}


def _count(size: int | None) -> str:
    return "uncounted" if size is None else f"{size:,}" if size < 10**9 else f"{size:.2g}"
