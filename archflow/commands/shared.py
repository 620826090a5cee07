"""What several verbs do: read architectures, agree on a space, and print."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from archflow.benchmarks.table import Table
    from archflow.studies.runner import Outcome


def given(**settings: Any) -> dict[str, Any]:
    """The settings that the user gave; what is None keeps the default of the function behind the verb."""
    return {name: value for name, value in settings.items() if value is not None}


def read(space: str, path: Path | None, arch_column: str, sample: int | None = None, seed: int = 0) -> Table:
    """The architectures of a file, a sample of the space, or all of it."""
    from archflow.benchmarks.own_tables import read_table
    from archflow.benchmarks.registry import space as make_space
    from archflow.benchmarks.table import Table

    known = make_space(space)
    if path is not None and sample is not None:
        raise ValueError("--input and --sample exclude each other")
    if path is not None:
        return read_table(path, known, arch_column)
    return Table(known.name, known, known.enumerate() if sample is None else known.sample(sample, seed), {})


def agreed_space(named: str | None, provenance: Mapping[str, Any], file: Path) -> str:
    """The space that a checkpoint is of; refuses another one that is named beside it."""
    own: str | None = provenance.get("space")
    if own and named and own != named:
        raise ValueError(f"{file} is a checkpoint of the space {own}, not of {named}")
    found = named or own
    if not found:
        raise ValueError(f"{file} does not say of which space it is; name it with --space")
    return found


def require_output(path: Path, table: bool = False) -> None:
    """Refuse, before any work, a file that could not be written; a table's name must end as one of its formats.

    Raises:
        OSError: it could not be written; the message names the file that the user named.
        ValueError: the name of a table has another ending.
    """
    from archflow.benchmarks.own_tables import require_format
    from archflow.support.files import require_writable

    if table:
        require_format(path)
    try:
        require_writable(path)
    except OSError as error:
        if not error.strerror:
            raise
        raise OSError(f"{error.strerror}: {path} cannot be written; name another place with --out") from None


def say(as_json: bool, result: Mapping[str, Any], line: str) -> None:
    """Print the result as one JSON object, or a line about it."""
    from archflow.support.documents import strict_json

    print(strict_json(result) if as_json else line)


def listing(headings: Iterable[str], rows: Iterable[Iterable[str]]) -> None:
    """Print a table of texts."""
    from rich.console import Console
    from rich.table import Table as RichTable

    table = RichTable()
    for heading in headings:
        table.add_column(heading, overflow="fold")
    for row in rows:
        table.add_row(*row)
    Console().print(table)


def show_outcome(outcome: Outcome, as_json: bool, **what: str) -> None:
    """Print what a study holds, and end with exit code 1 if some of it could not be run."""
    for failure in outcome.failures:
        print(f"failed: {failure.what}: {' '.join(failure.why.split())}", file=sys.stderr)
    files = [str(file) for file in outcome.files]
    facts = {**what, "runs": outcome.runs, "done": len(outcome.lines), "files": files}
    say(
        as_json,
        {**facts, "failures": outcome.failures, "lines": outcome.lines},
        f"{outcome.table}\n{', '.join(files)}",
    )
    if outcome.failures:
        raise typer.Exit(1)


def titled(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row of results with the headings that people read."""
    names = {"tau": "τ", "p_at_1": "P@1%", "p_at_5": "P@5%"}
    return {names.get(name, name): value for name, value in row.items()}
