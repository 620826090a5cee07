import math
import re

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from archflow.benchmarks.nasbench201.space import NASBench201
from archflow.encoding.dense import dense
from archflow.encoding.registry import encoder
from tests.encoding import ISOLATED, READ_THE_NUMBERING, assert_equal_to, assert_near, batch_of, new
from tests.strategies import VOCABULARY, lists_of_graphs, random_graphs


def one_hot(index, length):
    return [float(index == position) for position in range(length)]


def matrix(edges, nodes):
    return [[float((source, target) in edges) for target in range(nodes)] for source in range(nodes)]


# Equal to plain references


class PlainMLP(torch.nn.Module):
    """Each architecture padded to ``nodes``, then a stack of linear maps and rectifiers."""

    def __init__(self, model):
        super().__init__()
        self.nodes = model.settings.nodes
        weights = [model.first, *model.rest]
        self.layers = [torch.nn.Linear(part.in_features, part.out_features).double() for part in weights]
        for layer, part in zip(self.layers, weights, strict=True):
            layer.load_state_dict(part.state_dict())

    def forward(self, archs):
        rows = []
        for index in range(len(archs)):
            names, edges = archs.graph(index)
            row = []
            for node, heard in enumerate(matrix(edges, self.nodes)):
                operation = archs.vocabulary.index(names[node]) if node < len(names) else -1
                row += one_hot(operation, len(archs.vocabulary)) + heard
            rows.append(row)
        x = torch.tensor(rows, dtype=torch.float64)
        for layer in self.layers:
            x = torch.relu(layer(x))
        return x


class PlainTransformer(torch.nn.Module):
    """An architecture at a time, without padding; attention and normalisation by their formulas, head by head."""

    def __init__(self, model):
        super().__init__()
        self.shape = model.settings
        self.named = {name: value.detach().clone().requires_grad_() for name, value in model.named_parameters()}

    def forward(self, archs):
        return torch.stack([self.encode(*archs.graph(index), archs.vocabulary) for index in range(len(archs))])

    def linear(self, name, x):
        return x @ self.named[f"{name}.weight"].T + self.named[f"{name}.bias"]

    def norm(self, name, x):
        centred = x - x.mean(1, keepdim=True)
        scaled = centred / (centred.square().mean(1, keepdim=True) + 1e-5).sqrt()
        return scaled * self.named[f"{name}.weight"] + self.named[f"{name}.bias"]

    def attend(self, name, x):
        together = x @ self.named[f"{name}.in_proj_weight"].T + self.named[f"{name}.in_proj_bias"]
        width = self.shape.hidden // self.shape.heads
        heard = []
        for query, key, value in zip(*(part.split(width, 1) for part in together.chunk(3, 1)), strict=True):
            heard.append(torch.softmax(query @ key.T / math.sqrt(width), 1) @ value)
        return self.linear(f"{name}.out_proj", torch.cat(heard, 1))

    def encode(self, names, edges, vocabulary):
        edges = torch.tensor(matrix(edges, self.shape.nodes), dtype=torch.float64)
        x = []
        for node, name in enumerate(names):
            token = self.named["operation.weight"][:, vocabulary.index(name)] + self.named["place.weight"][node]
            x.append(token + self.linear("edges", torch.cat([edges[node], edges[:, node]])))
        x = torch.stack(x)
        for layer in range(self.shape.layers):
            x = x + self.attend(f"layers.{layer}.self_attn", self.norm(f"layers.{layer}.norm1", x))
            inner = torch.relu(self.linear(f"layers.{layer}.linear1", self.norm(f"layers.{layer}.norm2", x)))
            x = x + self.linear(f"layers.{layer}.linear2", inner)
        return self.norm("norm", x).mean(0)


@settings(max_examples=30)
@given(lists_of_graphs(max_size=5, max_nodes=12), st.integers(1, 4), st.integers(1, 9), st.integers(12, 20))
def test_mlp_is_equal_to_a_padded_one(graphs, layers, hidden, nodes):
    model = new("mlp", layers=layers, hidden=hidden, nodes=nodes)
    plain = PlainMLP(model)
    parameters = [parameter for layer in plain.layers for parameter in layer.parameters()]
    assert_equal_to(plain, model, batch_of([*graphs, *ISOLATED]), parameters)


@settings(max_examples=20)
@given(lists_of_graphs(max_size=4, max_nodes=12), st.integers(1, 2), st.sampled_from([(4, 1), (4, 2), (9, 3)]))
def test_transformer_is_equal_to_its_formulas(graphs, layers, widths):
    hidden, heads = widths
    model = new("transformer", layers=layers, hidden=hidden, heads=heads, nodes=13)
    plain = PlainTransformer(model)
    assert_equal_to(plain, model, batch_of([*graphs, *ISOLATED]), plain.named.values())


@pytest.mark.parametrize(("name", "plain"), [("mlp", PlainMLP), ("transformer", PlainTransformer)])
def test_equal_on_nasbench201(name, plain):
    cells = NASBench201().sample(40)
    model = encoder(name, cells.vocabulary).double()
    with torch.no_grad():
        assert_near(model(cells), plain(model)(cells))


# Dense arrays


@settings(max_examples=30)
@given(lists_of_graphs(max_size=5, max_nodes=12))
def test_dense_arrays_are_the_graphs_and_padded_to_their_own_largest(graphs):
    operations, adjacency, present = dense(batch_of(graphs), torch.zeros(0, dtype=torch.float64))
    most = max(len(names) for names, _ in graphs)
    assert operations.shape == (len(graphs), most, len(VOCABULARY))
    assert adjacency.dtype == operations.dtype == torch.float64
    for index, (names, edges) in enumerate(graphs):
        codes = [VOCABULARY.index(name) for name in names] + [-1] * (most - len(names))
        assert operations[index].tolist() == [one_hot(code, len(VOCABULARY)) for code in codes]
        assert adjacency[index].tolist() == matrix(edges, most)
        assert present[index].tolist() == [node < len(names) for node in range(most)]


dense_encoders = pytest.mark.parametrize("name", READ_THE_NUMBERING)


@dense_encoders
def test_too_many_nodes(name):
    chain = (["input"] + ["conv"] * 9, [(node, node + 1) for node in range(9)])
    archs = batch_of([*random_graphs(5, seed=0, max_nodes=6), chain])
    new(name, nodes=10)(archs)
    message = re.escape(
        f"architecture 5: it has 10 nodes, but this encoder '{name}' was made for at most 9; make it with nodes=10"
    )
    for refuse in (new(name, nodes=9), new(name, nodes=9).prepare):
        with pytest.raises(ValueError, match=message):
            refuse(archs)


@dense_encoders
def test_the_default_is_32_nodes(name):
    assert encoder(name, VOCABULARY).settings.nodes == 32
    with pytest.raises(ValueError, match="nodes must be from 1 to 4,096, not 0"):
        encoder(name, VOCABULARY, nodes=0)


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [({"heads": 0}, "heads must be from 1 to 128, not 0"), ({"hidden": 10}, "10 is not a multiple of 4")],
    ids=str,
)
def test_invalid_numbers_of_heads(wrong, reason):
    with pytest.raises(ValueError, match=f"^encoder 'transformer': .*{reason}"):
        encoder("transformer", VOCABULARY, **wrong)
