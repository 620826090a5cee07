"""FlowerFormer's flow, with a few operations per generation where plain PyTorch needs a dozen.

    f_i = GRU(x_i, Σ_j α_ij f_j)      over the senders j of row i, with α_ij ∝ exp(u · f_j), Σ_j α_ij = 1

generation by generation. On the CPU the messages and their gradient are compiled loops.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numba import njit
from numpy import ndarray
from torch import Tensor
from torch.nn.functional import linear

from archflow.archs.ragged import Ragged
from archflow.encoding.kernels.common import ANY_ORDER, arrays, softmax_of_groups


def flow(
    own: Float[Tensor, "rows 3*hidden"],
    weight: Float[Tensor, "3*hidden hidden"],
    bias: Float[Tensor, " 3*hidden"],
    score: Float[Tensor, " hidden"],
    heard: Ragged[Tensor],
    steps: list[slice],
) -> Float[Tensor, "rows hidden"]:
    """The values of the rows after the flow.

    Args:
        own: the contribution of each row's own value to the GRU's gates (reset, update, new).
        weight: the GRU's weights for messages, PyTorch's ``weight_hh``.
        bias: PyTorch's ``bias_hh``.
        score: u, which weights the messages.
        heard: for each row, the rows that it receives messages from.
        steps: the rows of each generation, in the order of the flow.
    """
    if own.device.type != "cpu":
        return plain_flow(own, weight, bias, score, heard, steps)
    values: Tensor = _CompiledFlow.apply(own, weight, bias, score, heard, steps)  # type: ignore[no-untyped-call]
    return values


def plain_flow(
    own: Tensor, weight: Tensor, bias: Tensor, score: Tensor, heard: Ragged[Tensor], steps: list[slice]
) -> Tensor:
    """The same with PyTorch's operations, for other devices."""
    hidden, listeners = len(score), torch.repeat_interleave(heard.counts)
    bounds = [[int(heard.offsets[end]) for end in (rows.start, rows.stop)] for rows in steps]
    values = own.new_zeros(len(own), hidden)
    for rows, (start, stop) in zip(steps, bounds, strict=True):
        sent = values.index_select(0, heard.values[start:stop])
        listener, count = listeners[start:stop] - rows.start, rows.stop - rows.start
        share = softmax_of_groups(sent @ score, listener, count).to(sent.dtype)
        message = sent.new_zeros(count, hidden).index_add(0, listener, share[:, None] * sent)
        gates = linear(message, weight, bias).to(own.dtype)
        reset, update = torch.sigmoid(own[rows, : 2 * hidden] + gates[:, : 2 * hidden]).chunk(2, 1)
        new = torch.tanh(own[rows, 2 * hidden :] + reset * gates[:, 2 * hidden :])
        values = torch.cat([values[: rows.start], torch.lerp(new, message, update), values[rows.stop :]])
    return values


class _CompiledFlow(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, own: Tensor, weight: Tensor, bias: Tensor, score: Tensor, heard: Ragged[Tensor], steps: list[slice]
    ) -> Tensor:
        hidden = len(score)
        own, score = own.contiguous(), score.contiguous()
        values, message = (own.new_empty(len(own), hidden) for _ in range(2))
        from_message, gates, share = torch.empty_like(own), torch.empty_like(own), own.new_empty(len(heard.values))
        lists = arrays(heard.values, heard.offsets, values, score, share, message)
        for rows in steps:
            _hear(rows.start, rows.stop, *lists)
            torch.addmm(bias, message[rows], weight.t(), out=from_message[rows])
            reset_update, new = gates[rows].split([2 * hidden, hidden], 1)
            torch.add(own[rows, : 2 * hidden], from_message[rows, : 2 * hidden], out=reset_update).sigmoid_()
            torch.addcmul(
                own[rows, 2 * hidden :], reset_update[:, :hidden], from_message[rows, 2 * hidden :], out=new
            ).tanh_()
            torch.lerp(new, message[rows], reset_update[:, hidden:], out=values[rows])
        ctx.save_for_backward(weight, score, values, message, from_message, gates, share)
        ctx.heard, ctx.steps = heard, steps
        return values

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, None, None]:
        weight, score, values, message, from_message, gates, share = ctx.saved_tensors
        into_values = grad.clone(memory_format=torch.contiguous_format)
        into_own, into_heard = torch.empty_like(from_message), torch.empty_like(from_message)
        into_message = torch.empty_like(message)
        into_logit = values.new_zeros(len(values))
        gru = arrays(into_values, message, from_message, gates, into_own, into_heard, into_message)
        lists = arrays(ctx.heard.values, ctx.heard.offsets, values, score, share, into_message, into_values, into_logit)
        for rows in reversed(ctx.steps):
            _gru_backward(rows.start, rows.stop, *gru)
            into_message[rows].addmm_(into_heard[rows], weight)
            _hear_backward(rows.start, rows.stop, *lists)
        return into_own, into_heard.t() @ message, into_heard.sum(0), into_logit @ values, None, None


@njit(cache=True, fastmath=ANY_ORDER)
def _hear(
    start: int,
    stop: int,
    source: ndarray,
    starts: ndarray,
    values: ndarray,
    score: ndarray,
    share: ndarray,
    message: ndarray,
) -> None:
    """Write the messages to the rows from ``start`` to ``stop``, and each sender's share in them."""
    hidden, zero = len(score), score.dtype.type(0)
    for i in range(start, stop):
        total = message[i]
        total[:] = zero
        if starts[i] == starts[i + 1]:
            continue
        top = score.dtype.type(-np.inf)
        for m in range(starts[i], starts[i + 1]):
            sent, logit = values[source[m]], zero
            for c in range(hidden):
                logit += score[c] * sent[c]
            share[m] = logit
            top = max(top, logit)
        whole = zero
        for m in range(starts[i], starts[i + 1]):
            share[m] = math.exp(share[m] - top)
            whole += share[m]
        for m in range(starts[i], starts[i + 1]):
            share[m] /= whole
            sent, part = values[source[m]], share[m]
            for c in range(hidden):
                total[c] += part * sent[c]


@njit(cache=True, fastmath=ANY_ORDER)
def _hear_backward(
    start: int,
    stop: int,
    source: ndarray,
    starts: ndarray,
    values: ndarray,
    score: ndarray,
    share: ndarray,
    into_message: ndarray,
    into_values: ndarray,
    into_logit: ndarray,
) -> None:
    hidden, zero = len(score), score.dtype.type(0)
    into_share = np.empty_like(share)
    for i in range(start, stop):
        grad, mean = into_message[i], zero
        for m in range(starts[i], starts[i + 1]):
            sent, total = values[source[m]], zero
            for c in range(hidden):
                total += grad[c] * sent[c]
            into_share[m] = total
            mean += share[m] * total
        for m in range(starts[i], starts[i + 1]):
            part, logit, into = share[m], share[m] * (into_share[m] - mean), into_values[source[m]]
            into_logit[source[m]] += logit
            for c in range(hidden):
                into[c] += part * grad[c] + logit * score[c]


@njit(cache=True, fastmath=ANY_ORDER)
def _gru_backward(
    start: int,
    stop: int,
    into_values: ndarray,
    message: ndarray,
    heard: ndarray,
    gates: ndarray,
    into_own: ndarray,
    into_heard: ndarray,
    into_message: ndarray,
) -> None:
    """The gradients of the gates' inputs from that of the values; ``into_message`` gets only the direct path's part."""
    hidden = message.shape[1]
    one = message.dtype.type(1)
    for i in range(start, stop):
        for c in range(hidden):
            reset, update, new = gates[i, c], gates[i, hidden + c], gates[i, 2 * hidden + c]
            grad = into_values[i, c]
            into_new = grad * (one - update) * (one - new * new)
            into_reset = into_new * heard[i, 2 * hidden + c] * reset * (one - reset)
            into_update = grad * (message[i, c] - new) * update * (one - update)
            into_own[i, c] = into_heard[i, c] = into_reset
            into_own[i, hidden + c] = into_heard[i, hidden + c] = into_update
            into_own[i, 2 * hidden + c] = into_new
            into_heard[i, 2 * hidden + c] = into_new * reset
            into_message[i, c] = grad * update
