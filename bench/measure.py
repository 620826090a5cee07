"""Timing and training steps for the benchmarks."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice

import numpy as np
import torch

from archflow import ArchBatch


@dataclass(frozen=True)
class Row:
    """One line of the table: what was measured, what it is compared with, and the required ratio."""

    what: str
    beside: str
    ours: float
    theirs: float
    least: float

    @property
    def ratio(self) -> float:
        return self.ours / self.theirs


def timed(call: Callable[[], object]) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def train(model: torch.nn.Module, batches: Iterable[object], steps: int) -> None:
    """Take ``steps`` training steps on a loss of negligible cost."""
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True)
    for batch in islice(batches, steps):
        optimizer.zero_grad()
        model(batch).square().mean().backward()
        optimizer.step()


def shuffled(archs: ArchBatch, size: int) -> Iterator[ArchBatch]:
    """Minibatches of all architectures, in the same random order every time."""
    order = np.random.default_rng(0).permutation(len(archs))
    return (archs[order[start : start + size]] for start in range(0, len(archs), size))
