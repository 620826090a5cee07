"""``nasbench-macro``: NAS-Bench-Macro's networks, each trained three times on CIFAR-10.

The file is ``nas-bench-macro_cifar10.json`` of the repository xiusu/NAS-Bench-Macro, there in the folder ``data``: one
object with an entry for each of 6,561 strings, in no order,
``"02012100": {"test_acc": [89.47, 88.95, 89.17], "mean_acc": 89.2, "std": 0.2, "params": 890666, "flops": 47327744}``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from archflow.benchmarks.nasbench_macro.space import NASBenchMacro
from archflow.benchmarks.table import Table
from archflow.support.files import without_repetition
from archflow.support.progress import Progress, silent
from archflow.support.reading import Budget, expecting, read_json, read_regular

FILE = "nas-bench-macro_cifar10.json"
_COLUMNS = ("test_acc_1", "test_acc_2", "test_acc_3", "mean_acc", "std", "params", "flops")

BUDGET = Budget(4_000_000)
"""6,561 entries of some 140 bytes are 0.9 MB."""


def read(path: Path, progress: Progress = silent) -> Table:
    """The networks of the file ``path``, or of ``FILE`` in the folder ``path``, in the order of their strings.

    ``test_acc_1`` … ``test_acc_3`` are the test accuracies of three runs in percent, each of the best of 50 epochs;
    ``mean_acc``, the default column, is their mean and ``std`` their standard deviation; ``params`` and ``flops`` are
    parameters and multiply-accumulates. Strings that denote one network have the same numbers.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is damaged or another benchmark's, or names an architecture twice or one of another space.
    """
    path = path / FILE if path.is_dir() else path
    space = NASBenchMacro()
    archs = space.enumerate()
    content = read_regular(path, BUDGET.file)
    with expecting(f"{path} is damaged, or not the table of NAS-Bench-Macro"):
        records = read_json(content, object_pairs_hook=without_repetition)
        if not isinstance(records, dict) or not records:
            raise ValueError("it must hold an entry for each architecture")
        unknown = records.keys() - set(space.format(archs))
        if unknown:
            raise ValueError(f"its architecture '{min(unknown)}' is not of {space.name}")
        archs = archs[np.flatnonzero([name in records for name in space.format(archs)])]
        numbers = np.array([_numbers(name, records[name]) for name in space.format(archs)])
    progress("reading", len(archs), len(archs))
    return Table("nasbench-macro", space, archs, dict(zip(_COLUMNS, numbers.T, strict=True)), "mean_acc")


def _numbers(name: str, record: Any) -> list[float]:
    """The columns of one entry."""
    with expecting(f"{name} lacks a number"):
        accuracies = [record["test_acc"][run] for run in range(3)]
        return [float(number) for number in (*accuracies, *(record[column] for column in _COLUMNS[3:]))]
