"""Pre-training tasks: what an encoder can learn from architectures alone.

A task says how to turn an encoder and architectures into an objective: a module whose call with the numbers of a
minibatch gives the terms of the loss by name. :func:`archflow.pretrain` does the rest.

Here: FGP, the method (``fgp.py``), and what it was compared with: a zero-cost proxy alone (``zero_cost.py``), arch2vec,
GMAE and GraphCL.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import torch
from torch import nn

from archflow.archs.batch import ArchBatch
from archflow.encoding.base import Encoder


class Task(Protocol):
    """What a pre-training task offers."""

    def build(self, encoder: Encoder, archs: ArchBatch) -> nn.Module:
        """A module that holds ``encoder`` and whose call with (batch,) int64 numbers gives a dict of scalar terms."""
        ...

    def describe(self) -> dict[str, Any]:
        """The task's settings, JSON-able, beginning with its name under "task"."""
        ...


def step_generator() -> np.random.Generator:
    """NumPy's generator for one minibatch, seeded from torch's global one, which is the run's and the step's."""
    return np.random.default_rng(int(torch.randint(2**62, ())))
