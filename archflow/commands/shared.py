"""Helpers of several verbs: read architectures, agree on a space, print results."""

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
    """The settings that are not None; the others keep the defaults of the function behind the verb."""
    return {name: value for name, value in settings.items() if value is not None}


def read(space: str, path: Path | None, arch_column: str, sample: int | None = None, seed: int = 0) -> Table:
    """The architectures of a file, or a sample of the space, or the whole space."""
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
    """The space of a checkpoint; raises ValueError if the user named a different one."""
    own: str | None = provenance.get("space")
    if own and named and own != named:
        raise ValueError(f"{file} is a checkpoint for the space {own}, not for {named}")
    found = named or own
    if not found:
        raise ValueError(f"{file} does not record its space; give it with --space")
    return found


def require_output(path: Path, table: bool = False) -> None:
    """Check, before any work, that an output file can be written.

    Raises:
        OSError: it cannot be written; the message gives the path as the user wrote it.
        ValueError: it should be a table, and its suffix is not a table format's.
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
        raise OSError(f"{error.strerror}: {path} cannot be written; choose another place with --out") from None


def require_new(path: Path, overwrite: bool, unfinished: Path | None = None, resume: bool = False) -> None:
    """Check, before any work, that the result of another run is not lost.

    Args:
        path: the output file.
        overwrite: whether the user wants to replace what is there.
        unfinished: the file that an interrupted run leaves beside it, if it leaves one.
        resume: whether that is to be continued.

    Raises:
        ValueError: there is a result, or an unfinished run that is not to be continued.
    """
    has_unfinished = unfinished is not None and unfinished.is_file()
    if overwrite or (resume and has_unfinished):
        return
    if has_unfinished:
        raise ValueError(f"{unfinished} is an unfinished run: --resume continues it, --overwrite starts anew")
    if path.is_file():
        raise ValueError(
            f"{path} is there already, from another run: choose another --out, or replace it by --overwrite"
        )


def say(as_json: bool, result: Mapping[str, Any], line: str) -> None:
    """Print the result as one JSON object, or as a line of text."""
    from archflow.support.documents import strict_json

    print(strict_json(result) if as_json else line)


def listing(headings: Iterable[str], rows: Iterable[Iterable[str]]) -> None:
    """Print a table of strings; where it would have to break words, each row as a paragraph."""
    from rich.console import Console
    from rich.padding import Padding
    from rich.table import Table as RichTable

    console, (head, *names), rows = Console(highlight=False, markup=False), headings, [list(row) for row in rows]
    longest = [
        max(len(word) for text in column for word in text.split()) for column in zip((head, *names), *rows, strict=True)
    ]
    if sum(longest) + 3 * len(longest) + 1 <= console.width:
        table = RichTable(head, *names)
        for row in rows:
            table.add_row(*row)
        console.print(table)
        return
    for first, *others in rows:
        console.print(first, style="bold")
        for heading, text in zip(names, others, strict=True):
            if text:
                console.print(Padding(f"{heading}: {text}", (0, 0, 0, 2), expand=False))


def show_outcome(outcome: Outcome, as_json: bool, **what: str) -> None:
    """Print the outcome of a study; exit with code 1 if anything failed."""
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
    """A row of results with the headings used in papers."""
    names = {"tau": "τ", "p_at_1": "P@1%", "p_at_5": "P@5%"}
    return {names.get(name, name): value for name, value in row.items()}
