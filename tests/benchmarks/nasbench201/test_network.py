import collections
import math

import networkx as nx
import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import nn

from archflow.archs.batch import ArchBatch
from archflow.benchmarks.cell import Cell
from archflow.benchmarks.nasbench201 import network as nasbench201
from archflow.benchmarks.nasbench201.space import NASBench201
from archflow.benchmarks.network import Network
from archflow.benchmarks.networks import network as network_of
from tests.benchmarks.darts.test_network import (
    arrays,
    convolved,
    normalised,
    pooled,
    rectified,
    scattered,
)
from tests.benchmarks.test_four_nodes import EDGES, assert_representatives_compute_the_same, live

SPACE = NASBench201()
NONE, SKIP, CONV_1X1, CONV_3X3, POOL = range(5)
cells = st.tuples(*[st.integers(0, 4)] * 6)


def of(*several) -> ArchBatch:
    return SPACE.decode(np.array(several))


def operations(archs: ArchBatch) -> list[list[int]]:
    return SPACE.encode(archs).tolist()


# Sizes and shapes


@pytest.mark.parametrize(("width", "depth", "classes"), [(16, 5, 10), (1, 1, 1), (3, 2, 120), (5, 3, 7)])
def test_shapes(width, depth, classes):
    for cell in ([3, 2, 1, 4, 0, 3], [0] * 6):
        with torch.device("meta"):
            network = network_of("nasbench201", of(cell), width=width, depth=depth, classes=classes)
        assert isinstance(network, Network)
        assert sum(isinstance(layer, Cell) for layer in network.modules()) == 3 * depth
        for size in ((32, 32), (4, 4), (12, 20), (31, 33), (9, 10), (1, 6)):
            images = torch.empty(2, 3, *size, device="meta")
            assert network.features(images).shape == (2, 4 * width, *(math.ceil(side / 4) for side in size))
        assert network(images).shape == (2, classes)


# What it computes


def averaged(maps):
    """Over 2 × 2 pixels, and at the end of an odd size over those that there are."""
    height, width = maps.shape[2:]
    rows = [
        [maps[:, :, top : top + 2, left : left + 2].mean((2, 3)) for left in range(0, width, 2)]
        for top in range(0, height, 2)
    ]
    return np.array(rows).transpose(2, 3, 0, 1)


def reference(cell, depth, weights, images):
    """The logits, in NumPy. ``weights`` are taken in the order in which data flows, in a cell edge by edge."""
    weights = iter(weights)

    def norm(maps):
        return normalised(maps, next(weights), next(weights))

    def conv(maps, stride=1):
        return norm(convolved(rectified(maps), next(weights), stride))

    def operation(number, maps):
        match number:
            case 1:
                return maps
            case 4:
                return pooled(maps, 1, np.mean)
            case _:
                return conv(maps)

    maps = norm(convolved(images, next(weights)))
    for stage in range(3):
        if stage:
            main = conv(conv(maps, stride=2))
            maps = main + convolved(averaged(maps), next(weights))
        for _ in range(depth):
            nodes = [maps, *(np.zeros_like(maps) for _ in range(3))]
            for (source, target), number in zip(EDGES, cell, strict=True):
                if number:
                    nodes[target] += operation(number, nodes[source])
            maps = nodes[3]
    logits = rectified(norm(maps)).mean((2, 3)) @ next(weights).T + next(weights)
    assert next(weights, None) is None
    return logits


@settings(max_examples=40, deadline=None)
@given(cells, st.integers(0, 2**32), st.integers(1, 3), st.integers(4, 12), st.integers(4, 12))
@example([0] * 6, 0, 2, 8, 8)
@example([3] * 6, 0, 1, 7, 9)
@example([3, 2, 4, 2, 3, 1], 0, 2, 8, 12)
def test_it_computes_what_the_space_defines(cell, seed, depth, height, width):
    torch.manual_seed(seed)
    network, images = scattered(nasbench201.build(of(cell), 3, depth, 3)), torch.randn(3, 3, height, width).double()
    expected = reference(cell, depth, arrays(network).values(), images.numpy())
    assert np.allclose(network(images).detach().numpy(), expected, rtol=1e-6, atol=1e-6)


def test_initial_weights_are_the_benchmarks():
    torch.manual_seed(0)
    network = network_of("nasbench201", of([3, 2, 3, 2, 3, 2]))
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):  # uniform, of variance 1 / (3 × inputs of an output)
            bound = 1 / math.sqrt(layer.weight[0].numel())
            assert layer.weight.abs().max() <= bound
            tolerance = 5 / math.sqrt(layer.weight.numel())
            assert layer.weight.std().item() == pytest.approx(bound / math.sqrt(3), rel=tolerance)
        elif isinstance(layer, nn.BatchNorm2d):
            assert (layer.weight == 1).all()
            assert (layer.bias == 0).all()

    def initial(seed):
        torch.manual_seed(seed)
        return torch.cat([weights.flatten() for weights in nasbench201.build(of([3] * 6), 2, 1, 4).parameters()])

    assert torch.equal(initial(3), initial(3))
    assert not torch.equal(initial(3), initial(4))


def test_another_number_of_architectures_or_an_impossible_size_is_an_error():
    with pytest.raises(ValueError, match="a network is that of one architecture, not of 2"):
        network_of("nasbench201", SPACE.sample(2))
    for wrong in ({"width": 0}, {"depth": 0}, {"classes": -1}):
        with pytest.raises(ValueError, match="width, depth and classes must be at least 1, not"):
            network_of("nasbench201", SPACE.sample(1), **wrong)
    with pytest.raises(ValueError, match=r"builds no networks of the space .nasbench999.; it does of: .*nasbench201"):
        network_of("nasbench999", SPACE.sample(1))


# Representatives


def live_graph(cell) -> nx.MultiDiGraph:
    """What a cell computes: its live operations, each a node; skips are contracted, one after the other."""
    graph = nx.MultiDiGraph()
    graph.add_node("input", operation="input")
    graph.add_node("output", operation="output")
    number_of = {edge: number for edge, number in zip(EDGES, cell, strict=True) if edge in live(cell)}
    for edge, number in number_of.items():
        graph.add_node(edge, operation=number)
    for edge in number_of:
        graph.add_edges_from([("input", edge)] if edge[0] == 0 else [])
        graph.add_edges_from([(edge, "output")] if edge[1] == 3 else [])
        graph.add_edges_from((edge, other) for other in number_of if other[0] == edge[1])
    for wire in [edge for edge, number in number_of.items() if number == SKIP]:
        sources = [source for source, _, _ in graph.in_edges(wire, keys=True)]
        targets = [target for _, target, _ in graph.out_edges(wire, keys=True)]
        graph.remove_node(wire)
        graph.add_edges_from((source, target) for source in sources for target in targets)
    return graph


def matcher(one: nx.MultiDiGraph, other: nx.MultiDiGraph) -> nx.algorithms.isomorphism.MultiDiGraphMatcher:
    """Finds how one graph is the other with its nodes named anew; it counts parallel edges."""
    return nx.algorithms.isomorphism.MultiDiGraphMatcher(one, other, node_match=lambda a, b: a == b)


def coarse(graph: nx.MultiDiGraph) -> tuple:
    """Equal for isomorphic graphs; of others only some are equal."""
    names = {node: str(name) for node, name in graph.nodes("operation")}
    sources = {node: sorted(names[source] for source, _ in graph.in_edges(node)) for node in names}
    targets = {node: sorted(names[target] for _, target in graph.out_edges(node)) for node in names}
    return tuple(sorted(f"{names[node]} {sources[node]} {targets[node]}" for node in names))


def test_representatives_are_the_first_of_all_cells_whose_live_graphs_are_isomorphic():
    first, firsts, expected = {}, collections.defaultdict(list), []  # the former saves what is decided already
    for cell in operations(SPACE.enumerate()):
        alive = live(cell)
        key = str([number if edge in alive else 0 for edge, number in zip(EDGES, cell, strict=True)])
        if key not in first:
            graph = live_graph(cell)
            known = firsts[coarse(graph)]
            found = [other for other, its in known if matcher(its, graph).is_isomorphic()]
            assert len(found) < 2
            known.extend([] if found else [(cell, graph)])
            first[key] = found[0] if found else cell
        expected.append(first[key])
    assert sum(map(len, firsts.values())) == 5_425
    assert operations(nasbench201.representatives(SPACE.enumerate())) == expected


def test_a_representative_computes_the_same_with_the_same_weights():
    def mapping(cell, other):
        found = matcher(live_graph(other), live_graph(cell))
        assert found.is_isomorphic()
        return found.mapping

    assert_representatives_compute_the_same(SPACE, 400, mapping, depth=1, size=8)
