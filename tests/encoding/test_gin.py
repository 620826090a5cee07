import copy
import re

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch_geometric.data import Batch
from torch_geometric.nn import global_mean_pool
from torch_geometric.nn.models import GIN as PyGGIN

from archflow.archs.batch import ArchBatch
from archflow.benchmarks.nasbench201.space import NASBench201
from archflow.encoding.gin import GIN
from archflow.encoding.registry import (
    _ENCODERS,
    describe,
    encode,
    encoder,
    from_description,
    load_encoder,
    save_encoder,
)
from archflow.encoding.sharing import shared_bags, with_self
from tests.encoding.pyg_pipeline import as_data
from tests.strategies import VOCABULARY, lists_of_graphs, random_graphs, renumber

ISOLATED = [(["input", "conv", "output"], []), (["input"], []), (["pool", "input", "input"], [(2, 0)])]
CPU = torch.device("cpu")


def batch_of(graphs):
    return ArchBatch.from_graphs(graphs, VOCABULARY)


def assert_near(found, expected, tolerance=1e-9):
    assert found.shape == expected.shape
    assert found.dtype == expected.dtype
    found, expected = found.detach(), expected.detach()
    assert (found - expected).abs().max() <= tolerance * max(1.0, float(expected.abs().max()))


def gradients(parameters, output):
    """Those of a loss that weighs every number differently."""
    weights = torch.randn(output.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return torch.autograd.grad((weights.to(output.dtype) * output).sum(), list(parameters))


def assert_equal_to(reference, model, archs, parameters):
    """Outputs and gradients; ``parameters`` are the reference's in the order of the model's."""
    found, expected = model(archs), reference(archs)
    assert_near(found, expected)
    for ours, theirs in zip(gradients(model.parameters(), found), gradients(parameters, expected), strict=True):
        assert_near(ours, theirs)


def renumbering_changes_nothing(model, graphs, seed):
    rng = np.random.default_rng(seed)
    with torch.no_grad():
        assert_near(model(batch_of([renumber(graph, rng) for graph in graphs])), model(batch_of(graphs)), 1e-12)


class Contract:
    """What holds for every encoder; a subclass names its ``kind``, small ``shape`` and settings that are ``wrong``."""

    @pytest.fixture(autouse=True)
    def known(self, monkeypatch):
        monkeypatch.setitem(_ENCODERS, self.kind.name, self.kind)

    def new(self, seed=0, dtype=torch.float64, **shape):
        torch.manual_seed(seed)
        return self.kind(VOCABULARY, **{**self.shape, **shape}).to(dtype)

    @settings(deadline=None, max_examples=20, suppress_health_check=[HealthCheck.differing_executors])
    @given(lists_of_graphs(max_size=5, max_nodes=12), st.booleans(), st.randoms(use_true_random=False))
    def test_the_rest_of_the_batch_changes_nothing(self, graphs, prepared, random):
        archs, model = batch_of([*graphs, *ISOLATED]), self.new()
        if prepared:
            model.prepare(archs)
        with torch.no_grad():
            whole = model(archs)
            alone = torch.cat([model(archs[index]) for index in range(len(archs))])
            assert_near(alone, whole, 1e-12)
            chosen = random.choices(range(len(archs)), k=4)
            assert_near(model(archs[chosen]), whole[chosen], 1e-12)

    @pytest.mark.parametrize("graphs", [ISOLATED, ISOLATED[:1], ISOLATED[1:2], ISOLATED[1:2] * 3], ids=len)
    @pytest.mark.parametrize("layers", [1, 3])
    def test_isolated_nodes(self, graphs, layers):
        vectors = self.new(layers=layers)(batch_of(graphs))
        assert vectors.shape == (len(graphs), self.shape["hidden"])
        assert vectors.isfinite().all()
        vectors.sum().backward()

    def test_single_precision_is_near_double_precision(self):
        archs, model = batch_of(random_graphs(30, seed=1, max_nodes=12)), self.new()
        single = copy.deepcopy(model).float()
        assert_near(single(archs), model(archs).float(), 1e-4)

    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
    def test_training_and_evaluation_are_the_same_and_deterministic(self, dtype):
        archs, model = batch_of(random_graphs(20, seed=2, max_nodes=12)), self.new(dtype=dtype)
        first = model.train()(archs)
        assert first.dtype == dtype
        assert torch.equal(first, model.eval()(archs))
        with torch.no_grad():
            assert_near(model.eval()(archs), first, 1e-5 if dtype == torch.float32 else 1e-12)
            assert_near(model.train()(archs), first, 1e-5 if dtype == torch.float32 else 1e-12)
        assert torch.equal(first, self.new(dtype=dtype)(archs))
        assert not torch.allclose(first, self.new(seed=1, dtype=dtype)(archs))

    def test_gradients_reach_all_parameters(self):
        graphs, model = random_graphs(60, seed=3, max_nodes=self.shape.get("nodes", 12)), self.new()
        for parameter, gradient in zip(
            model.parameters(), gradients(model.parameters(), model(batch_of(graphs))), strict=True
        ):
            assert gradient.shape == parameter.shape
            assert gradient.isfinite().all()
            assert gradient.abs().max() > 1e-9

    def test_gradients_are_those_of_finite_differences(self):
        archs, model = batch_of([*random_graphs(3, seed=3, max_nodes=5), *ISOLATED]), self.new(layers=2)
        names = [name for name, _ in model.named_parameters()]

        def call(*values):
            return torch.func.functional_call(model, dict(zip(names, values, strict=True)), (archs,))

        assert torch.autograd.gradcheck(call, tuple(model.parameters()), fast_mode=True)

    def test_different_operations_and_edges_are_told_apart(self):
        names = ["input", "conv", "pool", "output"]
        graphs = [
            (names, [(0, 1), (1, 2), (2, 3)]),
            (names, [(0, 2), (2, 1), (1, 3)]),
            (names, [(0, 1), (1, 3), (0, 2), (2, 3)]),
            (["input", "conv", "conv", "output"], [(0, 1), (1, 2), (2, 3)]),
        ]
        assert torch.pdist(self.new()(batch_of(graphs))).min() > 1e-4

    def test_mixed_precision_trains(self):
        archs, model = batch_of(random_graphs(20, seed=2, max_nodes=12)), self.new(dtype=torch.float32)
        with torch.autocast("cpu", torch.bfloat16):
            mixed = model(archs).float()
        assert_near(mixed, model(archs), 0.1)
        assert all(gradient.isfinite().all() for gradient in gradients(model.parameters(), mixed))

    def test_encode_equals_forward(self):
        archs, model = batch_of(random_graphs(50, seed=9, max_nodes=12)), self.new()
        for size in (7, 512):
            assert_near(encode(model, archs, batch_size=size), model(archs), 1e-12)

    def test_a_file_gives_back_the_same(self, tmp_path):
        archs, model = batch_of(random_graphs(20, seed=3, max_nodes=12)), self.new(dtype=torch.float32)
        assert describe(model)["settings"].keys() >= self.shape.keys()
        assert describe(from_description(describe(model))) == describe(model)
        default = encoder(self.kind.name, VOCABULARY)
        assert isinstance(default, self.kind)
        assert (default.width, default.settings["layers"]) == (128, 3)
        save_encoder(model, tmp_path / "encoder", note="τ")
        loaded, provenance = load_encoder(tmp_path / "encoder")
        assert describe(loaded) == describe(model)
        assert provenance == {"note": "τ"}
        assert torch.equal(loaded(archs), model(archs))

    def test_a_wrong_setting(self):
        for wrong, reason in [
            ({"unknown": 5}, "'unknown'"),
            ({"hidden": 0}, "≥ 1"),
            ({"layers": -2}, "-2"),
            *self.wrong,
        ]:
            with pytest.raises(ValueError, match=f"{self.kind.name}.*{re.escape(reason)}"):
                encoder(self.kind.name, VOCABULARY, **wrong)

    def test_architectures_of_another_space(self):
        with pytest.raises(ValueError, match="the architectures are of another space than the encoder's"):
            self.new()(NASBench201().sample(2))

    @pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device here")
    def test_a_gpu_gives_the_same(self):
        archs, model = batch_of([*random_graphs(50, seed=9, max_nodes=12), *ISOLATED]), self.new()
        on_gpu = copy.deepcopy(model).to("cuda")
        expected, found = model(archs), on_gpu(archs)
        assert found.is_cuda
        assert_near(found.cpu(), expected)
        pairs = zip(gradients(model.parameters(), expected), on_gpu.parameters(), strict=True)
        found.backward(torch.randn(found.shape, generator=torch.Generator().manual_seed(1), dtype=found.dtype).cuda())
        for gradient, theirs in pairs:
            assert_near(theirs.grad.cpu(), gradient)


class TestGIN(Contract):
    kind, shape, wrong = GIN, {"hidden": 8, "layers": 3}, ()


class PlainGIN(torch.nn.Module):
    """PyTorch Geometric's GIN over per-graph objects."""

    def __init__(self, model):
        super().__init__()
        self.net = PyGGIN(len(model.vocabulary), model.width, len(model.first), model.width, jk="cat").double()
        for conv, first, second in zip(self.net.convs, model.first, model.second, strict=True):
            for theirs, ours in zip(conv.nn.lins, (first, second), strict=True):
                theirs.load_state_dict(ours.state_dict())
        self.net.lin.load_state_dict(model.join.state_dict())

    def forward(self, archs):
        data = Batch.from_data_list([as_data(*archs.graph(i), archs.vocabulary) for i in range(len(archs))])
        return global_mean_pool(self.net(data.x.double(), data.edge_index), data.batch)

    def in_our_order(self):
        for layer in (0, 1):
            for conv in self.net.convs:
                yield from (conv.nn.lins[layer].weight, conv.nn.lins[layer].bias)
        yield from (self.net.lin.weight, self.net.lin.bias)


def new(hidden=8, layers=3, vocabulary=VOCABULARY, seed=0):
    torch.manual_seed(seed)
    return GIN(vocabulary, hidden, layers).double()


@settings(deadline=None, max_examples=30)
@given(lists_of_graphs(max_size=5), st.integers(1, 4), st.integers(1, 9), st.integers(0, 99))
def test_equal_to_pytorch_geometric(graphs, layers, hidden, seed):
    model = new(hidden, layers, seed=seed)
    plain = PlainGIN(model)
    assert_equal_to(plain, model, batch_of([*graphs, *ISOLATED]), plain.in_our_order())


@pytest.mark.parametrize("layers", [1, 2, 3, 4])
def test_equal_to_pytorch_geometric_on_nasbench201(layers):
    cells = NASBench201().enumerate()
    model = new(32, layers, cells.vocabulary)
    model.prepare(cells)
    plain = PlainGIN(model)
    chosen = np.random.default_rng(layers).choice(len(cells), 150)
    assert_equal_to(plain, model, cells[chosen], plain.in_our_order())


@settings(deadline=None, max_examples=30)
@given(lists_of_graphs(max_size=4, max_nodes=20), st.integers(0, 2**32 - 1))
def test_the_numbering_of_the_nodes_does_not_matter(graphs, seed):
    renumbering_changes_nothing(new(), graphs, seed)


# Sharing


def test_nasbench201_computes_its_few_classes_once():
    cells = NASBench201().enumerate()
    plan = shared_bags(cells, cells.neighbourhoods(2), [with_self(cells.neighbours)], CPU)
    assert [len(layer.heard[0].starts) - 1 for layer in plan] == [350, 45_500, 125_000]
    assert [int(layer.members.rows.max()) + 1 for layer in plan] == [350, 45_500, 125_000]


def test_a_node_hears_itself_first():
    archs = batch_of([*ISOLATED, (["input", "conv", "output"], [(0, 1), (1, 2), (0, 2)])])
    lists = with_self(archs.neighbours)
    found = [lists.nodes[start:stop].tolist() for start, stop in zip(lists.starts[:-1], lists.starts[1:], strict=True)]
    assert found == [[0], [1], [2], [3], [4, 6], [5], [6, 4], [7, 8, 9], [8, 7, 9], [9, 7, 8]]
