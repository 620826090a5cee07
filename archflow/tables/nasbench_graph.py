"""``nasbench-graph``: every NAS-Bench-Graph cell trained on nine graphs, from the PyPI package ``nas-bench-graph``.

A cell has four numbers on each data set: ``valid_perf`` and ``perf``, its validation and test performance as a
fraction (ROC-AUC on proteins, else accuracy); ``latency`` (no unit is stated, the values look like seconds); ``para``,
its parameters in millions.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from archflow.spaces.nasbench_graph import NASBenchGraph
from archflow.tables import Table
from archflow.tables.packages import file_in_package
from archflow.tables.unpickle import restricted_load

DATASETS = ("cora", "citeseer", "pubmed", "cs", "physics", "photo", "computers", "arxiv", "proteins")
MEASURES = ("valid_perf", "perf", "latency", "para")


class _Float64:
    """Stands in for ``numpy.dtype``, of which the files hold one: little-endian float64."""

    def __init__(self, code: str, *_: Any) -> None:
        if code != "f8":
            raise TypeError(f"its numbers are of type {code}, not f8")

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        if state[1] != "<":
            raise TypeError(f"its numbers have byte order '{state[1]}', not '<'")


def _scalar(dtype: _Float64, content: bytes) -> float:
    """Stands in for ``numpy.core.multiarray.scalar``."""
    if not isinstance(dtype, _Float64):
        raise TypeError("it has a number without a type")
    number: float = struct.unpack("<d", content)[0]
    return number


_ALLOWED: Mapping[tuple[str, str], Callable[..., Any]] = {
    ("numpy", "dtype"): _Float64,
    ("numpy.core.multiarray", "scalar"): _scalar,
}


def read() -> Table:
    """All 26,206 cells in the order of ``NASBenchGraph.enumerate()``; ``cora/valid_perf`` is the default column.

    The columns are ``<dataset>/<measure>``; on proteins 2,021 cells were trained, the others are NaN there.

    Raises:
        ModuleNotFoundError: the package is not installed.
        ValueError: one of its files is damaged, or is another table.
    """
    space, proteins = NASBenchGraph(), NASBenchGraph.proteins()
    archs = space.enumerate()
    trained_on_proteins = np.isin(space.keys(archs), proteins.keys(proteins.enumerate()))
    columns: dict[str, Float[ndarray, " archs"]] = {}
    for dataset in DATASETS:
        trained = trained_on_proteins if dataset == "proteins" else np.ones(len(archs), dtype=bool)
        for measure, numbers in _measures(dataset, proteins if dataset == "proteins" else space).items():
            columns[f"{dataset}/{measure}"] = np.full(len(archs), np.nan)
            columns[f"{dataset}/{measure}"][trained] = numbers
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


def _measures(dataset: str, space: NASBenchGraph) -> dict[str, Float[ndarray, " archs"]]:
    """The four measures of each of the space's cells on one data set."""
    path = file_in_package("nas_bench_graph", f"light/{dataset}.bench", "nas-bench-graph")
    records = restricted_load(path, _ALLOWED)
    keys = space.keys(space.enumerate()).tolist()
    if not isinstance(records, dict) or records.keys() != set(keys):
        raise ValueError(f"{path} is not the nas-bench-graph table: it must hold each of {len(keys):,} cells once")
    try:
        return {measure: np.array([float(records[key][measure]) for key in keys]) for measure in MEASURES}
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"{path} is not the nas-bench-graph table: a cell lacks a number ({type(error).__name__}: {error})"
        ) from None
