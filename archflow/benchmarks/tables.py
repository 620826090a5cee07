"""Tables by name: those that packages bring, and those that were added.

``archflow.table(name)`` returns a table. Some come with PyPI packages. Others are made once from a benchmark's official
files, or from your own, by :func:`add` and :func:`keep`: they are checked, converted and kept in the cache folder.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from archflow.archs.batch import ArchBatch
from archflow.benchmarks import BENCHMARKS
from archflow.benchmarks.record import TableSource
from archflow.benchmarks.registry import space as make_space
from archflow.benchmarks.table import Table
from archflow.support.files import cache_folder, load_settings, load_tensors, require_writable, save_tensors
from archflow.support.progress import Progress, silent
from archflow.support.registry import Registry


def _require_source(name: str, source: object) -> None:
    if not isinstance(source, TableSource):
        raise ValueError(f"the table {name} must be a TableSource, not {source!r}")


SOURCES = Registry(
    "table",
    {name: source for benchmark in BENCHMARKS for name, source in benchmark.tables.items()},
    _require_source,
)
"""Where each table comes from, by its name."""


def table(name: str) -> Table:
    """The table of that name: one that comes with a package, or one that was added.

    Raises:
        ValueError: the name is unknown, or its table was not added; the message says what to do.
        ModuleNotFoundError: the PyPI package that ships the table is not installed; the message names it.
    """
    source = SOURCES.get(name)
    if source and not source.files:
        return source.read()
    if _file(name).is_file():
        return _load(name)
    if source:
        raise ValueError(
            f"the table {name} is made from its official files ({source.files}), once: archflow tables add {name} PATH"
        )
    raise ValueError(f"unknown table '{name}'; known tables: {', '.join(tables())}")


def tables(space: str = "") -> list[str]:
    """Names that :func:`table` knows, all or those of a space.

    First those that come with packages, then what was added, official ones before your own, then what can be added.
    """
    added = dict(_added())
    packaged = {name: source.space for name, source in SOURCES.items() if not source.files}
    official = {name: source.space for name, source in SOURCES.items() if source.files}
    spaces = packaged | {name: added[name] for name in official if name in added}
    spaces |= added
    spaces |= {name: its_space for name, its_space in official.items() if name not in added}
    return [name for name, its_space in spaces.items() if space in ("", its_space)]


def official_files(name: str) -> str:
    """What the files are called that a table is made from by :func:`add`; "" where there are none."""
    return SOURCES[name].files if name in SOURCES else ""


def add(name: str, path: str | Path, progress: Progress = silent) -> Table:
    """Check official files, convert them once, and keep the table, so that ``table(name)`` finds it.

    Args:
        name: of a table that is made from official files.
        path: the file, archive or folder that was downloaded.
        progress: called with what is done, how much of it, and of how much.

    Raises:
        FileNotFoundError: there is no such file.
        OSError: the cache folder cannot be written.
        ValueError: an unknown name, or files that are damaged, of another benchmark, or hold an architecture twice.
    """
    if not official_files(name):
        known = ", ".join(name for name in SOURCES if official_files(name))
        raise ValueError(f"unknown official table '{name}'; known: {known}; or name a file and --space")
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"there is no file {path}")
    require_writable(_file(name))
    return keep(replace(SOURCES[name].read(path, progress), name=name))


def keep(table: Table) -> Table:
    """Keep a table under its name in the cache folder, so that ``table(name)`` finds it; all its numbers as float64.

    Raises:
        ValueError: the name is that of a package's table, or is not of letters, digits, ``.``, ``_``, ``-`` and ``/``;
            the space is not one that ``archflow.space`` knows; a column holds no numbers; or an architecture is there
            twice.
        OSError: the cache folder cannot be written.
    """
    if not _may_be_kept(table.name):
        raise ValueError(f"a table cannot be kept as '{table.name}'; name it otherwise")
    make_space(table.space.name)  # raises if the table could not be read again
    for column, values in table.columns.items():
        if values.dtype.kind not in "biuf":
            raise ValueError(f"the column '{column}' of {table.name} is not all numbers")
    table.require_distinct()
    table = replace(table, columns={column: np.array(values, float) for column, values in table.columns.items()})
    # An index, not a name, as a column may be called what no file format likes.
    columns = {f"column {number}": torch.from_numpy(column) for number, column in enumerate(table.columns.values())}
    about = {"space": table.space.name, "vocabulary": table.archs.vocabulary, "default": table.default}
    names = {"columns": list(table.columns), "left_out": table.left_out}
    save_tensors(_file(table.name), "table", {**table.archs.tensors(), **columns}, {**about, **names})
    return table


def remove(name: str) -> None:
    """Delete a table that was added from the cache folder.

    Raises:
        ValueError: no table of that name was added.
        OSError: the file cannot be deleted.
    """
    if not (_may_be_kept(name) and _file(name).is_file()):
        raise ValueError(f"no table '{name}' was added; added tables: {', '.join(dict(_added())) or 'none'}")
    _file(name).unlink()


def _may_be_kept(name: str) -> bool:
    """Whether the cache folder can hold a table of that name."""
    word = r"\w[\w.-]*"
    of_package = name in SOURCES and not SOURCES[name].files
    return not of_package and re.fullmatch(rf"{word}(/{word})*", name, re.ASCII) is not None


def _load(name: str) -> Table:
    path = _file(name)
    try:
        tensors, about = load_tensors(path, "table")
        space = make_space(about["space"])
        archs = ArchBatch.from_tensors(tensors, about["vocabulary"])
        archs.require_vocabulary(space.vocabulary, space.name)
        columns = {column: tensors[f"column {number}"].numpy() for number, column in enumerate(about["columns"])}
        return Table(name, space, archs, columns, about["default"], tuple(about["left_out"]))
    except (KeyError, TypeError, ValueError) as error:
        reason = f"{type(error).__name__}: {error}"
        raise ValueError(f"{path} is damaged or of another version; add the table {name} again ({reason})") from None


def _file(name: str) -> Path:
    return cache_folder() / "tables" / f"{name}.archflow"


def _added() -> Iterator[tuple[str, str]]:
    """Name and space of each table in the cache folder; files that are none, or of another version, are passed over."""
    folder = cache_folder() / "tables"
    for path in sorted(folder.rglob("*.archflow")):
        try:
            about = load_settings(path, "table")
            is_known = make_space(about["space"]).vocabulary == tuple(about["vocabulary"])
        except (KeyError, OSError, TypeError, ValueError):
            continue
        if is_known:
            yield path.relative_to(folder).with_suffix("").as_posix(), about["space"]
