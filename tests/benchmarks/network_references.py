"""Plain NumPy references of the networks of each space, in float64.

Each takes an architecture, a width, a depth, the network's weights in the order in which data flows through cells and,
in a cell, through its edges or vertices, and images; it returns the logits.
"""

import functools
import itertools

import numpy as np
import torch
from torch import nn

import archflow
from archflow.archs.batch import ArchBatch
from archflow.benchmarks.darts.notation import OPERATIONS as DARTS_OPERATIONS

EDGES = [(0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3)]
"""Of the cells of four nodes."""


# Networks


def each(archs: ArchBatch) -> list[ArchBatch]:
    return [archs[[row]] for row in range(len(archs))]


def parameters(network: nn.Module) -> int:
    return sum(weights.numel() for weights in network.parameters())


def scattered(network: nn.Module) -> nn.Module:
    """The same network in float64, with random scales and shifts of its norms."""
    with torch.no_grad():
        for layer in network.double().modules():
            if isinstance(layer, nn.BatchNorm2d) and layer.affine:
                layer.weight.uniform_(0.5, 2)
                layer.bias.uniform_(-1, 1)
    return network


def live(cell) -> set[tuple[int, int]]:
    """The edges of all paths from node 0 to node 3 that have an operation on each edge."""
    present = {edge for edge, number in zip(EDGES, cell, strict=True) if number}
    paths = [[(0, 3)], [(0, 1), (1, 3)], [(0, 2), (2, 3)], [(0, 1), (1, 2), (2, 3)]]
    return {edge for path in paths if present.issuperset(path) for edge in path}


# Layers


def convolved(maps, weights, stride=1, dilation=1):
    """Padded so that a stride of 1 keeps the size; depthwise where the weights have one input channel."""
    size, depthwise = weights.shape[-1], weights.shape[1] == 1 and maps.shape[1] > 1
    border = dilation * (size - 1) // 2
    height, width = maps.shape[2:]
    padded = np.pad(maps, ((0, 0), (0, 0), (border, border), (border, border)))
    total = 0
    for row, column in itertools.product(range(size), repeat=2):
        top, left = row * dilation, column * dilation
        seen = padded[:, :, top : top + height : stride, left : left + width : stride]
        tap = weights[:, :, row, column]
        total = total + (seen * tap.reshape(1, -1, 1, 1) if depthwise else np.einsum("bchw,oc->bohw", seen, tap))
    return total


def normalised(maps, scale=None, shift=None):
    """By the minibatch, as in training."""
    maps = (maps - maps.mean((0, 2, 3), keepdims=True)) / np.sqrt(maps.var((0, 2, 3), keepdims=True) + 1e-5)
    return maps if scale is None else maps * scale.reshape(1, -1, 1, 1) + shift.reshape(1, -1, 1, 1)


def rectified(maps):
    return np.maximum(maps, 0)


def halved(maps, even, odd, *norm):
    """Even pixels to half of the channels, odd ones to the others; an odd size is padded with zeros."""
    maps = rectified(maps)
    batch, channels, height, width = maps.shape
    whole = np.zeros((batch, channels, height + height % 2, width + width % 2))
    whole[:, :, :height, :width] = maps
    parts = [convolved(whole[:, :, 0::2, 0::2], even), convolved(whole[:, :, 1::2, 1::2], odd)]
    return normalised(np.concatenate(parts, axis=1), *norm)


def pooled(maps, stride, over):
    """``over`` is applied to the pixels of each 3 × 3 window that lie in the image."""
    height, width = maps.shape[2:]
    rows = [
        [over(maps[:, :, max(y - 1, 0) : y + 2, max(x - 1, 0) : x + 2], axis=(2, 3)) for x in range(0, width, stride)]
        for y in range(0, height, stride)
    ]
    return np.moveaxis(np.array(rows), (0, 1), (2, 3))


def arrays(module: nn.Module):
    """Weights of a module by their names."""
    return {name: weights.detach().numpy() for name, weights in module.named_parameters()}


# References


def darts(arch, width, depth, weights, images):
    (choices,) = archflow.space("darts").edges(arch).tolist()
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
                    operation(DARTS_OPERATIONS[number], nodes[source], 2 if reduces and source < 2 else 1)
                    for source, number in edges
                )
            )
        before, last = last, np.concatenate(nodes[2:], axis=1)
    logits = last.mean((2, 3)) @ next(weights).T + next(weights)
    assert next(weights, None) is None
    return logits


def nasbench101(arch, width, depth, weights, images):
    """Evaluated recursively from the output.

    The weights of a cell are first those of the input's projections, then those of the vertices' convolutions.
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
        def channels(vertex):  # the output's channels are dealt out to what it reads like cards
            if vertex == last:
                return leaving
            if vertex in joined:
                return sum(card % len(joined) == joined.index(vertex) for card in range(leaving))
            return max(channels(target) for source, target in edges if source == vertex)

        projections = {v: layer(1, channels(v)) for v in range(1, last + 1) if (0, v) in edges}
        layers = {v: layer(int(names[v][4]), channels(v)) for v in range(1, last) if names[v] != "maxpool3x3"}

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


def averaged(maps):
    """Over 2 × 2 pixels, and at the edge of an odd size over the pixels in the image."""
    height, width = maps.shape[2:]
    rows = [
        [maps[:, :, top : top + 2, left : left + 2].mean((2, 3)) for left in range(0, width, 2)]
        for top in range(0, height, 2)
    ]
    return np.array(rows).transpose(2, 3, 0, 1)


def nasbench201(arch, width, depth, weights, images):
    (cell,) = archflow.space("nasbench201").encode(arch).tolist()
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


def transnas101(arch, width, depth, weights, images):
    (cell,) = archflow.space("transnas101-micro").encode(arch).tolist()
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
