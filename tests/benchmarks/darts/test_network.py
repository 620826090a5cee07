import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from archflow.archs.batch import ArchBatch
from archflow.benchmarks.darts import network as darts
from archflow.benchmarks.darts.space import DARTS, OPERATIONS
from archflow.benchmarks.network import Network
from tests import shared_data

SPACE = DARTS()
DIFFERENT = SPACE.sample(4, seed=5)


# Sizes


def parameters(network: nn.Module) -> int:
    return sum(weights.numel() for weights in network.parameters())


def multiply_accumulates(network: nn.Module, size: int) -> int:
    """By the convention of ``DARTS.flops``, from the maps that go into each layer and come out of it."""
    counted = []

    def count(layer, inputs, output):
        made = output.numel()
        match layer:
            case nn.Conv2d():
                counted.append(made * layer.in_channels // layer.groups * layer.kernel_size[0] ** 2)
            case nn.BatchNorm2d():
                counted.append(made * (2 if layer.affine else 1))
            case nn.ReLU():
                counted.append(made)
            case nn.MaxPool2d() | nn.AvgPool2d():
                counted.append(made * 9)
            case nn.AdaptiveAvgPool2d():
                counted.append(made * (inputs[0].shape[2] + 1) * (inputs[0].shape[3] + 1))
            case nn.Linear():
                counted.append(layer.in_features * layer.out_features)
            case nn.Identity():
                pass
            case _:
                assert list(layer.children()), f"a layer that is not counted: {layer}"

    for layer in network.modules():
        layer.register_forward_hook(count)
    with torch.no_grad():
        network(torch.zeros(1, 3, size, size, device="meta"))
    return sum(counted)


def test_parameters_are_the_published_ones_in_every_digit():
    rows = shared_data.rows("nasbench301")[::15]  # all 1,218 take a minute
    archs = SPACE.parse([row["arch_compact"] for row in rows])
    with torch.device("meta"):
        built = [parameters(darts.build(arch, 32, 8, 10)) for arch in each(archs)]
    assert built == SPACE.parameters(archs).tolist()
    assert [f"{number / 1e6:.6g}" for number in built] == [row["params"] for row in rows]


def test_sizes_are_those_in_closed_form():
    extremes = [[[(0, op), (1, op)] * 4] * 2 for op in range(7)]
    archs = ArchBatch.concatenate([SPACE.from_choices(np.array(extremes)), SPACE.sample(8, seed=1)])
    with torch.device("meta"):
        networks = [darts.build(arch, 32, 8, 10) for arch in each(archs)]
    assert [parameters(network) for network in networks] == SPACE.parameters(archs).tolist()
    assert [multiply_accumulates(network, 32) for network in networks] == SPACE.flops(archs).tolist()


def each(archs: ArchBatch) -> list[ArchBatch]:
    return [archs[[row]] for row in range(len(archs))]


# Shapes


@pytest.mark.parametrize(
    ("width", "depth", "classes"), [(32, 8, 10), (1, 1, 1), (3, 2, 100), (5, 3, 7), (4, 4, 2), (2, 11, 3)]
)
def test_shapes(width, depth, classes):
    # Maps are halved at depth // 3 and at 2 * depth // 3, which are one and the same cell only in a network of one.
    halvings = min(depth, 2)
    for arch in each(DIFFERENT[[0, 1]]):
        with torch.device("meta"):
            network = darts.build(arch, width, depth, classes)
        assert isinstance(network, Network)
        assert len(network.cells) == depth
        for size, expected in ((32, (32, 16, 8)), (33, (33, 17, 9)), (30, (30, 15, 8)), (7, (7, 4, 2)), (1, (1, 1, 1))):
            images, last = torch.empty(2, 3, size, size, device="meta"), expected[halvings]
            assert network.features(images).shape == (2, 4 * width * 2**halvings, last, last)
        assert network(images).shape == (2, classes)


def test_an_oblong_image():
    with torch.device("meta"):
        network, images = darts.build(DIFFERENT[[0]], 2, 4, 5), torch.empty(2, 3, 13, 6)
    assert network.features(images).shape == (2, 32, 4, 2)


# What it computes, in NumPy and float64; tests of other networks use the same layers


def convolved(maps, weights, stride=1, dilation=1):
    """Padded so that a stride of 1 keeps the size; weights of one channel in are for each channel by itself."""
    size, each_by_itself = weights.shape[-1], weights.shape[1] == 1 and maps.shape[1] > 1
    border = dilation * (size - 1) // 2
    height, width = maps.shape[2:]
    padded = np.pad(maps, ((0, 0), (0, 0), (border, border), (border, border)))
    total = 0
    for row, column in itertools.product(range(size), repeat=2):
        top, left = row * dilation, column * dilation
        seen = padded[:, :, top : top + height : stride, left : left + width : stride]
        tap = weights[:, :, row, column]
        total = total + (seen * tap.reshape(1, -1, 1, 1) if each_by_itself else np.einsum("bchw,oc->bohw", seen, tap))
    return total


def normalised(maps, scale=None, shift=None):
    """By the minibatch, as in training."""
    maps = (maps - maps.mean((0, 2, 3), keepdims=True)) / np.sqrt(maps.var((0, 2, 3), keepdims=True) + 1e-5)
    return maps if scale is None else maps * scale.reshape(1, -1, 1, 1) + shift.reshape(1, -1, 1, 1)


def rectified(maps):
    return np.maximum(maps, 0)


def halved(maps, even, odd, *norm):
    """Even pixels to half of the channels, odd ones to the others; an odd size goes on in zeros."""
    maps = rectified(maps)
    batch, channels, height, width = maps.shape
    whole = np.zeros((batch, channels, height + height % 2, width + width % 2))
    whole[:, :, :height, :width] = maps
    parts = [convolved(whole[:, :, 0::2, 0::2], even), convolved(whole[:, :, 1::2, 1::2], odd)]
    return normalised(np.concatenate(parts, axis=1), *norm)


def pooled(maps, stride, over):
    """``over`` the pixels of 3 × 3 that lie in the image."""
    height, width = maps.shape[2:]
    rows = [
        [over(maps[:, :, max(y - 1, 0) : y + 2, max(x - 1, 0) : x + 2], axis=(2, 3)) for x in range(0, width, stride)]
        for y in range(0, height, stride)
    ]
    return np.moveaxis(np.array(rows), (0, 1), (2, 3))


def arrays(module: nn.Module):
    """Weights of a module by their names."""
    return {name: weights.detach().numpy() for name, weights in module.named_parameters()}


def reference(choices, depth, weights, images):
    """The logits. ``weights`` are taken in the order in which data flows through cells and, in a cell, its edges."""
    weights = iter(weights)

    def pointwise(maps):
        return normalised(convolved(rectified(maps), next(weights)), next(weights), next(weights))

    def separable(maps, stride, dilation):
        maps = convolved(rectified(maps), next(weights), stride, dilation)
        return normalised(convolved(maps, next(weights)))

    def operation(name, maps, stride):
        match name:
            case "max_pool_3x3":
                return normalised(pooled(maps, stride, np.max))
            case "avg_pool_3x3":
                return normalised(pooled(maps, stride, np.mean))
            case "skip_connect":
                return maps if stride == 1 else halved(maps, next(weights), next(weights))
            case "sep_conv_3x3" | "sep_conv_5x5":
                return separable(separable(maps, stride, 1), 1, 1)
            case "dil_conv_3x3" | "dil_conv_5x5":
                return separable(maps, stride, 2)

    before = last = normalised(convolved(images, next(weights)), next(weights), next(weights))
    for index in range(depth):
        reduces = index in (depth // 3, 2 * depth // 3)
        larger = before.shape[2:] != last.shape[2:]
        first = halved(before, *(next(weights) for _ in range(4))) if larger else pointwise(before)
        nodes = [first, pointwise(last)]
        for target in range(4):
            edges = choices[reduces][2 * target : 2 * target + 2]
            nodes.append(
                sum(
                    operation(OPERATIONS[number], nodes[source], 2 if reduces and source < 2 else 1)
                    for source, number in edges
                )
            )
        before, last = last, np.concatenate(nodes[2:], axis=1)
    logits = last.mean((2, 3)) @ next(weights).T + next(weights)
    assert next(weights, None) is None
    return logits


def scattered(network: nn.Module) -> nn.Module:
    """The same in float64, scales and shifts no longer all 1 and 0."""
    with torch.no_grad():
        for layer in network.double().modules():
            if isinstance(layer, nn.BatchNorm2d) and layer.affine:
                layer.weight.uniform_(0.5, 2)
                layer.bias.uniform_(-1, 1)
    return network


@settings(max_examples=12, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 5), st.integers(5, 11), st.integers(5, 11))
def test_it_computes_what_the_space_defines(seed, depth, height, width):
    arch = SPACE.sample(1, seed)
    torch.manual_seed(seed)
    network, images = scattered(darts.build(arch, 2, depth, 3)), torch.randn(3, 3, height, width).double()
    (choices,) = SPACE.choices(arch).tolist()
    expected = reference(choices, depth, arrays(network).values(), images.numpy())
    assert np.allclose(network(images).detach().numpy(), expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("number", range(7))
def test_each_operation_by_itself(number):
    arch = SPACE.from_choices(np.array([[[(0, number), (1, number)] * 4] * 2]))
    torch.manual_seed(number)
    network, images = scattered(darts.build(arch, 2, 3, 3)), torch.randn(3, 3, 9, 6).double()
    (choices,) = SPACE.choices(arch).tolist()
    expected = reference(choices, 3, arrays(network).values(), images.numpy())
    assert np.allclose(network(images).detach().numpy(), expected, rtol=1e-6, atol=1e-6)


def test_gradients_reach_every_parameter():
    for arch in each(DIFFERENT):
        torch.manual_seed(0)
        network = darts.build(arch, 4, 6, 3)
        network(torch.randn(4, 3, 16, 16)).pow(2).sum().backward()
        for name, weights in network.named_parameters():
            assert weights.grad is not None, name
            if weights.dim() > 1:  # a shift before a norm has no effect
                assert weights.grad.abs().max() > 1e-6, name


def test_initial_weights_follow_pytorchs_generator():
    def initial(seed):
        torch.manual_seed(seed)
        return torch.cat([weights.flatten() for weights in darts.build(DIFFERENT[[0]], 2, 3, 4).parameters()])

    assert torch.equal(initial(3), initial(3))
    assert not torch.equal(initial(3), initial(4))


# Representatives


def swapped(arch: ArchBatch) -> ArchBatch:
    """The same architecture as another graph: the two operations of each node in the other order."""
    names, edges = arch.graph(0)
    other = {cell + 2 + index: cell + 2 + (index ^ 1) for cell in (0, 11) for index in range(8)}
    moved = [names[other.get(node, node)] for node in range(22)]
    edges = [(other.get(source, source), other.get(target, target)) for source, target in edges]
    return ArchBatch.from_graphs([(moved, edges)], SPACE.vocabulary)


def test_the_order_of_a_nodes_operations_does_not_matter():
    archs = SPACE.sample(20, seed=2)
    others = ArchBatch.concatenate([swapped(arch) for arch in each(archs)])
    assert others != archs
    assert darts.representatives(archs) == darts.representatives(others) == archs
    for arch, other in zip(each(archs)[:4], each(others), strict=False):
        torch.manual_seed(0)
        network, images = darts.build(arch, 4, 3, 5), torch.randn(2, 3, 12, 12)
        same = darts.build(other, 4, 3, 5)
        same.load_state_dict(network.state_dict())
        assert torch.equal(network(images), same(images))
