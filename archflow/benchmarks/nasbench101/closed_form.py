"""Sizes and zero-cost proxies of NAS-Bench-101's networks in closed form, without building the networks.

A zero-cost proxy is measured on an untrained network and one minibatch. Mean-field theory of signal propagation
(Schoenholz et al., ICLR 2017; with batch norm, Yang et al., ICLR 2019) predicts the result up to noise: it follows a
few numbers from vertex to vertex, for all cells at once. Weights have variance 2 / (k² · channels out) for k × k taps,
as in the benchmark's PyTorch version, with which the published proxies were measured. The theory assumes wide layers,
convolutions whose outputs are independent of everything else, and maps in which neighbouring pixels correlate by one
half:

* convolution, batch norm, ReLU: the output is a rectified normal variable. Backward, one half of the gradient's square
  (its sum over a map) passes the rectifiers; the convolution divides it by the variance of its input;
* 3 × 3 maximum: the largest of nine rectified values varies more than each, and a second maximum changes nothing.
  Backward, the whole gradient goes to the largest values, nine in ten of which had open rectifiers. The 2 × 2 maximum
  between stacks has the same variance; of its backward pass, only the loss of what pixels share is modelled;
* the part of the gradient that all pixels of an image share, which is all of it at the global average pool, adds up at
  a pixel that is the largest of several windows. It passes unchanged; the surplus is not shared. Rectifiers pass one
  third of it, as two neighbours are both open that often;
* concatenation: the vertices that the output reads have equal shares of the channels, and the vertices before them have
  as many. The additional channel of the first ones, where the channels do not divide evenly, is neglected.

The functions take cells as arrays, with operations as positions in the vocabulary of :class:`.NASBench101`:

* ``adjacency[i, u, v]``: whether vertex v of cell i reads vertex u;
* ``operations[i, v]``: 0 the input, 1 a 3 × 3 convolution, 2 a 1 × 1 convolution, 3 a 3 × 3 maximum, 4 the output.

A cell of V < 7 vertices takes the first V places, its output the V-th; beyond, it has no edges and operation 4. The
stem, the classifier and factors common to all cells are left out: only the order of the values is meaningful.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy import ndarray

CONV_3X3, CONV_1X1, POOL, OUTPUT = range(1, 5)
STEM, CELL, DOWNSAMPLED = range(3)
CELLS = (
    *((128, 128, 32, STEM), (128, 128, 32, CELL), (128, 128, 32, CELL)),
    *((128, 256, 16, DOWNSAMPLED), (256, 256, 16, CELL), (256, 256, 16, CELL)),
    *((256, 512, 8, DOWNSAMPLED), (512, 512, 8, CELL), (512, 512, 8, CELL)),
)
"""For each cell of the network: channels in, channels out, height of its maps, and what precedes it."""

_STACKS = ((128, 128, 32), (128, 256, 16), (256, 512, 8))
"""For each stack of three cells: channels in, channels out, and height (= width) of its feature maps."""
_KERNELS = np.array([0, 3, 1, 0, 0])
"""Kernel width of each operation of the vocabulary; 0 for operations other than convolutions."""

RECTIFIED = (1 - 1 / np.pi) / 2
"""Variance of a rectified standard normal variable."""
POOLED = 0.573
"""Variance of the maximum of nine rectified standard normal variables, any two of which correlate by one half."""
PASS, PASS_SHARED = 1 / 2, 1 / 3
"""How often a rectifier is open, and how often two neighbouring ones both are."""
PASS_MAXIMUM = 9 / 10
"""How often the rectifier of a maximum is open, that is, not all nine are closed."""
GATHERED = sum(times * both / (18 - both) for both, times in ((9, 1), (6, 4), (4, 4), (3, 4), (2, 8), (1, 4)))
"""Mean square of the number of windows of which a pixel is the maximum, 6.18.

Two windows that share b pixels cover 18 - b; each of these is equally likely to be the maximum of both.
"""
KEPT = 0.9**2
"""What the running variance of a batch norm keeps of its first value, 1, after the two batches of Zen-NAS."""


class Signal(NamedTuple):
    """Expected values of four proxies for each cell.

    Attributes:
        zen: sum over batch norms of the logarithm of their running standard deviation (Lin et al., ICCV 2021), with
            weights of variance 1. The other term of this proxy, how much a small change of the input changes the
            output, differs little between cells.
        snip: logarithm of the sum of |weight · gradient| (Lee et al., ICLR 2019).
        grad_norm: logarithm of the sum over layers of the gradient's norm.
        fisher: logarithm of the sum over channels of the squared gradient of a gate on the channel (Turner et al.,
            ICLR 2020), each channel weighted by its number of weights.
    """

    zen: Float[ndarray, " cells"]
    snip: Float[ndarray, " cells"]
    grad_norm: Float[ndarray, " cells"]
    fisher: Float[ndarray, " cells"]


PROXIES = ("rectifiers", "l2_norm", "synflow", *Signal._fields)
"""The names that :func:`proxies` knows."""
_IN_CACHE = 4096
"""Cells that are processed together: the values of the vertices of all cells of the space would fit in no cache."""


def proxies(
    names: Sequence[str], adjacency: Bool[ndarray, "cells 7 7"], operations: Int[ndarray, "cells 7"]
) -> dict[str, Float[ndarray, " cells"]]:
    """Some of ``PROXIES`` for each cell, by name; the signal is followed once for all that need it."""
    values = {name: np.empty(len(adjacency)) for name in names}
    for start in range(0, len(adjacency), _IN_CACHE):
        cells = adjacency[start : start + _IN_CACHE], operations[start : start + _IN_CACHE]
        signal = propagate(*cells)._asdict() if set(names) & set(Signal._fields) else {}
        others = {"rectifiers": rectifiers, "l2_norm": l2_norm, "synflow": synflow}
        for name, column in values.items():
            column[start : start + _IN_CACHE] = signal[name] if name in signal else others[name](*cells)
    return values


def rectifiers(adjacency: Bool[ndarray, "cells 7 7"], operations: Int[ndarray, "cells 7"]) -> Float[ndarray, " cells"]:
    """Rectified activations for one image, the leading term of the proxy "nwot" (Mellor et al., ICML 2021)."""
    cells = _Cells.of(adjacency, operations)
    of_all_channels = sum(side**2 * leaving for _, leaving, side, _ in CELLS)
    return of_all_channels * ((cells.is_conv + cells.projected) * cells.share).sum(axis=0)


def l2_norm(adjacency: Bool[ndarray, "cells 7 7"], operations: Int[ndarray, "cells 7"]) -> Float[ndarray, " cells"]:
    """Logarithm of the sum over convolutions of the norm of their weights, √(2 · channels in)."""
    cells = _Cells.of(adjacency, operations)
    total = np.zeros(len(adjacency))
    for entering, leaving, *_ in CELLS:
        norms = cells.is_conv * np.sqrt(2 * leaving * cells.share) + cells.projected * np.sqrt(2 * entering)
        total += norms.sum(axis=0)
    return np.log(total)


def synflow(adjacency: Bool[ndarray, "cells 7 7"], operations: Int[ndarray, "cells 7"]) -> Float[ndarray, " cells"]:
    """Logarithm of the expected synaptic flow (Tanaka et al., NeurIPS 2020), without batch norm.

    With positive weights and no rectifiers, a convolution multiplies the flow by the sum of the weights of an output,
    on average 2 k · channels in / √(π · channels out), and a maximum by 1; edges add, and a concatenation averages.
    """
    cells = _Cells.of(adjacency, operations)
    log_flow = np.zeros(len(adjacency))
    for entering, leaving, *_ in CELLS:
        width = leaving * cells.share
        gain = 2 * np.sqrt(cells.taps * width / np.pi) + cells.is_pool
        projection = cells.projected * 2 * entering / np.sqrt(np.pi * width)
        flow = np.zeros_like(gain)
        for vertex in range(1, 6):
            flow[vertex] = gain[vertex] * (cells.read(vertex, flow) + projection[vertex])
        log_flow += np.log(cells.read(6, flow * cells.share) + projection[6])
    return log_flow


def propagate(adjacency: Bool[ndarray, "cells 7 7"], operations: Int[ndarray, "cells 7"]) -> Signal:
    """Follow the signal forward through one cell, as all have the same input, and the gradient backward through all."""
    cells = _Cells.of(adjacency, operations)
    entered, *before = _variances(cells)
    zen, snip, grad_norm, fisher = np.zeros((4, len(adjacency)))
    total, shared = np.ones((2, len(adjacency)))
    for entering, leaving, _, source in reversed(CELLS):
        width, variance = leaving * cells.share, before[source]
        convolved, projected, projected_shared = _backward(cells, entered, total, shared)
        total = projected.sum(axis=0) / variance
        shared = projected_shared.sum(axis=0) / (4 * variance if source == DOWNSAMPLED else variance)

        # Batch norm makes the scale of the weights cancel: the squared norms of a convolution's weights and of their
        # gradient multiply to the gradient's square before its rectifiers, times the number of weights.
        snip += (np.sqrt(convolved * cells.taps) * width + np.sqrt(projected * entering * width)).sum(axis=0)
        grad_norm += (np.sqrt(convolved * cells.taps * width) + np.sqrt(projected * width)).sum(axis=0)
        fisher += (convolved * cells.taps * width + projected * entering).sum(axis=0)
        zen += (cells.is_conv * np.log(KEPT + (1 - KEPT) * cells.taps * width * entered)).sum(axis=0) / 2
        zen += cells.projected.sum(axis=0) * np.log(KEPT + (1 - KEPT) * entering * variance) / 2
    return Signal(zen, np.log(snip), np.log(grad_norm), np.log(fisher))


class _Cells(NamedTuple):
    """Cells as arrays over vertices first, padded to seven: vertex 6 is the output, unused ones before it do nothing.

    Attributes:
        reads: ``reads[u, v]``: 1 where v reads u, neither being the input.
        projected: 1 where a vertex reads the input, through its own projection.
        is_conv, is_pool: 1 at vertices with this operation.
        taps: k² of a vertex's convolution, else 0.
        share: of the cell's channels that a vertex has.
    """

    reads: Float[ndarray, "7 7 cells"]
    projected: Float[ndarray, "7 cells"]
    is_conv: Float[ndarray, "7 cells"]
    is_pool: Float[ndarray, "7 cells"]
    taps: Float[ndarray, "7 cells"]
    share: Float[ndarray, "7 cells"]

    @classmethod
    def of(cls, adjacency: Bool[ndarray, "cells 7 7"], operations: Int[ndarray, "cells 7"]) -> _Cells:
        rows, last = np.arange(len(adjacency)), (operations == OUTPUT).argmax(axis=1)
        reads = np.ascontiguousarray(adjacency.transpose(1, 2, 0), dtype=float)
        to_output = reads[:, last, rows]
        reads[:, last, rows] = 0
        reads[:, 6] = to_output
        projected = reads[0].copy()
        reads[0] = 0
        is_conv = ((operations == CONV_3X3) | (operations == CONV_1X1)).T.astype(float)
        taps = is_conv + 8 * (operations == CONV_3X3).T
        share = np.ones_like(projected)
        share[:6] /= np.maximum(reads[:, 6].sum(axis=0), 1)
        return cls(reads, projected, is_conv, (operations == POOL).T.astype(float), taps, share)

    def read(self, vertex: int, values: Float[ndarray, "7 cells"]) -> Float[ndarray, " cells"]:
        """Sum of the values of the vertices that a vertex reads."""
        return np.einsum("uc,uc->c", self.reads[:, vertex], values)


def _variances(cells: _Cells) -> tuple[Float[ndarray, "7 cells"], ...]:
    """Variance of each vertex's input sum; then of the outputs of the stem, of a cell, and of the maximum after it."""
    entered, plain, pooled = np.zeros((3, *cells.projected.shape))
    for vertex in range(1, 6):
        entered[vertex] = cells.read(vertex, plain) + cells.projected[vertex] * RECTIFIED
        maximum = cells.is_pool[vertex] * (cells.read(vertex, pooled) + cells.projected[vertex] * POOLED)
        plain[vertex] = cells.is_conv[vertex] * RECTIFIED + maximum
        pooled[vertex] = cells.is_conv[vertex] * POOLED + maximum
    output = cells.read(6, plain * cells.share) + cells.projected[6] * RECTIFIED
    downsampled = cells.read(6, pooled * cells.share) + cells.projected[6] * POOLED
    return entered, np.full_like(output, RECTIFIED), output, downsampled


def _backward(
    cells: _Cells, entered: Float[ndarray, "7 cells"], total: Float[ndarray, " cells"], shared: Float[ndarray, " cells"]
) -> tuple[Float[ndarray, "7 cells"], Float[ndarray, "7 cells"], Float[ndarray, "7 cells"]]:
    """The gradient's square before the rectifiers of a cell, from its total and the part pixels share at the output.

    Returns:
        the gradient's square in the convolutions and in the projections of all vertices, and the part of the latter
        that pixels share.
    """
    # At each vertex's input sum, total and shared part: first of what came through no maximum, then of what did.
    gradient = np.zeros((4, *entered.shape))
    gradient[:2, 6] = total * cells.share[0], shared * cells.share[0]
    convolved = np.zeros_like(entered)
    for vertex in range(5, 0, -1):
        plain, plain_shared, pooled, pooled_shared = np.einsum("vc,kvc->kc", cells.reads[vertex], gradient)
        is_conv, is_pool = cells.is_conv[vertex], cells.is_pool[vertex]
        convolved[vertex] = is_conv * (PASS * plain + PASS_MAXIMUM * pooled)
        variance = np.maximum(entered[vertex], RECTIFIED)  # less only where there is no vertex
        all_shared = plain_shared + pooled_shared
        gradient[:, vertex] = (
            convolved[vertex] / variance,
            is_conv * (PASS_SHARED * plain_shared + PASS_MAXIMUM * pooled_shared) / variance,
            is_pool * (plain + pooled + (GATHERED - 1) * all_shared),
            is_pool * all_shared,
        )
    gradient[:2, 6] = total, shared
    plain, plain_shared, pooled, pooled_shared = cells.projected * gradient
    return convolved, PASS * plain + PASS_MAXIMUM * pooled, PASS_SHARED * plain_shared + PASS_MAXIMUM * pooled_shared


# Sizes


def parameters(
    vertices: Int[ndarray, " cells"], adjacency: Bool[ndarray, "cells 7 7"], operations: Int[ndarray, "cells 7"]
) -> Int[ndarray, " cells"]:
    """Trainable parameters of the CIFAR-10 network of each cell, which has the given number of vertices."""
    weights, outputs = _convolutions(vertices, adjacency, operations)
    stem, head = 3 * 128 * 9 + 2 * 128, 512 * 10 + 10
    return stem + (weights + 2 * outputs).sum(axis=1) + head


def flops(
    vertices: Int[ndarray, " cells"], adjacency: Bool[ndarray, "cells 7 7"], operations: Int[ndarray, "cells 7"]
) -> Int[ndarray, " cells"]:
    """Multiply-accumulates of the CIFAR-10 network of each cell: convolutions and classifier, for one image."""
    weights, _ = _convolutions(vertices, adjacency, operations)
    stem, head = 3 * 128 * 9 * 32 * 32, 512 * 10
    return stem + weights @ np.array([side**2 for _, _, side in _STACKS]) + head


def _convolutions(
    vertices: Int[ndarray, " cells"], adjacency: Bool[ndarray, "cells 7 7"], operations: Int[ndarray, "cells 7"]
) -> tuple[Int[ndarray, "cells 3"], Int[ndarray, "cells 3"]]:
    """Weights and output channels of all convolutions in each stack.

    Each convolution has no bias and is followed by a batch norm. What a vertex or the output reads from the cell's
    input first passes a 1 × 1 convolution.
    """
    kernels = _KERNELS[operations]
    weights, outputs = np.empty((2, len(vertices), len(_STACKS)), dtype=np.int64)
    for stack, (entering, leaving, _) in enumerate(_STACKS):
        channels = _channels(leaving, vertices, adjacency)
        projected = (adjacency[:, 0] * channels).sum(axis=1)
        weights[:, stack] = 3 * ((kernels * channels) ** 2).sum(axis=1)
        weights[:, stack] += (entering + 2 * leaving) * projected
        outputs[:, stack] = 3 * (((kernels > 0) * channels).sum(axis=1) + projected)
    return weights, outputs


def _channels(
    leaving: int, vertices: Int[ndarray, " cells"], adjacency: Bool[ndarray, "cells 7 7"]
) -> Int[ndarray, "cells 7"]:
    """Channels of each vertex but the input; 0 where there is no vertex.

    The vertices that the output reads share its channels; the first ones get one more where these do not divide evenly.
    The others have as many as their largest reader.
    """
    rows = np.arange(len(vertices))
    shares = adjacency[rows, :, vertices - 1]
    shares[:, 0] = False
    share, rest = np.divmod(leaving, np.maximum(shares.sum(axis=1), 1))
    channels = shares * (share[:, None] + (np.cumsum(shares, axis=1) <= rest[:, None]))
    for vertex in range(5, 0, -1):
        largest = (adjacency[:, vertex] * channels).max(axis=1)
        channels[:, vertex] = np.where(shares[:, vertex], channels[:, vertex], largest)
    channels[rows, vertices - 1] = leaving
    return channels
