"""Zero-cost proxies of NAS-Bench-101 without a network: what the theory of signal propagation gives in closed form.

A zero-cost proxy (Abdelfattah et al., ICLR 2021) is measured on an untrained network and one minibatch. Mean-field theory
(Schoenholz et al., ICLR 2017; with batch norm, Yang et al., ICLR 2019) says what it measures up to noise, and follows
all cells at once from vertex to vertex with a few numbers each. The weights of a convolution of k × k taps have variance
2 / (k² · channels out), as in the PyTorch version of the benchmark, by which the published proxies were measured. Layers
are wide, what different convolutions put out is independent, and neighbours in a feature map correlate by one half:

* convolution, batch norm, ReLU: what comes out is a rectified normal variable. Backward, of the gradient's square (its
  sum over a feature map) one half passes the rectifiers, and it is then divided by the variance of what went in;
* maximum of 3 × 3: of what has been rectified it raises the variance, as the maximum of nine such variables has more of
  it, and of what has been pooled already it changes nothing. Backward, each output's gradient goes whole to one input,
  and where there are maxima rectifiers are open: nine out of ten;
* the part of the gradient that all pixels of an image share (after the global average pool, all of it) adds up where one
  input is the maximum of several windows, and from there on is shared no more. One third of it passes the rectifiers,
  as two neighbours are both open that often;
* concatenation: every vertex that the output reads has an equal share of the channels, and so has every vertex before
  them. That the first get a channel more where they do not divide evenly is left out.

The functions take cells as arrays, as numbers of the vocabulary of :class:`~archflow.spaces.nasbench101.NASBench101`:

* ``adjacency[i, u, v]``: whether vertex v of cell i reads vertex u;
* ``operations[i, v]``: 0 the input, 1 a convolution of 3 × 3, 2 one of 1 × 1, 3 a maximum of 3 × 3, 4 the output.

A cell of V < 7 vertices takes the first V places, its output the V-th; beyond, it has no edges and operation 4. They
give natural logarithms, in which constants that are the same for all cells are left out.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy import ndarray

CONV_3X3, CONV_1X1, POOL, OUTPUT = range(1, 5)
STACKS = ((128, 128), (128, 256), (256, 512))
"""Channels that enter and leave each stack of three cells; a 2 × 2 maximum stands between two stacks."""

RECTIFIED = (1 - 1 / np.pi) / 2
"""Variance of a rectified standard normal variable."""
POOLED = 0.573
"""Variance of the maximum of nine rectified standard normal variables, any two of which correlate by one half."""
PASS, PASS_SHARED = 1 / 2, 1 / 3
"""How often one rectifier is open, and two neighbours."""
PASS_MAXIMUM = 9 / 10
"""How often the rectifier of a maximum is open: not all of nine are closed."""
GATHERED = sum(overlap * times / (18 - overlap) for overlap, times in ((9, 1), (6, 4), (4, 4), (3, 4), (2, 8), (1, 4)))
"""Mean square of the number of windows of which a pixel is the maximum, 6.18.

Over all pairs of windows that may hold one pixel: how often they do (their overlap), over how many pixels they cover.
"""
BATCHES_KEPT = 0.9**2
"""What the running variance of batch norm keeps of its first value, 1, after the two batches that Zen-NAS looks at."""


class Signal(NamedTuple):
    """Expected values of four proxies for each cell.

    Attributes:
        zen: sum over batch norms of the logarithm of their running standard deviation (Lin et al., ICCV 2021), with
            weights of variance 1. How much a small change of the input changes the output, the other term of that
            proxy, differs little from cell to cell.
        snip: logarithm of the sum of |weight · gradient| (Lee et al., ICLR 2019).
        grad_norm: logarithm of the sum over layers of the gradient's norm.
        fisher: logarithm of the sum over weights of the squared gradient by their channel's gate (Turner et al., ICLR
            2020).
    """

    zen: Float[ndarray, " cells"]
    snip: Float[ndarray, " cells"]
    grad_norm: Float[ndarray, " cells"]
    fisher: Float[ndarray, " cells"]


def l2_norm(adjacency: Bool[ndarray, "cells 7 7"], operations: Int[ndarray, "cells 7"]) -> Float[ndarray, " cells"]:
    """Logarithm of the sum over convolutions of the norm of their weights, √(2 · channels in)."""
    cells = _Cells.of(adjacency, operations)
    convolutions, projections = (cells.taps > 0).sum(axis=0), cells.projected.sum(axis=0)
    total = np.zeros(len(adjacency))
    for entering, leaving in _entering_and_leaving():
        total += convolutions * np.sqrt(2 * leaving * cells.share) + projections * np.sqrt(2 * entering)
    return np.asarray(np.log(total))


def synflow(adjacency: Bool[ndarray, "cells 7 7"], operations: Int[ndarray, "cells 7"]) -> Float[ndarray, " cells"]:
    """Logarithm of the expected synaptic flow (Tanaka et al., NeurIPS 2020), without batch norm.

    All weights positive and no rectifier, so a convolution multiplies the flow by the weights that meet in an output,
    2 k · channels in / √(π · channels out) in the mean; a maximum by 1; edges add, and a concatenation averages.
    """
    cells = _Cells.of(adjacency, operations)
    log_flow = np.zeros(len(adjacency))
    for entering, leaving in _entering_and_leaving():
        width = leaving * cells.share
        gain = 2 * np.sqrt(cells.taps * width / np.pi) + cells.pool
        projection = 2 * entering / np.sqrt(np.pi * width)
        flow = np.zeros_like(gain)
        for vertex in range(1, 6):
            flow[vertex] = gain[vertex] * (cells.sum_read(vertex, flow) + cells.projected[vertex] * projection)
        past = cells.projected[6] * 2 * entering / np.sqrt(np.pi * leaving)
        log_flow += np.log(cells.share * cells.sum_read(6, flow) + past)
    return log_flow


def propagate(adjacency: Bool[ndarray, "cells 7 7"], operations: Int[ndarray, "cells 7"]) -> Signal:
    """Follow the signal forward through a cell, then the gradient backward through the nine."""
    cells = _Cells.of(adjacency, operations)
    entered, leaves, pooled = _variances(cells)
    zen, snip, grad_norm, fisher = np.zeros((4, len(adjacency)))
    total, shared = np.ones((2, len(adjacency)))  # at the output of the network's last cell
    for entering, leaving in reversed(list(_entering_and_leaving())):
        first_of_stack = entering < leaving or leaving == STACKS[0][1]
        width = leaving * cells.share
    return Signal(zen, np.log(snip), np.log(grad_norm), np.log(fisher))
