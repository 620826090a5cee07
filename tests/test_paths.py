import math
from itertools import chain, combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from archflow.archs.batch import ArchBatch
from archflow.benchmarks.registry import space
from archflow.paths import path_features, weisfeiler_leman_features
from tests.strategies import VOCABULARY, lists_of_graphs, random_graphs, renumber

SMALL = lists_of_graphs(max_size=4, max_nodes=9)
INNER = ("conv", "pool", "skip")


def batch_of(graphs, vocabulary=VOCABULARY):
    return ArchBatch.from_graphs(graphs, vocabulary)


def all_paths(names, edges):
    """Every path from a node without predecessors to one without successors, as lists of nodes."""
    readers = {node: [target for source, target in edges if source == node] for node in range(len(names))}

    def onward(path):
        return [path] if not readers[path[-1]] else [p for node in readers[path[-1]] for p in onward([*path, node])]

    read = {target for _, target in edges}
    return [path for node in range(len(names)) if node not in read for path in onward([node])]


def reference(graph, vocabulary=VOCABULARY, inner=INNER):
    """The features by their definitions, from the list of all paths."""
    names, edges = graph
    paths = all_paths(names, edges)
    sources, sinks = {path[0] for path in paths}, {path[-1] for path in paths}
    words = [[names[node] for node in path] for path in paths]
    most = max(sum(name in inner for name in word) for word in words)
    features = {}
    for chosen in chain.from_iterable(combinations(inner, size) for size in range(1, len(inner) + 1)):
        called = "all" if chosen == inner else "+".join(chosen)
        inside = [node for node, name in enumerate(names) if name in chosen]
        whole = [path for path in paths if all(names[node] in chosen or names[node] not in inner for node in path)]
        allowed = [[names[node] for node in path] for path in whole]
        features |= {
            f"shortest path of {called}": min((sum(n in chosen for n in w) for w in allowed), default=most + 1),
            f"most on a path of {called}": max(sum(name in chosen for name in word) for word in words),
            f"paths of {called}": math.log1p(len(allowed)),
            f"from sources of {called}": sum(source in sources and target in inside for source, target in edges),
            f"into sinks of {called}": sum(source in inside and target in sinks for source, target in edges),
            **{
                f"{name} on paths of {called}": len({n for path in whole for n in path if names[n] == name})
                for name in chosen
            },
        }
    depths = [max(path.index(node) for path in paths if node in path) for node in range(len(names))]
    return features | {
        **{f"count of {name}": names.count(name) for name in vocabulary},
        **{"nodes": len(names), "edges": len(edges), "depth": max(depths)},
        "width": max(depths.count(depth) for depth in depths),
        "skips": sum(source in sources and target in sinks for source, target in edges),
    }


def assert_equal_to_reference(batch, **settings):
    found = path_features(batch)
    expected = [reference(batch.graph(index), **settings) for index in range(len(batch))]
    assert set(found.names) == set(expected[0])
    assert len(set(found.names)) == len(found.names) == found.values.shape[1]
    np.testing.assert_array_equal(
        found.values, np.array([[row[name] for name in found.names] for row in expected], np.float32)
    )


@settings(max_examples=100)
@given(SMALL)
def test_equal_to_enumerating_all_paths(graphs):
    assert_equal_to_reference(batch_of(graphs))


@pytest.mark.parametrize("name", ["nasbench201", "nasbench101"])
def test_equal_to_enumerating_all_paths_in_real_spaces(name):
    archs = space(name).sample(60, seed=0)
    assert_equal_to_reference(archs, vocabulary=archs.vocabulary, inner=archs.vocabulary[1:-1])


def test_by_hand():
    graph = (["input", "conv", "pool", "conv", "output"], [(0, 1), (1, 2), (2, 4), (0, 3), (3, 4), (0, 4)])
    found = path_features(batch_of([graph]))
    row = dict(zip(found.names, found.values[0].tolist(), strict=True))
    assert row["shortest path of conv"] == 0  # the edge from input to output
    assert row["most on a path of conv+pool"] == row["most on a path of all"] == 2
    assert row["paths of conv"] == pytest.approx(math.log(3))
    assert row["from sources of conv"] == 2
    assert row["into sinks of conv+pool"] == 2
    assert (row["depth"], row["width"], row["skips"], row["count of conv"]) == (3, 2, 1, 2)


@settings(max_examples=50)
@given(lists_of_graphs(), st.randoms(use_true_random=False))
def test_independent_of_numbering_and_batch(graphs, random):
    rng = np.random.default_rng(random.randrange(2**32))
    whole = path_features(batch_of(graphs)).values
    np.testing.assert_array_equal(path_features(batch_of([renumber(graph, rng) for graph in graphs])).values, whole)
    for index, graph in enumerate(graphs):
        np.testing.assert_array_equal(path_features(batch_of([graph])).values[0], whole[index])


def test_batches_that_are_swept_in_parts(monkeypatch):
    archs = batch_of(random_graphs(50, seed=3))
    whole = path_features(archs).values
    monkeypatch.setattr("archflow.paths._CHUNK", 1)
    np.testing.assert_array_equal(path_features(archs).values, whole)
    np.testing.assert_array_equal(path_features(archs[::-2]).values, whole[::-2])


def test_very_many_paths():
    """A complete DAG of 200 nodes has 2^198 paths; counts saturate at 2^53 and nothing overflows."""
    graph = (["input"] + ["conv"] * 198 + ["output"], list(combinations(range(200), 2)))
    found = path_features(batch_of([graph, renumber(graph, np.random.default_rng(0))]))
    assert found.values[0, found.names.index("paths of conv")] == pytest.approx(53 * math.log(2))
    np.testing.assert_array_equal(found.values[0], found.values[1])


def test_a_vocabulary_without_outputs_and_one_without_operations():
    found = path_features(ArchBatch.from_graphs([(["input", "conv"], [(0, 1)])], ["input", "conv"]))
    assert found.values[0, found.names.index("shortest path of all")] == 1
    found = path_features(ArchBatch.from_graphs([(["input", "input"], [(0, 1)])], ["input"]))
    assert found.values[0, found.names.index("paths of all")] == pytest.approx(math.log(2))


@pytest.mark.parametrize(("name", "columns"), [("nasbench201", 247), ("nasbench101", 57), ("darts", 128)])
def test_there_are_at_most_some_hundred_columns(name, columns):
    archs = space(name).sample(3, seed=0)
    assert path_features(archs).values.shape == (3, columns)


# Weisfeiler and Leman


@settings(max_examples=50)
@given(lists_of_graphs(max_nodes=12), st.integers(0, 2))
def test_classes_of_neighbourhoods_are_counted(graphs, hops):
    def signature(names, edges, node, depth):
        around = [a + b - node for a, b in edges if node in (a, b)]
        deeper = tuple(sorted(signature(names, edges, other, depth - 1) for other in around)) if depth else ()
        return names[node], deeper

    found = weisfeiler_leman_features(batch_of(graphs), hops).toarray()
    seen = [
        [(depth, signature(*graph, node, depth)) for depth in range(hops + 1) for node in range(len(graph[0]))]
        for graph in graphs
    ]
    classes = sorted(set(chain.from_iterable(seen)))
    expected = np.array([[row.count(name) for name in classes] for row in seen])
    found = found[:, found.any(axis=0)]
    assert sorted(map(tuple, found.T.tolist())) == sorted(map(tuple, expected.T.tolist()))


def test_hops_below_zero():
    with pytest.raises(ValueError, match="hops must be 0 or more, not -1"):
        weisfeiler_leman_features(batch_of([(["input"], [])]), -1)
