"""``nasbench-graph``: every NAS-Bench-Graph cell trained on nine graphs, from the PyPI package ``nas-bench-graph``.

A cell has four numbers on each data set: ``valid_perf`` and ``perf``, its validation and test performance as a
fraction (ROC-AUC on proteins, else accuracy); ``latency`` (no unit is stated, the values look like seconds); ``para``,
its parameters in millions.

The full benchmark, figshare 20070371, has a file for each data set and each of three seeds, ``cora0.bench`` to
``proteins2.bench``: a pickled dictionary from the cell's key to its numbers, and under ``dur`` a list of seven numbers
for each epoch, the training, validation and test performance, the three losses, and the best performance so far.
"""

from __future__ import annotations

import gc
import re
from pathlib import Path
from typing import IO, Any

import numpy as np
from jaxtyping import Bool, Float
from numpy import ndarray

from archflow.archs.batch import ArchBatch
from archflow.benchmarks.nasbench_graph.space import NASBenchGraph
from archflow.benchmarks.table import Table
from archflow.support.packages import file_in_package
from archflow.support.progress import Progress, silent
from archflow.support.reading import Budget, expecting, open_files
from archflow.support.unpickle import restricted_load

DATASETS = ("cora", "citeseer", "pubmed", "cs", "physics", "photo", "computers", "arxiv", "proteins")
MEASURES = ("valid_perf", "perf", "latency", "para")
COLUMNS = tuple(f"{dataset}/{measure}" for dataset in DATASETS for measure in MEASURES)
"""Of the whole space."""
LAST = ("train_perf_last", "valid_perf_last", "perf_last", "train_loss_last", "valid_loss_last", "loss_last")
"""What the full benchmark knows of the last epoch, in its order."""

_FULL = re.compile(rf"({'|'.join(DATASETS)})[012]\.bench")
BUDGET = Budget(whole=70_000_000_000, each=2_600_000_000)
"""A file has ten million lists of seven numbers of nine bytes each, 0.65 GB; there are 27."""
LIGHT = Budget(8_200_000)
"""The package's files have 2.0 MB."""


def read() -> Table:
    """All 26,206 cells in the order of ``NASBenchGraph.enumerate()``; ``cora/valid_perf`` is the default column.

    The columns are ``<dataset>/<measure>``; on proteins 2,021 cells were trained, the others are NaN there.

    Raises:
        ModuleNotFoundError: the package is not installed.
        ValueError: one of its files is damaged, or is another table.
    """
    space = NASBenchGraph()
    archs = space.enumerate()
    columns: dict[str, Float[ndarray, " archs"]] = {}
    for dataset in DATASETS:
        its_space, rows = _trained_on(dataset, space, archs)
        for measure, numbers in _measures(dataset, its_space).items():
            columns[f"{dataset}/{measure}"] = np.full(len(archs), np.nan)
            columns[f"{dataset}/{measure}"][rows] = numbers
    return Table("nasbench-graph", space, archs, columns, "cora/valid_perf")


def read_proteins() -> Table:
    """The 2,021 cells trained on proteins, in the order of ``NASBenchGraph.proteins().enumerate()``.

    The columns are ``valid_perf`` (the default), ``perf``, ``latency`` and ``para``.

    Raises:
        ModuleNotFoundError: the package is not installed.
        ValueError: its file is damaged, or is another table.
    """
    space = NASBenchGraph.proteins()
    return Table("nasbench-graph/proteins", space, space.enumerate(), _measures("proteins", space), "valid_perf")


def read_full(path: Path, progress: Progress = silent) -> Table:
    """The cells of the full benchmark, from one of its files, or a folder or ``.zip`` of some.

    All 26,206, in the order of ``NASBenchGraph.enumerate()``. The columns are ``<dataset>/<measure>``, means over the
    seeds whose files are there: ``MEASURES``, and ``LAST``, what the last epoch left. The default is ``valid_perf`` of
    the first data set. On proteins 2,021 cells were trained, the others are NaN there. One file after the other is held
    in memory, where it takes about six times its size.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a file is damaged, asks for anything but numbers, or is another table; or none is there.
    """
    space = NASBenchGraph()
    archs = space.enumerate()
    runs: dict[str, list[Float[ndarray, " archs"]]] = {}
    with open_files(path, _FULL, BUDGET) as files:
        for number, name in enumerate(files.names):
            progress("reading", number, len(files.names))
            dataset = name.removesuffix(".bench")[:-1]
            with files.open(name) as file:
                records = _unpickled(f"{path}: {name}", file)
            its_space, rows = _trained_on(dataset, space, archs)
            for measure, numbers in _by_measure(f"{path}: {name}", records, its_space, full=True).items():
                column = np.full(len(archs), np.nan)
                column[rows] = numbers
                runs.setdefault(f"{dataset}/{measure}", []).append(column)
        progress("reading", len(files.names), len(files.names))
    if not runs:
        raise ValueError(f"{path} is no file of the full NAS-Bench-Graph and has none; they are called cora0.bench …")
    names = [f"{dataset}/{measure}" for dataset in DATASETS for measure in (*MEASURES, *LAST)]
    columns = {name: np.mean(runs[name], axis=0) for name in names if name in runs}
    default = next(name for name in columns if name.endswith(("/valid_perf", "/valid_perf_last")))
    return Table("nasbench-graph/full", space, archs, columns, default)


def _trained_on(dataset: str, space: NASBenchGraph, archs: ArchBatch) -> tuple[NASBenchGraph, Bool[ndarray, " archs"]]:
    """The space of the cells that were trained on a data set, and which of all ``archs`` they are."""
    if dataset != "proteins":
        return space, np.ones(len(archs), dtype=bool)
    proteins = NASBenchGraph.proteins()
    return proteins, np.isin(space.keys(archs), proteins.keys(proteins.enumerate()))


def _unpickled(name: str, file: IO[bytes]) -> Any:
    collecting = gc.isenabled()
    gc.disable()  # a file holds ten million lists; looking for cycles in them would triple the time
    try:
        records = restricted_load(name, file)
        while file.read(1 << 20):  # to the end, where a .zip has its checksum
            pass
        return records
    finally:
        if collecting:
            gc.enable()


def _measures(dataset: str, space: NASBenchGraph) -> dict[str, Float[ndarray, " archs"]]:
    """The four measures of each of the space's cells on one data set."""
    path = file_in_package("nas_bench_graph", f"light/{dataset}.bench", "nas-bench-graph")
    return _by_measure(str(path), restricted_load(path, most=LIGHT.file), space)


def _by_measure(
    path: str, records: Any, space: NASBenchGraph, full: bool = False
) -> dict[str, Float[ndarray, " archs"]]:
    """The measures of each of the space's cells in a file's content.

    A ``full`` one also has those of the last epoch, and may lack some of the others.
    """
    keys = space.keys(space.enumerate()).tolist()
    if not isinstance(records, dict) or records.keys() != set(keys):
        raise ValueError(f"{path} is not the nas-bench-graph table: it must hold each of {len(keys):,} cells once")
    with expecting(f"{path} is not the nas-bench-graph table: a cell lacks a number"):
        measures = [name for name in MEASURES if not full or any(name in record for record in records.values())]
        columns = {measure: np.array([float(records[key][measure]) for key in keys]) for measure in measures}
        if full:
            last = np.array([records[key]["dur"][-1] for key in keys], dtype=float)
            columns |= dict(zip(LAST, last.T, strict=False))
    return columns
