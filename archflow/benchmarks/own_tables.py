"""Tables of your own: CSV, JSONL and Parquet files with a column of architectures in the space's native notation."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy import ndarray

from archflow.benchmarks.space import Space
from archflow.benchmarks.table import Table
from archflow.support.files import write_atomically

_FORMATS = (".csv", ".jsonl", ".parquet")


def read_table(path: str | Path, space: Space, arch_column: str = "arch") -> Table:
    """Read architectures and all columns of numbers; what is missing is NaN, and columns of anything else are left out.

    The format is that of the name: ``.csv``, ``.jsonl`` (one JSON object a line) or ``.parquet``.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: another ending, a file that is not of its format or has no rows or no such column, or a malformed
            architecture; the message gives its line in the file (in Parquet, its row, counted from 1).
    """
    path = Path(path)
    lines, columns = _read(path)
    if arch_column not in columns:
        raise ValueError(f"{path} has no column '{arch_column}'; it has: {', '.join(columns) or 'none'}")
    if not lines:
        raise ValueError(f"{path} has no rows")
    strings = columns[arch_column]
    others = {name: values for name, values in columns.items() if name != arch_column}
    numbers = {name: found for name, values in others.items() if (found := _numbers(values)) is not None}
    if not all(isinstance(string, str) for string in strings):
        row = next((row for row, string in enumerate(strings) if not isinstance(string, str)), 0)
        raise ValueError(f"{path}, line {lines[row]}: no architecture in column '{arch_column}'")
    try:
        archs = space.parse(strings, 0)
    except ValueError as error:  # it names the row, counted from 0; which line that is, is known here alone
        reason = re.sub(r"^line (\d+)", lambda row: f"line {lines[int(row[1])]}", str(error))
        raise ValueError(f"{path}, {reason}") from None
    return Table(str(path), space, archs, numbers, left_out=tuple(name for name in columns if name not in numbers))


def write_table(path: str | Path, columns: Mapping[str, Sequence[str] | ndarray]) -> None:
    """Write columns of one length to a CSV, JSONL or Parquet file, whichever the name ends in.

    JSON knows neither NaN nor infinity, so JSONL has null for both.

    Raises:
        ValueError: another ending.
        OSError: the folder cannot be written or is full; a previous file is then untouched.
    """
    import polars as pl

    path = Path(path)
    require_format(path)
    frame, buffer = pl.DataFrame(dict(columns)), io.BytesIO()
    if path.suffix == ".csv":
        frame.write_csv(buffer)
    elif path.suffix == ".jsonl":
        frame.write_ndjson(buffer)
    else:
        frame.write_parquet(buffer)
    write_atomically(path, buffer.getvalue())


def require_format(path: str | Path) -> None:
    """Raise ValueError unless the name ends in one of the formats."""
    if Path(path).suffix not in _FORMATS:
        raise ValueError(f"{path}: the name must end in {', '.join(_FORMATS[:-1])} or {_FORMATS[-1]}")


def _read(path: Path) -> tuple[Sequence[int], dict[str, list[Any]]]:
    """The number of each row's line, and the columns; a CSV's numbers are still strings."""
    import polars as pl

    require_format(path)
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}")
    try:
        if path.suffix == ".parquet":
            frame = pl.read_parquet(path)
            return range(1, len(frame) + 1), {column.name: column.to_list() for column in frame}
        text = path.read_text("utf-8-sig")
        if "\0" in text:
            raise ValueError("it is not text")
        return _read_csv(text) if path.suffix == ".csv" else _read_jsonl(text)
    except (ValueError, csv.Error, pl.exceptions.PolarsError, OSError, RecursionError) as error:
        raise ValueError(f"{path} cannot be read as {path.suffix[1:]}: {str(error).splitlines()[0]}") from None


def _read_csv(text: str) -> tuple[Sequence[int], dict[str, list[Any]]]:
    reader = csv.reader(io.StringIO(text), strict=True)
    names = next(reader, [])
    if len(set(names)) < len(names):
        raise ValueError(f"two columns have the same name, among: {', '.join(names)}")
    rows: dict[int, list[str]] = {}
    for row in reader:
        if row:
            rows[reader.line_num] = row
        if len(row) not in (0, len(names)):
            raise ValueError(f"line {reader.line_num} has {len(row)} fields, not {len(names)}")
    return list(rows), {name: [row[number] or None for row in rows.values()] for number, name in enumerate(names)}


def _read_jsonl(text: str) -> tuple[Sequence[int], dict[str, list[Any]]]:
    rows: dict[int, dict[str, Any]] = {}
    for line, content in enumerate(text.split("\n"), start=1):
        if content.strip():
            try:
                rows[line] = json.loads(content)
            except json.JSONDecodeError as error:
                raise ValueError(f"line {line}: {error.msg}") from None
            if not isinstance(rows[line], dict):
                raise ValueError(f"line {line} is no JSON object")
    names = dict.fromkeys(name for row in rows.values() for name in row)
    return list(rows), {name: [row.get(name) for row in rows.values()] for name in names}


def _numbers(values: list[Any]) -> ndarray | None:
    """The values as float64, NaN where there is none; None if they are anything else than numbers."""
    try:
        numbers = np.array(values, dtype=float)
    except (TypeError, ValueError, OverflowError):
        return None
    return numbers if numbers.ndim == 1 else None
