import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from archflow.benchmarks.nasbench201.space import NASBench201
from archflow.encoding.digcn import DiGCN
from archflow.encoding.sharing import shared_bags
from tests.encoding.test_gin import CPU, ISOLATED, Contract, assert_equal_to, batch_of, renumbering_changes_nothing
from tests.strategies import VOCABULARY, lists_of_graphs


class TestDiGCN(Contract):
    kind, shape, wrong = DiGCN, {"hidden": 8, "layers": 3}, ()


class PlainDiGCN(torch.nn.Module):
    """The paper's formula, an architecture at a time, on adjacency matrices."""

    def __init__(self, model):
        super().__init__()
        self.down = [linear.weight.detach().clone().requires_grad_() for linear in model.down]
        self.up = [linear.weight.detach().clone().requires_grad_() for linear in model.up]

    def forward(self, archs):
        return torch.stack([self.encode(*archs.graph(index), archs.vocabulary) for index in range(len(archs))])

    def encode(self, names, edges, vocabulary):
        adjacency = torch.eye(len(names), dtype=torch.float64)
        for source, target in edges:
            adjacency[source, target] = 1
        forward = adjacency / adjacency.sum(1, keepdim=True)
        backward = adjacency.T / adjacency.T.sum(1, keepdim=True)
        x = torch.eye(len(vocabulary), dtype=torch.float64)[[vocabulary.index(name) for name in names]]
        for down, up in zip(self.down, self.up, strict=True):
            x = torch.relu(forward @ x @ down.T) / 2 + torch.relu(backward @ x @ up.T) / 2
        return x.mean(0)


def new(hidden=8, layers=3, vocabulary=VOCABULARY, seed=0):
    torch.manual_seed(seed)
    return DiGCN(vocabulary, hidden, layers).double()


@settings(deadline=None, max_examples=30)
@given(lists_of_graphs(max_size=5), st.integers(1, 4), st.integers(1, 9), st.integers(0, 99))
def test_equal_to_the_formula(graphs, layers, hidden, seed):
    model = new(hidden, layers, seed=seed)
    plain = PlainDiGCN(model)
    assert_equal_to(plain, model, batch_of([*graphs, *ISOLATED]), [*plain.down, *plain.up])


@pytest.mark.parametrize("layers", [1, 2, 3, 4])
def test_equal_to_the_formula_on_nasbench201(layers):
    cells = NASBench201().enumerate()
    model = new(32, layers, cells.vocabulary)
    model.prepare(cells)
    plain = PlainDiGCN(model)
    chosen = np.random.default_rng(layers).choice(len(cells), 100)
    assert_equal_to(plain, model, cells[chosen], [*plain.down, *plain.up])


@settings(deadline=None, max_examples=30)
@given(lists_of_graphs(max_size=4, max_nodes=20), st.integers(0, 2**32 - 1))
def test_the_numbering_of_the_nodes_does_not_matter(graphs, seed):
    renumbering_changes_nothing(new(), graphs, seed)


def test_the_direction_of_the_edges_matters():
    names = ["input", "conv", "pool"]
    archs = batch_of([(names, [(0, 1), (0, 2)]), (names, [(1, 0), (2, 0)])])
    assert len(np.unique(archs.neighbourhoods(2)[2])) == 3
    vectors = new()(archs)
    assert (vectors[0] - vectors[1]).abs().max() > 1e-3


# Sharing


def plain_classes(graphs, hops):
    """How many different directed neighbourhoods there are for each number of hops, from nested tuples."""
    seen = [list(names) for names, _ in graphs]
    counts = [len({value for own in seen for value in own})]
    for _ in range(hops):
        texts = [
            [
                repr(
                    (
                        own[node],
                        sorted(str(own[source]) for source, target in edges if target == node),
                        sorted(str(own[target]) for source, target in edges if source == node),
                    )
                )
                for node in range(len(own))
            ]
            for own, (_, edges) in zip(seen, graphs, strict=True)
        ]
        number = {text: index for index, text in enumerate(sorted({text for own in texts for text in own}))}
        seen = [[number[text] for text in own] for own in texts]
        counts.append(len(number))
    return counts


@settings(deadline=None, max_examples=30)
@given(lists_of_graphs(max_size=6, max_nodes=10), st.integers(0, 3))
def test_directed_neighbourhoods_are_counted(graphs, hops):
    classes = batch_of(graphs).neighbourhoods(hops, directed=True)
    assert [len(np.unique(column)) for column in classes] == plain_classes(graphs, hops)


def test_a_minibatch_computes_only_its_own_classes():
    cells = NASBench201().enumerate()
    cells.neighbourhoods(2, directed=True)
    chosen = cells[[5, 9_000, 5, 7]]
    plan = shared_bags(chosen, chosen.neighbourhoods(2, directed=True), [chosen.predecessors], CPU)
    expected = plain_classes([chosen.graph(index) for index in range(4)], 2)
    assert [len(layer.heard[0].starts) - 1 for layer in plan] == [*expected[1:], 32]
