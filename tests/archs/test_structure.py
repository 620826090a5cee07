"""Properties of a batch's graphs: generations, neighbours, the sweep, equal neighbourhoods."""

import networkx as nx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from archflow.archs.batch import ArchBatch
from archflow.benchmarks.nasbench201.space import NASBench201
from tests.archs.test_ragged import plain
from tests.references import neighbourhoods
from tests.strategies import VOCABULARY, as_networkx, lists_of_graphs, random_graphs

directions = pytest.mark.parametrize("directed", [False, True])


def batch_of(graphs):
    return ArchBatch.from_graphs(graphs, VOCABULARY)


def ordered(lists):
    return [sorted(each) for each in lists]


@given(lists_of_graphs())
def test_generations_and_neighbours_are_those_of_networkx(graphs):
    batch = batch_of(graphs)
    whole = nx.disjoint_union_all([as_networkx(graph) for graph in graphs])
    generation = {node: step for step, nodes in enumerate(nx.topological_generations(whole)) for node in nodes}
    assert batch.generations.tolist() == [generation[node] for node in range(len(whole))]
    assert ordered(plain(batch.predecessors)) == [sorted(whole.predecessors(node)) for node in range(len(whole))]
    assert ordered(plain(batch.successors)) == [sorted(whole.successors(node)) for node in range(len(whole))]
    assert ordered(plain(batch.neighbours)) == [sorted(nx.all_neighbors(whole, node)) for node in range(len(whole))]
    assert sorted(map(tuple, batch.edge_index.T.tolist())) == sorted(whole.edges)


@given(lists_of_graphs())
def test_the_sweep_runs_generation_by_generation(graphs):
    batch = batch_of(graphs)
    sweep, predecessors, successors = batch.sweep, plain(batch.predecessors), plain(batch.successors)
    assert sorted(sweep.nodes) == list(range(len(batch.operations)))
    assert sweep.row[sweep.nodes].tolist() == list(range(len(batch.operations)))
    assert len(sweep.generations) == batch.generations.max() + 1
    stop = 0
    for number, (rows, inner) in enumerate(sweep.generations):
        assert rows.start == inner.start == stop < rows.stop
        stop = rows.stop
        assert (batch.generations[sweep.nodes[rows]] == number).all()
        assert set(sweep.nodes[inner]) == {node for node in sweep.nodes[rows] if successors[node]}
    assert stop == len(sweep.nodes)
    for lists, of_nodes in ((sweep.predecessors, predecessors), (sweep.successors, successors)):
        assert [sorted(sweep.nodes[rows]) for rows in plain(lists)] == [sorted(of_nodes[node]) for node in sweep.nodes]
    for lists, others in ((sweep.sources, predecessors), (sweep.sinks, successors)):
        for arch, rows in enumerate(plain(lists)):
            nodes = range(*batch.node_offsets[arch : arch + 2])
            assert sorted(sweep.nodes[rows]) == [node for node in nodes if not others[node]]


# Equal neighbourhoods


def assert_same_partitions(found, expected):
    assert len(found) == len(expected)
    for ours, theirs in zip(found, expected, strict=True):
        pairs = set(zip(ours.tolist(), theirs, strict=True))
        assert len(pairs) == len(set(theirs)) == len(np.unique(ours))


@directions
@given(graphs=lists_of_graphs(max_size=8, max_nodes=12), hops=st.integers(0, 4))
def test_nodes_share_a_class_if_their_neighbourhoods_are_equal(directed, graphs, hops):
    found = batch_of(graphs).neighbourhoods(hops, directed)
    assert_same_partitions(found, neighbourhoods(graphs, hops, directed))


@directions
def test_neighbourhoods_of_large_graphs_and_in_any_order_of_asking(directed):
    graphs = random_graphs(60, seed=5)
    batch, expected = batch_of(graphs), neighbourhoods(graphs, 3, directed)
    for hops in (1, 0, 3, 2):
        assert_same_partitions(batch.neighbourhoods(hops, directed), expected[: hops + 1])


def test_nasbench201_has_few_neighbourhoods():
    cells = NASBench201().enumerate()
    assert [len(np.unique(classes)) for classes in cells.neighbourhoods(3)] == [7, 350, 45_500, 125_000]


@directions
@pytest.mark.parametrize("asked_first", [True, False])
def test_neighbourhoods_survive_slicing(directed, asked_first):
    graphs, chosen = random_graphs(30, seed=1, max_nodes=15), [3, 17, 3, 29, 0]
    batch = batch_of(graphs)
    if asked_first:
        whole = batch.neighbourhoods(2, directed)
        nodes = np.concatenate([np.arange(*batch.node_offsets[arch : arch + 2]) for arch in chosen])
        for of_slice, of_batch in zip(batch[chosen].neighbourhoods(2, directed), whole, strict=True):
            assert np.array_equal(of_slice, of_batch[nodes])
    expected = neighbourhoods([graphs[arch] for arch in chosen], 3, directed)
    for hops in (2, 3):
        assert_same_partitions(batch[chosen].neighbourhoods(hops, directed), expected[: hops + 1])


def test_neighbourhoods_of_a_concatenation():
    graphs = random_graphs(30, seed=1, max_nodes=15)
    parts = [batch_of(graphs[:10]), batch_of(graphs[5:])]
    for part in parts:
        part.neighbourhoods(2)
    found = ArchBatch.concatenate(parts).neighbourhoods(2)
    assert_same_partitions(found, neighbourhoods(graphs[:10] + graphs[5:], 2))
