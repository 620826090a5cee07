"""Threads where they pay.

A parallel region ends when its slowest thread does. If another process occupies a core, the thread there waits for its
turn, for milliseconds, and all others wait with it. Small work, whose regions take microseconds, therefore runs in one
thread, which on a quiet machine takes hardly longer.
"""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Iterator
from pathlib import Path

import torch

_PAYS = 200_000_000
"""Multiplications in a step below which one thread computes it: some 10 ms."""
_QUOTAS = Path("/sys/fs/cgroup")


def available_cpus() -> int:
    """The number of CPUs that this process may use: of its affinity, and at most its container's quota."""
    own = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, math.ceil(min(own, _quota())))


@contextlib.contextmanager
def threads_for(products: float) -> Iterator[None]:
    """Compute in one thread inside the block if a step has few multiplications, else in PyTorch's number of threads.

    That number is ``OMP_NUM_THREADS`` unless ``torch.set_num_threads`` changed it; it is lowered to
    :func:`available_cpus`. Numba's loops follow it.
    """
    before = torch.get_num_threads()
    number = 1 if products < _PAYS else min(before, available_cpus())
    if number == before:
        yield
        return
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _quota() -> float:
    """CPUs that the container grants, by control groups of version 2 or 1; infinite without a limit."""
    for names in (("cpu.max",), ("cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us")):
        with contextlib.suppress(OSError, ValueError, ZeroDivisionError):
            quota, period = " ".join((_QUOTAS / name).read_text() for name in names).split()
            if quota not in ("max", "-1"):
                return int(quota) / int(period)
    return math.inf
