import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from archflow.archs.batch import ArchBatch
from archflow.benchmarks.network import Network
from archflow.benchmarks.transnas101 import network as transnas101
from archflow.benchmarks.transnas101.space import TransNASMicro
from tests.benchmarks.darts.test_network import (
    arrays,
    convolved,
    halved,
    normalised,
    rectified,
    scattered,
)
from tests.benchmarks.test_four_nodes import EDGES, assert_representatives_compute_the_same, live

SPACE = TransNASMicro()
cells = st.tuples(*[st.integers(0, 3)] * 6)


def of(cell) -> ArchBatch:
    return SPACE.decode(np.array([cell]))


# Sizes and shapes


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


NAMINGS = [{0: 0, 1: 1, 2: 2, 3: 3}, {0: 0, 1: 2, 2: 1, 3: 3}]


def renamed(cell, naming) -> list[tuple[int, int, int]]:
    """The live operations with the nodes between input and output named anew."""
    operations = dict(zip(EDGES, cell, strict=True))
    return sorted((naming[source], naming[target], operations[source, target]) for source, target in live(cell))


def test_representatives_are_the_first_cells_of_the_same_live_graph():
    archs = SPACE.enumerate()
    first = {}
    expected = [
        first.setdefault(str(min(renamed(cell, n) for n in NAMINGS)), cell) for cell in SPACE.encode(archs).tolist()
    ]
    assert SPACE.encode(transnas101.representatives(archs)).tolist() == expected
    assert len(first) == 1_948


def test_a_representative_computes_the_same_with_the_same_weights():
    def mapping(cell, other):
        naming = next(naming for naming in NAMINGS if renamed(other, naming) == renamed(cell, NAMINGS[0]))
        return {(source, target): (naming[source], naming[target]) for source, target in live(other)}

    assert_representatives_compute_the_same(SPACE, 600, mapping, depth=2, size=32)
