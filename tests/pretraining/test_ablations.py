import networkx as nx
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from archflow import FGP, ArchBatch, FlowDraw, flow_surrogate
from tests import references
from tests.pretraining import assert_checkpoint_is_of_another_run, assert_learns, assert_resumes
from tests.pretraining.test_loop import ARCHS, PROXY, SPACE, assert_equal, new, run, weights_of
from tests.strategies import VOCABULARY, as_networkx, lists_of_graphs
from tests.test_flow import ALPHAS, DRAWS, assert_equal_to, batch_of

DRAW = FlowDraw.sample(len(SPACE.vocabulary))


def reference(graphs, draw, alpha, passes="both", rounds=1):
    """Node after node, from the equations at the head of archflow/flow.py."""
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


@settings(deadline=None, max_examples=60)
@given(
    lists_of_graphs(max_size=4, max_nodes=15),
    DRAWS,
    ALPHAS,
    st.sampled_from([("both", 1), ("both", 2), ("both", 3), ("forward", 1), ("backward", 1)]),
)
def test_equal_to_the_equations(graphs, draw, alpha, variant):
    found = flow_surrogate(batch_of(graphs), draw, alpha, *variant)
    assert_equal_to(found, reference(graphs, draw, alpha, *variant), 1e-10)
    if variant == ("both", 1):
        expected = references.flow_surrogate(graphs, VOCABULARY, draw.r, draw.P, draw.W, alpha)
        assert_equal_to(found, expected, 1e-10)
        assert torch.equal(found, flow_surrogate(batch_of(graphs), draw, alpha))


@settings(deadline=None, max_examples=25)
@given(lists_of_graphs(max_size=4, max_nodes=15), DRAWS, ALPHAS)
def test_backward_is_forward_along_edges_turned_round(graphs, draw, alpha):
    turned = [(names, [(target, source) for source, target in edges]) for names, edges in graphs]
    backward = flow_surrogate(batch_of(graphs), draw, alpha, "backward")
    assert_equal_to(backward, flow_surrogate(batch_of(turned), draw, alpha, "forward"), 1e-11)


def test_by_hand():
    draw = FlowDraw(r=torch.tensor([1.0]), P=torch.tensor([[0.0], [3.0]]), W=torch.tensor([[1.0], [-1.0]]))
    archs = ArchBatch.from_graphs([(["input", "op"], [(0, 1)])], ["input", "op"])
    # op: 0.5 · 1 + 0.5 · ReLU(3 − 1) = 1.5; input, backward alone: 0.5 · 1 + 0.5 · ReLU(0 − 1) = 0.5
    assert flow_surrogate(archs, draw, passes="forward").tolist() == [[1.5]]
    assert flow_surrogate(archs, draw, passes="backward").tolist() == [[0.5]]
    # The first round ends in 0.75; op: 0.375 + 0.5 · ReLU(3 − 0.75) = 1.5; input again: 0.75
    assert flow_surrogate(archs, draw, rounds=2).tolist() == [[0.75]]


def test_very_many_architectures(monkeypatch):
    monkeypatch.setattr("archflow.flow._AT_ONCE", 7)
    for variant in (("forward", 1), ("backward", 1), ("both", 2)):
        parts = torch.cat([flow_surrogate(ARCHS[[index]], DRAW, 0.5, *variant) for index in range(len(ARCHS))])
        torch.testing.assert_close(flow_surrogate(ARCHS, DRAW, 0.5, *variant), parts)


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ({"passes": "sideways"}, "unknown passes 'sideways'; known: both, forward, backward"),
        ({"rounds": 0}, "rounds must be 1, or above 1 with both passes, not 0 with passes 'both'"),
        ({"passes": "forward", "rounds": 2}, "not 2 with passes 'forward'"),
        ({"passes": "backward", "rounds": 3}, "not 3 with passes 'backward'"),
        ({"draw": []}, "FGP needs at least one draw"),
        ({"draw": [DRAW, FlowDraw.sample(5)]}, "the draw has 5 operations, the architectures' vocabulary 7"),
    ],
    ids=["passes", "no round", "forward rounds", "backward rounds", "no draw", "another space"],
)
def test_settings_that_make_no_sense(wrong, reason):
    with pytest.raises(ValueError, match=reason):
        run(new(), FGP(**{"draw": DRAW, **wrong}))
    if "draw" not in wrong:
        with pytest.raises(ValueError, match=reason):
            flow_surrogate(ARCHS, DRAW, **wrong)


@pytest.mark.parametrize("standardise", [True, False])
def test_surrogates_of_several_draws_stand_side_by_side(standardise):
    draws = [DRAW, FlowDraw.sample(7, k=3, seed=1), FlowDraw.sample(7, k=2, std=1.0, seed=2)]
    objective = FGP(draws, standardise=standardise).build(new(), ARCHS)
    each = [FGP(draw, standardise=standardise).build(new(), ARCHS).surrogate for draw in draws]
    torch.testing.assert_close(objective.surrogate, torch.cat(each, 1))
    described = FGP(draws).describe()
    assert (described["k"], described["draws"]) == (12, 3)


def test_a_list_of_one_draw_is_that_draw():
    run(one := new(), FGP(DRAW, PROXY))
    run(several := new(), FGP([DRAW], PROXY))
    assert_equal(several, weights_of(one))


VARIANTS = [
    {"passes": "forward"},
    {"passes": "backward"},
    {"rounds": 2},
    {"draw": [DRAW, FlowDraw.sample(7, seed=1)]},
    {"draw": [DRAW, FlowDraw.sample(7, seed=1)], "rounds": 2, "alpha": 0.3},
]


@pytest.mark.parametrize("variant", VARIANTS, ids=range(len(VARIANTS)))
def test_it_learns_another_target(variant):
    task = FGP(**{"draw": DRAW, **variant})
    objective = task.build(new(), ARCHS)
    plain = FGP(DRAW).build(new(), ARCHS).surrogate
    assert objective.surrogate.shape != plain.shape or not torch.allclose(objective.surrogate, plain, atol=1e-3)
    assert_learns(task, share=0.8)


def test_it_resumes(tmp_path):
    assert_resumes(FGP([DRAW, FlowDraw.sample(7, seed=1)], PROXY, rounds=2), tmp_path)


def test_a_checkpoint_of_other_settings(tmp_path):
    others = {
        "passes was 'both', is 'forward'": FGP(DRAW, passes="forward"),
        "rounds was 1, is 2": FGP(DRAW, rounds=2),
        "draws was 1, is 2": FGP([DRAW, DRAW]),
    }
    assert_checkpoint_is_of_another_run(FGP(DRAW), others, tmp_path)
