"""Tables of trained networks that stand beside the project on some machines; elsewhere a test of them is skipped."""

import csv
import functools
import gzip
from pathlib import Path

import numpy as np
import pytest

from archflow.benchmarks.nasbench201.space import NASBench201

FOLDER = Path(__file__).resolve().parents[2] / "shared" / "data"


@functools.cache
def rows(name: str) -> list[dict[str, str]]:
    """The rows of the table of that name as they are printed; or a skip."""
    path = FOLDER / f"{name}.csv.gz"
    if not path.is_file():
        pytest.skip(f"the shared benchmark table {path} is not on this machine")
    with gzip.open(path, "rt", newline="") as file:
        return list(csv.DictReader(file))


@functools.cache
def nasbench201() -> dict[str, np.ndarray]:
    """The columns of the NAS-Bench-201 table in the order of ``enumerate()``, absent numbers NaN; or a skip."""
    names = ["skip_connect", "none", "nor_conv_3x3", "nor_conv_1x1", "avg_pool_3x3"]
    by_string = {}
    for row in rows("nasbench201"):
        e01, e02, e03, e12, e13, e23 = (names[int(digit)] for digit in row["ops"])
        by_string[f"|{e01}~0|+|{e02}~0|{e12}~1|+|{e03}~0|{e13}~1|{e23}~2|"] = row
    space = NASBench201()
    ordered = [by_string[string] for string in space.format(space.enumerate())]
    columns = [name for name in ordered[0] if name != "ops"]
    return {name: np.array([float(row[name] or "nan") for row in ordered]) for name in columns}
