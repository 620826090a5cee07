"""Timing that a noisy machine does not fool."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median


@dataclass(frozen=True)
class Row:
    """One line of the table: what was measured, beside what, and the least ratio that is asked for."""

    what: str
    beside: str
    ours: float
    theirs: float
    least: float

    @property
    def ratio(self) -> float:
        return self.ours / self.theirs


def seconds(call: Callable[[], object], repeats: int) -> float:
    """Median time of a call, after one that is not counted."""
    call()
    return median(timed(call) for _ in range(repeats))


def timed(call: Callable[[], object]) -> float:
    begun = time.perf_counter()
    call()
    return time.perf_counter() - begun
