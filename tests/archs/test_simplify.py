import numpy as np
import pytest
from hypothesis import given

import archflow
from archflow.archs.batch import ArchBatch
from archflow.archs.simplify import IDENTITY, ZERO, simplified
from tests.strategies import lists_of_graphs


def plainly(names, edges):
    """Apply the rules one at a time until none applies."""
    nodes = dict(enumerate(names))
    edges = set(edges)
    ends = {node for node in nodes if node not in {t for _, t in edges} or node not in {s for s, _ in edges}}
    sources, sinks = ({node for node in nodes if node not in {edge[side] for edge in edges}} for side in (1, 0))

    def remove(node):
        del nodes[node]
        edges.difference_update([edge for edge in edges if node in edge])

    changed = True
    while changed:
        changed = False
        for node in list(nodes):
            reads, readers = {s for s, t in edges if t == node}, {t for s, t in edges if s == node}
            if node in ends:
                continue
            name = nodes[node].rpartition("/")[2]
            if name in IDENTITY:
                remove(node)
                edges.update((read, reader) for read in reads for reader in readers)
            elif name in ZERO or not reads or not readers:
                remove(node)
            else:
                continue
            changed = True
    assert sources <= set(nodes)
    assert sinks <= set(nodes)
    number = {node: place for place, node in enumerate(sorted(nodes))}
    return [nodes[node] for node in sorted(nodes)], sorted((number[s], number[t]) for s, t in edges)


@given(lists_of_graphs())
def test_equal_to_the_rules_applied_one_at_a_time(graphs):
    renamed = {"pool": "none", "skip": "a/identity", "output": "skip_connect"}
    graphs = [([renamed.get(name, name) for name in names], edges) for names, edges in graphs]
    found = simplified(ArchBatch.from_graphs(graphs, ("input", "conv", *renamed.values())))
    for number, graph in enumerate(graphs):
        names, edges = found.graph(number)
        assert (names, sorted(edges)) == plainly(*graph)


def test_cells_of_nasbench201():
    space = archflow.space("nasbench201")
    cells = space.parse(
        [
            "|nor_conv_3x3~0|+|none~0|skip_connect~1|+|skip_connect~0|none~1|none~2|",
            "|none~0|+|none~0|none~1|+|none~0|nor_conv_3x3~1|none~2|",
            "|nor_conv_1x1~0|+|none~0|skip_connect~1|+|none~0|avg_pool_3x3~1|nor_conv_3x3~2|",
        ]
    )
    found = simplified(cells)
    assert found.graph(0) == (["input", "output"], [(0, 1)])
    assert found.graph(1) == (["input", "output"], [])
    names, edges = found.graph(2)
    assert names == ["input", "nor_conv_1x1", "avg_pool_3x3", "nor_conv_3x3", "output"]
    assert edges == [(0, 1), (1, 2), (1, 3), (2, 4), (3, 4)]


@pytest.mark.parametrize(("name", "simple"), [("nasbench101", True), ("nasbench201", False), ("darts", False)])
def test_spaces_without_such_operations_are_unchanged(name, simple):
    archs = archflow.space(name).sample(50, seed=0)
    assert (simplified(archs) == archs) == simple
    assert simplified(simplified(archs)) == simplified(archs)
    order = np.random.default_rng(0).permutation(len(archs))
    assert simplified(archs[order]) == simplified(archs)[order]
