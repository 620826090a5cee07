"""The flow surrogate and fine-tuning while another process occupies a core, beside the same on a quiet machine."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from statistics import median

import numpy as np

import archflow
from bench.measure import Row, timed

LEAST = 0.4
"""A busy neighbour costs at most 2.5 times the time."""
ROUNDS = 7


def rows() -> list[Row]:
    space = archflow.space("nasbench201")
    draw = archflow.FlowDraw.sample(len(space.vocabulary), k=7, std=0.1)
    archs = space.sample(118)
    accuracy = np.log(space.parameters(archs))
    encoder = archflow.encoder("resgatedgcn", archs.vocabulary)
    return [
        _row("flow surrogate of 15,625 cells", lambda: archflow.flow_surrogate(space.enumerate(), draw)),
        _row(
            "fine-tuning on 118 cells, 5 epochs",
            lambda: archflow.Ranker(encoder, "finetune", epochs=5).fit(archs, accuracy),
        ),
    ]


def _row(what: str, call: Callable[[], object]) -> Row:
    call()  # compiles
    quiet, busy = [], []
    for _ in range(ROUNDS):
        quiet.append(timed(call))
        with _busy_core():
            busy.append(timed(call))
    return Row(f"{what}, a core busy", "a quiet machine (calls per second)", 1 / median(busy), 1 / median(quiet), LEAST)


@contextmanager
def _busy_core() -> Iterator[None]:
    loop = "print(flush=True)\nwhile True: pass"
    with subprocess.Popen([sys.executable, "-c", loop], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield
        process.kill()


if __name__ == "__main__":
    for row in rows():
        print(row, f"{1 / row.ratio:.2f} times the time")
