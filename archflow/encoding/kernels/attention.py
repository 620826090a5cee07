"""FlowerFormer's multi-head attention: each row attends to some rows of its architecture.

On the CPU it is a compiled loop over the rows, and its gradient a compiled loop over the architectures.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numba import njit, prange
from numpy import ndarray
from torch import Tensor

from archflow.archs.batch import ArchBatch
from archflow.archs.ragged import Ragged
from archflow.encoding.kernels.common import ANY_ORDER, arrays, softmax_of_groups, use_torchs_threads


def related(archs: ArchBatch) -> Ragged[ndarray]:
    """For each node, the rows in the batch's sweep of itself, its ancestors and its descendants."""
    sweep = archs.sweep
    predecessors = sweep.predecessors
    return Ragged(*_related(sweep.row, sweep.nodes, predecessors.values, predecessors.offsets, archs.node_offsets))


def attention(
    projected: Float[Tensor, "rows 3*hidden"],
    kept: Float[Tensor, "pairs heads"],
    looked_at: Ragged[Tensor],
    members: Ragged[Tensor],
) -> Float[Tensor, "rows hidden"]:
    """The output of the attention for each row, heads concatenated.

    Args:
        projected: query, key and value of each row, concatenated.
        kept: factor for the weight of each pair after the softmax; 0 if the weight is dropped.
        looked_at: for each row of ``members.values``, the rows that it attends to, at least one.
        members: for each architecture, its rows.
    """
    if projected.device.type != "cpu":
        return plain_attention(projected, kept, looked_at, members)
    use_torchs_threads()
    seen: Tensor = _CompiledAttention.apply(projected, kept, looked_at, members)  # type: ignore[no-untyped-call]
    return seen


def plain_attention(projected: Tensor, kept: Tensor, looked_at: Ragged[Tensor], members: Ragged[Tensor]) -> Tensor:
    """The same with PyTorch's operations, for other devices."""
    heads = kept.shape[1]
    looking = torch.repeat_interleave(members.values, looked_at.counts)
    query, key, value = projected.view(len(projected), 3, heads, -1).unbind(1)
    logits = (query[looking] * key[looked_at.values]).sum(-1) / math.sqrt(query.shape[-1])
    weights = kept * softmax_of_groups(logits, looking, len(projected))
    return torch.zeros_like(value).index_add(0, looking, weights[..., None] * value[looked_at.values]).flatten(1)


class _CompiledAttention(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, projected: Tensor, kept: Tensor, looked_at: Ragged[Tensor], members: Ragged[Tensor]
    ) -> Tensor:
        projected = projected.contiguous()
        weights, seen = (
            projected.new_empty(shape) for shape in (kept.shape, (len(projected), projected.shape[1] // 3))
        )
        lists = members.values, looked_at.values, looked_at.offsets, members.offsets
        _attend(*arrays(*lists, projected, kept, weights, seen))
        ctx.save_for_backward(projected, kept, weights)
        ctx.lists = lists
        return seen

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None]:
        projected, kept, weights = ctx.saved_tensors
        into_projected = torch.zeros_like(projected)
        _attend_backward(*arrays(*ctx.lists, projected, kept, weights, grad.contiguous(), into_projected))
        return into_projected, None, None, None


@njit(parallel=True, cache=True, fastmath=ANY_ORDER)
def _attend(
    target: ndarray,
    other: ndarray,
    starts: ndarray,
    archs: ndarray,
    projected: ndarray,
    kept: ndarray,
    weights: ndarray,
    seen: ndarray,
) -> None:
    hidden, heads = seen.shape[1], kept.shape[1]
    each, zero = hidden // heads, seen.dtype.type(0)
    scale = seen.dtype.type(1 / math.sqrt(each))
    for node in prange(len(target)):
        pairs = range(starts[node], starts[node + 1])
        query, out = projected[target[node]], seen[target[node]]
        out[:] = zero
        for p in pairs:
            key = projected[other[p], hidden:]
            for head in range(heads):
                logit = zero
                for c in range(head * each, head * each + each):
                    logit += query[c] * key[c]
                weights[p, head] = scale * logit
        for head in range(heads):
            top, whole = weights[starts[node], head], zero
            for p in pairs:
                top = max(top, weights[p, head])
            for p in pairs:
                weights[p, head] = math.exp(weights[p, head] - top)
                whole += weights[p, head]
            for p in pairs:
                weights[p, head] /= whole
        for p in pairs:
            value = projected[other[p], 2 * hidden :]
            for head in range(heads):
                part = kept[p, head] * weights[p, head]
                for c in range(head * each, head * each + each):
                    out[c] += part * value[c]


@njit(parallel=True, cache=True, fastmath=ANY_ORDER)
def _attend_backward(
    target: ndarray,
    other: ndarray,
    starts: ndarray,
    archs: ndarray,
    projected: ndarray,
    kept: ndarray,
    weights: ndarray,
    grad: ndarray,
    into_projected: ndarray,
) -> None:
    """The gradient; one thread per architecture, as pairs stay within one, so that no row has two writers."""
    hidden, heads = grad.shape[1], kept.shape[1]
    each, zero = hidden // heads, grad.dtype.type(0)
    scale = grad.dtype.type(1 / math.sqrt(each))
    for arch in prange(len(archs) - 1):
        for node in range(archs[arch], archs[arch + 1]):
            i = target[node]
            query, heard, into_query = projected[i], grad[i], into_projected[i]
            into_weight = np.empty((starts[node + 1] - starts[node], heads), grad.dtype)
            mean = np.zeros(heads, grad.dtype)
            for p in range(starts[node], starts[node + 1]):
                value, into_value = projected[other[p], 2 * hidden :], into_projected[other[p], 2 * hidden :]
                for head in range(heads):
                    part, total = kept[p, head] * weights[p, head], zero
                    for c in range(head * each, head * each + each):
                        total += heard[c] * value[c]
                    for c in range(head * each, head * each + each):
                        into_value[c] += part * heard[c]
                    into_weight[p - starts[node], head] = kept[p, head] * total
                    mean[head] += part * total
            for p in range(starts[node], starts[node + 1]):
                key, into_key = projected[other[p], hidden:], into_projected[other[p], hidden:]
                for head in range(heads):
                    logit = scale * weights[p, head] * (into_weight[p - starts[node], head] - mean[head])
                    for c in range(head * each, head * each + each):
                        into_query[c] += logit * key[c]
                    for c in range(head * each, head * each + each):
                        into_key[c] += logit * query[c]


@njit(cache=True)
def _related(
    row: ndarray, nodes: ndarray, predecessors: ndarray, predecessor_starts: ndarray, node_offsets: ndarray
) -> tuple[ndarray, ndarray]:
    """For each node, the rows of itself, its ancestors and its descendants, and the offsets of these lists."""
    sizes = np.diff(node_offsets)
    first = np.repeat(node_offsets[:-1], sizes)
    # above[u, v]: node v of the same architecture is an ancestor of u.
    above = np.zeros((len(row), sizes.max()), np.bool_)
    for i in range(len(nodes)):
        node = nodes[i]
        for m in range(predecessor_starts[i], predecessor_starts[i + 1]):
            parent = nodes[predecessors[m]]
            above[node, parent - first[node]] = True
            above[node] |= above[parent]
    starts = np.zeros(len(row) + 1, np.int64)
    for node in range(len(row)):
        starts[node + 1] += 1
        for local in range(above.shape[1]):
            if above[node, local]:
                starts[node + 1] += 1
                starts[first[node] + local + 1] += 1
    starts = np.cumsum(starts)
    free, rows = starts[:-1].copy(), np.empty(starts[-1], np.int64)
    for node in range(len(row)):
        rows[free[node]] = row[node]
        free[node] += 1
        for local in range(above.shape[1]):
            if above[node, local]:
                rows[free[node]] = row[first[node] + local]
                free[node] += 1
                rows[free[first[node] + local]] = row[node]
                free[first[node] + local] += 1
    return rows, starts
