"""Zero-cost proxies of NAS-Bench-201 in closed form, from the theory of signal propagation.

A zero-cost proxy is measured on an untrained network and one minibatch. What it measures is, up to noise, a property of
the cell: how much signal and gradient its random convolutions pass on, and how much the gradients of different inputs
differ. Mean-field theory (Schoenholz et al., ICLR 2017; with batch norm, Yang et al., ICLR 2019) follows these from
node to node with a few numbers each, for all cells at once. It assumes wide layers, inputs decorrelated by batch norm,
and spatially white feature maps:

* convolution (ReLU, convolution, batch norm): the output has variance 1 and is independent of everything else.
  Backward, the gradient's square is multiplied by χ / q, with q the variance of the input and χ = π / (π − 1). Half of
  the rectifiers that are open for one input are open for another, so the part that their gradients share is multiplied
  by half of that;
* skip: everything passes unchanged;
* 3 × 3 average: nine independent values average to a third of the amplitude; the part of the gradient that all inputs
  share is not noise, and passes whole.

Signals that took different linear routes (skips and averages) from one node are coherent and add before they are
squared, so each cell carries a 4 × 4 matrix of second moments.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy import ndarray

from archflow.benchmarks.four_nodes import CELL_EDGES, live

_, SKIP, CONV_1X1, CONV_3X3, POOL = range(5)
CELLS_PER_STAGE = 5
CHANNELS = (16, 32, 64)

_CHI = np.pi / (np.pi - 1)
_TINY = 1e-12
"""The variance assumed for a node without signal, so that logarithms stay finite."""


class Signal(NamedTuple):
    """Natural logarithms for each cell, of the whole network.

    Attributes:
        variance: of the features that leave the last cell.
        gradient: mean square of the loss's gradient at the input of the first cell.
        jacobian: ratio of the part of that gradient in which two inputs differ to the part that they share, on which
            the proxy "jacov" depends.
    """

    variance: Float[ndarray, " cells"]
    gradient: Float[ndarray, " cells"]
    jacobian: Float[ndarray, " cells"]


PROXIES = ("synflow", "rectifiers", *Signal._fields)
"""The names that :func:`proxies` knows."""


def proxies(names: Sequence[str], cells: Int[ndarray, "cells 6"]) -> dict[str, Float[ndarray, " cells"]]:
    """Some of ``PROXIES`` for each cell, by name; the signal is followed once for all that need it."""
    found: dict[str, Float[ndarray, " cells"]] = {}
    if set(names) & set(Signal._fields):
        found |= propagate(cells)._asdict()
    if "synflow" in names:
        found["synflow"] = synflow(cells)
    if "rectifiers" in names:
        found["rectifiers"] = rectifiers(cells).astype(float)
    return found


def synflow(cells: Int[ndarray, "cells 6"]) -> Float[ndarray, " cells"]:
    """Logarithm of the expected synaptic flow (Tanaka et al., NeurIPS 2020), with PyTorch's default initialisation.

    With positive weights and no rectifiers, a convolution of C channels and k × k taps multiplies the flow by the
    expected sum of the k²C weights of an output, k √C / 2, and a skip or an average by 1; paths add.
    """
    total = np.zeros(len(cells))
    for channels in CHANNELS:
        gain = np.array([0, 1, np.sqrt(channels) / 2, 3 * np.sqrt(channels) / 2, 1])[cells]
        first = gain[:, 0]
        second = gain[:, 1] + gain[:, 2] * first
        third = gain[:, 3] + gain[:, 4] * first + gain[:, 5] * second
        total += CELLS_PER_STAGE * np.log(np.maximum(third, _TINY))
    return total


def rectifiers(cells: Int[ndarray, "cells 6"]) -> Int[ndarray, " cells"]:
    """Rectified activations on live paths for one image, the leading term of the proxy "nwot" (Mellor et al., 2021)."""
    is_conv = (cells == CONV_1X1) | (cells == CONV_3X3)
    of_one = CELLS_PER_STAGE * sum(channels * (512 // channels) ** 2 for channels in CHANNELS)
    return of_one * (is_conv & live(cells)).sum(axis=1)


def propagate(cells: Int[ndarray, "cells 6"]) -> Signal:
    """Follow signal and gradient through the three stages of five cells and the two reductions between them."""
    is_conv = _matrices((cells == CONV_1X1) | (cells == CONV_3X3))
    skip, pool = _matrices(cells == SKIP), _matrices(cells == POOL)
    damped, whole = skip + pool / 3, skip + pool

    variance = np.ones(len(cells))
    met = []  # the variance at the nodes of each cell and before each reduction, in the order of the network
    for stage in range(len(CHANNELS)):
        for _ in range(CELLS_PER_STAGE):
            nodes = _forward(variance, damped, is_conv)
            met.append(nodes)
            variance = nodes[:, 3]
        if stage < len(CHANNELS) - 1:
            met.append(variance)
            variance = 1 + variance / 4  # two convolutions in parallel with a 2 × 2 average

    shared, different = 1 / variance, np.zeros(len(cells))  # after the last batch norm
    scale = np.zeros(len(cells))
    for nodes in reversed(met):
        if nodes.ndim == 1:
            gradient = (shared + different) * (_CHI**2 / nodes + 1 / 4)
            shared = shared * ((_CHI / 2) ** 2 / nodes + 1 / 4)
            different = gradient - shared
        else:
            shared, different = _backward(shared, different, nodes, whole, damped, is_conv)
        size = np.maximum(shared + different, _TINY)
        scale += np.log(size)
        shared, different = shared / size, different / size
    jacobian = np.log(np.maximum(different, _TINY)) - np.log(np.maximum(shared, _TINY))
    return Signal(np.log(variance), scale, jacobian)


def _matrices(edges: Bool[ndarray, "cells 6"]) -> Float[ndarray, "cells 4 4"]:
    """The edges of each cell as a matrix, source by target."""
    matrices = np.zeros((len(edges), 4, 4))
    for edge, (source, target) in enumerate(CELL_EDGES):
        matrices[:, source, target] = edges[:, edge]
    return matrices


def _forward(
    variance: Float[ndarray, " cells"], linear: Float[ndarray, "cells 4 4"], is_conv: Float[ndarray, "cells 4 4"]
) -> Float[ndarray, "cells 4"]:
    """Variance at each node of a cell whose input has the given variance."""
    moments = np.zeros((len(variance), 4, 4))
    moments[:, 0, 0] = variance
    for node in (1, 2, 3):
        for other in range(node):
            moments[:, node, other] = moments[:, other, node] = (linear[:, :, node] * moments[:, :, other]).sum(1)
        moments[:, node, node] = _square(linear[:, :, node], moments) + is_conv[:, :, node].sum(1)
    return np.maximum(np.einsum("nii->ni", moments), _TINY)


def _backward(
    shared: Float[ndarray, " cells"],
    different: Float[ndarray, " cells"],
    nodes: Float[ndarray, "cells 4"],
    whole: Float[ndarray, "cells 4 4"],
    damped: Float[ndarray, "cells 4 4"],
    is_conv: Float[ndarray, "cells 4 4"],
) -> tuple[Float[ndarray, " cells"], Float[ndarray, " cells"]]:
    """Both parts of the gradient's square at a cell's input, from those at its output."""
    common, rest = np.zeros((len(shared), 4, 4)), np.zeros((len(shared), 4, 4))
    common[:, 3, 3], rest[:, 3, 3] = shared, different
    for node in (2, 1, 0):
        for other in range(node + 1, 4):
            common[:, node, other] = common[:, other, node] = (whole[:, node] * common[:, :, other]).sum(1)
            rest[:, node, other] = rest[:, other, node] = (damped[:, node] * rest[:, :, other]).sum(1)
        through = _CHI / nodes[:, node]
        common_conv = through * (is_conv[:, node] * np.einsum("nii->ni", common)).sum(1)
        rest_conv = through * (is_conv[:, node] * np.einsum("nii->ni", rest)).sum(1)
        common[:, node, node] = _square(whole[:, node], common) + common_conv / 2
        rest[:, node, node] = _square(damped[:, node], rest) + rest_conv + common_conv / 2
    return common[:, 0, 0], rest[:, 0, 0]


def _square(weights: Float[ndarray, "cells 4"], moments: Float[ndarray, "cells 4 4"]) -> Float[ndarray, " cells"]:
    """Second moment of a weighted sum."""
    return np.einsum("ni,nj,nij->n", weights, weights, moments)
