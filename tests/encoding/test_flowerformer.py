"""FlowerFormer equals plain references, in value and in gradient; batch norm and dropout make its two modes differ."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch_geometric.data import Batch

from archflow.archs.batch import ArchBatch
from archflow.benchmarks.nasbench201.space import NASBench201
from archflow.encoding.registry import encoder
from tests.encoding import ISOLATED, assert_near, batch_of, flowerformer_reference, gradients
from tests.encoding import new as any_new
from tests.strategies import VOCABULARY, lists_of_graphs, random_graphs

# At least two operations: if all nodes are equal, batch norm in training only amplifies rounding errors.
both_modes = pytest.mark.parametrize("training", [False, True])


def new(hidden=6, layers=2, heads=2, vocabulary=VOCABULARY, **more):
    return any_new("flowerformer", vocabulary, hidden=hidden, layers=layers, heads=heads, **more)


def compare_with_reference(graphs, model, training, tolerance=1e-8):
    model.train(training)
    learned = dict(model.named_parameters())
    weights = {
        name: tensor.detach().clone().requires_grad_(name in learned) for name, tensor in model.state_dict().items()
    }
    sizes = (len(model.blocks), model.settings.heads)
    expected = flowerformer_reference.encode(weights, graphs, list(model.vocabulary), *sizes, training)
    found = model(ArchBatch.from_graphs(graphs, model.vocabulary))
    assert_near(found, expected, tolerance)
    # Without an edge, the reference does not use the weights of the messages.
    theirs = gradients((weights[name] for name in learned), expected)
    for ours, each in zip(gradients(learned.values(), found), theirs, strict=True):
        assert_near(ours, each, tolerance)


@both_modes
@settings(max_examples=12)
@given(lists_of_graphs(max_size=3, max_nodes=9), st.sampled_from([(1, 1), (4, 1), (6, 3)]), st.integers(0, 99))
def test_equal_to_the_reference(training, graphs, shape, seed):
    hidden, heads = shape
    compare_with_reference([*graphs, ISOLATED[0]], new(hidden, 2, heads, seed=seed), training)


@both_modes
@pytest.mark.parametrize(
    "graphs",
    [ISOLATED, ISOLATED[:1], random_graphs(2, seed=5, max_nodes=25), *([graph] for graph in random_graphs(3, seed=6))],
    ids=len,
)
def test_equal_to_the_reference_on_isolated_nodes_and_large_graphs(graphs, training):
    compare_with_reference(graphs, new(layers=1), training)


def test_equal_to_the_reference_on_one_node():
    compare_with_reference([ISOLATED[1]], new(), training=False)


@both_modes
def test_equal_to_the_reference_on_nasbench201(training):
    cells = NASBench201().enumerate()
    chosen = cells[np.random.default_rng(0).choice(len(cells), 4)]
    torch.manual_seed(0)
    model = encoder("flowerformer", cells.vocabulary, hidden=16, layers=3, heads=4, dropout=0).double()
    compare_with_reference([chosen.graph(index) for index in range(4)], model, training)


@both_modes
def test_equal_to_the_loop_over_edge_lists(training):
    graphs = random_graphs(20, seed=4, max_nodes=12)
    model = new().train(training)
    data = Batch.from_data_list([flowerformer_reference.as_data(*graph, list(VOCABULARY)) for graph in graphs])
    data.x = data.x.double()
    assert_near(model(batch_of(graphs)), flowerformer_reference.EdgeListFlowerFormer(model)(data))


def test_the_direction_of_the_edges_matters():
    names = ["input", "conv", "pool", "output"]
    vectors = new()(batch_of([(names, [(0, 1), (1, 2), (2, 3)]), (names, [(3, 2), (2, 1), (1, 0)])]))
    assert torch.pdist(vectors).min() > 1e-4


# Training and evaluation


def test_training_keeps_running_averages_that_evaluation_uses():
    archs, model = batch_of(random_graphs(60, seed=2, max_nodes=8)), new()
    before = model(archs)
    assert torch.equal(before, model(archs))
    trained = model.train()(archs)
    assert not torch.allclose(before, trained)
    for _ in range(100):
        model(archs)
    # Running averages use the unbiased variance, training the biased one.
    assert_near(model.eval()(archs), trained, 0.02)


def test_attention_is_dropped_in_training_alone():
    archs, model = batch_of(random_graphs(20, seed=2)), new(dropout=0.5).train()
    torch.manual_seed(3)
    first, second = model(archs), model(archs)
    assert not torch.allclose(first, second)
    torch.manual_seed(3)
    assert torch.equal(model(archs), first)
    assert torch.equal(model.eval()(archs), model(archs))


def test_a_single_node_cannot_be_trained_on():
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        new().train()(batch_of(ISOLATED[1:2]))


# Settings


def test_the_published_settings():
    settings = encoder("flowerformer", VOCABULARY).settings
    assert (settings.hidden, settings.layers, settings.heads, settings.dropout) == (64, 9, 8, 0.5)


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ({"heads": 0}, "heads must be from 1 to 64, not 0"),
        ({"heads": 7}, "64 is not a multiple of 7"),
        ({"dropout": 1}, "dropout must be at least 0 and below 1, not 1"),
        ({"dropout": -0.1}, "not -0.1"),
    ],
    ids=str,
)
def test_a_wrong_setting(wrong, reason):
    with pytest.raises(ValueError, match=f"^encoder 'flowerformer': .*{reason}"):
        encoder("flowerformer", VOCABULARY, **wrong)
