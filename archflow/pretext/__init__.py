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
from jaxtyping import Int
from torch import Tensor, nn

from archflow.encoders.base import Encoder
from archflow.graphs import ArchBatch


class Task(Protocol):
    """What a pre-training task offers."""

    def build(self, encoder: Encoder, archs: ArchBatch) -> nn.Module:
        """A module that holds ``encoder`` and whose call with (batch,) int64 numbers gives a dict of scalar terms."""
        ...

    def describe(self) -> dict[str, Any]:
        """The task's settings, JSON-able, beginning with its name under "task"."""
        ...


class Draws(nn.Module):
    """The random numbers of an objective: a function of the run's seed and of how many minibatches there were.

    The count is kept with the objective's weights, so a resumed run draws what it would have drawn uninterrupted. Made
    while the objective is built, when torch's global generator is the run's.
    """

    seen: Int[Tensor, ""]

    def __init__(self) -> None:
        super().__init__()
        self.seed = int(torch.randint(2**62, ()))
        self.register_buffer("seen", torch.zeros((), dtype=torch.int64))

    def forward(self) -> np.random.Generator:
        """A generator for the next minibatch."""
        rng = np.random.default_rng([self.seed, int(self.seen)])
        self.seen += 1
        return rng
