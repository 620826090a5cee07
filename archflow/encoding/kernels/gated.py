"""The layer of ResGatedGCN, in one pass over the messages where plain PyTorch needs a dozen.

    x_i ← ReLU(0.2 x⁰_i + 0.8 (S_i + Σ_j σ(K_i + Q_j) ⊙ V_j))

On the CPU the sum is a compiled loop that stores no messages. A gate is 1 / (1 + exp(−k) exp(−q)), so exponentials are
computed per node rather than per message, of which there are more. k and q are clamped so that the product of two
exponentials does not overflow (to ±44 in float32, ±354 in float64); beyond that, a gate is 0 or 1 to machine precision
unless k and q cancel.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from numba import njit, prange
from numpy import ndarray
from torch import Tensor

from archflow.archs.ragged import Ragged, grouped
from archflow.encoding.kernels.common import arrays, use_torchs_threads


def gated_layer(
    embedded: Float[Tensor, "operations hidden"],
    projected: Float[Tensor, "inputs 4*hidden"],
    own: Int[Tensor, " outputs"],
    operation: Int[Tensor, " outputs"],
    heard: Ragged[Tensor],
) -> Float[Tensor, "outputs hidden"]:
    """A layer's outputs.

    Args:
        embedded: x⁰ of each operation.
        projected: K, Q, S and V of each input row, concatenated; overwritten on the CPU.
        own: for each output, the input row of the same node.
        operation: for each output, the operation of its node.
        heard: for each output, the input rows that it receives messages from.
    """
    if projected.device.type != "cpu":
        return plain_gated_layer(embedded, projected, own, operation, heard)
    use_torchs_threads()
    outputs: Tensor = _GatedLayer.apply(embedded, projected, own, operation, heard)  # type: ignore[no-untyped-call]
    return outputs


def plain_gated_layer(
    embedded: Tensor, projected: Tensor, own: Tensor, operation: Tensor, heard: Ragged[Tensor]
) -> Tensor:
    """The same with PyTorch's operations, for other devices."""
    key, query, self_, value = projected.chunk(4, 1)
    target = torch.repeat_interleave(heard.counts)
    gate = torch.sigmoid(key[own].index_select(0, target) + query[heard.values])
    summed = self_[own].index_add(0, target, gate * value[heard.values])
    return torch.relu(0.2 * embedded[operation] + 0.8 * summed)


class _GatedLayer(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, embedded: Tensor, projected: Tensor, own: Tensor, operation: Tensor, heard: Ragged[Tensor]
    ) -> Tensor:
        hidden = embedded.shape[1]
        embedded, projected = embedded.contiguous(), projected.contiguous()
        limit = 0.499 * math.log(torch.finfo(projected.dtype).max)
        # In place, since nothing else needs the projections, not even the backward pass of the map that made them.
        projected[:, : 2 * hidden].clamp_(-limit, limit).neg_().exp_()
        out = embedded.new_empty(len(own), hidden)
        _forward(*arrays(embedded, projected, own, operation, heard.values, heard.offsets, out))
        ctx.save_for_backward(out, embedded, projected)
        ctx.lists = own, operation, heard.values, heard.offsets
        return out

    @staticmethod
    def backward(ctx: Any, grad_out: Tensor) -> tuple[Tensor, Tensor, None, None, None]:
        out, embedded, projected = ctx.saved_tensors
        grad = torch.ops.aten.threshold_backward(grad_out, out, 0).contiguous()
        grad_embedded, grad_projected = torch.zeros_like(embedded), torch.empty_like(projected)
        inputs, own, operation, source, offsets = arrays(projected, *ctx.lists)
        sent, sent_offsets = grouped(source, len(inputs))
        owned, owned_offsets = grouped(own, len(inputs))
        gradients = arrays(grad, grad_embedded, grad_projected)
        _backward(inputs, own, operation, source, offsets, sent, sent_offsets, owned, owned_offsets, *gradients)
        return grad_embedded, grad_projected, None, None, None


@njit(parallel=True, cache=True)
def _forward(
    embedded: ndarray,
    projected: ndarray,
    own: ndarray,
    operation: ndarray,
    source: ndarray,
    offsets: ndarray,
    out: ndarray,
) -> None:
    hidden = embedded.shape[1]
    number = out.dtype.type
    zero, one, fifth, rest = number(0), number(1), number(0.2), number(0.8)
    for i in prange(len(own)):
        row = projected[own[i]]
        total = row[2 * hidden : 3 * hidden].copy()
        for m in range(offsets[i], offsets[i + 1]):
            message = projected[source[m]]
            for c in range(hidden):
                total[c] += message[3 * hidden + c] / (one + row[c] * message[hidden + c])
        start = embedded[operation[i]]
        for c in range(hidden):
            out[i, c] = max(fifth * start[c] + rest * total[c], zero)


@njit(parallel=True, cache=True)
def _backward(
    projected: ndarray,
    own: ndarray,
    operation: ndarray,
    source: ndarray,
    offsets: ndarray,
    sent: ndarray,
    sent_offsets: ndarray,
    owned: ndarray,
    owned_offsets: ndarray,
    grad: ndarray,
    grad_embedded: ndarray,
    grad_projected: ndarray,
) -> None:
    """The gradients; each row is written by a single thread, in a loop over outputs and then one over inputs.

    ``sent`` are the messages from each input row, ``owned`` the outputs whose node is that of the input row.
    """
    outputs, hidden = grad.shape
    number = grad.dtype.type
    one, fifth, rest = number(1), number(0.2), number(0.8)

    into_key = np.empty_like(grad)
    target = np.empty_like(source)
    for i in prange(outputs):
        row, total = projected[own[i]], np.zeros(hidden, grad.dtype)
        for m in range(offsets[i], offsets[i + 1]):
            target[m] = i
            message = projected[source[m]]
            for c in range(hidden):
                gate = one / (one + row[c] * message[hidden + c])
                total[c] += gate * (one - gate) * message[3 * hidden + c]
        for c in range(hidden):
            into_key[i, c] = total[c] * rest * grad[i, c]

    for r in prange(len(projected)):
        row, total = projected[r], np.zeros(4 * hidden, grad.dtype)
        for m in sent[sent_offsets[r] : sent_offsets[r + 1]]:
            heard, key = grad[target[m]], projected[own[target[m]]]
            for c in range(hidden):
                gate = one / (one + key[c] * row[hidden + c])
                into_value = rest * heard[c] * gate
                total[3 * hidden + c] += into_value
                total[hidden + c] += into_value * (one - gate) * row[3 * hidden + c]
        for i in owned[owned_offsets[r] : owned_offsets[r + 1]]:
            for c in range(hidden):
                total[c] += into_key[i, c]
                total[2 * hidden + c] += rest * grad[i, c]
        grad_projected[r] = total

    for i in range(outputs):
        start = grad_embedded[operation[i]]
        for c in range(hidden):
            start[c] += fifth * grad[i, c]
