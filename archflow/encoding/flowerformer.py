"""FlowerFormer: a graph transformer that lets information flow as a network does (CVPR 2024, arXiv:2403.12821).

The values of the nodes begin as an embedding of their operations, x = N(E[operation]), then the rectifier, then scaled
to length 1; N is batch norm, each with weights of its own. Each of the layers is

    a ← N(x + ReLU(flow(x)))
    b ← N(x + attention(x))
    x ← N(y + W₂ ReLU(W₁ y))            with y = a + b

and the encoding is the mean over the nodes. The flow goes forward, generation by generation, then backward in reverse:

    f_i = GRU(x_i, Σ_j α_ij f_j)        over predecessors j, with α_ij ∝ exp(u · f_j), Σ_j α_ij = 1
    g_i = GRU'(f_i, Σ_j β_ij g_j)       over successors j, with β_ij ∝ exp(v · g_j), Σ_j β_ij = 1

where GRU(x, m) has the input x and the hidden state m, which is 0 for nodes that hear nothing. The attention has some
heads; node i looks at its ancestors, its descendants and itself. In training its weights are dropped at random.

Where the paper leaves a choice, the published settings decide: queries, keys and values without bias, a feed-forward of
twice the width, no dropout but that of the attention, no positional encoding, and an embedding normalised as above. The
published logit of α_ij also reads x_i and an embedding of the edge, the same for all edges. Both add the same number to
all logits of a sum, so its softmax does not see them, and they are left out. Where the published loop runs backward, it
hears, of several generations of successors, the nearest alone; here, as in the paper, a node hears all its successors.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from numba import njit, prange
from numpy import ndarray
from torch import Tensor, nn
from torch.nn.functional import dropout, linear, normalize

from archflow.archs.batch import ArchBatch, Neighbours
from archflow.encoding.base import NodeEncoder
from archflow.encoding.sharing import arrays, use_torchs_threads


class FlowerFormer(NodeEncoder):
    """The encoder ``flowerformer``.

    Batch norm makes training mode and evaluation mode differ. In training, means and variances are those of all nodes
    of the batch, so that a vector depends on the other architectures too, and running averages of them are kept;
    PyTorch refuses a batch of a single node. In evaluation the kept ones are used, and a vector depends on its
    architecture alone. Each training step moves the averages a tenth of the way to its batch's, as published, so after
    some thirty steps of fine-tuning little is left of those of pre-training.

    Args:
        vocabulary: names of the operations of the space.
        hidden: width of the node values and of the encoding; 64 is published for NAS-Bench-101 and 201, 256 for 301.
        layers: number of layers; 9 is published for 101 and 201, 8 for 301.
        heads: number of attention heads, which share the width.
        dropout: how likely an attention weight is dropped in training; 0.5 is published for 101 and 201, 0.3 for 301.
            The random numbers are those of PyTorch's global generator.

    Raises:
        ValueError: a setting is out of its range, or ``heads`` does not divide ``hidden``.
    """

    name = "flowerformer"

    def __init__(
        self, vocabulary: Sequence[str], hidden: int = 64, layers: int = 9, heads: int = 8, dropout: float = 0.5
    ) -> None:
        super().__init__()
        if hidden < 1 or layers < 1:
            raise ValueError(f"flowerformer needs hidden ≥ 1 and layers ≥ 1, not {hidden} and {layers}")
        if heads < 1 or hidden % heads:
            raise ValueError(f"flowerformer needs heads that divide hidden, not {heads} for {hidden}")
        if not 0 <= dropout < 1:
            raise ValueError(f"flowerformer needs 0 ≤ dropout < 1, not {dropout}")
        self.vocabulary = tuple(vocabulary)
        self.width = hidden
        self.settings = {"hidden": hidden, "layers": layers, "heads": heads, "dropout": dropout}
        self.embed = nn.Linear(len(self.vocabulary), hidden, bias=False)
        self.norm = nn.BatchNorm1d(hidden)
        self.blocks = nn.ModuleList(_Block(hidden, heads, dropout) for _ in range(layers))

    def nodes(self, archs: ArchBatch) -> Float[Tensor, "nodes hidden"]:
        """The value of every node.

        Raises:
            ValueError: the architectures have another vocabulary, or there is one node only in training mode.
        """
        archs.require_vocabulary(self.vocabulary, "the encoder's")
        device, sweep = self.embed.weight.device, archs.sweep
        # The rows of all values are those of the sweep, so that a generation's lie side by side.
        operations = torch.from_numpy(archs.operations[sweep.nodes].astype(np.int64)).to(device)
        generations = [generation.rows for generation in sweep.generations]
        forward = Direction.on(device, sweep.predecessors, generations)
        backward = Direction.on(device, sweep.successors, generations[::-1])
        relation = Relation.of(archs, device)
        x = normalize(torch.relu(self.norm(self.embed.weight.t().index_select(0, operations))))
        for block in self.blocks:
            x = block(x, forward, backward, relation)
        return x.index_select(0, relation.target)


class Direction(NamedTuple):
    """Which way a flow goes.

    Attributes:
        source: for each message the row that it comes from, row after row that hears it; int64.
        starts: row i hears the messages ``starts[i]:starts[i + 1]``; int64.
        steps: the rows of each generation, in the order of the flow.
    """

    source: Int[Tensor, " messages"]
    starts: Int[Tensor, " rows+1"]
    steps: list[slice]

    @classmethod
    def on(cls, device: torch.device, lists: Neighbours, steps: list[slice]) -> Direction:
        """On a device."""
        return cls(torch.from_numpy(lists.nodes).to(device), torch.from_numpy(lists.starts).to(device), steps)


class Relation(NamedTuple):
    """Whom each node looks at: its ancestors, its descendants and itself.

    Attributes:
        target: the row of each node, architecture after architecture; int64.
        other: for each pair the row that is looked at, in the order of ``target``; int64.
        starts: ``target[i]`` looks at ``other[starts[i]:starts[i + 1]]``; int64.
        archs: architecture a has the rows ``target[archs[a]:archs[a + 1]]``; int64.
    """

    target: Int[Tensor, " rows"]
    other: Int[Tensor, " pairs"]
    starts: Int[Tensor, " rows+1"]
    archs: Int[Tensor, " archs+1"]

    @classmethod
    def of(cls, archs: ArchBatch, device: torch.device) -> Relation:
        """Of a batch, in the rows of its sweep."""
        row = np.empty_like(archs.sweep.nodes)
        row[archs.sweep.nodes] = np.arange(len(row))
        lists = _related(row, archs.sweep.nodes, *archs.sweep.predecessors, archs.node_offsets)
        return cls(*(torch.from_numpy(array).to(device) for array in (row, *lists, archs.node_offsets)))


class _Block(nn.Module):
    def __init__(self, hidden: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.forward_flow, self.backward_flow = _Flow(hidden), _Flow(hidden)
        # Queries, keys and values side by side.
        self.look = nn.Linear(hidden, 3 * hidden, bias=False)
        nn.init.xavier_uniform_(self.look.weight[: 2 * hidden])
        nn.init.xavier_uniform_(self.look.weight[2 * hidden :])
        self.seen = nn.Linear(hidden, hidden)
        self.widen, self.narrow = nn.Linear(hidden, 2 * hidden), nn.Linear(2 * hidden, hidden)
        self.flow_norm, self.attention_norm, self.norm = (nn.BatchNorm1d(hidden) for _ in range(3))

    def forward(self, x: Tensor, forward: Direction, backward: Direction, relation: Relation) -> Tensor:
        flow = torch.relu(self.backward_flow(self.forward_flow(x, forward), backward))
        kept = dropout(x.new_ones(len(relation.other), self.heads), self.dropout, self.training)
        attended = self.seen(attention(self.look(x).to(x.dtype), kept, relation))
        y = self.flow_norm(x + flow) + self.attention_norm(x + attended)
        out: Tensor = self.norm(y + self.narrow(torch.relu(self.widen(y))))
        return out


class _Flow(nn.Module):
    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.score = nn.Linear(hidden, 1, bias=False)
        self.gru = nn.GRUCell(hidden, hidden)

    def forward(self, x: Tensor, direction: Direction) -> Tensor:
        own = linear(x, self.gru.weight_ih, self.gru.bias_ih).to(x.dtype)
        return flow(own, self.gru.weight_hh, self.gru.bias_hh, self.score.weight[0], direction)


# The flow


def flow(
    own: Float[Tensor, "rows 3*hidden"],
    weight: Float[Tensor, "3*hidden hidden"],
    bias: Float[Tensor, " 3*hidden"],
    score: Float[Tensor, " hidden"],
    direction: Direction,
) -> Float[Tensor, "rows hidden"]:
    """The values that a flow gives the rows.

    Args:
        own: what the GRU's gates (reset, update, new) get from each row's own value.
        weight: what they make of the message; PyTorch's ``weight_hh``.
        bias: PyTorch's ``bias_hh``.
        score: u, which weighs the messages.
        direction: who hears whom, and in which order.
    """
    if own.device.type != "cpu":
        return plain_flow(own, weight, bias, score, direction)
    values: Tensor = _CompiledFlow.apply(own, weight, bias, score, direction)  # type: ignore[no-untyped-call]
    return values


def plain_flow(own: Tensor, weight: Tensor, bias: Tensor, score: Tensor, direction: Direction) -> Tensor:
    """The same by PyTorch's operations, for other devices."""
    hidden, counts = len(score), direction.starts.diff()
    listeners = torch.repeat_interleave(counts)
    bounds = [[int(direction.starts[end]) for end in (rows.start, rows.stop)] for rows in direction.steps]
    values = own.new_zeros(len(own), hidden)
    for rows, (start, stop) in zip(direction.steps, bounds, strict=True):
        sent = values.index_select(0, direction.source[start:stop])
        listener, count = listeners[start:stop] - rows.start, rows.stop - rows.start
        share = _softmax(sent @ score, listener, count).to(sent.dtype)
        message = sent.new_zeros(count, hidden).index_add(0, listener, share[:, None] * sent)
        heard = linear(message, weight, bias).to(own.dtype)
        reset, update = torch.sigmoid(own[rows, : 2 * hidden] + heard[:, : 2 * hidden]).chunk(2, 1)
        new = torch.tanh(own[rows, 2 * hidden :] + reset * heard[:, 2 * hidden :])
        values = torch.cat([values[: rows.start], torch.lerp(new, message, update), values[rows.stop :]])
    return values


def _softmax(logits: Float[Tensor, " items *each"], group: Int[Tensor, " items"], groups: int) -> Tensor:
    """Over the items of each group."""
    lowest = logits.new_full((groups, *logits.shape[1:]), -math.inf)
    places = group.view(-1, *[1] * (logits.ndim - 1)).expand_as(logits)
    top = lowest.scatter_reduce(0, places, logits.detach(), "amax")
    powers = torch.exp(logits - top[group])
    return powers / torch.zeros_like(top).index_add(0, group, powers)[group]


class _CompiledFlow(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, own: Tensor, weight: Tensor, bias: Tensor, score: Tensor, direction: Direction) -> Tensor:
        hidden = len(score)
        own, score = own.contiguous(), score.contiguous()
        values, message = (own.new_empty(len(own), hidden) for _ in range(2))
        heard, gates, share = torch.empty_like(own), torch.empty_like(own), own.new_empty(len(direction.source))
        lists = arrays(direction.source, direction.starts, values, score, share, message)
        for rows in direction.steps:
            _hear(rows.start, rows.stop, *lists)
            torch.addmm(bias, message[rows], weight.t(), out=heard[rows])
            reset_update, new = gates[rows].split([2 * hidden, hidden], 1)
            torch.add(own[rows, : 2 * hidden], heard[rows, : 2 * hidden], out=reset_update).sigmoid_()
            torch.addcmul(own[rows, 2 * hidden :], reset_update[:, :hidden], heard[rows, 2 * hidden :], out=new).tanh_()
            torch.lerp(new, message[rows], reset_update[:, hidden:], out=values[rows])
        ctx.save_for_backward(weight, score, values, message, heard, gates, share)
        ctx.direction = direction
        return values

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, None]:
        weight, score, values, message, heard, gates, share = ctx.saved_tensors
        source, starts, steps = ctx.direction
        into_values = grad.clone(memory_format=torch.contiguous_format)
        into_own, into_heard, into_message = torch.empty_like(heard), torch.empty_like(heard), torch.empty_like(message)
        into_logit = values.new_zeros(len(values))
        gru = arrays(into_values, message, heard, gates, into_own, into_heard, into_message)
        lists = arrays(source, starts, values, score, share, into_message, into_values, into_logit)
        for rows in reversed(steps):
            _gru_backward(rows.start, rows.stop, *gru)
            into_message[rows].addmm_(into_heard[rows], weight)
            _hear_backward(rows.start, rows.stop, *lists)
        return into_own, into_heard.t() @ message, into_heard.sum(0), into_logit @ values, None


# Sums may be taken in any order, which lets the compiler take several terms at once.
_ANY_ORDER = {"reassoc", "contract", "nsz"}


@njit(cache=True, fastmath=_ANY_ORDER)
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
    """The messages to the rows from ``start`` to ``stop``, and the share of each sender in them."""
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


@njit(cache=True, fastmath=_ANY_ORDER)
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


@njit(cache=True, fastmath=_ANY_ORDER)
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
    """From the gradient of the values to those of what the gates got; ``into_message`` gets the direct way's share."""
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


# The attention


def attention(
    projected: Float[Tensor, "rows 3*hidden"], kept: Float[Tensor, "pairs heads"], relation: Relation
) -> Float[Tensor, "rows hidden"]:
    """What each row sees, head after head.

    Args:
        projected: query, key and value of each row side by side.
        kept: by what the weight of each pair is multiplied, after the softmax; 0 where it is dropped.
        relation: who looks at whom.
    """
    if projected.device.type != "cpu":
        return plain_attention(projected, kept, relation)
    use_torchs_threads()
    seen: Tensor = _CompiledAttention.apply(projected, kept, relation)  # type: ignore[no-untyped-call]
    return seen


def plain_attention(projected: Tensor, kept: Tensor, relation: Relation) -> Tensor:
    """The same by PyTorch's operations, for other devices."""
    heads = kept.shape[1]
    looking = torch.repeat_interleave(relation.target, relation.starts.diff())
    query, key, value = projected.view(len(projected), 3, heads, -1).unbind(1)
    logits = (query[looking] * key[relation.other]).sum(-1) / math.sqrt(query.shape[-1])
    weights = kept * _softmax(logits, looking, len(projected))
    return torch.zeros_like(value).index_add(0, looking, weights[..., None] * value[relation.other]).flatten(1)


class _CompiledAttention(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, projected: Tensor, kept: Tensor, relation: Relation) -> Tensor:
        projected = projected.contiguous()
        weights, seen = (
            projected.new_empty(shape) for shape in (kept.shape, (len(projected), projected.shape[1] // 3))
        )
        _attend(*arrays(*relation, projected, kept, weights, seen))
        ctx.save_for_backward(projected, kept, weights)
        ctx.relation = relation
        return seen

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        projected, kept, weights = ctx.saved_tensors
        into_projected = torch.zeros_like(projected)
        _attend_backward(*arrays(*ctx.relation, projected, kept, weights, grad.contiguous(), into_projected))
        return into_projected, None, None


@njit(parallel=True, cache=True, fastmath=_ANY_ORDER)
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


@njit(parallel=True, cache=True, fastmath=_ANY_ORDER)
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
    """Pairs stay within an architecture, so no row is written by two threads."""
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
    """For each node the rows of its ancestors, its descendants and itself, and where each list begins."""
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
