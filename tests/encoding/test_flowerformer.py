import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch_geometric.data import Batch

from archflow.archs.batch import ArchBatch
from archflow.benchmarks.nasbench201.space import NASBench201
from archflow.encoding.flowerformer import (
    Direction,
    FlowerFormer,
    Relation,
    attention,
    flow,
    plain_attention,
    plain_flow,
)
from archflow.encoding.registry import describe, encoder, load_encoder, save_encoder
from tests.encoding import flowerformer_reference
from tests.strategies import VOCABULARY, lists_of_graphs, random_graphs, renumber

# Two operations at least: if all nodes are alike, batch norm in training divides rounding errors by themselves.
ISOLATED = [(["input", "conv", "output"], []), (["input"], []), (["pool", "input", "input"], [(2, 0)])]
CPU = torch.device("cpu")


def batch_of(graphs):
    return ArchBatch.from_graphs(graphs, VOCABULARY)


def new(hidden=6, layers=2, heads=2, dropout=0.0, seed=0):
    """With running means and variances, weights and biases of batch norm that are not those of the beginning."""
    torch.manual_seed(seed)
    model = FlowerFormer(VOCABULARY, hidden, layers, heads, dropout).double()
    for part in model.modules():
        if isinstance(part, torch.nn.BatchNorm1d):
            for tensor in (part.weight, part.running_var):
                tensor.data.uniform_(0.5, 2)
            for tensor in (part.bias, part.running_mean):
                tensor.data.normal_(0, 0.3)
    return model


def assert_near(found, expected, tolerance):
    assert found.shape == expected.shape
    assert found.dtype == expected.dtype
    found, expected = found.detach(), expected.detach()
    assert (found - expected).abs().max() <= tolerance * max(1.0, float(expected.abs().max()))


def weighed(output):
    """A loss that weighs every number differently."""
    return (torch.randn(output.shape, generator=torch.Generator().manual_seed(1), dtype=output.dtype) * output).sum()


def compare_with_reference(graphs, model, training, tolerance=1e-8):
    model.train(training)
    weights = {
        name: tensor.detach().clone().requires_grad_(name in dict(model.named_parameters()))
        for name, tensor in model.state_dict().items()
    }
    sizes = (len(model.blocks), model.settings["heads"])
    expected = flowerformer_reference.encode(weights, graphs, list(model.vocabulary), *sizes, training)
    found = model(ArchBatch.from_graphs(graphs, model.vocabulary))
    assert_near(found, expected, tolerance)
    for output in (found, expected):
        weighed(output).backward()
    for name, parameter in model.named_parameters():
        expected = weights[name].grad
        # Without an edge the reference never meets the weights of the messages.
        assert_near(parameter.grad, torch.zeros_like(parameter) if expected is None else expected, tolerance)


# Equal to plain versions


@pytest.mark.parametrize("training", [False, True])
@settings(deadline=None, max_examples=12)
@given(lists_of_graphs(max_size=3, max_nodes=9), st.sampled_from([(1, 1), (4, 1), (6, 3)]), st.integers(0, 99))
def test_equal_to_the_reference(training, graphs, shape, seed):
    hidden, heads = shape
    compare_with_reference([*graphs, ISOLATED[0]], new(hidden, 2, heads, seed=seed), training)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize(
    "graphs",
    [ISOLATED, ISOLATED[:1], random_graphs(2, seed=5, max_nodes=25), *([graph] for graph in random_graphs(3, seed=6))],
    ids=len,
)
def test_equal_to_the_reference_on_isolated_nodes_and_large_graphs(graphs, training):
    compare_with_reference(graphs, new(layers=1), training)


def test_equal_to_the_reference_on_one_node():
    compare_with_reference([ISOLATED[1]], new(), training=False)


@pytest.mark.parametrize("training", [False, True])
def test_equal_to_the_reference_on_nasbench201(training):
    cells = NASBench201().enumerate()
    chosen = cells[np.random.default_rng(0).choice(len(cells), 4)]
    torch.manual_seed(0)
    model = FlowerFormer(chosen.vocabulary, 16, 3, 4, dropout=0).double()
    compare_with_reference([chosen.graph(index) for index in range(4)], model, training)


@pytest.mark.parametrize("training", [False, True])
def test_equal_to_the_loop_over_edge_lists(training):
    graphs = random_graphs(20, seed=4, max_nodes=12)
    model = new().train(training)
    data = Batch.from_data_list([flowerformer_reference.as_data(*graph, list(VOCABULARY)) for graph in graphs])
    data.x = data.x.double()
    assert_near(model(batch_of(graphs)), flowerformer_reference.EdgeListFlowerFormer(model)(data), 1e-9)


@pytest.mark.parametrize("backward", [False, True])
@pytest.mark.parametrize("scale", [1, 1000])
def test_the_compiled_flow_equals_pytorchs_operations(backward, scale):
    """Also where exponentials of the logits would overflow."""
    sweep = batch_of([*random_graphs(10, seed=1), *ISOLATED]).sweep
    generations = [generation.rows for generation in sweep.generations]
    direction = Direction.on(CPU, sweep.predecessors, generations)
    if backward:
        direction = Direction.on(CPU, sweep.successors, generations[::-1])
    rng = torch.Generator().manual_seed(0)
    shapes = [(len(sweep.nodes), 15), (15, 5), (15,), (5,)]
    gradients = []
    for call in (flow, plain_flow):
        rng.manual_seed(0)
        inputs = [torch.randn(shape, generator=rng, dtype=torch.float64) for shape in shapes]
        inputs[3] *= scale
        for tensor in inputs:
            tensor.requires_grad_()
        values = call(*inputs, direction)
        weighed(values).backward()
        gradients.append([values, *(tensor.grad for tensor in inputs)])
    for found, expected in zip(*gradients, strict=True):
        assert_near(found, expected, 1e-9)


@pytest.mark.parametrize("scale", [1, 100])
def test_the_compiled_attention_equals_pytorchs_operations(scale):
    relation = Relation.of(batch_of([*random_graphs(10, seed=1, max_nodes=20), *ISOLATED]), CPU)
    gradients = []
    for call in (attention, plain_attention):
        rng = torch.Generator().manual_seed(0)
        projected = scale * torch.randn((len(relation.target), 18), generator=rng, dtype=torch.float64)
        kept = 2 * (torch.rand((len(relation.other), 3), generator=rng) < 0.5).double()
        seen = call(projected.requires_grad_(), kept, relation)
        weighed(seen).backward()
        gradients.append([seen, projected.grad])
    for found, expected in zip(*gradients, strict=True):
        assert_near(found, expected, 1e-9)


def test_single_precision_is_near_double():
    archs = batch_of(random_graphs(20, seed=2))
    assert_near(new().float().eval()(archs).double(), new().eval()(archs), 1e-4)


# Invariant


@settings(deadline=None, max_examples=20)
@given(lists_of_graphs(max_size=4, max_nodes=20), st.integers(0, 2**32 - 1))
def test_the_numbering_of_the_nodes_does_not_matter(graphs, seed):
    rng, model = np.random.default_rng(seed), new().eval()
    with torch.no_grad():
        renumbered = model(batch_of([renumber(graph, rng) for graph in graphs]))
        assert_near(renumbered, model(batch_of(graphs)), 1e-9)


@settings(deadline=None, max_examples=20)
@given(lists_of_graphs(max_size=6, max_nodes=15), st.integers(0, 2**32 - 1))
def test_the_other_architectures_of_the_batch_do_not_matter_in_evaluation(graphs, seed):
    archs, model = batch_of([*graphs, *ISOLATED]), new().eval()
    with torch.no_grad():
        whole = model(archs)
        for index in range(len(archs)):
            assert_near(model(archs[index]), whole[[index]], 1e-9)
        chosen = np.random.default_rng(seed).integers(len(archs), size=5)
        assert_near(model(archs[chosen]), whole[chosen], 1e-9)


def test_different_operations_edges_and_directions_are_told_apart():
    names = ["input", "conv", "pool", "output"]
    graphs = [
        (names, [(0, 1), (1, 2), (2, 3)]),
        (names, [(0, 2), (2, 1), (1, 3)]),
        (names, [(3, 2), (2, 1), (1, 0)]),
        (names, [(0, 1), (1, 3), (0, 2), (2, 3)]),
        (["input", "conv", "conv", "output"], [(0, 1), (1, 2), (2, 3)]),
    ]
    assert torch.pdist(new().eval()(batch_of(graphs))).min() > 1e-4


# Training and evaluation


def test_training_keeps_running_averages_that_evaluation_uses():
    archs, model = batch_of(random_graphs(60, seed=2, max_nodes=8)), new()
    before = model.eval()(archs)
    assert torch.equal(before, model(archs))
    trained = model.train()(archs)
    assert not torch.allclose(before, trained)
    for _ in range(100):
        model(archs)
    # What is remembered is the unbiased variance, what is used in training the biased one.
    assert_near(model.eval()(archs), trained, 0.02)


def test_attention_is_dropped_in_training_alone():
    archs, model = batch_of(random_graphs(20, seed=2)), new(dropout=0.5)
    torch.manual_seed(3)
    first, second = model(archs), model(archs)
    assert not torch.allclose(first, second)
    torch.manual_seed(3)
    assert torch.equal(model(archs), first)
    assert torch.equal(model.eval()(archs), model(archs))


def test_a_single_node_cannot_be_trained_on():
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        new()(batch_of(ISOLATED[1:2]))


# Registry, settings and files


def test_the_published_settings():
    model = encoder("flowerformer", VOCABULARY)
    assert isinstance(model, FlowerFormer)
    assert model.settings == {"hidden": 64, "layers": 9, "heads": 8, "dropout": 0.5}
    assert model.width == 64
    assert model(batch_of(ISOLATED)).shape == (3, 64)


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ({"width": 5}, "'width'"),
        ({"hidden": 0}, "hidden ≥ 1"),
        ({"layers": 0}, "layers ≥ 1"),
        ({"heads": 0}, "not 0 for 64"),
        ({"heads": 7}, "not 7 for 64"),
        ({"dropout": 1}, "dropout < 1, not 1"),
        ({"dropout": -0.1}, "not -0.1"),
    ],
    ids=str,
)
def test_a_wrong_setting(wrong, reason):
    with pytest.raises(ValueError, match=f"flowerformer.*{reason}"):
        encoder("flowerformer", VOCABULARY, **wrong)


def test_architectures_of_another_space():
    with pytest.raises(ValueError, match="the architectures are of another space than the encoder's"):
        new()(NASBench201().sample(2))


def test_a_file_gives_back_the_same(tmp_path):
    archs, model = batch_of(random_graphs(20, seed=3)), new(dropout=0.25).float()
    model(archs)
    save_encoder(model, tmp_path / "encoder", note="τ")
    loaded, provenance = load_encoder(tmp_path / "encoder")
    assert describe(loaded) == describe(model)
    assert provenance == {"note": "τ"}
    assert torch.equal(loaded.eval()(archs), model.eval()(archs))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device here")
def test_a_gpu_gives_the_same():
    archs = batch_of([*random_graphs(50, seed=9), *ISOLATED])
    model, on_gpu = new(), new().to("cuda")
    expected, found = model(archs), on_gpu(archs)
    assert found.is_cuda
    assert_near(found.cpu(), expected, 1e-8)
    for output in (found.cpu(), expected):
        weighed(output).backward()
    for one, other in zip(on_gpu.parameters(), model.parameters(), strict=True):
        assert_near(one.grad.cpu(), other.grad, 1e-8)
