import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from archflow.archs.batch import ArchBatch
from archflow.benchmarks.cell import Cell
from archflow.benchmarks.network import Network
from archflow.benchmarks.transnas101 import network as transnas101
from archflow.benchmarks.transnas101.space import TransNASMicro
from tests import shared_data
from tests.benchmarks.darts.test_network import (
    arrays,
    convolved,
    each,
    halved,
    normalised,
    parameters,
    rectified,
    scattered,
)

SPACE = TransNASMicro()
EDGES = [(0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3)]
DISCONNECTED = ["64-41414-0_00_000", "64-41414-3_30_000", "64-41414-0_03_022", "64-41414-1_00_001"]
cells = st.tuples(*[st.integers(0, 3)] * 6)


def of(cell) -> ArchBatch:
    return SPACE.decode(np.array([cell]))


# Sizes and shapes


def test_parameters_are_those_in_closed_form():
    archs = SPACE.parse([row["tnb_arch_str"] for row in shared_data.rows("transnas101_micro")[::40]])  # all: minutes
    with torch.device("meta"):
        built = [parameters(transnas101.build(arch, 64, 5, 47)) for arch in each(archs)]
    assert built == SPACE.parameters(archs).tolist()


def test_each_operation_on_each_edge_has_the_parameters_of_the_closed_form():
    archs = SPACE.decode(np.array([[0] * i + [d] + [0] * (5 - i) for i in range(6) for d in range(4)]))
    with torch.device("meta"):
        built = [parameters(transnas101.build(arch, 64, 5, 47)) for arch in each(archs)]
    assert built == SPACE.parameters(archs).tolist()


@pytest.mark.parametrize(("width", "depth", "classes"), [(64, 5, 47), (1, 1, 1), (3, 2, 10), (5, 3, 7), (4, 6, 100)])
def test_shapes(width, depth, classes):
    halvings = (depth + 1) // 2
    for string in ("64-41414-1_11_111", "64-41414-3_12_123", "64-41414-2_00_000"):
        with torch.device("meta"):
            network = transnas101.build(SPACE.parse([string]), width, depth, classes)
        assert isinstance(network, Network)
        for size in (256, 100, 67, 9, 1):
            images, last = torch.empty(2, 3, size, size, device="meta"), math.ceil(size / 2 ** (2 + halvings))
            assert network.features(images).shape == (2, width * 2**halvings, last, last)
        assert network(images).shape == (2, classes)


def test_the_benchmarks_network_ends_in_512_channels_of_8_by_8():
    with torch.device("meta"):
        network, images = transnas101.build(SPACE.sample(1), 64, 5, 47), torch.empty(1, 3, 256, 256)
    assert network.features(images).shape == (1, 512, 8, 8)


# What it computes


def reference(cell, depth, weights, images):
    """The logits, in NumPy. ``weights`` are taken in the order in which data flows, in a cell edge by edge."""
    weights = iter(weights)

    def conv(maps, stride):
        return normalised(convolved(rectified(maps), next(weights), stride), next(weights), next(weights))

    def operation(number, maps, stride):
        if number == 1:
            return maps if stride == 1 else halved(maps, *(next(weights) for _ in range(4)))
        return conv(maps, stride)

    maps = normalised(convolved(images, next(weights), 2), next(weights), next(weights))
    maps = conv(maps, 2)
    for module, index in itertools.product(range(depth), range(2)):
        changes = module % 2 == 0 and index == 0
        batch, channels, height, width = maps.shape
        if changes:
            channels, height, width = 2 * channels, (height + 1) // 2, (width + 1) // 2
        nodes = [maps, *(np.zeros((batch, channels, height, width)) for _ in range(3))]
        for (source, target), number in zip(EDGES, cell, strict=True):
            if number:
                nodes[target] += operation(number, nodes[source], 2 if changes and source == 0 else 1)
        maps = nodes[3]
    logits = maps.mean((2, 3)) @ next(weights).T + next(weights)
    assert next(weights, None) is None
    return logits


@settings(max_examples=30, deadline=None)
@given(cells, st.integers(0, 2**32), st.integers(1, 3), st.integers(17, 40), st.integers(17, 40))
def test_it_computes_what_the_space_defines(cell, seed, depth, height, width):
    torch.manual_seed(seed)
    network = scattered(transnas101.build(of(cell), 3, depth, 3))
    images = torch.randn(3, 3, height, width).double()
    expected = reference(cell, depth, arrays(network).values(), images.numpy())
    assert np.allclose(network(images).detach().numpy(), expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("string", DISCONNECTED)
def test_a_disconnected_cell_makes_zeros(string):
    network, images = transnas101.build(SPACE.parse([string]), 4, 5, 6), torch.randn(2, 3, 64, 64)
    features = network.features(images)
    assert features.shape == (2, 32, 2, 2)
    assert features.count_nonzero() == 0
    assert torch.equal(network(images), network.classifier.bias.expand(2, 6))
    network(images).sum().backward()
    convs = [layer.weight.grad for layer in network.body.modules() if isinstance(layer, nn.Conv2d)]
    assert all(grad is None or not grad.any() for grad in convs)


@settings(max_examples=30, deadline=None)
@given(cells)
def test_gradients_reach_the_live_operations_and_no_others(cell):
    torch.manual_seed(0)
    network = transnas101.build(of(cell), 4, 3, 5)
    network(torch.randn(4, 3, 64, 64)).pow(2).sum().backward()

    def reached(module):
        return [weights.grad is not None and bool(weights.grad.any()) for weights in module.parameters()]

    *stem, first_cell = network.body[:4]
    assert isinstance(first_cell, Cell)
    assert {hit for module in stem for hit in reached(module)} == {bool(live(cell))}
    for module in network.body[3:]:
        for name, operation in module.edges.items():
            if (int(name[0]), int(name[1])) in live(cell):
                assert all(reached(operation))
            else:  # what reads only zeros still has a shift that may count, but its weights do not
                weights = [layer.weight.grad for layer in operation.modules() if isinstance(layer, nn.Conv2d)]
                assert all(grad is None or not grad.any() for grad in weights)


def test_initial_weights_are_the_benchmarks():
    torch.manual_seed(0)
    network = transnas101.build(of([1, 2, 3, 3, 2, 1]), 64, 3, 47)
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d):
            # He et al. (ICCV 2015), so that gradients keep their size: variance 2 / (outputs that read an input)
            deviation = math.sqrt(2 / (layer.out_channels * layer.kernel_size[0] ** 2))
            tolerance = 5 / math.sqrt(2 * layer.weight.numel())
            assert layer.weight.std().item() == pytest.approx(deviation, rel=tolerance)
            assert abs(layer.weight.mean().item()) < 5 * deviation / math.sqrt(layer.weight.numel())
            assert layer.weight.abs().max() > 2 * deviation  # a normal distribution, no uniform one
        elif isinstance(layer, nn.BatchNorm2d):
            assert (layer.weight == 1).all()
            assert (layer.bias == 0).all()
    bound = 1 / math.sqrt(network.classifier.in_features)
    for weights in network.classifier.parameters():
        assert 0.9 * bound < weights.abs().max() <= bound


# Representatives


def live(cell) -> set[tuple[int, int]]:
    """The edges of all ways from node 0 to node 3 that have an operation on each edge."""
    present = {edge for edge, number in zip(EDGES, cell, strict=True) if number}
    ways = [[(0, 3)], [(0, 1), (1, 3)], [(0, 2), (2, 3)], [(0, 1), (1, 2), (2, 3)]]
    return {edge for way in ways if present.issuperset(way) for edge in way}


NAMINGS = [{0: 0, 1: 1, 2: 2, 3: 3}, {0: 0, 1: 2, 2: 1, 3: 3}]


def renamed(cell, naming) -> list[tuple[int, int, int]]:
    """The live operations with the nodes between input and output named anew."""
    operations = dict(zip(EDGES, cell, strict=True))
    return sorted((naming[source], naming[target], operations[source, target]) for source, target in live(cell))


def test_representatives_are_the_first_cells_of_the_same_live_graph():
    archs = SPACE.enumerate()
    first = {}
    expected = [first.setdefault(str(min(renamed(cell, n) for n in NAMINGS)), cell) for cell in operations(archs)]
    assert operations(transnas101.representatives(archs)) == expected
    assert len(first) == 1_948


def operations(archs: ArchBatch) -> list[list[int]]:
    return SPACE.encode(archs).tolist()


def test_a_representative_computes_the_same_with_the_same_weights():
    archs = SPACE.sample(600, seed=4)
    others = transnas101.representatives(archs)
    pairs = [pair for pair in zip(operations(archs), operations(others), strict=True) if pair[0] != pair[1]][:60]
    assert len(pairs) == 60
    for cell, other in pairs:
        torch.manual_seed(1)
        network, images = transnas101.build(of(cell), 4, 2, 3).double(), torch.randn(2, 3, 32, 32).double()
        same = transnas101.build(of(other), 4, 2, 3).double()
        naming = next(naming for naming in NAMINGS if renamed(other, naming) == renamed(cell, NAMINGS[0]))
        weights = network.state_dict()
        for name in (loaded := same.state_dict()):
            parts = name.split(".")
            if "edges" in parts:
                source, target = map(int, parts[3])
                if (source, target) not in live(other):
                    continue
                parts[3] = f"{naming[source]}{naming[target]}"
            loaded[name] = weights[".".join(parts)]
        same.load_state_dict(loaded)
        assert torch.allclose(network(images), same(images), rtol=1e-9, atol=1e-9)
        assert np.ptp(network(images).detach().numpy(), axis=0).any() == bool(live(cell))
