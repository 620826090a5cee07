"""Tables of your own: CSV, JSONL and Parquet files with a column of architectures in the space's native notation."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy import ndarray

from archflow.benchmarks.space import Space
from archflow.benchmarks.table import Table
from archflow.support.files import write_atomically
from archflow.support.reading import Budget, TooMuchError, open_regular, read_json, read_regular, reason

_FORMATS = (".csv", ".jsonl", ".parquet")
MOST_ROWS = 2_000_000
"""Four times NAS-Bench-101's 423,624 cells, the largest table that there is."""
MOST_CELLS = 80_000_000
"""Four times that table with each run of each measure and budget, 49 columns."""
BUDGET = Budget(2_000_000_000)
"""That table with 20 digits a number has 0.5 GB."""


def read_table(path: str | Path, space: Space, arch_column: str = "arch") -> Table:
    """Read architectures and all columns of numbers; what is missing is NaN, and columns of anything else are left out.

    The format is that of the name: ``.csv``, ``.jsonl`` (one JSON object a line) or ``.parquet``.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: another ending, a file that is not of its format or has no rows or no such column, or a malformed
            architecture; the message gives its line in the file (in Parquet, its row, counted from 1).
    """
    path = Path(path)
    lines, columns = _read(path, arch_column)
    if arch_column not in columns:
        raise ValueError(f"{path} has no column '{arch_column}'; it has: {', '.join(columns)[:300] or 'none'}")
    if not lines:
        raise ValueError(f"{path} has no rows")
    strings = columns[arch_column]
    others = {name: values for name, values in columns.items() if name != arch_column}
    numbers = {name: found for name, values in others.items() if (found := _numbers(values)) is not None}
    kind = "row" if path.suffix == ".parquet" else "line"
    left_out = {name: _no_number(values, lines, kind) for name, values in columns.items() if name not in numbers}
    if not all(isinstance(string, str) for string in strings):
        row = next((row for row, string in enumerate(strings) if not isinstance(string, str)), 0)
        raise ValueError(f"{path}, line {lines[row]}: no architecture in column '{arch_column}'")
    try:
        archs = space.parse(strings, 0)
    except ValueError as error:  # it names the row, counted from 0; which line that is, is known here alone
        told = re.sub(r"^line (\d+)", lambda row: f"line {lines[int(row[1])]}", str(error))
        raise ValueError(f"{path}, {told}") from None
    return Table(str(path), space, archs, numbers, left_out=left_out)


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


def _read(path: Path, arch_column: str) -> tuple[Sequence[int], dict[str, list[Any]]]:
    """The number of each row's line, and the columns; a CSV's numbers are still strings."""
    import polars as pl

    require_format(path)
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}")
    try:
        if path.suffix == ".parquet":
            return _read_parquet(path, arch_column)
        text = read_regular(path, BUDGET.file).decode("utf-8-sig")
        if "\0" in text:
            raise ValueError("it is not text")
        return _read_csv(text) if path.suffix == ".csv" else _read_jsonl(text)
    except (ValueError, csv.Error, pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError) as error:
        told = reason(Exception((str(error).splitlines() or ["it is damaged"])[0])).removeprefix("Exception: ")
        raise ValueError(f"{path} cannot be read as {path.suffix[1:]}: {told}") from None


def _read_parquet(path: Path, arch_column: str) -> tuple[Sequence[int], dict[str, list[Any]]]:
    """Only what may be architectures or numbers is taken into memory; other columns hold None alone."""
    import polars as pl

    open_regular(path, BUDGET.file).close()
    lazy = pl.scan_parquet(path, glob=False)
    schema, rows = lazy.collect_schema(), int(lazy.select(pl.len()).collect().item())
    _require_extent(rows, len(schema))
    texts = [name for name, kind in schema.items() if kind in (pl.String, pl.Categorical, pl.Enum)]
    if arch_column in schema and arch_column not in texts:
        return range(1, rows + 1), {name: [None] * rows if name == arch_column else [] for name in schema}
    lengths = lazy.select(pl.col(name).cast(pl.String).str.len_bytes().cast(pl.UInt64).sum() for name in texts)
    _require_bytes(sum(lengths.collect().row(0)) if texts else 0)
    plain = [name for name, kind in schema.items() if not kind.is_nested() and kind not in (pl.Binary, pl.Object)]
    frame = lazy.select(plain).collect()
    return range(1, rows + 1), {name: frame[name].to_list() if name in plain else ["no number"] for name in schema}


def _require_extent(rows: int, columns: int) -> None:
    """Refuse a table that is larger than any there is, before it is held in memory."""
    if rows > MOST_ROWS:
        raise TooMuchError(f"it has {rows:,} rows, and no table may have more than {MOST_ROWS:,}")
    if rows * columns > MOST_CELLS:
        raise TooMuchError(f"it has {rows:,} rows of {columns:,} columns, more than {MOST_CELLS:,} fields")


def _require_bytes(found: int) -> None:
    if found > BUDGET.file:
        raise TooMuchError(f"its texts have {found:,} bytes, and no table may have more than {BUDGET.file:,}")


def _read_csv(text: str) -> tuple[Sequence[int], dict[str, list[Any]]]:
    reader = csv.reader(io.StringIO(text), strict=True)
    names = next(reader, [])
    if len(set(names)) < len(names):
        raise ValueError(f"two columns have the same name, among: {', '.join(names)[:300]}")
    rows: dict[int, list[str]] = {}
    for row in reader:
        if row:
            rows[reader.line_num] = row
            _require_extent(len(rows), len(names))
        if len(row) not in (0, len(names)):
            raise ValueError(f"line {reader.line_num} has {len(row)} fields, not {len(names)}")
    return list(rows), {name: [row[number] or None for row in rows.values()] for number, name in enumerate(names)}


def _read_jsonl(text: str) -> tuple[Sequence[int], dict[str, list[Any]]]:
    rows: dict[int, dict[str, Any]] = {}
    for line, content in enumerate(io.StringIO(text, newline="\n"), start=1):
        if content.strip():
            try:
                rows[line] = read_json(content)
            except ValueError as error:
                raise ValueError(f"line {line}: {getattr(error, 'msg', error)}") from None
            if not isinstance(rows[line], dict):
                raise ValueError(f"line {line} is no JSON object")
            _require_extent(len(rows), len(rows[line]))
    names = dict.fromkeys(name for row in rows.values() for name in row)
    _require_extent(len(rows), len(names))
    return list(rows), {name: [row.get(name) for row in rows.values()] for name in names}


def _numbers(values: list[Any]) -> ndarray | None:
    """The values as float64, NaN where there is none; None if they are anything else than numbers."""
    try:
        numbers = np.array(values, dtype=float)
    except (TypeError, ValueError, OverflowError):
        return None
    return numbers if numbers.ndim == 1 else None


def _no_number(values: list[Any], lines: Sequence[int], kind: str) -> str:
    """Where a column first has something else than a number, and what."""
    row = next((row for row, value in enumerate(values) if _numbers([value]) is None), None)
    return "it holds no numbers" if row is None else f"{kind} {lines[row]} has {str(values[row])[:40]!r}"
