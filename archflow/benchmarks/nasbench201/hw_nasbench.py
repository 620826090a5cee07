"""HW-NAS-Bench (Li et al., ICLR 2021): what a NAS-Bench-201 network costs on six devices, measured or estimated.

The official file is ``HW-NAS-Bench-v1_0.pickle``: a dictionary with an entry for each search space. That of
``nasbench201`` has an entry for each data set, with a list ``config`` of the networks' settings, their strings among
them, and a list of numbers for each measure. The other search space, FBNet, is not read.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from archflow.benchmarks.nasbench201.space import NASBench201
from archflow.benchmarks.table import Table
from archflow.support.progress import Progress, silent
from archflow.support.reading import Budget, expecting
from archflow.support.unpickle import restricted_load

DATASETS = ("cifar10", "cifar100", "ImageNet16-120")
MEASURES = (
    "edgegpu_latency",
    "edgegpu_energy",
    "raspi4_latency",
    "edgetpu_latency",
    "pixel3_latency",
    "eyeriss_latency",
    "eyeriss_energy",
    "eyeriss_arithmetic_intensity",
    "fpga_latency",
    "fpga_energy",
)

BUDGET = Budget(100_000_000)
"""Thrice 15,625 networks with a string and ten numbers each are 10 MB; GitHub, where it is, takes none above 100 MB."""


def read(path: Path, progress: Progress = silent) -> Table:
    """The networks of the official file, in its order; there is no accuracy, so no default column.

    The columns are ``<data set>/<measure>`` for one image, of those ``MEASURES`` that the file has: latencies in
    milliseconds, energies in millijoules.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is damaged, asks for anything but numbers, is of another benchmark, or has a cell twice.
    """
    space = NASBench201()
    progress("reading", 0, space.size)
    content = restricted_load(path, most=BUDGET.file)
    columns: dict[str, Float[ndarray, " archs"]] = {}
    with expecting(f"{path} is not the HW-NAS-Bench table"):
        by_dataset = {dataset: content["nasbench201"][dataset] for dataset in DATASETS}
        strings = _strings(by_dataset[DATASETS[0]]["config"])
        for dataset, entry in by_dataset.items():
            if _strings(entry["config"]) != strings:
                raise ValueError(f"its networks for {dataset} are others than for {DATASETS[0]}")
            for measure in MEASURES:
                if measure in entry:
                    columns[f"{dataset}/{measure}"] = np.array([float(number) for number in entry[measure]])
        archs = space.parse(strings, first_line=0)
        (string, times), *_ = Counter(strings).most_common(1)
        if times > 1:
            raise ValueError(f"it has the cell {string} twice")
        if not columns:
            raise ValueError(f"it has none of {', '.join(MEASURES)}")
        table = Table("nasbench201/hw", space, archs, columns)
    progress("reading", len(table), space.size)
    return table


def _strings(settings: Any) -> list[str]:
    """The networks' strings; the settings are numbered from 0, in a list or a dictionary."""
    return [settings[index]["arch_str"] for index in range(len(settings))]
