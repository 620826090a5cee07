"""Zero-cost proxies of NAS-Bench-201 without a network: what the theory of signal propagation gives in closed form.

A zero-cost proxy is measured on an untrained network and one minibatch. What it measures is, up to noise, a property of
the cell: how much signal and gradient its random convolutions let through, and how much the gradients of different
inputs differ. Mean-field theory (Schoenholz et al., ICLR 2017; with batch norm, Yang et al., ICLR 2019) follows these
from node to node with a few numbers each, for all cells at once. Assumed are wide layers, inputs that batch norm has
decorrelated, and feature maps white in space:

* convolution (ReLU, convolution, batch norm): what comes out has variance 1 and is independent of all else. Backward,
  the gradient's square is multiplied by χ / q, with q the variance of what went in and χ = π / (π − 1); of the
  rectifiers that are open for one input half are open for another, so what their gradients share gets half of that;
* skip: all passes;
* average of 3 × 3: nine independent values make one of a third of the amplitude; the part of the gradient that all
  inputs share is no noise, and passes whole.

Signals that took different linear routes (skips and averages) from one node are coherent and add before they are
squared, so each cell carries a 4 × 4 matrix of second moments.
"""

from __future__ import annotations

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
"""Variance that a node without any signal is taken to have, so that logarithms stay finite."""


class Signal(NamedTuple):
    """Natural logarithms for each cell, of the whole network.

    Attributes:
        variance: of the features that the last cell puts out.
        gradient: mean square of the loss's gradient that arrives at the first cell.
        jacobian: the part of that gradient in which two inputs differ, over the part that they share; what the proxy
            "jacov" looks at.
    """

    variance: Float[ndarray, " cells"]
    gradient: Float[ndarray, " cells"]
    jacobian: Float[ndarray, " cells"]


PROXIES = ("synflow", "rectifiers", *Signal._fields)
"""What :func:`proxy` knows."""


def proxy(name: str, cells: Int[ndarray, "cells 6"]) -> Float[ndarray, " cells"]:
    """One of ``PROXIES`` for each cell; of ``Signal`` those of its name."""
    if name == "synflow":
        return synflow(cells)
    if name == "rectifiers":
        return rectifiers(cells).astype(float)
    return np.asarray(getattr(propagate(cells), name))


def synflow(cells: Int[ndarray, "cells 6"]) -> Float[ndarray, " cells"]:
    """Logarithm of the expected synaptic flow (Tanaka et al., NeurIPS 2020), with PyTorch's default initialisation.

    All weights positive and no rectifier, so a convolution of C channels and k × k taps multiplies the flow by the k²C
    expected weights that meet in an output, k √C / 2; a skip or an average by 1; paths add.
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
            variance = 1 + variance / 4  # two convolutions, beside a 2 × 2 average

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
    """A number for each edge of each cell as a matrix, source by target."""
    matrices = np.zeros((len(edges), 4, 4))
    for edge, (source, target) in enumerate(CELL_EDGES):
        matrices[:, source, target] = edges[:, edge]
    return matrices


def _forward(
    variance: Float[ndarray, " cells"], linear: Float[ndarray, "cells 4 4"], is_conv: Float[ndarray, "cells 4 4"]
) -> Float[ndarray, "cells 4"]:
    """Variance at each node of a cell whose input has the given one."""
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
