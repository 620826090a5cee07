"""Sizes of DARTS networks: of everything but the operations, and of each operation in each place.

The network is NASLib's for CIFAR-10, with 8 cells and 32 channels. Each layer has two numbers, parameters and
multiply-accumulates; its ``size`` is the height and width of its feature maps.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Int, UInt8
from numpy import ndarray

from archflow.benchmarks.darts.notation import OPERATIONS


def sizes(edges: UInt8[ndarray, "archs 2 8 2"], which: int) -> Int[ndarray, " archs"]:
    """Parameters (0) or multiply-accumulates (1) of architectures, given as :meth:`.DARTS.edges` gives them."""
    costs = _COSTS[[[0], [1]], edges[..., 1], (edges[..., 0] < 2).astype(np.uint8), which]
    total: Int[ndarray, " archs"] = _FRAME[which] + costs.sum(axis=(1, 2))
    return total


def _conv(c_in: int, c_out: int, size: int, kernel: int = 1, groups: int = 1) -> Int[ndarray, " sizes"]:
    weights = kernel * kernel * c_in * c_out // groups
    return np.array([weights, weights * size * size])


def _norm(channels: int, size: int, affine: bool) -> Int[ndarray, " sizes"]:
    return np.array([2 * channels * affine, (1 + affine) * channels * size * size])


def _rectifier(channels: int, size: int) -> Int[ndarray, " sizes"]:
    return np.array([0, channels * size * size])


def _operation(name: str, c: int, size: int, stride: int) -> Int[ndarray, " sizes"]:
    """An operation that makes feature maps of that size from maps ``stride`` times as large."""
    norm = _norm(c, size, affine=False)
    if name == "skip_connect":
        # Two convolutions of half the channels each, one of them on maps shifted by one element.
        return _rectifier(c, size * stride) + _conv(c, c, size) + norm if stride == 2 else np.zeros(2, np.int64)
    if "pool" in name:
        return np.array([0, 9 * c * size * size]) + norm
    kernel = int(name[-1])
    convs = _conv(c, c, size, kernel, groups=c) + _conv(c, c, size) + norm
    once = _rectifier(c, size * stride) + convs
    return once + _rectifier(c, size) + convs if name.startswith("sep") else once


def _network() -> tuple[Int[ndarray, " sizes"], Int[ndarray, "2 7 2 sizes"]]:
    """The size of everything but the operations, and of each operation by [cell, operation, reads an input or not]."""
    channels, image = 32, 32
    stem = (3 * channels, image)
    frame = _conv(3, 3 * channels, image, kernel=3) + _norm(3 * channels, image, affine=True)
    operations = np.zeros((2, len(OPERATIONS), 2, 2), np.int64)
    inputs = [stem, stem]
    for cell in (0, 0, 1, 0, 0, 1, 0, 0):
        channels *= 1 + cell
        before = inputs[1][1]
        for c_in, size in inputs:  # where the older input is larger, it is reduced as by a skip_connect
            frame += _rectifier(c_in, size) + _conv(c_in, channels, before) + _norm(channels, before, affine=True)
        after = before // (1 + cell)
        for index, name in enumerate(OPERATIONS):
            for from_input in (0, 1):
                operations[cell, index, from_input] += _operation(name, channels, after, 1 + cell * from_input)
        inputs = [inputs[1], (4 * channels, after)]
    features, size = inputs[1]
    # As tensorwatch counts them: the last pooling with a window larger by one, the classifier without its bias.
    head = np.array([10 * features + 10, features * (size + 1) ** 2 + 10 * features])
    return frame + head, operations


_FRAME, _COSTS = _network()
