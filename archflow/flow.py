"""The flow surrogate: random vectors passed forward and backward through an architecture.

From "Learning to Flow from Generative Pretext Tasks for Neural Architecture Encoding" (NeurIPS 2025, arXiv:2510.18360).
Nothing is learned: for a fixed draw (r, P, W) the surrogate is a function of the DAG alone, whatever the numbering of
its nodes. An encoder that can reconstruct it has learned to imitate information flow.

    f_i = r                                        for nodes without predecessors
    f_i = α m_i + (1 − α) ReLU([h_i ‖ m_i] W)      with m_i = Σ f_j over predecessors, h_i = P[operation of i]
    b_i = f_i                                      for nodes without successors
    b_i = α m_i + (1 − α) ReLU([h_i ‖ m_i] W)      with m_i = Σ b_j over successors
    s   = Σ b_i over nodes without predecessors

For ablations, one pass can be omitted: r then enters where the remaining pass starts, and s is read where it ends. Or
there can be several rounds, with f_i = b_i of the previous round for nodes without predecessors.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import torch
from jaxtyping import Float
from numpy import ndarray
from torch import Tensor
from torch.nn.functional import pad

from archflow.archs.batch import ArchBatch
from archflow.archs.ragged import Ragged
from archflow.support.settings import short
from archflow.support.threads import threads_for

Passes = Literal["both", "forward", "backward"]
"""Which passes of the flow surrogate to make."""

_CHUNK = 1 << 16
"""Architectures swept at a time; more would take memory without saving time."""


@dataclass(frozen=True, eq=False)
class FlowDraw:
    """The random numbers of a flow surrogate, drawn once for a space and kept.

    Attributes:
        r: the initial flow, shape (k,).
        P: one row per operation, shape (operations, k).
        W: the transformation, shape (2k, k); its upper half applies to the operation, its lower half to the message.
        std: standard deviation of P and W if drawn by :meth:`sample`, else None.
        seed: the seed of :meth:`sample`, else None.

    Raises:
        ValueError: the shapes do not fit together.
    """

    r: Float[Tensor, " k"]
    P: Float[Tensor, "operations k"]
    W: Float[Tensor, "2k k"]
    std: float | None = None
    seed: int | None = None

    def __post_init__(self) -> None:
        k = self.r.numel()
        if self.r.shape != (k,) or self.P.ndim != 2 or self.P.shape[1] != k or self.W.shape != (2 * k, k) or not k:
            raise ValueError(
                f"a flow draw has shapes r (k,), P (operations, k), W (2k, k), "
                f"not {tuple(self.r.shape)}, {tuple(self.P.shape)}, {tuple(self.W.shape)}"
            )

    @classmethod
    def sample(
        cls, operations: int, k: int = 7, std: float = 0.1, seed: int = 0, dtype: torch.dtype = torch.float32
    ) -> FlowDraw:
        """Draw r ~ U(0, 1)^k, P ~ N(0, std²)^(operations × k), W ~ N(0, std²)^(2k × k).

        The defaults are the published ones for NAS-Bench-201. One seed gives the same numbers in every dtype, up to
        rounding.
        """
        if operations < 1 or k < 1 or not std > 0:
            raise ValueError(f"a flow draw needs operations ≥ 1, k ≥ 1 and std > 0, not {operations}, {k} and {std}")
        if k > 4096:
            raise ValueError(f"k is at most 4,096, not {k:,}; a draw has 2k² numbers")
        rng = np.random.default_rng(seed)
        draws = rng.random(k), rng.normal(0, std, (operations, k)), rng.normal(0, std, (2 * k, k))
        r, P, W = (torch.from_numpy(draw).to(dtype) for draw in draws)
        return cls(r, P, W, std, seed)

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> FlowDraw:
        """The same draw on another device or in another precision."""
        r, P, W = (tensor.to(device=device, dtype=dtype) for tensor in (self.r, self.P, self.W))
        return FlowDraw(r, P, W, self.std, self.seed)


def flow_surrogate(
    archs: ArchBatch, draw: FlowDraw, alpha: float = 0.5, passes: Passes = "both", rounds: int = 1
) -> Float[Tensor, "archs k"]:
    """The surrogate s of every architecture, in the draw's dtype and on its device.

    All architectures are swept together, generation by generation, so the cost is a few matrix products rather than a
    loop over nodes. Deterministic; an architecture's surrogate does not depend on the rest of the batch.

    Args:
        archs: any DAGs, with any number of inputs and outputs.
        draw: r, P and W; P must have a row for each operation of the batch's vocabulary.
        alpha: α, the share of a message that passes unchanged.
        passes: "both", as published. "forward" alone: s = Σ f_i over nodes without successors. "backward" alone:
            b_i = r for nodes without successors, which is the forward pass along reversed edges.
        rounds: how many times the flow goes forward and back; 1 is published.

    Raises:
        ValueError: P does not have one row per operation, α is not between 0 and 1, the passes are unknown, or the
            rounds are not from 1 to 1,000, or are several of one pass, whose end cannot start the next.
    """
    if len(draw.P) != len(archs.vocabulary):
        raise ValueError(
            f"the draw has {len(draw.P)} operations, the architectures' vocabulary {len(archs.vocabulary)}"
        )
    if not 0 <= alpha <= 1:
        raise ValueError(f"alpha must be between 0 and 1, not {alpha}")
    if passes not in get_args(Passes):
        raise ValueError(f"unknown passes {short(passes)}; known: {', '.join(get_args(Passes))}")
    if not 1 <= rounds <= 1000 or (rounds > 1 and passes != "both"):
        raise ValueError(f"rounds must be 1, or up to 1,000 with both passes, not {rounds} with passes '{passes}'")
    if len(archs) > _CHUNK:
        parts = (archs[start : start + _CHUNK] for start in range(0, len(archs), _CHUNK))
        return torch.cat([flow_surrogate(part, draw, alpha, passes, rounds) for part in parts])
    with threads_for(0):  # one, since several may change the last digits of wide products
        return _swept(archs, draw, alpha, passes, rounds)


def _swept(archs: ArchBatch, draw: FlowDraw, alpha: float, passes: Passes, rounds: int) -> Float[Tensor, "archs k"]:
    k, device = draw.r.numel(), draw.r.device
    # Padding rows to a multiple of 8 halves the time of the narrow matrix products; the added zeros stay zero.
    padding = -k % 8
    r, W = pad(draw.r, (0, padding)), (1 - alpha) * pad(draw.W[k:], (0, padding, 0, padding))
    of_operation = (1 - alpha) * pad(draw.P @ draw.W[:k], (0, padding))

    sweep = archs.sweep
    operations = torch.from_numpy(archs.operations[sweep.nodes].astype(np.int64)).to(device)
    from_operation = of_operation.index_select(0, operations)
    flow = torch.empty_like(from_operation)

    def pass_on(rows: slice, senders: Ragged[ndarray]) -> None:
        message = senders.part(rows).to(device).sum(flow)
        transformed = torch.addmm(from_operation[rows], message, W).relu_()
        torch.add(transformed, message, alpha=alpha, out=flow[rows])

    # A backward pass alone starts at the nodes without successors and overwrites all others.
    flow[sweep.generations[0].rows if passes != "backward" else slice(None)] = r
    for _ in range(rounds):
        if passes != "backward":
            for generation in sweep.generations[1:]:
                pass_on(generation.rows, sweep.predecessors)
        # Here the rows of `flow` change from f to b; those without successors stay.
        if passes != "forward":
            for generation in reversed(sweep.generations):
                pass_on(generation.inner, sweep.successors)
    ends = sweep.sources if passes != "forward" else sweep.sinks
    return ends.to(device).sum(flow)[:, :k].contiguous()


def standardised(columns: Float[Tensor, "archs k"]) -> Float[Tensor, "archs k"]:
    """Scale each column to mean 0 and variance 1; a column that is constant up to rounding becomes 0."""
    centred = columns.double() - columns.double().mean(0)
    spread = centred.square().mean(0).sqrt()
    constant = spread <= 1e-6 * columns.double().abs().amax(0)
    return torch.where(constant, 0.0, centred / spread).to(columns.dtype)
