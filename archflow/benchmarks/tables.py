"""Tables by name: those that packages bring, and those that were added.

``archflow.table(name)`` returns a table. Some come with PyPI packages. Others are made once from a benchmark's official
files, or from your own, by :func:`add` and :func:`keep`: checked, converted and kept in the user's data folder.
"""

from __future__ import annotations

import importlib.metadata
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from archflow.archs.batch import ArchBatch
from archflow.benchmarks import BENCHMARKS
from archflow.benchmarks.record import TableSource
from archflow.benchmarks.registry import space as make_space
from archflow.benchmarks.table import Table
from archflow.support.files import data_folder, load_settings, load_tensors, require_writable, save_tensors
from archflow.support.progress import Progress, shown
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
    source = _source(name)
    if source and not source.files:
        return source.read()
    if file_of(name).is_file():
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
    added = {known.name: known.space for known in _added()}
    sources = SOURCES.loaded().items()
    packaged = {name: source.space for name, source in sources if not source.files}
    official = {name: source.space for name, source in sources if source.files}
    spaces = packaged | {name: added[name] for name in official if name in added}
    spaces |= added
    spaces |= {name: its_space for name, its_space in official.items() if name not in added}
    return [name for name, its_space in spaces.items() if space in ("", its_space)]


def official_files(name: str) -> str:
    """What the files are called that a table is made from by :func:`add`; "" where there are none."""
    source = _source(name)
    return source.files if source else ""


@dataclass(frozen=True)
class Description:
    """What is known of a table without reading it.

    Attributes:
        name: the table's.
        space: the name of its space.
        architectures: how many it has; 0 where that is not known before it is added.
        columns: the names of its columns; none where they are not known before it is added.
        missing: what is to be done before it can be used; "" if nothing.
    """

    name: str
    space: str
    architectures: int
    columns: tuple[str, ...]
    missing: str


def descriptions() -> list[Description]:
    """All tables that :func:`tables` names, in that order."""
    added = {known.name: known for known in _added()}
    return [added.get(name) or _described(name, SOURCES[name]) for name in tables()]


def _described(name: str, source: TableSource) -> Description:
    missing = f"archflow tables add {name} PATH ({source.files})" if source.files else ""
    if source.package not in ("", "archflow") and not _is_installed(source.package):
        missing = f"pip install {source.package}"
    return Description(name, source.space, source.architectures, source.columns, missing)


def _is_installed(package: str) -> bool:
    try:
        importlib.metadata.distribution(package)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def _source(name: str) -> TableSource | None:
    return SOURCES.find(name) if name in SOURCES else None


def add(name: str, path: str | Path, progress: Progress | None = None) -> Table:
    """Check official files, convert them once, and keep the table, so that ``table(name)`` finds it.

    Args:
        name: of a table that is made from official files.
        path: the file, archive or folder that was downloaded.
        progress: called with what is done, how much of it, and of how much; by default a bar on a terminal.

    Raises:
        FileNotFoundError: there is no such file.
        OSError: the data folder cannot be written.
        ValueError: an unknown name, or files that are damaged, of another benchmark, or hold an architecture twice.
    """
    if not official_files(name):
        known = ", ".join(name for name in SOURCES.loaded() if official_files(name))
        raise ValueError(f"unknown official table '{name}'; known: {known}; or name a file and --space")
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"there is no file {path}")
    require_writable(file_of(name))
    with shown(progress) as told:
        return keep(replace(SOURCES[name].read(path, told), name=name))


def keep(table: Table) -> Table:
    """Keep a table under its name in the data folder, so that ``table(name)`` finds it; all its numbers as float64.

    Raises:
        ValueError: the name is that of a package's table, or is not of letters, digits, ``.``, ``_``, ``-`` and ``/``;
            the space is not one that ``archflow.space`` knows; a column holds no numbers; or an architecture is there
            twice.
        OSError: the data folder cannot be written.
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
    about = {
        "space": table.space.name,
        "vocabulary": table.archs.vocabulary,
        "architectures": len(table),
        "columns": list(table.columns),
        "default": table.default,
        "left_out": dict(table.left_out),
    }
    save_tensors(file_of(table.name), "table", {**table.archs.tensors(), **columns}, about)
    return table


def remove(name: str) -> None:
    """Delete a table that was added from the data folder.

    Raises:
        ValueError: no table of that name was added.
        OSError: the file cannot be deleted.
    """
    if not (_may_be_kept(name) and file_of(name).is_file()):
        added = ", ".join(known.name for known in _added())
        raise ValueError(f"no table '{name}' was added; added tables: {added or 'none'}")
    file_of(name).unlink()


def _may_be_kept(name: str) -> bool:
    """Whether the data folder can hold a table of that name."""
    word = r"\w[\w.-]*"
    source = _source(name)
    return (source is None or bool(source.files)) and re.fullmatch(rf"{word}(/{word})*", name, re.ASCII) is not None


def _load(name: str) -> Table:
    path = file_of(name)
    try:
        tensors, about = load_tensors(path, "table")
        space = make_space(about["space"])
        archs = ArchBatch.from_tensors(tensors, about["vocabulary"])
        archs.require_vocabulary(space.vocabulary, space.name)
        columns = {column: tensors[f"column {number}"].numpy() for number, column in enumerate(about["columns"])}
        return Table(name, space, archs, columns, about["default"], dict(about["left_out"]))
    except (KeyError, TypeError, ValueError) as error:
        reason = f"{type(error).__name__}: {error}"
        raise ValueError(f"{path} is damaged or of another version; add the table {name} again ({reason})") from None


def file_of(name: str) -> Path:
    """Where a table that was added is kept."""
    return data_folder() / "tables" / f"{name}.archflow"


def _added() -> Iterator[Description]:
    """Each table in the data folder; files that are none, or of another version, are passed over."""
    folder = data_folder() / "tables"
    for path in sorted(folder.rglob("*.archflow")):
        try:
            about = load_settings(path, "table")
            is_known = make_space(about["space"]).vocabulary == tuple(about["vocabulary"])
            name = path.relative_to(folder).with_suffix("").as_posix()
            found = Description(name, about["space"], about["architectures"], tuple(about["columns"]), "")
        except (KeyError, OSError, TypeError, ValueError):
            continue
        if is_known:
            yield found
