"""What holds for the networks and the stand-ins of all cells of four nodes; which stand-ins, each space's tests say."""

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from torch import nn

import archflow
from archflow.archs.batch import ArchBatch
from archflow.benchmarks.cell import Cell
from archflow.benchmarks.four_nodes import CELL_EDGES, FourNodes
from archflow.benchmarks.four_nodes import live as live_edges
from archflow.benchmarks.networks import family
from tests.benchmarks.darts.test_network import each, parameters

EDGES = [(0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3)]
SPACES = [space for space in map(archflow.space, archflow.spaces()) if isinstance(space, FourNodes)]
every_space = pytest.mark.parametrize("space", SPACES, ids=lambda space: space.name)


def live(cell) -> set[tuple[int, int]]:
    """The edges of all ways from node 0 to node 3 that have an operation on each edge."""
    present = {edge for edge, number in zip(EDGES, cell, strict=True) if number}
    ways = [[(0, 3)], [(0, 1), (1, 3)], [(0, 2), (2, 3)], [(0, 1), (1, 2), (2, 3)]]
    return {edge for way in ways if present.issuperset(way) for edge in way}


def built(space, cell, width, depth, classes):
    return family(space.name).build(space.decode(np.array([cell])), width, depth, classes)


def test_they_are_two_spaces_with_edges_in_one_order():
    assert [space.name for space in SPACES] == ["nasbench201", "transnas101-micro"]
    assert list(CELL_EDGES) == EDGES


@every_space
def test_live_operations_are_those_on_an_uncut_path(space):
    cells = space.encode(space.enumerate())
    for cell, alive in zip(cells.tolist(), live_edges(cells).tolist(), strict=True):
        assert {edge for edge, is_live in zip(EDGES, alive, strict=True) if is_live} == live(cell)


@every_space
def test_parameters_are_those_in_closed_form(space):
    """Of each operation on each edge, and of some 150 networks; all would take minutes."""
    count = len(space.decisions[0].options)
    cells = [[0] * edge + [number] + [0] * (5 - edge) for edge in range(6) for number in range(count)]
    archs = ArchBatch.concatenate(
        [space.decode(np.array(cells)), space.enumerate()[np.arange(0, space.size, space.size // 150)]]
    )
    its = family(space.name)
    with torch.device("meta"):
        counted = [parameters(its.build(arch, its.width, its.depth, its.classes)) for arch in each(archs)]
    assert counted == space.parameters(archs).tolist()


def reached(module):
    return [weights.grad is not None and bool(weights.grad.any()) for weights in module.parameters()]


@every_space
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_gradients_reach_the_live_operations_and_no_others(space, data):
    cell = data.draw(st.tuples(*[st.integers(0, len(decision.options) - 1) for decision in space.decisions]))
    torch.manual_seed(0)
    network = built(space, cell, 4, 3, 5)
    network(torch.randn(4, 3, *[64 if space.name == "transnas101-micro" else 16] * 2)).pow(2).sum().backward()
    first = next(place for place, module in enumerate(network.body) if isinstance(module, Cell))
    assert {hit for module in network.body[:first] for hit in reached(module)} == {bool(live(cell))}
    assert all(reached(network.classifier)) or not live(cell)
    for module in network.body:
        if isinstance(module, Cell):
            for name, operation in module.edges.items():
                if (int(name[0]), int(name[1])) in live(cell):
                    assert all(reached(operation))
                else:  # what reads only zeros still has a shift that may count, but its weights do not
                    weights = [layer.weight.grad for layer in operation.modules() if isinstance(layer, nn.Conv2d)]
                    assert all(grad is None or not grad.any() for grad in weights)


@every_space
def test_a_cell_that_is_cut_makes_zeros_and_the_bias_of_the_classifier(space):
    for cell in ([0] * 6, [3, 0, 0, 0, 0, 2], [3, 3, 0, 0, 0, 0], [0, 0, 3, 0, 2, 2], [1, 0, 0, 0, 0, 1]):
        network, images = built(space, cell, 4, 2, 6), torch.randn(2, 3, 64, 64)
        features, logits = network.features(images), network(images)
        assert features.count_nonzero() == 0
        assert torch.equal(logits, network.classifier.bias.expand(2, 6))
        logits.sum().backward()
        convs = [layer.weight.grad for layer in network.body.modules() if isinstance(layer, nn.Conv2d)]
        assert all(grad is None or not grad.any() for grad in convs)


@every_space
def test_representatives_do_not_depend_on_the_batch(space):
    archs, representatives = space.sample(50, seed=3), family(space.name).representatives
    together = representatives(archs)
    assert ArchBatch.concatenate([representatives(archs[[row]]) for row in range(50)]) == together
    assert representatives(together) == together


def transplanted(space, cell, other, mapping, depth) -> tuple[nn.Module, nn.Module]:
    """The networks of two cells in float64, the second with the first's weights where ``mapping`` names an edge."""
    torch.manual_seed(1)
    network, same = (built(space, one, 4, depth, 3).double() for one in (cell, other))
    weights = network.state_dict()
    for name in (loaded := same.state_dict()):
        parts = name.split(".")
        if "edges" in parts:
            edge = (int(parts[3][0]), int(parts[3][1]))
            if edge not in mapping:
                continue
            parts[3] = "{}{}".format(*mapping[edge])
        loaded[name] = weights[".".join(parts)]
    same.load_state_dict(loaded)
    return network, same


def assert_representatives_compute_the_same(space, sample, mapping, depth, size) -> None:
    """With the same weights, where ``mapping(cell, other)`` gives for each live edge of the other that of the cell."""
    archs = space.sample(sample, seed=4)
    others = family(space.name).representatives(archs)
    pairs = zip(space.encode(archs).tolist(), space.encode(others).tolist(), strict=True)
    pairs = [pair for pair in pairs if pair[0] != pair[1]][:60]
    assert len(pairs) == 60
    for cell, other in pairs:
        network, same = transplanted(space, cell, other, mapping(cell, other), depth)
        images = torch.randn(2, 3, size, size).double()
        assert torch.allclose(network(images), same(images), rtol=1e-9, atol=1e-9)
        assert np.ptp(network(images).detach().numpy(), axis=0).any() == bool(live(cell))
