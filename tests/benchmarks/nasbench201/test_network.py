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
    each,
    normalised,
    parameters,
    pooled,
    rectified,
    scattered,
)
from tests.benchmarks.transnas101.test_network import live

SPACE = NASBench201()
EDGES = [(0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3)]
NONE, SKIP, CONV_1X1, CONV_3X3, POOL = range(5)
cells = st.tuples(*[st.integers(0, 4)] * 6)


def of(*several) -> ArchBatch:
    return SPACE.decode(np.array(several))


def operations(archs: ArchBatch) -> list[list[int]]:
    return SPACE.encode(archs).tolist()


# Sizes and shapes


def test_parameters_are_those_in_closed_form():
    archs = SPACE.enumerate()[np.arange(0, 15_625, 101)]  # all: minutes
    built = [parameters(network_of("nasbench201", arch)) for arch in each(archs)]
    assert built == SPACE.parameters(archs).tolist()


def test_each_operation_on_each_edge_has_the_parameters_of_the_closed_form():
    archs = of(*([0] * edge + [number] + [0] * (5 - edge) for edge in range(6) for number in range(5)))
    with torch.device("meta"):
        built = [parameters(nasbench201.build(arch, 16, 5, 10)) for arch in each(archs)]
    assert built == SPACE.parameters(archs).tolist()


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


@settings(max_examples=60, deadline=None)
@given(cells)
def test_gradients_reach_the_live_operations_and_no_others(cell):
    torch.manual_seed(0)
    network = nasbench201.build(of(cell), 4, 2, 5)
    network(torch.randn(4, 3, 16, 16)).pow(2).sum().backward()

    def reached(module):
        return [weights.grad is not None and bool(weights.grad.any()) for weights in module.parameters()]

    assert all(reached(network.classifier)) or not live(cell)
    assert {hit for module in network.body[:2] for hit in reached(module)} == {bool(live(cell))}
    for module in network.body:
        if isinstance(module, Cell):
            for name, operation in module.edges.items():
                if (int(name[0]), int(name[1])) in live(cell):
                    assert all(reached(operation))
                else:  # what reads only zeros still has a shift that may count, but its weights do not
                    weights = [layer.weight.grad for layer in operation.modules() if isinstance(layer, nn.Conv2d)]
                    assert all(grad is None or not grad.any() for grad in weights)


def test_a_cut_cell_makes_the_classifiers_bias():
    for cell in ([0] * 6, [3, 0, 0, 0, 0, 2], [3, 0, 3, 0, 0, 0]):
        network, images = nasbench201.build(of(cell), 4, 2, 6), torch.randn(2, 3, 16, 16)
        assert network.features(images).count_nonzero() == 0
        assert torch.equal(network(images), network.classifier.bias.expand(2, 6))


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
    archs = SPACE.sample(400, seed=4)
    others = nasbench201.representatives(archs)
    pairs = [pair for pair in zip(operations(archs), operations(others), strict=True) if pair[0] != pair[1]][:60]
    assert len(pairs) == 60
    for cell, other in pairs:
        network, same = transplanted(cell, other, width=4, depth=1, classes=3)
        images = torch.randn(2, 3, 8, 8).double()
        assert torch.allclose(network(images), same(images), rtol=1e-9, atol=1e-9)
        assert np.ptp(network(images).detach().numpy(), axis=0).any() == bool(live(cell))


def transplanted(cell, other, **sizes: int) -> tuple[Network, Network]:
    """The networks of two cells that are alike, in float64, with the same weights where operations correspond."""
    torch.manual_seed(1)
    network, same = (nasbench201.build(of(each), **sizes).double() for each in (cell, other))
    found = matcher(live_graph(other), live_graph(cell))
    assert found.is_isomorphic()
    weights = network.state_dict()
    for name in (loaded := same.state_dict()):
        parts = name.split(".")
        if "edges" in parts:
            edge = (int(parts[3][0]), int(parts[3][1]))
            if edge not in found.mapping:
                continue
            parts[3] = "{}{}".format(*found.mapping[edge])
        loaded[name] = weights[".".join(parts)]
    same.load_state_dict(loaded)
    return network, same
