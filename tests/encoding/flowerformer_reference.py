"""Two FlowerFormer references: one node at a time, and the usual pipeline over edge lists."""

from __future__ import annotations

import math

import networkx as nx
import torch
from torch import nn
from torch.nn.functional import dropout, normalize, one_hot
from torch_geometric.data import Data
from torch_geometric.utils import softmax

from tests.strategies import as_networkx

# One node at a time


def encode(weights, graphs, vocabulary, layers, heads, training):
    """The vectors of the graphs, without dropout; ``weights`` is an encoder's state by name."""

    def part(prefix):
        return {name.removeprefix(prefix): tensor for name, tensor in weights.items() if name.startswith(prefix)}

    converted = [as_networkx(graph) for graph in graphs]
    sizes = [len(graph) for graph in converted]
    operations = torch.tensor([vocabulary.index(name) for names, _ in graphs for name in names])
    x = one_hot(operations, len(vocabulary)).to(weights["embed.weight"].dtype) @ weights["embed.weight"].T
    x = torch.relu(batch_norm(x, part("norm."), training))
    x = x / x.norm(dim=1, keepdim=True).clamp_min(1e-12)
    for layer in range(layers):
        block = part(f"blocks.{layer}.")
        flow, seen = [], []
        for graph, own in zip(converted, x.split(sizes), strict=True):
            ahead = flow_through(graph, own, block, "forward_flow.")
            flow.append(torch.relu(flow_through(graph.reverse(), ahead, block, "backward_flow.")))
            seen.append(attend(graph, own, block, heads))
        a = batch_norm(x + torch.cat(flow), part(f"blocks.{layer}.flow_norm."), training)
        b = batch_norm(x + torch.cat(seen), part(f"blocks.{layer}.attention_norm."), training)
        y = a + b
        wide = torch.relu(y @ block["widen.weight"].T + block["widen.bias"])
        y = y + wide @ block["narrow.weight"].T + block["narrow.bias"]
        x = batch_norm(y, part(f"blocks.{layer}.norm."), training)
    return torch.stack([own.mean(0) for own in x.split(sizes)])


def batch_norm(x, weights, training):
    mean, variance = weights["running_mean"], weights["running_var"]
    if training:
        mean = x.mean(0)
        variance = ((x - mean) ** 2).mean(0)
    return (x - mean) / torch.sqrt(variance + 1e-5) * weights["weight"] + weights["bias"]


def flow_through(graph, x, weights, prefix):
    """The full published logits, with random terms for the receiver and the edge, as these cancel."""
    listens, edge = torch.randn_like(x[0]), torch.randn_like(x[0])
    score, constant = weights[prefix + "score.weight"][0], torch.randn(())
    into_own, into_heard, own_bias, heard_bias = (
        weights[prefix + "gru." + name] for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    )
    values = {}
    for generation in nx.topological_generations(graph):
        for node in generation:
            senders = list(graph.predecessors(node))
            message = torch.zeros_like(x[0])
            if senders:
                logits = [listens @ x[node] + score @ (values[sender] + edge) + constant for sender in senders]
                share = torch.softmax(torch.stack(logits), 0)
                message = sum(share[index] * values[sender] for index, sender in enumerate(senders))
            own_reset, own_update, own_new = (into_own @ x[node] + own_bias).chunk(3)
            heard_reset, heard_update, heard_new = (into_heard @ message + heard_bias).chunk(3)
            reset, update = torch.sigmoid(own_reset + heard_reset), torch.sigmoid(own_update + heard_update)
            new = torch.tanh(own_new + reset * heard_new)
            values[node] = (1 - update) * new + update * message
    return torch.stack([values[node] for node in sorted(graph)])


def attend(graph, x, weights, heads):
    query, key, value = (x @ weights["look.weight"].T).chunk(3, 1)
    each = x.shape[1] // heads
    rows = []
    for node in sorted(graph):
        others = sorted({node} | nx.ancestors(graph, node) | nx.descendants(graph, node))
        parts = []
        for head in range(heads):
            own = slice(head * each, (head + 1) * each)
            logits = torch.stack([query[node, own] @ key[other, own] / math.sqrt(each) for other in others])
            parts.append(torch.softmax(logits, 0) @ value[others, own])
        rows.append(torch.cat(parts))
    return torch.stack(rows) @ weights["seen.weight"].T + weights["seen.bias"]


# The usual pipeline: per-graph objects, edge lists, and a loop over the generations of a batch


class EdgeListFlowerFormer(nn.Module):
    """A model that shares the weights of archflow's encoder."""

    def __init__(self, encoder):
        super().__init__()
        self.encoder = encoder

    def forward(self, data):
        model = self.encoder
        x = torch.relu(model.norm(model.embed(data.x)))
        x = normalize(x)
        for block in model.blocks:
            x = self.block(block, x, data)
        counts = torch.bincount(data.batch, minlength=data.num_graphs)
        return x.new_zeros(data.num_graphs, x.shape[1]).index_add(0, data.batch, x) / counts[:, None]

    def block(self, block, x, data):
        source, target = data.edge_index
        depth = int(data.generation.max())
        ahead = self.flow(block.forward_flow, x, source, target, data.generation, range(1, depth + 1))
        back = self.flow(block.backward_flow, ahead, target, source, data.generation, range(depth - 1, -1, -1))
        a = block.flow_norm(x + torch.relu(back))

        looked, looking = data.related_index
        query, key, value = block.look(x).view(len(x), 3, block.heads, -1).unbind(1)
        logits = (query[looking] * key[looked]).sum(-1) / math.sqrt(query.shape[-1])
        weights = dropout(softmax(logits, looking, num_nodes=len(x)), block.dropout, self.training)
        seen = torch.zeros_like(value).index_add(0, looking, weights[..., None] * value[looked]).flatten(1)
        b = block.attention_norm(x + block.seen(seen))
        y = a + b
        return block.norm(y + block.narrow(torch.relu(block.widen(y))))

    def flow(self, flow, x, source, target, generation, steps):
        values = torch.zeros_like(x)
        silent = torch.bincount(target, minlength=len(x)) == 0
        values[silent] = flow.gru(x[silent])
        for step in steps:
            chosen = generation[target] == step
            sender, listener = source[chosen], target[chosen]
            sent = values[sender]
            share = softmax(flow.score(sent), listener, num_nodes=len(x))
            message = torch.zeros_like(x).index_add(0, listener, share * sent)
            now = torch.zeros(len(x), dtype=torch.bool).index_fill_(0, listener, True)
            values[now] = flow.gru(x[now], message[now])
        return values


class _Data(Data):
    def __inc__(self, key, value, *args, **kwargs):
        return self.num_nodes if key == "related_index" else super().__inc__(key, value, *args, **kwargs)


def as_data(names, edges, vocabulary):
    """One graph with its edges, generations, and pairs of the attention."""
    graph = as_networkx((names, edges))
    generation = {node: step for step, nodes in enumerate(nx.topological_generations(graph)) for node in nodes}
    pairs = [(other, node) for node in graph for other in {node} | nx.ancestors(graph, node)]
    pairs += [(node, other) for other, node in pairs if node != other]
    operations = torch.tensor([vocabulary.index(name) for name in names])
    return _Data(
        x=one_hot(operations, len(vocabulary)).float(),
        edge_index=torch.tensor(edges, dtype=torch.long).reshape(-1, 2).t(),
        related_index=torch.tensor(pairs).t(),
        generation=torch.tensor([generation[node] for node in range(len(names))]),
        num_nodes=len(names),
    )
