"""``nasbench201/analog``: every NAS-Bench-201 cell trained on CIFAR-10, from the PyPI package ``analog-nasbench``.

Beside the plain ("baseline") accuracy it holds accuracies after quantisation, under noise, and after the drift of
analogue in-memory hardware. All accuracies are percentages.
"""

from __future__ import annotations

import numpy as np

from archflow.benchmarks.four_nodes import CELL_EDGES
from archflow.benchmarks.nasbench201.space import OPERATIONS, NASBench201
from archflow.benchmarks.table import Table
from archflow.support.packages import file_in_package
from archflow.support.reading import Budget, expecting
from archflow.support.unpickle import restricted_load

_ITS_OPERATIONS = ("skip_connect", "none", "nor_conv_3x3", "nor_conv_1x1", "avg_pool_3x3")
_ITS_EDGES = ((0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3))

_ACCURACIES = ("baseline", "ptq", "qat", "noisy", "analog")
_DRIFTS = tuple(f"{kind}_drift_{seconds}" for kind in ("baseline", "analog") for seconds in (60, 3600, 86400, 2592000))
COLUMNS = (
    *(f"{name}_accuracy" for name in _ACCURACIES),
    *(column for name in _DRIFTS for column in (name, f"{name}_std")),
)

BUDGET = Budget(25_000_000)
"""The package's file has 5.6 MB."""


def read() -> Table:
    """All 15,625 cells in the order of ``NASBench201.enumerate()``; ``baseline_accuracy`` is the default column.

    A drift is two columns: its mean, and ``…_std``.

    Raises:
        ModuleNotFoundError: the package is not installed.
        ValueError: its file is damaged, or names classes that are not its own.
    """
    path = file_in_package("analognasbench", "data.anb", "analog-nasbench")
    names = ("Architecture", "DriftMeasurement")
    records = restricted_load(path, records=[("analognasbench.data", name) for name in names], most=BUDGET.file)
    space = NASBench201()
    with expecting(f"{path} is not the analog-nasbench table"):
        coded = np.array(list(records), dtype=np.int64)
        columns = {
            f"{name}_accuracy": np.array([record[f"{name}_accuracy"] for record in records.values()], float)
            for name in _ACCURACIES
        }
        for name in _DRIFTS:
            columns[name] = np.array([record[name]["value"] for record in records.values()], float)
            columns[f"{name}_std"] = np.array([record[name]["uncertainty"] for record in records.values()], float)
        cells = np.array([OPERATIONS.index(name) for name in _ITS_OPERATIONS])[coded]
        cells = cells[:, [_ITS_EDGES.index(edge) for edge in CELL_EDGES]]
    if len(cells) != space.size or len(np.unique(cells, axis=0)) != space.size:
        raise ValueError(f"{path} is not the analog-nasbench table: it must hold each of {space.size:,} cells once")
    order = np.lexsort(cells.T[::-1])
    columns = {name: column[order] for name, column in columns.items()}
    return Table("nasbench201/analog", space, space.decode(cells[order]), columns, "baseline_accuracy")
