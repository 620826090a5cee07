import math

import networkx as nx
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from archflow import ArchBatch
from archflow.pretraining.graphcl import (
    AUGMENTATIONS,
    GraphCL,
    augmented,
    nt_xent,
    other_operations,
    rewired,
    without_branches,
    without_nodes,
)
from archflow.pretraining.nodes import inner_operations
from archflow.pretraining.task import step_generator
from tests.pretraining import ARCHS, SPACE, batch_of, new, run
from tests.strategies import VOCABULARY, as_networkx, lists_of_graphs

GRAPHS = lists_of_graphs(max_size=5, max_nodes=12)
SHARES = st.sampled_from([0.0, 0.2, 0.6, 1.0])
SEEDS = st.integers(0, 2**32 - 1)
NAMES = tuple(AUGMENTATIONS)


def changed(change, archs, share, rng):
    """Augmented by one function, or by one of the named augmentations, drawn at random."""
    inner = inner_operations(archs)
    if callable(change):
        return change(archs, inner, share, rng)
    return augmented(archs, inner, NAMES if change == "all" else [change], share, rng)


def graphs_of(archs):
    return [archs.graph(index) for index in range(len(archs))]


def parts(values, archs, offsets):
    """A batch's random numbers, split by architecture."""
    return np.split(values, getattr(archs, offsets)[1:-1])


def inner(name):
    return name not in ("input", "output")


def ends(graph):
    """The number of nodes without predecessors, and of nodes without successors."""
    return tuple(sum(degree == 0 for _, degree in degrees) for degrees in (graph.in_degree, graph.out_degree))


def inputs(graph):
    """The number of nodes without predecessors whose operation is not a choice."""
    return sum(degree == 0 and not inner(graph.nodes[node]["operation"]) for node, degree in graph.in_degree)


def renumbered(graph, kept):
    """The kept nodes, renumbered in order, as ArchBatch.graph gives them."""
    number = {node: place for place, node in enumerate(kept)}
    edges = sorted((number[target], number[source]) for source, target in graph.edges)
    return [graph.nodes[node]["operation"] for node in kept], [(source, target) for target, source in edges]


# Every augmentation


@settings(max_examples=60)
@given(GRAPHS, st.sampled_from([*NAMES, "all"]), SHARES, SEEDS)
def test_the_result_is_an_architecture(graphs, name, share, seed):
    archs = batch_of(graphs)
    found = changed(name, archs, share, np.random.default_rng(seed))
    assert len(found) == len(archs)
    assert ArchBatch(found.operations, found.node_offsets, found.edges, found.edge_offsets, VOCABULARY) == found
    assert changed(name, archs, share, np.random.default_rng(seed)) == found
    assert batch_of(graphs) == archs
    for before, after in zip(graphs, graphs_of(found), strict=True):
        old, new_ = as_networkx(before), as_networkx(after)
        assert nx.is_directed_acyclic_graph(new_)
        assert inputs(new_) >= inputs(old)
        assert len(after[0]) <= len(before[0])
        if name != "branches" and name != "all":
            assert after[0].count("input") == before[0].count("input")
            assert after[0].count("output") == before[0].count("output")
            assert ends(new_) == ends(old)


@settings(max_examples=20)
@given(st.sampled_from([*NAMES, "all"]), SHARES, SEEDS)
def test_every_node_of_a_cell_stays_between_its_input_and_its_output(name, share, seed):
    archs = SPACE.sample(20, seed=seed % 100)
    found = changed(name, archs, share, np.random.default_rng(seed))
    for names, edges in graphs_of(found):
        assert names[0] == "input"
        assert names[-1] == "output"
        graph = as_networkx((names, edges))
        assert nx.ancestors(graph, len(names) - 1) == set(range(len(names) - 1))
        assert nx.descendants(graph, 0) == set(range(1, len(names)))


@pytest.mark.parametrize("name", [*NAMES, "all"])
def test_a_share_of_0_changes_nothing(name):
    assert changed(name, ARCHS, 0.0, np.random.default_rng(0)) == ARCHS


def test_each_architecture_gets_one_of_the_augmentations():
    archs = SPACE.sample(400, seed=3)
    found = graphs_of(augmented(archs, inner_operations(archs), ("edges", "operations"), 0.5, np.random.default_rng(0)))
    other_edges = np.array([edges != archs.graph(index)[1] for index, (_, edges) in enumerate(found)])
    other_names = np.array([names != archs.graph(index)[0] for index, (names, _) in enumerate(found)])
    assert not (other_edges & other_names).any()
    assert 100 < other_edges.sum() < 250
    assert 150 < other_names.sum() < 250


@pytest.mark.parametrize("name", NAMES)
def test_most_cells_of_nasbench201_do_change(name):
    archs = SPACE.sample(400, seed=3)
    found = graphs_of(changed(name, archs, 0.2, np.random.default_rng(0)))
    assert np.mean([graph != archs.graph(index) for index, graph in enumerate(found)]) > 0.5


# Each augmentation, compared with a plain version that gets the same random numbers


@settings(max_examples=40)
@given(GRAPHS, SHARES, SEEDS)
def test_edges_are_added_and_dropped(graphs, share, seed):
    archs = batch_of(graphs)
    found = graphs_of(changed(rewired, archs, share, np.random.default_rng(seed)))
    rng = np.random.default_rng(seed)
    drawn = [len(own[own < share]) for own in parts(rng.random(archs.edges.shape[1]), archs, "edge_offsets")]
    sizes = [len(names) for names, _ in graphs]
    ends_drawn = rng.integers(np.repeat(sizes, drawn), size=(2, sum(drawn)))
    longer = []
    for index, pairs in enumerate(np.split(ends_drawn, np.cumsum(drawn)[:-1], axis=1)):
        names, edges = archs.graph(index)
        generation = {
            node: number
            for number, nodes in enumerate(nx.topological_generations(as_networkx((names, edges))))
            for node in nodes
        }
        everything = set(edges)
        for u, v in pairs.T.tolist():
            source, target = sorted((u, v), key=generation.get)
            if generation[source] < generation[target] and any(a == source for a, _ in edges):
                everything.add((source, target))
        longer.append(sorted(everything))
    numbers = np.split(rng.random(sum(map(len, longer))), np.cumsum([len(edges) for edges in longer])[:-1])
    for index, (edges, own) in enumerate(zip(longer, numbers, strict=True)):
        number = dict(zip(edges, own, strict=True))
        kept = []
        for source, target in edges:
            out = max(number[edge] for edge in edges if edge[0] == source)
            into = max(number[edge] for edge in edges if edge[1] == target)
            if number[source, target] >= share or number[source, target] in (out, into):
                kept.append((source, target))
        assert found[index] == (graphs[index][0], sorted(kept, key=lambda edge: edge[::-1]))


@settings(max_examples=40)
@given(GRAPHS, SHARES, SEEDS)
def test_operations_are_replaced(graphs, share, seed):
    archs = batch_of(graphs)
    found = graphs_of(changed(other_operations, archs, share, np.random.default_rng(seed)))
    numbers = np.random.default_rng(seed).random(len(archs.operations))
    for index, own in enumerate(parts(numbers, archs, "node_offsets")):
        names, edges = archs.graph(index)
        assert found[index][1] == edges
        for before, after, number in zip(names, found[index][0], own, strict=True):
            assert (after != before) == (inner(before) and number < share)
            assert inner(after) == inner(before)


def test_all_other_operations_are_equally_likely():
    archs = SPACE.decode(np.zeros((2_000, 6), np.int64))
    found = changed(other_operations, archs, 1.0, np.random.default_rng(0)).operations.reshape(-1, 8)[:, 1:7]
    assert np.bincount(found.ravel(), minlength=7)[[0, 1, 6]].max() == 0
    assert np.bincount(found.ravel())[2:] / found.size == pytest.approx([0.25] * 4, abs=0.02)


def test_a_single_operation_is_kept():
    archs = ArchBatch.from_graphs([(["input", "conv"], [(0, 1)])], ["input", "conv"])
    assert changed(other_operations, archs, 1.0, np.random.default_rng(0)) == archs


@settings(max_examples=40)
@given(GRAPHS, SHARES, SEEDS)
def test_nodes_are_dropped(graphs, share, seed):
    archs = batch_of(graphs)
    found = graphs_of(changed(without_nodes, archs, share, np.random.default_rng(seed)))
    numbers = np.random.default_rng(seed).random(len(archs.operations))
    for index, own in enumerate(parts(numbers, archs, "node_offsets")):
        names, edges = archs.graph(index)
        graph = as_networkx((names, edges))
        may_go = [
            node
            for node, name in enumerate(names)
            if inner(name) and graph.in_degree(node) and graph.out_degree(node) and own[node] < share
        ]
        gone = [
            node
            for node in may_go
            if not any(own[near] < own[node] for near in nx.all_neighbors(graph, node) if near in may_go)
        ]
        shorter = graph.copy()
        for node in gone:
            shorter.add_edges_from((a, b) for a in shorter.predecessors(node) for b in shorter.successors(node))
            shorter.remove_node(node)
        kept = sorted(shorter)
        assert found[index] == renumbered(shorter, kept)
        paths, shorter_paths = nx.transitive_closure(graph), nx.transitive_closure(shorter)
        assert set(shorter_paths.edges) == set(paths.subgraph(kept).edges)


@settings(max_examples=40)
@given(GRAPHS, SHARES, SEEDS)
def test_branches_are_dropped(graphs, share, seed):
    archs = batch_of(graphs)
    found = graphs_of(changed(without_branches, archs, share, np.random.default_rng(seed)))
    numbers = np.random.default_rng(seed).random(len(archs.operations))
    for index, own in enumerate(parts(numbers, archs, "node_offsets")):
        names, edges = archs.graph(index)
        graph = as_networkx((names, edges))
        starts = [node for node in graph if not graph.in_degree(node)]
        ends_ = [node for node in graph if not graph.out_degree(node)]
        left = graph.subgraph(node for node, name in enumerate(names) if not inner(name) or own[node] >= share)
        on_a_way = {
            node
            for node in left
            if any(nx.has_path(left, start, node) for start in starts if start in left)
            and any(nx.has_path(left, node, end) for end in ends_ if end in left)
        }
        if not on_a_way.issuperset(ends_):
            assert found[index] == (names, edges)
            continue
        kept = sorted(on_a_way | {node for node in starts if not inner(names[node])})
        assert found[index] == renumbered(graph.subgraph(kept), kept)


# The loss


def plain_nt_xent(first, second, temperature):
    views = [*first.tolist(), *second.tolist()]

    def alike(a, b):
        return sum(x * y for x, y in zip(a, b, strict=True)) / (math.hypot(*a) * math.hypot(*b))

    losses = []
    for i, view in enumerate(views):
        other = (i + len(first)) % len(views)
        among = sum(math.exp(alike(view, views[j]) / temperature) for j in range(len(views)) if j != i)
        losses.append(-math.log(math.exp(alike(view, views[other]) / temperature) / among))
    return sum(losses) / len(losses)


@pytest.mark.parametrize("count", [1, 2, 7])
@pytest.mark.parametrize("temperature", [0.2, 1.0])
def test_the_loss_is_that_of_all_views(count, temperature):
    first, second = torch.randn(2, count, 5, generator=torch.Generator().manual_seed(count), dtype=torch.float64)
    found = nt_xent(first, second, temperature)
    assert float(found) == pytest.approx(plain_nt_xent(first, second, temperature), rel=1e-9, abs=1e-12)
    assert float(nt_xent(3 * first, second / 7, temperature)) == pytest.approx(float(found), rel=1e-9, abs=1e-12)


def test_the_objective_contrasts_two_views():
    model = new()
    objective = GraphCL(temperature=0.5, projection_width=6).build(model, ARCHS)
    chosen = np.array([4, 0, 9, 33, 12])
    with torch.no_grad():
        torch.manual_seed(3)
        found = objective(chosen)
        torch.manual_seed(3)
        rng = step_generator()
        first, second = (
            objective.head(model(augmented(ARCHS[chosen], objective.inner, NAMES, 0.2, rng))) for _ in range(2)
        )
        again = objective(chosen)
    assert found.keys() == {"contrast"}
    assert float(found["contrast"]) == pytest.approx(plain_nt_xent(first, second, 0.5), rel=1e-4)
    assert float(again["contrast"]) != float(found["contrast"])


@pytest.mark.parametrize("name", NAMES)
def test_a_single_augmentation(name):
    outcome = run(new(), GraphCL([name]), epochs=1)
    assert np.isfinite(outcome.losses["contrast"]).all()
