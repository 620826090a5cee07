"""Timing that a noisy machine does not fool."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from statistics import median

import numpy as np
import torch

from archflow import ArchBatch


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


def train(model: torch.nn.Module, batches: Iterable[object], steps: int) -> None:
    """So many training steps on a loss that costs nothing."""
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True)
    for batch in islice(batches, steps):
        optimizer.zero_grad()
        model(batch).square().mean().backward()
        optimizer.step()


def shuffled(archs: ArchBatch, size: int) -> Iterator[ArchBatch]:
    """Minibatches of all architectures in a random order, always the same."""
    order = np.random.default_rng(0).permutation(len(archs))
    return (archs[order[start : start + size]] for start in range(0, len(archs), size))
