import functools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.overrides import TorchFunctionMode

from archflow.archs.batch import ArchBatch
from archflow.benchmarks.nasbench101 import network as nasbench101
from archflow.benchmarks.nasbench101.space import OPERATIONS, NASBench101
from archflow.benchmarks.network import Network
from tests import shared_data
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
from tests.strategies import renumber

SPACE = NASBench101()
CONV3, CONV1, POOL = OPERATIONS
SMALLEST = "0100:"
FOUR_BESIDE_EACH_OTHER = f"011110{'000001' * 4}000000:{CONV3},{CONV1},{POOL},{CONV3}"
cells = st.integers(0, 390).map(lambda index: some()[[index]])


@functools.cache
def some() -> ArchBatch:
    """The 91 cells of at most four vertices and 300 others."""
    return ArchBatch.concatenate([SPACE.enumerate()[:91], SPACE.sample(300, seed=8)])


class NoDraws(TorchFunctionMode):
    """Leaves out the initial weights, which take most of the time where only shapes are asked for."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if function.__name__ in ("normal_", "uniform_"):
            return kwargs["tensor"] if "tensor" in kwargs else args[0]
        return function(*args, **kwargs)


def shapes(arch, width=128, depth=3, classes=10) -> nn.Module:
    with NoDraws(), torch.device("meta"):
        return nasbench101.build(arch, width, depth, classes)


# Sizes and shapes


def test_parameters_are_those_in_closed_form():
    archs = some()[::3]  # of every size
    assert [parameters(shapes(arch)) for arch in each(archs)] == SPACE.parameters(archs).tolist()


def test_parameters_are_the_published_ones():
    rows = shared_data.rows("nasbench101")[::150]  # all 20,001 take ten minutes
    strings = [f"{row['adjacency']}:{','.join(OPERATIONS[int(label)] for label in row['operations'])}" for row in rows]
    built = [parameters(shapes(arch)) for arch in each(SPACE.parse(strings))]
    assert built == [int(row["trainable_parameters"]) for row in rows]


@pytest.mark.parametrize(("width", "depth", "classes"), [(128, 3, 10), (4, 1, 1), (7, 2, 100), (6, 4, 3)])
def test_shapes(width, depth, classes):
    for string in (SMALLEST, FOUR_BESIDE_EACH_OTHER):
        network = shapes(SPACE.parse([string]), width, depth, classes)
        assert isinstance(network, Network)
        assert sum(isinstance(layer, nasbench101.Cell) for layer in network.body) == 3 * depth
        for size in ((32, 32), (31, 33), (1, 6)):
            images = torch.empty(2, 3, *size, device="meta")
            last = [math.ceil(side / 4) for side in size]
            assert network.features(images).shape == (2, 4 * width, *last)
        assert network(images).shape == (2, classes)


def test_channels_are_shared_out_and_what_reads_them_takes_the_first():
    # Vertices 1, 3 and 4 end in the output; 2 has as many channels as 3, the larger of its readers.
    sources = [[], [0], [0], [1, 2], [2, 3], [0, 1, 3, 4]]
    assert nasbench101.vertex_channels(sources, 128) == [0, 43, 43, 43, 42, 128]
    assert nasbench101.vertex_channels(sources, 4) == [0, 2, 1, 1, 1, 4]
    assert nasbench101.vertex_channels(sources, 3) == [0, 1, 1, 1, 1, 3]
    assert nasbench101.vertex_channels([[], [0]], 5) == [0, 5]


def test_fewer_channels_than_the_output_joins_are_refused():
    for string, least in ((SMALLEST, 1), (f"010001000:{POOL}", 1), (FOUR_BESIDE_EACH_OTHER, 4)):
        arch = SPACE.parse([string])
        assert shapes(arch, width=least)
        if least > 1:
            with pytest.raises(ValueError, match="3 channels are too few for a cell whose output joins 4 vertices"):
                shapes(arch, width=3)


def test_an_architecture_that_is_not_of_the_space_is_refused():
    loose = ArchBatch.from_graphs([(["input", CONV3, "output"], [(0, 2)])], SPACE.vocabulary)
    with pytest.raises(ValueError, match="architecture 0 is not of nasbench101: every vertex must lie on a path"):
        nasbench101.build(loose, 4, 1, 2)


# What it computes


def reference(arch, width, depth, weights, images):
    """The logits, in NumPy, each vertex asked for what it holds from the output backwards.

    ``weights`` are taken in order: in a cell what the input is projected to, then the convolutions of vertices.
    """
    weights = iter(weights)
    (names, edges), last = arch.graph(0), arch.operations.size - 1

    def layer(kernel, channels):
        weight, scale, shift = (next(weights) for _ in range(3))
        assert weight.shape[0] == channels
        assert weight.shape[2:] == (kernel, kernel)
        return lambda maps: rectified(normalised(convolved(maps, weight), scale, shift))

    def cell(maps, leaving):
        joined = [source for source, target in edges if target == last and source]

        @functools.cache
        def channels(vertex):  # those of the output are dealt out like cards
            if vertex == last:
                return leaving
            if vertex in joined:
                return sum(card % len(joined) == joined.index(vertex) for card in range(leaving))
            return max(channels(target) for source, target in edges if source == vertex)

        projections = {v: layer(1, channels(v)) for v in range(1, last + 1) if (0, v) in edges}
        layers = {v: layer(int(names[v][4]), channels(v)) for v in range(1, last) if names[v] != POOL}

        @functools.cache
        def held(vertex):
            inner = [held(source) for source, target in edges if target == vertex and source]
            total = np.zeros((len(maps), channels(vertex), *maps.shape[2:]))
            for channel in range(channels(vertex)):
                if vertex == last and inner:
                    total[:, channel] = [one for read in inner for one in read.swapaxes(0, 1)][channel]
                else:
                    total[:, channel] = sum(read[:, channel] for read in inner)
            if vertex in projections:
                total += projections[vertex](maps)
            if vertex == last:
                return total
            return layers[vertex](total) if vertex in layers else pooled(total, 1, np.max)

        return held(last)

    maps = layer(3, width)(images)
    for stack in range(3):
        if stack:
            blocks = [
                [maps[:, :, y : y + 2, x : x + 2].max((2, 3)) for x in range(0, maps.shape[3], 2)]
                for y in range(0, maps.shape[2], 2)
            ]
            maps = np.moveaxis(np.array(blocks), (0, 1), (2, 3))
        for _ in range(depth):
            maps = cell(maps, width * 2**stack)
    logits = maps.mean((2, 3)) @ next(weights).T + next(weights)
    assert next(weights, None) is None
    return logits


def require_the_references_logits(arch, width, depth, size, seed=0):
    torch.manual_seed(seed)
    network, images = scattered(nasbench101.build(arch, width, depth, 3)), torch.randn(3, 3, *size).double()
    expected = reference(arch, width, depth, arrays(network).values(), images.numpy())
    assert np.allclose(network(images).detach().numpy(), expected, rtol=1e-6, atol=1e-6)
    assert np.ptp(expected, axis=0).min() > 1e-6


@settings(max_examples=40, deadline=None)
@given(cells, st.integers(4, 11), st.integers(1, 2), st.tuples(*[st.integers(5, 9)] * 2), st.integers(0, 2**32))
def test_it_computes_what_the_space_defines(arch, width, depth, size, seed):
    require_the_references_logits(arch, width, depth, size, seed)


@pytest.mark.parametrize("string", [SMALLEST, FOUR_BESIDE_EACH_OTHER, *(f"011001000:{name}" for name in OPERATIONS)])
@pytest.mark.parametrize("width", [4, 5, 9])
def test_cells_of_one_kind(string, width):
    require_the_references_logits(SPACE.parse([string]), width, 1, (8, 7))


@settings(max_examples=15, deadline=None)
@given(cells)
def test_gradients_reach_every_parameter(arch):
    torch.manual_seed(0)
    network = nasbench101.build(arch, 16, 1, 3)
    network(torch.randn(8, 3, 16, 16)).pow(2).sum().backward()
    for name, weights in network.named_parameters():
        assert weights.grad is not None, name
        assert weights.grad.abs().max() > 0, name


# Initial weights


def fan_out(layer: nn.Conv2d) -> int:
    """How many outputs read an input."""
    return layer.out_channels * layer.kernel_size[0] ** 2


def test_initial_weights_are_those_of_the_published_proxies():
    torch.manual_seed(0)
    network = nasbench101.build(SPACE.parse([FOUR_BESIDE_EACH_OTHER]), 64, 2, 10)
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d):
            deviation = math.sqrt(2 / fan_out(layer))
            count = layer.weight.numel()
            assert layer.weight.std().item() == pytest.approx(deviation, rel=5 / math.sqrt(2 * count))
            assert abs(layer.weight.mean().item()) < 5 * deviation / math.sqrt(count)
            assert layer.weight.abs().max() > 2 * deviation  # a normal distribution, no uniform one
        elif isinstance(layer, nn.BatchNorm2d):
            assert (layer.weight == 1).all()
            assert (layer.bias == 0).all()
            assert (layer.eps, layer.momentum) == (1e-5, 0.1)
    weight = network.classifier.weight
    assert weight.std().item() == pytest.approx(0.01, rel=5 / math.sqrt(2 * weight.numel()))
    assert weight.abs().max() > 0.02
    assert (network.classifier.bias == 0).all()


def test_norms_of_initial_weights_are_the_published_ones():
    rows = sorted(shared_data.rows("nasbench101_proxies"), key=lambda row: float(row["params"]))[:300:25]
    for row, arch in zip(rows, each(SPACE.parse([row["naslib_arch"] for row in rows])), strict=True):
        torch.manual_seed(0)
        network = nasbench101.build(arch, 128, 3, 10)
        layers = [layer for layer in network.modules() if isinstance(layer, nn.Conv2d | nn.Linear)]
        # Two independent draws; the norm of normal weights of variance 2 / n has about the variance 1 / n.
        deviation = math.sqrt(2 * sum(1 / fan_out(layer) for layer in layers[:-1]))
        norms = sum(layer.weight.norm().item() for layer in layers)
        assert norms == pytest.approx(float(row["l2_norm"]), abs=4 * deviation)


def test_initial_weights_follow_pytorchs_generator():
    def initial(seed):
        torch.manual_seed(seed)
        network = nasbench101.build(some()[[200]], 4, 1, 4)
        return torch.cat([weights.flatten() for weights in network.parameters()])

    assert torch.equal(initial(3), initial(3))
    assert not torch.equal(initial(3), initial(4))


# Representatives


@settings(max_examples=30, deadline=None)
@given(cells, st.integers(0, 2**32 - 1))
def test_the_numbering_of_the_vertices_does_not_matter(arch, seed):
    other = ArchBatch.from_graphs([renumber(arch.graph(0), np.random.default_rng(seed))], SPACE.vocabulary)
    assert nasbench101.representatives(other) == nasbench101.representatives(arch) == arch
    torch.manual_seed(0)
    network, images = nasbench101.build(arch, 7, 1, 3), torch.randn(2, 3, 8, 8)
    same = nasbench101.build(other, 7, 1, 3)
    same.load_state_dict(network.state_dict())
    assert torch.equal(network(images), same(images))


def test_representatives_of_a_batch_are_those_of_each():
    archs = some()[80:120]
    assert nasbench101.representatives(archs) == archs
    assert ArchBatch.concatenate([nasbench101.representatives(arch) for arch in each(archs)]) == archs
