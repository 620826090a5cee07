"""Each layer computes each distinct neighbourhood once."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from archflow.benchmarks.nasbench201.space import NASBench201
from archflow.encoding.sharing import shared_layers
from tests.encoding import CPU, ISOLATED, batch_of
from tests.references import neighbourhoods
from tests.strategies import VOCABULARY, lists_of_graphs

directions = pytest.mark.parametrize("directed", [False, True])


def plain_classes(graphs, hops, directed):
    """How many different neighbourhoods there are for 0, 1, …, hops."""
    return [len(set(level)) for level in neighbourhoods(graphs, hops, directed)]


def layers_of(archs, hops, directed):
    heard = [archs.successors, archs.predecessors] if directed else [archs.neighbours]
    return shared_layers(archs, archs.neighbourhoods(hops, directed), heard, CPU)


@directions
@settings(max_examples=30)
@given(graphs=lists_of_graphs(max_size=6, max_nodes=10), hops=st.integers(0, 3))
def test_each_layer_computes_each_class_once(directed, graphs, hops):
    archs = batch_of(graphs)
    layers, classes = layers_of(archs, hops, directed), plain_classes(graphs, hops, directed)
    expected = [*classes[1:], len(archs.operations)]
    assert [len(layer.own) for layer in layers] == [len(layer.operation) for layer in layers] == expected
    assert sum(len(lists.values) for lists in layers[-1].heard) == 2 * archs.edges.shape[1]
    for layer, inputs, outputs in zip(layers, [len(VOCABULARY), *expected], expected, strict=False):
        assert layer.own.max() < inputs
        assert all(len(lists) == outputs for lists in layer.heard)
        assert all(max(lists.values.tolist(), default=0) < inputs for lists in layer.heard)
        assert len(layer.members) == len(archs)
        assert int(layer.members.values.max()) == outputs - 1


def test_nasbench201_computes_its_few_classes_once():
    layers = layers_of(NASBench201().enumerate(), 2, directed=False)
    assert [len(layer.own) for layer in layers] == [350, 45_500, 125_000]
    assert [int(layer.members.values.max()) + 1 for layer in layers] == [350, 45_500, 125_000]


@directions
def test_a_minibatch_computes_only_its_own_classes(directed):
    cells = NASBench201().enumerate()
    cells.neighbourhoods(2, directed)
    chosen = cells[[5, 9_000, 5, 7]]
    expected = plain_classes([chosen.graph(index) for index in range(4)], 2, directed)
    assert [len(layer.own) for layer in layers_of(chosen, 2, directed)] == [*expected[1:], 32]


def test_the_direction_of_the_edges_matters_if_asked_for():
    names = ["input", "conv", "pool"]
    archs = batch_of([*ISOLATED, (names, [(0, 1), (0, 2)]), (names, [(1, 0), (2, 0)])])
    alone = [len(np.unique(archs[3:].neighbourhoods(2, directed)[2])) for directed in (False, True)]
    assert alone == [3, 6]
