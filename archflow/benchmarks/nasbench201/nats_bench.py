"""NATS-Bench's topology space (Dong et al., TPAMI 2021): the NAS-Bench-201 cells, trained anew on three data sets.

The official folder is ``NATS-tss-v1_0-3ffb9-simple``, which comes as a ``.tar`` of that name. It holds
``meta.pickle.pbz2``, a pickled dictionary whose ``meta_archs`` are the cells' strings, and for each cell
``000000.pickle.pbz2``, …, a pickled dictionary of its trainings of 12 and of 200 epochs; all compressed by bzip2.

CIFAR-10 is there twice: ``cifar10-valid`` is trained on one half of its training images and validated on the other,
``cifar10`` is trained on both. On the other data sets ``ori-test`` is ``x-valid`` and ``x-test`` together.
"""

from __future__ import annotations

import io
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from archflow.benchmarks.nasbench201.space import NASBench201
from archflow.benchmarks.table import Table
from archflow.support.progress import Progress, silent
from archflow.support.reading import Budget, decompress_bz2, expecting, open_files
from archflow.support.unpickle import restricted_load

SETS = {
    "cifar10-valid": ("x-valid", "ori-test"),
    "cifar10": ("ori-test",),
    "cifar100": ("x-valid", "x-test", "ori-test"),
    "ImageNet16-120": ("x-valid", "x-test", "ori-test"),
}
"""What the networks trained on each data set are evaluated on."""
BUDGETS = ("200", "12")
"""Epochs of a training."""
DEFAULT = "cifar10-valid/x-valid/200"

_META = "meta.pickle.pbz2"
_FILES = re.compile(r"(.*/)?(\d{1,6}|meta)\.pickle\.pbz2")
BUDGET = Budget(whole=4_500_000_000, each=4_000_000)
"""The official archive has 1.1 GB, hence a file of it 70 kB on average; ``meta`` has 15,625 short strings."""
_UNPACKED = 8_000_000
"""Bytes of a file unpacked: ten trainings of 200 epochs, with twelve numbers and their names an epoch, are 1 MB."""
_AT_ONCE = 16
"""Files that are held in memory at a time."""


def read(path: Path, progress: Progress = silent) -> Table:
    """The cells of the official folder or ``.tar``, in the benchmark's own order; ``DEFAULT`` is the default column.

    ``<data set>/<evaluated on>/<epochs>`` is the percentage of right answers after the last epoch,
    ``<data set>/training_time/<epochs>`` is in seconds; both are means over the seeds. ``<data set>/params`` and
    ``…/flops`` are in millions, ``…/latency`` is in seconds for a batch of 256 images.

    Raises:
        FileNotFoundError: there is neither such a file nor such a folder.
        ValueError: a file is damaged or missing, or asks for anything but numbers; or it is of another benchmark.
    """
    space = NASBench201()
    with expecting(f"{path} is not the NATS-Bench table"):
        strings, cells = _contents(path, space.size, progress)
        columns = {name: np.array([cell[name] for cell in cells]) for name in cells[0]}
        if np.isnan(columns[DEFAULT]).all():
            raise ValueError(f"it has nothing for {DEFAULT}")
        archs = space.parse(strings, first_line=0)
    return Table("nasbench201/nats", space, archs, columns, DEFAULT)


def _contents(path: Path, size: int, progress: Progress) -> tuple[list[str], list[dict[str, float]]]:
    """The string of each cell, and what is known of it; progress runs up to the usual ``size``."""
    strings: list[str] = []
    cells: dict[int, tuple[str, dict[str, float]]] = {}
    for name, record in _records(path):
        with expecting(f"{name} has another form"):
            if name == _META:
                strings = list(map(str, record["meta_archs"]))
                continue
            index, cell = int(name.split(".")[0]), (str(record["200"]["arch_str"]), _numbers(record))
        if index in cells:
            raise ValueError(f"{name} is there twice")
        cells[index] = cell
        progress("reading", len(cells), size)
    if not strings:
        raise ValueError(f"it has no {_META}")
    (string, times), *_ = Counter(strings).most_common(1)
    if times > 1:
        raise ValueError(f"it has the cell {string} twice")
    if missing := set(range(len(strings))) - cells.keys():
        raise ValueError(f"it lacks {len(missing):,} of {len(strings):,} cells, the first is {min(missing):06}")
    if surplus := cells.keys() - set(range(len(strings))):
        raise ValueError(f"{_META} names {len(strings):,} cells, and {min(surplus):06} is there too")
    for index, string in enumerate(strings):
        if cells[index][0] != string:
            raise ValueError(f"{index:06} is the cell {cells[index][0]}, but {string} in {_META}")
    return strings, [cells[index][1] for index in range(len(strings))]


def _records(path: Path) -> Iterator[tuple[str, Any]]:
    """Names and unpickled contents of the files of the folder or archive."""
    with open_files(path, _FILES, BUDGET) as files, ThreadPoolExecutor() as pool:
        # Members of an archive share one file handle, so they are read here; decompressing takes nearly all the time,
        # and runs in parallel.
        members = ((name, files.read(name)) for name in files.names)
        while batch := list(islice(members, _AT_ONCE)):
            decompressed = pool.map(lambda member: decompress_bz2(member[1], files.label(member[0]), _UNPACKED), batch)
            for (name, _), pickled in zip(batch, decompressed, strict=True):
                short = name.rpartition("/")[2]
                yield short, restricted_load(short, io.BytesIO(pickled))


def _numbers(record: Any) -> dict[str, float]:
    """The columns' entries of one cell."""
    numbers: dict[str, float] = {}
    for budget in BUDGETS:
        trained = record[budget]
        for dataset, sets in SETS.items():
            runs = [trained["all_results"][dataset, seed] for seed in trained["dataset_seed"].get(dataset, ())]
            for name in sets:
                accuracies = (run["eval_acc1es"].get(f"{name}@{run['epochs'] - 1}") for run in runs)
                numbers[f"{dataset}/{name}/{budget}"] = _mean(accuracies)
            times = (run["train_times"] and sum(run["train_times"].values()) for run in runs)
            numbers[f"{dataset}/training_time/{budget}"] = _mean(times)
            if budget == BUDGETS[0]:
                numbers[f"{dataset}/params"] = _mean(run["params"] for run in runs)
                numbers[f"{dataset}/flops"] = _mean(run["flop"] for run in runs)
                numbers[f"{dataset}/latency"] = _mean(run["latency"] and np.mean(run["latency"]) for run in runs)
    return numbers


def _mean(numbers: Iterable[float | None]) -> float:
    """The mean of the numbers that there are, else NaN."""
    present = [float(number) for number in numbers if number is not None]
    return float(np.mean(present)) if present else np.nan
