import networkx as nx
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from archflow.archs.batch import ArchBatch
from archflow.benchmarks.nasbench201.space import NASBench201
from archflow.flow import FlowDraw, flow_surrogate
from tests import references
from tests.strategies import VOCABULARY, as_networkx, lists_of_graphs, random_graphs, renumber

DRAWS = st.builds(
    FlowDraw.sample,
    st.just(len(VOCABULARY)),
    k=st.integers(1, 13),
    std=st.sampled_from([0.01, 0.1, 1.0, 2.5]),
    seed=st.integers(0, 2**31),
    dtype=st.just(torch.float64),
)
ALPHAS = st.sampled_from([0.0, 0.3, 0.5, 1.0])


def batch_of(graphs):
    return ArchBatch.from_graphs(graphs, VOCABULARY)


def reference(graphs, draw, alpha=0.5, vocabulary=VOCABULARY):
    return references.flow_surrogate(graphs, vocabulary, draw.r, draw.P, draw.W, alpha)


def assert_equal_to(found, expected, tolerance):
    """Relative to each architecture's own largest value, as sizes grow exponentially with the number of paths."""
    assert found.shape == expected.shape
    assert torch.isfinite(expected).all()
    scale = expected.abs().amax(dim=1, keepdim=True)
    assert ((found - expected).abs() <= tolerance * scale).all()


# Equal to the equations


@settings(max_examples=150)
@given(lists_of_graphs(max_size=4), DRAWS, ALPHAS)
def test_equal_to_the_equations(graphs, draw, alpha):
    found = flow_surrogate(batch_of(graphs), draw, alpha)
    assert found.dtype == torch.float64
    assert_equal_to(found, reference(graphs, draw, alpha), 1e-10)


@settings(max_examples=50)
@given(lists_of_graphs(max_size=4, max_nodes=12), DRAWS, ALPHAS)
def test_single_precision(graphs, draw, alpha):
    found = flow_surrogate(batch_of(graphs), draw.to(dtype=torch.float32), alpha)
    assert found.dtype == torch.float32
    assert_equal_to(found.double(), reference(graphs, draw, alpha), 1e-4)


def test_equal_to_the_equations_on_nasbench201():
    cells = NASBench201().sample(200, seed=0)
    draw = FlowDraw.sample(7, k=7, std=0.1, seed=3, dtype=torch.float64)
    expected = reference([cells.graph(index) for index in range(len(cells))], draw, vocabulary=cells.vocabulary)
    assert_equal_to(flow_surrogate(cells, draw), expected, 1e-10)
    assert_equal_to(flow_surrogate(cells, draw.to(dtype=torch.float32)).double(), expected, 1e-5)


def test_by_hand():
    draw = FlowDraw(r=torch.tensor([1.0]), P=torch.tensor([[0.0], [3.0]]), W=torch.tensor([[1.0], [-1.0]]))
    # input → op: f = 1, then 0.5 · 1 + 0.5 · ReLU(3 − 1) = 1.5; back: 1.5, then 0.5 · 1.5 + 0.5 · ReLU(0 − 1.5) = 0.75
    archs = ArchBatch.from_graphs([(["input", "op"], [(0, 1)])], ["input", "op"])
    assert flow_surrogate(archs, draw).tolist() == [[0.75]]


@pytest.mark.parametrize(
    ("graph", "times"),
    [
        ((["input"], []), 1),
        ((["input", "conv"], []), 2),
        ((["conv", "input", "pool", "output"], []), 4),
    ],
)
def test_isolated_nodes_pass_on_the_initial_flow(graph, times):
    draw = FlowDraw.sample(len(VOCABULARY), k=5, std=1.0)
    assert torch.allclose(flow_surrogate(batch_of([graph]), draw), times * draw.r[None])


def test_several_inputs_and_outputs():
    names = ["input", "conv", "pool", "output", "skip", "input", "output"]
    graph = (names, [(0, 2), (1, 2), (2, 3), (2, 6), (1, 4)])
    draw = FlowDraw.sample(len(VOCABULARY), k=4, std=1.0, seed=8, dtype=torch.float64)
    assert_equal_to(flow_surrogate(batch_of([graph]), draw), reference([graph], draw), 1e-12)


# Invariances


@given(lists_of_graphs(max_size=3), DRAWS, st.integers(0, 2**32 - 1))
def test_the_numbering_of_the_nodes_does_not_matter(graphs, draw, seed):
    rng = np.random.default_rng(seed)
    renumbered = [renumber(graph, rng) for graph in graphs]
    expected = flow_surrogate(batch_of(graphs), draw)
    assert_equal_to(flow_surrogate(batch_of(renumbered), draw), expected, 1e-11)


def test_the_other_architectures_of_the_batch_do_not_matter():
    batch = batch_of(random_graphs(40, seed=2))
    draw = FlowDraw.sample(len(VOCABULARY), k=7, std=0.5, dtype=torch.float64)
    whole = flow_surrogate(batch, draw)
    for index in range(len(batch)):
        assert_equal_to(flow_surrogate(batch[index], draw), whole[[index]], 1e-11)
    chosen = [5, 39, 5, 0]
    assert_equal_to(flow_surrogate(batch[chosen], draw), whole[chosen], 1e-11)
    assert_equal_to(flow_surrogate(ArchBatch.concatenate([batch, batch[chosen]]), draw)[40:], whole[chosen], 1e-11)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_deterministic(dtype):
    batch = batch_of(random_graphs(50, seed=4, max_nodes=12))
    draw = FlowDraw.sample(len(VOCABULARY), k=12, std=0.1, dtype=dtype)
    first = flow_surrogate(batch, draw)
    assert first.dtype == dtype
    assert torch.equal(first, flow_surrogate(batch, draw))
    assert torch.equal(first, flow_surrogate(batch_of(random_graphs(50, seed=4, max_nodes=12)), draw))


def test_the_draw_and_the_batch_are_not_modified():
    batch = batch_of(random_graphs(5, seed=4))
    draw = FlowDraw.sample(len(VOCABULARY), k=8, std=0.1)
    before = [tensor.clone() for tensor in (draw.r, draw.P, draw.W)]
    operations = batch.operations.copy()
    flow_surrogate(batch, draw)
    assert all(torch.equal(*both) for both in zip(before, (draw.r, draw.P, draw.W), strict=True))
    assert np.array_equal(batch.operations, operations)


# The draw


@pytest.mark.parametrize(
    ("operations", "k", "std"), [(5, 4, 1.0), (7, 7, 0.1), (11, 12, 0.1)], ids=["101", "201", "301"]
)
def test_published_shapes(operations, k, std):
    draw = FlowDraw.sample(operations, k=k, std=std, seed=1)
    assert draw.r.shape == (k,)
    assert draw.P.shape == (operations, k)
    assert draw.W.shape == (2 * k, k)
    vocabulary = ["input", *(f"op{number}" for number in range(operations - 1))]
    archs = ArchBatch.from_graphs([(["input", "op0"], [(0, 1)]), (["input"], [])], vocabulary)
    surrogate = flow_surrogate(archs, draw)
    assert surrogate.shape == (2, k)
    assert surrogate.dtype == torch.float32
    assert surrogate.is_contiguous()


def test_defaults_are_those_of_nasbench201():
    draw, explicit = FlowDraw.sample(7), FlowDraw.sample(7, k=7, std=0.1, seed=0, dtype=torch.float32)
    assert torch.equal(draw.r, explicit.r)
    assert torch.equal(draw.P, explicit.P)
    assert torch.equal(draw.W, explicit.W)
    cells = NASBench201().sample(5)
    assert torch.equal(flow_surrogate(cells, draw), flow_surrogate(cells, draw, alpha=0.5))


def test_distributions():
    draw = FlowDraw.sample(300, k=200, std=0.1, seed=0)
    assert 0 <= draw.r.min() < 0.05
    assert 0.95 < draw.r.max() < 1
    for normal in (draw.P, draw.W):
        assert normal.mean().abs() < 1e-3
        assert normal.std() == pytest.approx(0.1, rel=0.02)
        assert (normal.abs() > 0.1).float().mean() == pytest.approx(0.3173, abs=0.01)


def test_the_seed_fixes_the_draw():
    draw = FlowDraw.sample(7, seed=1)
    assert torch.equal(draw.W, FlowDraw.sample(7, seed=1).W)
    assert not torch.equal(draw.W, FlowDraw.sample(7, seed=2).W)
    assert torch.equal(draw.W, FlowDraw.sample(7, seed=1, dtype=torch.float64).W.float())
    assert draw.to(dtype=torch.float64).P.dtype == torch.float64


@pytest.mark.parametrize(
    "shapes",
    [
        [(3,), (5, 4), (8, 4)],
        [(4,), (5, 4), (4, 4)],
        [(4,), (5, 4), (8, 3)],
        [(4,), (5,), (8, 4)],
        [(1, 4), (5, 4), (8, 4)],
        [(0,), (5, 0), (0, 0)],
    ],
    ids=str,
)
def test_a_draw_whose_shapes_do_not_fit(shapes):
    with pytest.raises(ValueError, match=r"a flow draw has shapes r \(k,\), P \(operations, k\), W \(2k, k\), not"):
        FlowDraw(*(torch.zeros(shape) for shape in shapes))


@pytest.mark.parametrize(
    "wrong", [{"operations": 0}, {"k": 0}, {"k": -1}, {"std": 0.0}, {"std": -1.0}, {"std": float("nan")}], ids=str
)
def test_a_draw_needs_positive_sizes(wrong):
    with pytest.raises(ValueError, match="operations ≥ 1, k ≥ 1 and std > 0"):
        FlowDraw.sample(**{"operations": 7, **wrong})


def test_a_draw_that_is_too_large():
    with pytest.raises(ValueError, match="k is at most 4,096, not 1,000,000,000"):
        FlowDraw.sample(7, k=10**9)


def test_a_draw_for_another_vocabulary():
    with pytest.raises(ValueError, match="the draw has 6 operations, the architectures' vocabulary 5"):
        flow_surrogate(batch_of([(["input"], [])]), FlowDraw.sample(6))


@pytest.mark.parametrize("alpha", [-0.1, 1.01, float("nan"), float("inf")])
def test_alpha_outside_its_range(alpha):
    with pytest.raises(ValueError, match="alpha must be between 0 and 1"):
        flow_surrogate(batch_of([(["input"], [])]), FlowDraw.sample(5), alpha)


# One pass alone, and several rounds


def variant_reference(graphs, draw, alpha, passes="both", rounds=1):
    """Node by node, from the equations at the top of archflow/flow.py."""
    r, P, W = draw.r, draw.P, draw.W

    def rule(operation, message):
        return alpha * message + (1 - alpha) * torch.relu(torch.cat([P[VOCABULARY.index(operation)], message]) @ W)

    surrogates = []
    for graph in map(as_networkx, graphs):
        order = list(nx.topological_sort(graph))
        first = [node for node in graph if not graph.in_degree(node)]
        last = [node for node in graph if not graph.out_degree(node)]
        flows_in = dict.fromkeys(first, r)
        for _ in range(rounds):
            f = dict(flows_in)
            if passes != "backward":
                for node in order:
                    if node not in first:
                        f[node] = rule(graph.nodes[node]["operation"], sum(f[j] for j in graph.predecessors(node)))
            b = dict.fromkeys(last, r) if passes == "backward" else {node: f[node] for node in last}
            if passes != "forward":
                for node in reversed(order):
                    if node not in last:
                        b[node] = rule(graph.nodes[node]["operation"], sum(b[j] for j in graph.successors(node)))
                flows_in = {node: b[node] for node in first}
        surrogates.append(sum(f[node] for node in last) if passes == "forward" else sum(b[node] for node in first))
    return torch.stack(surrogates)


@settings(max_examples=60)
@given(
    lists_of_graphs(max_size=4, max_nodes=15),
    DRAWS,
    ALPHAS,
    st.sampled_from([("both", 1), ("both", 2), ("both", 3), ("forward", 1), ("backward", 1)]),
)
def test_variants_are_equal_to_the_equations(graphs, draw, alpha, variant):
    found = flow_surrogate(batch_of(graphs), draw, alpha, *variant)
    assert_equal_to(found, variant_reference(graphs, draw, alpha, *variant), 1e-10)
    if variant == ("both", 1):
        expected = references.flow_surrogate(graphs, VOCABULARY, draw.r, draw.P, draw.W, alpha)
        assert_equal_to(found, expected, 1e-10)
        assert torch.equal(found, flow_surrogate(batch_of(graphs), draw, alpha))


@settings(max_examples=25)
@given(lists_of_graphs(max_size=4, max_nodes=15), DRAWS, ALPHAS)
def test_backward_is_forward_along_reversed_edges(graphs, draw, alpha):
    turned = [(names, [(target, source) for source, target in edges]) for names, edges in graphs]
    backward = flow_surrogate(batch_of(graphs), draw, alpha, "backward")
    assert_equal_to(backward, flow_surrogate(batch_of(turned), draw, alpha, "forward"), 1e-11)


def test_variants_by_hand():
    draw = FlowDraw(r=torch.tensor([1.0]), P=torch.tensor([[0.0], [3.0]]), W=torch.tensor([[1.0], [-1.0]]))
    archs = ArchBatch.from_graphs([(["input", "op"], [(0, 1)])], ["input", "op"])
    # op: 0.5 · 1 + 0.5 · ReLU(3 − 1) = 1.5; input, backward alone: 0.5 · 1 + 0.5 · ReLU(0 − 1) = 0.5
    assert flow_surrogate(archs, draw, passes="forward").tolist() == [[1.5]]
    assert flow_surrogate(archs, draw, passes="backward").tolist() == [[0.5]]
    # The first round ends in 0.75; op: 0.375 + 0.5 · ReLU(3 − 0.75) = 1.5; input again: 0.75
    assert flow_surrogate(archs, draw, rounds=2).tolist() == [[0.75]]


def test_variants_of_very_many_architectures(monkeypatch):
    monkeypatch.setattr("archflow.flow._CHUNK", 7)
    archs, draw = NASBench201().sample(50, seed=0), FlowDraw.sample(7)
    for variant in (("forward", 1), ("backward", 1), ("both", 2)):
        parts = torch.cat([flow_surrogate(archs[[index]], draw, 0.5, *variant) for index in range(len(archs))])
        torch.testing.assert_close(flow_surrogate(archs, draw, 0.5, *variant), parts)


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ({"passes": "sideways"}, "unknown passes 'sideways'; known: both, forward, backward"),
        ({"rounds": 0}, "rounds must be 1, or up to 1,000 with both passes, not 0 with passes 'both'"),
        ({"rounds": 10**9}, "rounds must be 1, or up to 1,000 with both passes"),
        ({"passes": "forward", "rounds": 2}, "not 2 with passes 'forward'"),
        ({"passes": "backward", "rounds": 3}, "not 3 with passes 'backward'"),
    ],
    ids=str,
)
def test_invalid_passes_and_rounds(wrong, reason):
    with pytest.raises(ValueError, match=reason):
        flow_surrogate(batch_of([(["input"], [])]), FlowDraw.sample(5), **wrong)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device here")
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-4), (torch.float64, 1e-10)])
def test_a_gpu_gives_the_same(dtype, tolerance):
    batch = batch_of(random_graphs(200, seed=6, max_nodes=12))
    draw = FlowDraw.sample(len(VOCABULARY), k=7, std=0.1, dtype=dtype)
    found = flow_surrogate(batch, draw.to("cuda"))
    assert found.is_cuda
    assert found.dtype == dtype
    assert_equal_to(found.cpu(), flow_surrogate(batch, draw), tolerance)
    assert torch.equal(found, flow_surrogate(batch, draw.to("cuda")))
