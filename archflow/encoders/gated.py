"""The layer of ResGatedGCN: what PyTorch would do in a dozen passes over the messages, done in one.

    x_i ← ReLU(0.2 x⁰_i + 0.8 (S_i + Σ_j σ(K_i + Q_j) ⊙ V_j))

On the CPU the sum is a compiled loop, which writes no message to memory. A gate is 1 / (1 + exp(−k) exp(−q)), so
exponentials are taken of nodes, which are few, not of messages; k and q are held within ±40, beyond which a gate is 0 or
1 to all digits unless they cancel.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from numba import njit, prange
from numpy import ndarray
from torch import Tensor

from archflow.encoders.sharing import Layer

_LIMIT = 40.0
_BLOCK = 32
"""Channels that one thread takes in the backward pass; it owns them, so no two threads add to the same number."""


def gated_layer(
    embedded: Float[Tensor, "operations hidden"],
    own: Float[Tensor, "inputs 2*hidden"],
    sent: Float[Tensor, "inputs 2*hidden"],
    layer: Layer,
) -> Float[Tensor, "outputs hidden"]:
    """A layer's outputs from x⁰ of each operation, and K and S (``own``), Q and V (``sent``) of each input."""
    if own.device.type != "cpu":
        return plain_gated_layer(embedded, own, sent, layer)
    outputs: Tensor = _GatedLayer.apply(embedded, own, sent, layer)  # type: ignore[no-untyped-call]
    return outputs


def plain_gated_layer(embedded: Tensor, own: Tensor, sent: Tensor, layer: Layer) -> Tensor:
    """The same by PyTorch's operations, for other devices."""
    hidden = embedded.shape[1]
    key, self_ = own.index_select(0, layer.own).split(hidden, 1)
    query, value = sent.index_select(0, layer.source).split(hidden, 1)
    target = torch.repeat_interleave(layer.starts.diff())
    gate = torch.sigmoid(key.index_select(0, target) + query)
    return torch.relu(0.2 * embedded[layer.operation] + 0.8 * self_.index_add(0, target, gate * value))


class _GatedLayer(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, embedded: Tensor, own: Tensor, sent: Tensor, layer: Layer) -> Tensor:
        hidden = embedded.shape[1]
        inputs = [embedded.contiguous(), *(_with_exponentials(tensor, hidden) for tensor in (own, sent))]
        out = embedded.new_empty(len(layer.own), hidden)
        _forward(*_arrays(*inputs, *layer, out))
        ctx.save_for_backward(out, *inputs)
        ctx.layer = layer
        return out

    @staticmethod
    def backward(ctx: Any, grad_out: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        out, *inputs = ctx.saved_tensors
        grad = torch.ops.aten.threshold_backward(grad_out, out, 0).contiguous()
        grads = [torch.zeros_like(tensor) for tensor in inputs]
        _backward(*_arrays(*inputs, *ctx.layer, grad, *grads))
        return grads[0], grads[1], grads[2], None


def _with_exponentials(projected: Tensor, hidden: int) -> Tensor:
    """A copy with the first half, k or q, as exp(−k) or exp(−q)."""
    copy = torch.empty_like(projected, memory_format=torch.contiguous_format)
    torch.exp(projected[:, :hidden].clamp(-_LIMIT, _LIMIT).neg_(), out=copy[:, :hidden])
    copy[:, hidden:] = projected[:, hidden:]
    return copy


def _arrays(*tensors: Tensor) -> list[ndarray]:
    return [tensor.detach().numpy() for tensor in tensors]


@njit(parallel=True, cache=True, fastmath={"contract"})
def _forward(
    embedded: ndarray,
    own: ndarray,
    sent: ndarray,
    own_row: ndarray,
    operation: ndarray,
    source: ndarray,
    starts: ndarray,
    out: ndarray,
) -> None:
    hidden = embedded.shape[1]
    one = out.dtype.type(1)
    skip, keep = out.dtype.type(0.2), out.dtype.type(0.8)
    for i in prange(len(own_row)):
        row = own[own_row[i]]
        total = row[hidden:].copy()
        for m in range(starts[i], starts[i + 1]):
            message = sent[source[m]]
            for c in range(hidden):
                total[c] += message[hidden + c] / (one + row[c] * message[c])
        start = embedded[operation[i]]
        for c in range(hidden):
            x = skip * start[c] + keep * total[c]
            out[i, c] = max(x, out.dtype.type(0))


@njit(parallel=True, cache=True, fastmath={"contract"})
def _backward(
    embedded: ndarray,
    own: ndarray,
    sent: ndarray,
    own_row: ndarray,
    operation: ndarray,
    source: ndarray,
    starts: ndarray,
    grad: ndarray,
    grad_embedded: ndarray,
    grad_own: ndarray,
    grad_sent: ndarray,
) -> None:
    hidden = embedded.shape[1]
    one = grad.dtype.type(1)
    skip, keep = grad.dtype.type(0.2), grad.dtype.type(0.8)
    for block in prange((hidden + _BLOCK - 1) // _BLOCK):
        first, last = block * _BLOCK, min(hidden, (block + 1) * _BLOCK)
        for i in range(len(own_row)):
            r, o = own_row[i], operation[i]
            for c in range(first, last):
                grad_embedded[o, c] += skip * grad[i, c]
                grad_own[r, hidden + c] += keep * grad[i, c]
            for m in range(starts[i], starts[i + 1]):
                s = source[m]
                for c in range(first, last):
                    gate = one / (one + own[r, c] * sent[s, c])
                    into_value = keep * grad[i, c] * gate
                    into_gate = into_value * sent[s, hidden + c] * (one - gate)
                    grad_sent[s, hidden + c] += into_value
                    grad_own[r, c] += into_gate
                    grad_sent[s, c] += into_gate
