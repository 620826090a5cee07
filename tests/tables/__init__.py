"""What several tests of tables and spaces need."""

import csv
import functools
import gzip
from pathlib import Path

import numpy as np
import pytest

from archflow.spaces.nasbench201 import NASBench201

SHARED_201 = Path(__file__).resolve().parents[3] / "shared" / "data" / "nasbench201.csv.gz"


@functools.cache
def shared_nasbench201() -> dict[str, np.ndarray]:
    """The columns of the shared NAS-Bench-201 table in the order of ``enumerate()``, absent numbers NaN; or a skip."""
    if not SHARED_201.is_file():
        pytest.skip(f"the shared benchmark table {SHARED_201} is not on this machine")
    with gzip.open(SHARED_201, "rt", newline="") as file:
        rows = list(csv.DictReader(file))
    names = ["skip_connect", "none", "nor_conv_3x3", "nor_conv_1x1", "avg_pool_3x3"]
    by_string = {}
    for row in rows:
        e01, e02, e03, e12, e13, e23 = (names[int(digit)] for digit in row.pop("ops"))
        by_string[f"|{e01}~0|+|{e02}~0|{e12}~1|+|{e03}~0|{e13}~1|{e23}~2|"] = row
    space = NASBench201()
    ordered = [by_string[string] for string in space.format(space.enumerate())]
    return {name: np.array([float(row[name] or "nan") for row in ordered]) for name in ordered[0]}
