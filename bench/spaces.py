"""Whole spaces and official files at full size: seconds and peak memory, each in its own process."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import archflow
from archflow.benchmarks.nasbench101 import tables as official
from archflow.benchmarks.registry import published
from bench.measure import timed

TRAININGS = 60_000
"""Number of records read; NAS-Bench-101's official files hold 1.3 and 5.1 million."""


def whole_nasbench101() -> dict[str, float]:
    space = archflow.space("nasbench101")
    seconds = {"list all 423,624 NAS-Bench-101 cells": timed(space.enumerate)}
    archs, known = space.enumerate(), published(space.name)
    draw = archflow.FlowDraw.sample(len(space.vocabulary), known.k, known.std)
    seconds["their flow surrogates, k = 4"] = timed(lambda: archflow.flow_surrogate(archs, draw))
    seconds["their parameters"] = timed(lambda: space.parameters(archs))
    return seconds


def hashes() -> dict[str, float]:
    space = archflow.space("nasbench101")
    archs = space.enumerate()
    return {"their module hashes": timed(lambda: space.module_hash(archs))}


def a_million_darts() -> dict[str, float]:
    space = archflow.space("darts")
    seconds = {"sample 1,000,000 DARTS genotypes": timed(lambda: space.sample(1_000_000))}
    archs = space.sample(1_000_000)
    seconds["their parameters and FLOPs"] = timed(lambda: (space.parameters(archs), space.flops(archs)))
    known = published(space.name)
    draw = archflow.FlowDraw.sample(len(space.vocabulary), known.k, known.std)
    seconds["their flow surrogates, k = 12"] = timed(lambda: archflow.flow_surrogate(archs, draw))
    return seconds


def official_file() -> dict[str, float]:
    from tests.benchmarks.nasbench101.test_tables import metrics, training

    space = archflow.space("nasbench101")
    cells = space.sample(TRAININGS // 3)
    content = metrics(108, 0.9, 0.9, 1000.0, 8_555_530)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "nasbench_only108.tfrecord"
        with path.open("wb") as file:
            for name, string in zip(space.module_hash(cells), space.format(cells), strict=True):
                bits, _, operations = string.partition(":")
                written = training(name, 108, bits, ",".join(filter(None, ["input", operations, "output"])), content)
                file.write(written * 3)
        return {f"read {TRAININGS:,} trainings of NAS-Bench-101's file": timed(lambda: official.read(path))}


MEASURED: dict[str, Callable[[], dict[str, float]]] = {
    each.__name__: each for each in (whole_nasbench101, hashes, a_million_darts, official_file)
}


def measurements() -> list[dict[str, float | str]]:
    """Seconds and peak megabytes of each of ``MEASURED``, in a second process after one that compiles."""
    rows: list[dict[str, float | str]] = []
    for name in MEASURED:
        command = [sys.executable, "-m", "bench.spaces", name]
        for _ in range(2):
            printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        found = json.loads(printed)
        rows += [{"what": what, "seconds": s, "peak_megabytes": found["peak"]} for what, s in found["seconds"].items()]
    return rows


if __name__ == "__main__":
    taken = MEASURED[sys.argv[1]]()
    print(json.dumps({"seconds": taken, "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3}))
