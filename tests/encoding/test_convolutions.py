"""ResGatedGCN, GIN and DiGCN equal plain references, in value and in gradient."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch_geometric.data import Batch
from torch_geometric.nn import global_mean_pool
from torch_geometric.nn.models import GIN as PyGGIN

from archflow.benchmarks.nasbench201.space import NASBench201
from tests.encoding import ISOLATED, assert_near, batch_of, gradients, new
from tests.encoding.pyg_pipeline import PyGResGatedGCN, as_data
from tests.strategies import lists_of_graphs


def as_pyg(archs, dtype):
    data = Batch.from_data_list([as_data(*archs.graph(index), archs.vocabulary) for index in range(len(archs))])
    data.x = data.x.to(dtype)
    return data


class PlainResGatedGCN(torch.nn.Module):
    """PyTorch Geometric's stack over per-graph objects."""

    def __init__(self, model):
        super().__init__()
        self.dtype = model.embed.weight.dtype
        self.net = PyGResGatedGCN(len(model.vocabulary), model.width, len(model.convs)).to(self.dtype)
        self.net.load_from(model)

    def forward(self, archs):
        return self.net(as_pyg(archs, self.dtype))

    def in_our_order(self):
        """The encoder concatenates the four maps of a layer."""
        yield from ([self.net.embed.weight], [self.net.embed.bias])
        for conv in self.net.convs:
            maps = conv.lin_key, conv.lin_query, conv.lin_skip, conv.lin_value
            yield [each.weight for each in maps]
            yield [maps[0].bias, maps[1].bias, conv.bias, maps[3].bias]


class PlainGIN(torch.nn.Module):
    """PyTorch Geometric's GIN over per-graph objects."""

    def __init__(self, model):
        super().__init__()
        self.dtype = model.join.weight.dtype
        self.net = PyGGIN(len(model.vocabulary), model.width, len(model.first), model.width, jk="cat").to(self.dtype)
        for conv, first, second in zip(self.net.convs, model.first, model.second, strict=True):
            for theirs, ours in zip(conv.nn.lins, (first, second), strict=True):
                theirs.load_state_dict(ours.state_dict())
        self.net.lin.load_state_dict(model.join.state_dict())

    def forward(self, archs):
        data = as_pyg(archs, self.dtype)
        return global_mean_pool(self.net(data.x, data.edge_index), data.batch)

    def in_our_order(self):
        for layer in (0, 1):
            for conv in self.net.convs:
                yield from ([conv.nn.lins[layer].weight], [conv.nn.lins[layer].bias])
        yield from ([self.net.lin.weight], [self.net.lin.bias])


class PlainDiGCN(torch.nn.Module):
    """The paper's formula, an architecture at a time, on adjacency matrices."""

    def __init__(self, model):
        super().__init__()
        self.down, self.up = (
            [linear.weight.detach().clone().requires_grad_() for linear in side] for side in (model.down, model.up)
        )

    def forward(self, archs):
        return torch.stack([self.encode(*archs.graph(index), archs.vocabulary) for index in range(len(archs))])

    def encode(self, names, edges, vocabulary):
        adjacency = torch.eye(len(names), dtype=self.up[0].dtype)
        for source, target in edges:
            adjacency[source, target] = 1
        forward = adjacency / adjacency.sum(1, keepdim=True)
        backward = adjacency.T / adjacency.T.sum(1, keepdim=True)
        x = torch.eye(len(vocabulary), dtype=adjacency.dtype)[[vocabulary.index(name) for name in names]]
        for down, up in zip(self.down, self.up, strict=True):
            x = torch.relu(forward @ x @ down.T) / 2 + torch.relu(backward @ x @ up.T) / 2
        return x.mean(0)

    def in_our_order(self):
        return ([weight] for weight in (*self.down, *self.up))


PLAIN = {"resgatedgcn": PlainResGatedGCN, "gin": PlainGIN, "digcn": PlainDiGCN}
convolutions = pytest.mark.parametrize("name", PLAIN)


def both(name, archs, model):
    """The encoder's and the reference's output and gradients, in the encoder's order."""
    plain = PLAIN[name](model)
    groups = list(plain.in_our_order())
    found, expected = model(archs), plain(archs)
    parts = iter(gradients([part for group in groups for part in group], expected))
    theirs = [torch.cat([next(parts) for _ in group]) for group in groups]
    return zip([found, *gradients(model.parameters(), found)], [expected, *theirs], strict=True)


def compare(name, archs, model):
    for found, expected in both(name, archs, model):
        assert_near(found, expected)


@convolutions
@settings(max_examples=30)
@given(graphs=lists_of_graphs(max_size=5), layers=st.integers(1, 4), hidden=st.integers(1, 9), seed=st.integers(0, 99))
def test_equal_to_the_reference(name, graphs, layers, hidden, seed):
    compare(name, batch_of([*graphs, *ISOLATED]), new(name, seed=seed, layers=layers, hidden=hidden))


@convolutions
@pytest.mark.parametrize("layers", [1, 2, 3, 4])
@pytest.mark.parametrize("graphs", [ISOLATED, ISOLATED[:2], ISOLATED[1:2], ISOLATED[1:2] * 3], ids=len)
def test_equal_to_the_reference_on_isolated_nodes(name, layers, graphs):
    compare(name, batch_of(graphs), new(name, layers=layers))


@convolutions
@pytest.mark.parametrize("layers", [1, 2, 3, 4])
def test_equal_to_the_reference_on_nasbench201(name, layers):
    cells = NASBench201().enumerate()
    model = new(name, cells.vocabulary, layers=layers, hidden=32)
    chosen = np.random.default_rng(layers).choice(len(cells), 150)
    compare(name, cells[chosen], model)
    model.prepare(cells)
    compare(name, cells[chosen], model)


@convolutions
@pytest.mark.parametrize("layers", [1, 2, 3, 4])
def test_near_the_reference_in_single_precision(name, layers):
    """Only most gradients agree, as rounding can move the input of a rectifier across 0."""
    cells = NASBench201().enumerate()
    model = new(name, cells.vocabulary, dtype=torch.float32, layers=layers, hidden=32)
    model.prepare(cells)
    cells = cells[np.random.default_rng(layers).choice(len(cells), 150)]
    (found, expected), *pairs = both(name, cells, model)
    assert_near(found, expected, 1e-4)
    for ours, theirs in pairs:
        assert (ours - theirs).norm() <= 0.05 * theirs.norm() + 1e-4


def test_digcn_sees_the_direction_of_the_edges():
    names = ["input", "conv", "pool"]
    vectors = new("digcn")(batch_of([(names, [(0, 1), (0, 2)]), (names, [(1, 0), (2, 0)])]))
    assert (vectors[0] - vectors[1]).abs().max() > 1e-3
