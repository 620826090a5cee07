"""From architectures to a ranking without pre-training, beside the time that a user should have to wait.

Path features and proxies of the labelled architectures and of some candidates, the fit of the default head, then
features, proxies and scores of a whole space. Compiled code and tables on disk are warm; listing the space is not
counted. Each space in its own process, for the peak of memory. Labels are FLOPs with noise: only the time matters.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from dataclasses import dataclass

import numpy as np

import archflow
from bench.measure import Row, timed

LABELS = 118


@dataclass(frozen=True)
class Whole:
    """A whole space that was ranked: its size, the seconds that were taken (of them computing) and may be, the peak."""

    space: str
    architectures: int
    seconds: float
    computing: float
    allowed: float
    peak_megabytes: float

    @property
    def what(self) -> str:
        return f"features, fit on {LABELS} labels, ranking of {self.space}"

    @property
    def row(self) -> Row:
        rates = self.architectures / self.seconds, self.architectures / self.allowed
        return Row(self.what, f"all {self.architectures:,} in {self.allowed:g} s", *rates, 1)


ALLOWED = {"nasbench201": 5.0, "nasbench101": 60.0}
"""Seconds for each space."""


def measured(name: str) -> dict[str, float]:
    """Size, seconds and peak of ranking a space in this process."""
    space = archflow.space(name)
    archs = space.enumerate()
    rng = np.random.default_rng(0)
    known = rng.choice(len(archs), LABELS, replace=False)
    labels = np.log(space.flops(archs[known])) + 0.3 * rng.normal(size=LABELS)
    before = time.process_time()
    seconds = timed(lambda: archflow.Ranker(None).fit(archs[known], labels, candidates=archs).predict(archs))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
    computing = time.process_time() - before
    return {"architectures": len(archs), "seconds": seconds, "computing": computing, "peak_megabytes": peak}


def wholes() -> list[Whole]:
    """Each of ``ALLOWED``, after one ranking of the smallest that compiles."""
    found = []
    subprocess.run([sys.executable, "-m", "bench.ranking", "nasbench201"], check=True, capture_output=True)
    for name, allowed in ALLOWED.items():
        command = [sys.executable, "-m", "bench.ranking", name]
        printed = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        found.append(Whole(name, allowed=allowed, **printed))
    return found


if __name__ == "__main__":
    print(json.dumps(measured(sys.argv[1])))
