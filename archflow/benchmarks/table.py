"""Tables of trained results: columns of numbers aligned with architectures.

``archflow.table(name)`` returns a table. Some come with PyPI packages. Others are made once from a benchmark's official
files, or from a person's own, by :func:`add`: they are checked, converted and kept in the cache folder.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Shaped
from numpy import ndarray

from archflow.archs.batch import ArchBatch
from archflow.benchmarks.registry import Space
from archflow.benchmarks.registry import space as make_space
from archflow.support.files import cache_folder, load_settings, load_tensors, require_writable, save_tensors
from archflow.support.progress import Progress, silent


@dataclass(frozen=True, eq=False)
class Table:
    """Architectures of a space, and what is known of each.

    Attributes:
        name: where it comes from, e.g. "nasbench201/analog".
        space: the search space of the architectures.
        archs: the architectures.
        columns: for each name one array with an entry an architecture; a missing number is NaN.
        default: the column of accuracies that is used where none is named, "" where there is no such column.
        left_out: names of further columns, which hold no numbers.

    Raises:
        ValueError: a column has not one entry an architecture.
    """

    name: str
    space: Space
    archs: ArchBatch
    columns: dict[str, Shaped[ndarray, " archs"]]
    default: str = ""
    left_out: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name, column in self.columns.items():
            if len(column) != len(self.archs):
                raise ValueError(
                    f"the column '{name}' of {self.name} has {len(column):,} entries, not one for each of "
                    f"{len(self.archs):,} architectures"
                )

    def __getitem__(self, column: str) -> Shaped[ndarray, " archs"]:
        """One column.

        Raises:
            ValueError: there is no such column of numbers; the message lists those there are.
        """
        if column in self.columns:
            return self.columns[column]
        if column in self.left_out:
            raise ValueError(f"the column '{column}' of {self.name} is not all numbers")
        raise ValueError(f"{self.name} has no column '{column}'; it has: {', '.join(self.columns) or 'none'}")

    def __len__(self) -> int:
        return len(self.archs)


_IN_PACKAGES = {
    "nasbench201/analog": ("nasbench201", "benchmarks.nasbench201.analog:read"),
    "nasbench-graph": ("nasbench-graph", "benchmarks.nasbench_graph.tables:read"),
    "nasbench-graph/proteins": ("nasbench-graph-proteins", "benchmarks.nasbench_graph.tables:read_proteins"),
    "nasbench201/proxies": ("nasbench201", "benchmarks.nasbench201.measured:read_nasbench201"),
}
"""Tables that come with PyPI packages, the last with archflow: the space, and our module and function that read it."""


class Official(NamedTuple):
    """A benchmark's own files.

    Attributes:
        space: the name of the space.
        reader: which module and function of ours reads them.
        files: what they are called where they are published.
    """

    space: str
    reader: str
    files: str


OFFICIAL = {
    "nasbench101": Official(
        "nasbench101", "benchmarks.nasbench101.tables:read", "nasbench_only108.tfrecord or nasbench_full.tfrecord"
    ),
    "nasbench201/nats": Official(
        "nasbench201", "benchmarks.nasbench201.nats_bench:read", "NATS-tss-v1_0-3ffb9-simple, the folder or the .tar"
    ),
    "nasbench201/hw": Official("nasbench201", "benchmarks.nasbench201.hw_nasbench:read", "HW-NAS-Bench-v1_0.pickle"),
    "darts/nasbench301": Official(
        "darts", "benchmarks.darts.tables:read", "nb_301_v13_lc_iclr_final.zip, or its folder"
    ),
    "transnas101-micro": Official(
        "transnas101-micro", "benchmarks.transnas101.tables:read_micro", "transnas-bench_v10141024.pth"
    ),
    "transnas101-macro": Official(
        "transnas101-macro", "benchmarks.transnas101.tables:read_macro", "transnas-bench_v10141024.pth"
    ),
    "nasbench-macro": Official(
        "nasbench-macro", "benchmarks.nasbench_macro.tables:read", "nas-bench-macro_cifar10.json"
    ),
    "nasbench-graph/full": Official(
        "nasbench-graph", "benchmarks.nasbench_graph.tables:read_full", "a folder or .zip of <dataset><n>.bench"
    ),
    "nasbench-nlp": Official(
        "nasbench-nlp", "benchmarks.nasbench_nlp.tables:read", "train_logs_single_run/logs.zip, or its folder"
    ),
    "nasbench-asr": Official(
        "nasbench-asr", "benchmarks.nasbench_asr.tables:read", "a folder of nb-asr-e40-1234.pickle, …, or one of them"
    ),
}
"""Tables that are made from official files, which a person has downloaded."""


def table(name: str) -> Table:
    """The table of that name: one that comes with a package, or one that was added.

    Raises:
        ValueError: the name is unknown, or its table was not added; the message says what to do.
        ModuleNotFoundError: the PyPI package that ships the table is not installed; the message names it.
    """
    if name in _IN_PACKAGES:
        found: Table = _function(_IN_PACKAGES[name][1])()
        return found
    if _file(name).is_file():
        return _load(name)
    if name in OFFICIAL:
        raise ValueError(
            f"the table {name} is made from its official files ({OFFICIAL[name].files}), once: "
            f"archflow tables add {name} PATH"
        )
    raise ValueError(f"unknown table '{name}'; known tables: {', '.join(tables())}")


def tables(space: str = "") -> list[str]:
    """Names that :func:`table` knows, all or those of a space.

    First those of packages, then official ones, then a person's own; official ones that are not yet added come last.
    """
    spaces = {name: its_space for name, (its_space, _) in _IN_PACKAGES.items()}
    added = dict(_added())
    spaces |= {name: added[name] for name in OFFICIAL if name in added}
    spaces |= added
    spaces |= {name: official.space for name, official in OFFICIAL.items() if name not in spaces}
    return [name for name, its_space in spaces.items() if space in ("", its_space)]


def add(name: str, path: str | Path, progress: Progress = silent) -> Table:
    """Check official files, convert them once, and keep the table, so that ``table(name)`` finds it.

    Args:
        name: one of ``OFFICIAL``.
        path: the file, archive or folder that was downloaded.
        progress: told how much is read.

    Raises:
        FileNotFoundError: there is no such file.
        OSError: the cache folder cannot be written.
        ValueError: an unknown name, or files that are damaged, of another benchmark, or hold an architecture twice.
    """
    if name not in OFFICIAL:
        raise ValueError(f"unknown official table '{name}'; known: {', '.join(OFFICIAL)}; or name a file and --space")
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"there is no file {path}")
    require_writable(_file(name))
    found: Table = _function(OFFICIAL[name].reader)(path, progress)
    return keep(replace(found, name=name))


def keep(table: Table) -> Table:
    """Keep a table under its name in the cache folder, so that ``table(name)`` finds it; all its numbers as float64.

    Raises:
        ValueError: the name is that of a package's table, or is not of letters, digits, ``.``, ``_``, ``-`` and ``/``;
            the space is not one that ``archflow.space`` knows; a column holds no numbers; or an architecture is there
            twice.
        OSError: the cache folder cannot be written.
    """
    word = r"\w[\w.-]*"
    if table.name in _IN_PACKAGES or not re.fullmatch(rf"{word}(/{word})*", table.name, re.ASCII):
        raise ValueError(f"a table cannot be kept as '{table.name}'; name it otherwise")
    make_space(table.space.name)  # raises if the table could not be read again
    for column, values in table.columns.items():
        if values.dtype.kind not in "biuf":
            raise ValueError(f"the column '{column}' of {table.name} is not all numbers")
    require_distinct(table)
    table = replace(table, columns={column: np.array(values, float) for column, values in table.columns.items()})
    # An index, not a name, as a column may be called what no file format likes.
    columns = {f"column {number}": torch.from_numpy(column) for number, column in enumerate(table.columns.values())}
    about = {"space": table.space.name, "vocabulary": table.archs.vocabulary, "default": table.default}
    names = {"columns": list(table.columns), "left_out": table.left_out}
    save_tensors(_file(table.name), "table", {**table.archs.tensors(), **columns}, {**about, **names})
    return table


def require_distinct(table: Table) -> None:
    """Raise ValueError if two of a table's architectures are one network; the message names both rows, from 1."""
    keys = table.space.keys(table.archs)
    _, first, number = np.unique(keys, return_index=True, return_inverse=True)
    repeated = first[number] != np.arange(len(keys))
    if repeated.any():
        row = int(np.argmax(repeated))
        arch = table.space.format(table.archs[[row]])[0]
        raise ValueError(
            f"{table.name}: architecture {row + 1} is the same network as architecture {first[number[row]] + 1}: {arch}"
        )


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


def _function(reader: str) -> Callable[..., Any]:
    module, function = reader.split(":")
    return getattr(import_module(f"archflow.{module}"), function)
