"""A person's own tables: CSV, JSONL and Parquet files with a column of architectures in the space's native notation."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import polars as pl
from numpy import ndarray

from archflow.files import write_atomically
from archflow.spaces import Space
from archflow.tables import Table

_FORMATS = (".csv", ".jsonl", ".parquet")


def read_table(path: str | Path, space: Space, arch_column: str = "arch") -> Table:
    """Read architectures and all columns of numbers; what is missing is NaN, and columns of text are left out.

    The format is that of the name: ``.csv``, ``.jsonl`` (one JSON object a line) or ``.parquet``.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: another ending, a file that is not of its format or has no rows or no such column, or a malformed
            architecture; the message gives its line in the file (in Parquet, its row, counted from 1).
    """
    path = Path(path)
    frame = _read_frame(path)
    if arch_column not in frame.columns:
        raise ValueError(f"{path} has no column '{arch_column}'; it has: {', '.join(frame.columns)}")
    if not len(frame):
        raise ValueError(f"{path} has no rows")
    first_line = 2 if path.suffix == ".csv" else 1
    strings = frame[arch_column]
    if strings.dtype != pl.String or strings.null_count():
        row = int(strings.is_null().arg_max() or 0) if strings.null_count() else 0
        raise ValueError(f"{path}, line {first_line + row}: no architecture in column '{arch_column}'")
    try:
        archs = space.parse(strings.to_list(), first_line)
    except ValueError as error:
        raise ValueError(f"{path}, {error}") from None
    columns = {
        column.name: column.cast(pl.Float64).fill_null(np.nan).to_numpy()
        for column in frame
        if column.dtype.is_numeric()
    }
    return Table(str(path), space, archs, columns)


def write_table(path: str | Path, columns: Mapping[str, Sequence[str] | ndarray]) -> None:
    """Write columns of one length to a CSV, JSONL or Parquet file, whichever the name ends in.

    Raises:
        ValueError: another ending.
        OSError: the folder cannot be written or is full; a previous file is then untouched.
    """
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


def _read_frame(path: Path) -> pl.DataFrame:
    require_format(path)
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}")
    try:
        if path.suffix == ".csv":
            return pl.read_csv(path, infer_schema_length=None)
        if path.suffix == ".jsonl":
            return pl.read_ndjson(path, infer_schema_length=None)
        return pl.read_parquet(path)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise ValueError(f"{path} cannot be read as {path.suffix[1:]}: {str(error).splitlines()[0]}") from None
