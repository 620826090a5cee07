"""``archflow tables``: trained results, from a benchmark's official files or your own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from archflow.commands.options import ArchColumn, Device, Json, LabelColumn, Seed
from archflow.commands.shared import listing, require_output, say

if TYPE_CHECKING:
    from archflow.benchmarks.table import Table

tables = typer.Typer(invoke_without_command=True)


@tables.callback()
def list_tables(context: typer.Context, seed: Seed = 0, device: Device = "auto", as_json: Json = False) -> None:
    """List the tables of trained results, add one, or write one to a file."""
    del seed, device  # every verb accepts them; this one has no use for them
    if context.invoked_subcommand is not None:
        return
    from archflow.benchmarks.tables import descriptions
    from archflow.support.documents import strict_json
    from archflow.support.files import data_folder

    found, folder = descriptions(), str(data_folder() / "tables")
    if as_json:
        rows = [{"table": each.pop("name"), **each} for each in map(asdict, found)]
        print(strict_json({"tables": rows, "folder": folder}))
        return
    listing(
        ("table", "space", "architectures", "columns", "to get it"),
        (
            (
                each.name,
                each.space,
                f"{each.architectures:,}" if each.architectures else "",
                _some(each.columns),
                each.missing or "ready",
            )
            for each in found
        ),
    )
    print(f"added tables are kept in {folder}")


def _some(columns: Sequence[str], most: int = 3) -> str:
    """The first columns, and how many there are."""
    more = f", … ({len(columns)} in all)" if len(columns) > most else ""
    return ", ".join(columns[:most]) + more if columns else ""


@tables.command("add")
def add_table(
    table: Annotated[
        str, typer.Argument(metavar="TABLE", help="An official table, or your own CSV, JSONL or Parquet file.")
    ],
    path: Annotated[Path | None, typer.Argument(help="The official file, archive or folder.")] = None,
    space: Annotated[str | None, typer.Option(help="Search space of your own file.")] = None,
    arch_column: ArchColumn = "arch",
    label_column: LabelColumn = "",
    name: Annotated[str | None, typer.Option(help="Name for your own table; by default the file's.")] = None,
    seed: Seed = 0,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Check a file of trained results, convert it, and keep it under a name."""
    del seed, device
    from archflow.benchmarks.tables import file_of

    if path is None:
        found = _own(table, space, arch_column, label_column, name)
    elif space or label_column or name:
        raise ValueError("--space, --label-column and --name are for your own files; official tables have their own")
    else:
        from archflow.benchmarks.tables import add
        from archflow.support.progress import Display

        with Display() as progress:
            found = add(table, path, progress)
    others = [column for column in found.left_out if column != arch_column]
    facts = {"table": found.name, "space": found.space.name, "architectures": len(found)}
    facts |= {"columns": list(found.columns), "default": found.default, "left_out": others}
    facts |= {"file": str(file_of(found.name))}
    columns = ", ".join(found.columns) or "no numeric columns"
    left_out = f"; left out, as they are not numeric: {', '.join(others)}" * bool(others)
    text = f"{found.name}: {len(found):,} architectures of {found.space.name}; {columns}{left_out}"
    say(as_json, facts, f"{text}\nkept in {facts['file']}; 'archflow tables remove {found.name}' deletes it")


def _own(file: str, space: str | None, arch_column: str, label_column: str, name: str | None) -> Table:
    """Add the table in a user's own file."""
    from archflow.benchmarks.own_tables import read_table
    from archflow.benchmarks.registry import space as make_space
    from archflow.benchmarks.tables import keep, official_files

    if space is None:
        raise ValueError(
            f"the path of the official file is missing (archflow tables add {file} PATH)"
            if official_files(file)
            else f"{file}: give the search space of your own file with --space"
        )
    own = read_table(file, make_space(space), arch_column)
    if label_column:
        own[label_column]  # raises if there is no such numeric column
    name = name or Path(file).stem
    if official_files(name):
        raise ValueError(f"{name} is the name of an official table; choose another name with --name")
    return keep(replace(own, name=name, default=label_column))


@tables.command("remove")
def remove_table(
    name: Annotated[str, typer.Argument(metavar="TABLE", help="Name of a table that was added.")],
    seed: Seed = 0,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Delete a table that was added; the file that it was made from stays."""
    del seed, device
    from archflow.benchmarks.tables import file_of, remove

    file = str(file_of(name))
    remove(name)
    say(as_json, {"table": name, "file": file}, f"{name} is removed: {file}")


@tables.command("write")
def write_out(
    name: Annotated[str, typer.Argument(metavar="TABLE", help="Name of a table.")],
    out: Annotated[Path, typer.Option(help="CSV, JSONL or Parquet file to write it to.")],
    arch_column: ArchColumn = "arch",
    seed: Seed = 0,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Write a table, with its architectures in the space's native notation."""
    del seed, device
    from archflow.benchmarks.own_tables import write_table
    from archflow.benchmarks.tables import table

    require_output(out, table=True)
    found = table(name)
    if arch_column in found.columns:
        raise ValueError(f"{name} already has a column '{arch_column}'; choose another name with --arch-column")
    write_table(out, {arch_column: found.space.format(found.archs), **found.columns})
    facts = {"table": name, "architectures": len(found), "out": str(out)}
    say(as_json, facts, f"{len(found):,} written to {out}")
