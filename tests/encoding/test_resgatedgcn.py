import copy
import re

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch_geometric.data import Batch

from archflow.archs.batch import ArchBatch
from archflow.benchmarks.nasbench201.space import NASBench201
from archflow.encoding.registry import (
    _ENCODERS,
    describe,
    encode,
    encoder,
    encoders,
    from_description,
    load_encoder,
    register_encoder,
    save_encoder,
)
from archflow.encoding.resgatedgcn import ResGatedGCN
from archflow.encoding.sharing import shared_layers
from archflow.support.files import load_tensors, save_tensors
from tests.encoding.pyg_pipeline import PyGResGatedGCN, as_data
from tests.strategies import VOCABULARY, lists_of_graphs, random_graphs, renumber

ISOLATED = [(["input", "conv", "output"], []), (["input"], []), (["pool", "input", "input"], [(2, 0)])]


def batch_of(graphs):
    return ArchBatch.from_graphs(graphs, VOCABULARY)


def new(hidden=8, layers=3, vocabulary=VOCABULARY, seed=0, dtype=torch.float32):
    torch.manual_seed(seed)
    return ResGatedGCN(vocabulary, hidden, layers).to(dtype)


def assert_near(found, expected, tolerance):
    assert found.shape == expected.shape
    assert found.dtype == expected.dtype
    found, expected = found.detach(), expected.detach()
    assert (found - expected).abs().max() <= tolerance * max(1.0, float(expected.abs().max()))


def compare_with_pyg(archs, model, tolerance):
    """Outputs and the gradients of all weights, under a loss that weighs every number differently."""
    graphs = [archs.graph(index) for index in range(len(archs))]
    plain = PyGResGatedGCN(len(archs.vocabulary), model.width, len(model.convs)).to(model.embed.weight.dtype)
    plain.load_from(model)
    data = Batch.from_data_list([as_data(*graph, archs.vocabulary) for graph in graphs])
    data.x = data.x.to(model.embed.weight.dtype)
    found, expected = model(archs), plain(data)
    assert_near(found, expected, tolerance)
    weights = torch.randn(expected.shape, generator=torch.Generator().manual_seed(1)).to(expected.dtype)
    for output in (found, expected):
        (weights * output).sum().backward()
    pairs = [(model.embed.weight, plain.embed.weight.grad), (model.embed.bias, plain.embed.bias.grad)]
    for theirs, ours in zip(plain.convs, model.convs, strict=True):
        key, query, skip, value = theirs.lin_key, theirs.lin_query, theirs.lin_skip, theirs.lin_value
        pairs += [
            (ours.weight, torch.cat([part.weight.grad for part in (key, query, skip, value)])),
            (ours.bias, torch.cat([key.bias.grad, query.bias.grad, theirs.bias.grad, value.bias.grad])),
        ]
    assert len(pairs) == len(list(model.parameters()))
    for parameter, gradient in pairs:
        if gradient.dtype == torch.float64:
            assert_near(parameter.grad, gradient, tolerance)
        else:  # a rectifier whose input rounds to either side of 0 is a step in the gradient, so only most of it agrees
            assert (parameter.grad - gradient).norm() <= 0.05 * gradient.norm() + 1e-4


# Equal to PyTorch Geometric's stack


@settings(deadline=None, max_examples=30)
@given(lists_of_graphs(max_size=5), st.integers(1, 4), st.integers(1, 9), st.integers(0, 99))
def test_equal_to_pytorch_geometric(graphs, layers, hidden, seed):
    compare_with_pyg(batch_of(graphs), new(hidden, layers, seed=seed, dtype=torch.float64), 1e-9)


@pytest.mark.parametrize("layers", [1, 2, 3, 4])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-9), (torch.float32, 1e-4)])
def test_equal_to_pytorch_geometric_on_nasbench201(layers, dtype, tolerance):
    cells = NASBench201().enumerate()
    chosen = np.random.default_rng(layers).choice(len(cells), 150)
    model = new(32, layers, cells.vocabulary, dtype=dtype)
    compare_with_pyg(cells[chosen], model, tolerance)
    model.zero_grad()
    cells.neighbourhoods(layers)
    compare_with_pyg(cells[chosen], model, tolerance)


@pytest.mark.parametrize("layers", [1, 2, 3])
@pytest.mark.parametrize("graphs", [ISOLATED, ISOLATED[:2], ISOLATED[1:2], ISOLATED[1:2] * 3], ids=len)
def test_equal_to_pytorch_geometric_on_isolated_nodes(graphs, layers):
    compare_with_pyg(batch_of(graphs), new(layers=layers, dtype=torch.float64), 1e-9)


@pytest.mark.parametrize("layers", [1, 3])
def test_gradients_are_those_of_finite_differences(layers):
    model, archs = new(3, layers, dtype=torch.float64), batch_of([*random_graphs(3, seed=3, max_nodes=6), *ISOLATED])
    names = [name for name, _ in model.named_parameters()]

    def call(*values):
        return torch.func.functional_call(model, dict(zip(names, values, strict=True)), (archs,))

    assert torch.autograd.gradcheck(call, tuple(model.parameters()))


# Invariant


@settings(deadline=None, max_examples=30)
@given(lists_of_graphs(max_size=4, max_nodes=20), st.integers(0, 2**32 - 1))
def test_the_numbering_of_the_nodes_does_not_matter(graphs, seed):
    rng, model = np.random.default_rng(seed), new(dtype=torch.float64)
    with torch.no_grad():
        renumbered = model(batch_of([renumber(graph, rng) for graph in graphs]))
        assert_near(renumbered, model(batch_of(graphs)), 1e-12)


def test_the_other_architectures_of_the_batch_do_not_matter():
    archs, model = batch_of([*random_graphs(20, seed=2, max_nodes=12), *ISOLATED]), new(dtype=torch.float64)
    with torch.no_grad():
        whole = model(archs)
        for index in range(len(archs)):
            assert_near(model(archs[index]), whole[[index]], 1e-12)
        archs.neighbourhoods(2)
        chosen = [22, 4, 4, 0, 21]
        assert_near(model(archs[chosen]), whole[chosen], 1e-12)


def test_training_and_evaluation_are_the_same_and_deterministic():
    archs, model = batch_of(random_graphs(20, seed=2)), new()
    first = model.train()(archs)
    assert torch.equal(first, model.eval()(archs))
    assert torch.equal(first, new()(archs))
    assert not torch.allclose(first, new(seed=1)(archs))


def test_different_operations_and_edges_are_told_apart():
    names = ["input", "conv", "pool", "output"]
    graphs = [
        (names, [(0, 1), (1, 2), (2, 3)]),
        (names, [(0, 2), (2, 1), (1, 3)]),
        (names, [(0, 1), (1, 3), (0, 2), (2, 3)]),
        (["input", "conv", "conv", "output"], [(0, 1), (1, 2), (2, 3)]),
    ]
    vectors = new(dtype=torch.float64)(batch_of(graphs))
    assert torch.pdist(vectors).min() > 1e-4


# Sharing


def plain_classes(graphs, layers):
    """How many different (operation, neighbourhood) there are for each number of hops, from nested tuples."""
    seen = [list(names) for names, _ in graphs]
    counts = []
    for _ in range(layers):
        seen = [
            [
                (own[node], tuple(sorted([repr(own[b if a == node else a]) for a, b in edges if node in (a, b)])))
                for node in range(len(names))
            ]
            for own, (names, edges) in zip(seen, graphs, strict=True)
        ]
        numbers = {text: number for number, text in enumerate(sorted({text for own in seen for text in own}, key=repr))}
        seen = [[numbers[text] for text in own] for own in seen]
        counts.append(len(numbers))
    return counts


@settings(deadline=None, max_examples=30)
@given(lists_of_graphs(max_size=6, max_nodes=10), st.integers(1, 4))
def test_each_layer_computes_each_class_once(graphs, layers):
    archs = batch_of(graphs)
    plan = shared_layers(archs, layers, torch.device("cpu"))
    assert len(plan) == layers
    expected = [*plain_classes(graphs, layers)[:-1], len(archs.operations)]
    assert [len(layer.own) for layer in plan] == expected
    assert len(plan[-1].source) == 2 * archs.edges.shape[1]
    inputs = [len(VOCABULARY), *expected]
    for layer, rows in zip(plan, inputs[:-1], strict=True):
        assert layer.own.max() < rows
        assert max(layer.source.tolist(), default=0) < rows


def test_nasbench201_computes_its_few_classes_once():
    cells = NASBench201().enumerate()
    plan = shared_layers(cells, 3, torch.device("cpu"))
    assert [len(layer.own) for layer in plan] == [350, 45_500, 125_000]


def test_a_minibatch_computes_only_its_own_classes():
    cells = NASBench201().enumerate()
    cells.neighbourhoods(2)
    chosen = cells[[5, 9_000, 5, 7]]
    plan = shared_layers(chosen, 3, torch.device("cpu"))
    graphs = [chosen.graph(index) for index in range(4)]
    assert [len(layer.own) for layer in plan] == [*plain_classes(graphs, 2), 32]


# Encoding many


def test_encode_equals_forward():
    archs, model = batch_of(random_graphs(50, seed=9, max_nodes=10)), new(dtype=torch.float64)
    expected = model(archs).detach()
    for size in (1, 7, 50, 51, 512):
        found = encode(model, archs, batch_size=size)
        assert not found.requires_grad
        assert_near(found, expected, 1e-12)
    assert_near(encode(model, archs), expected, 1e-12)


# Registry and errors


def test_the_registry():
    assert "resgatedgcn" in encoders()
    model = encoder("resgatedgcn", list(VOCABULARY), hidden=6, layers=2)
    assert isinstance(model, ResGatedGCN)
    assert model.vocabulary == VOCABULARY
    assert model.width == 6
    assert model(batch_of(ISOLATED)).shape == (3, 6)
    assert encoder("resgatedgcn", VOCABULARY).settings == {"hidden": 128, "layers": 3}
    again = from_description(describe(model))
    assert describe(again) == describe(model)


def test_a_registered_encoder_is_known(monkeypatch):
    class Mine(ResGatedGCN):
        name = "mine"

    monkeypatch.setitem(_ENCODERS, "mine", ResGatedGCN)
    register_encoder(Mine)
    assert encoders() == sorted(encoders())
    assert isinstance(encoder("mine", VOCABULARY, hidden=4), Mine)


def test_an_encoder_of_archflows_own_is_not_replaced():
    with pytest.raises(ValueError, match=r"^archflow has an encoder 'resgatedgcn' of its own; call yours otherwise$"):
        register_encoder(type("Mine", (ResGatedGCN,), {}))
    assert type(encoder("resgatedgcn", VOCABULARY)) is ResGatedGCN


def test_an_unknown_encoder():
    with pytest.raises(ValueError, match=r"unknown encoder 'resnet'; known encoders: .*resgatedgcn"):
        encoder("resnet", VOCABULARY)


@pytest.mark.parametrize(
    ("settings", "reason"),
    [({"width": 5}, "'width'"), ({"hidden": 0}, "hidden ≥ 1"), ({"layers": 0}, "layers ≥ 1"), ({"layers": -2}, "-2")],
    ids=str,
)
def test_a_wrong_setting(settings, reason):
    with pytest.raises(ValueError, match=f"resgatedgcn.*{reason}"):
        encoder("resgatedgcn", VOCABULARY, **settings)


def test_architectures_of_another_space():
    with pytest.raises(ValueError, match="the architectures are of another space than the encoder's"):
        new()(NASBench201().sample(2))


# Files


def test_a_file_gives_back_the_same(tmp_path):
    archs, model = batch_of(random_graphs(20, seed=3)), new(hidden=5, layers=2)
    save_encoder(model, tmp_path / "encoder", pretraining={"epochs": 3}, note="τ")
    loaded, provenance = load_encoder(tmp_path / "encoder")
    assert describe(loaded) == describe(model)
    assert provenance == {"pretraining": {"epochs": 3}, "note": "τ"}
    assert torch.equal(loaded(archs), model(archs))


def test_a_truncated_file(tmp_path):
    path = tmp_path / "encoder"
    save_encoder(new(), path)
    content = path.read_bytes()
    for length in (0, 5, 8, 100, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:length])
        with pytest.raises(ValueError, match=re.escape(f"{path} is truncated or no archflow file")):
            load_encoder(path)


def test_foreign_files(tmp_path):
    path = tmp_path / "encoder"
    torch.save(new().state_dict(), path)
    with pytest.raises(ValueError, match=re.escape(str(path))):
        load_encoder(path)
    save_file(new().state_dict(), path)
    with pytest.raises(ValueError, match="no archflow 'encoder' file: it was not written by archflow"):
        load_encoder(path)
    batch_of(ISOLATED).save(path)
    with pytest.raises(ValueError, match="no archflow 'encoder' file: it holds 'archs'"):
        load_encoder(path)
    with pytest.raises(FileNotFoundError):
        load_encoder(tmp_path / "nowhere")


def test_weights_that_do_not_fit_their_description(tmp_path):
    path = tmp_path / "encoder"
    save_encoder(new(hidden=8), path)
    tensors, description = load_tensors(path, "encoder")
    other = copy.deepcopy(description)
    other["settings"]["hidden"] = 4
    lacking = {name: tensor for name, tensor in tensors.items() if name != "embed.bias"}
    more = {**tensors, "more": torch.zeros(1)}
    for weights, described in ((tensors, other), (lacking, description), (more, description)):
        save_tensors(path, "encoder", weights, described)
        with pytest.raises(ValueError, match=re.escape(f"the weights in {path} do not fit")):
            load_encoder(path)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device here")
def test_a_gpu_gives_the_same():
    archs, model = batch_of([*random_graphs(50, seed=9), *ISOLATED]), new(16, dtype=torch.float64)
    on_gpu = copy.deepcopy(model).to("cuda")
    expected, found = model(archs), on_gpu(archs)
    assert found.is_cuda
    assert_near(found.cpu(), expected, 1e-9)
    for output in (found, expected):
        output.square().sum().backward()
    for one, other in zip(on_gpu.parameters(), model.parameters(), strict=True):
        assert_near(one.grad.cpu(), other.grad, 1e-9)
