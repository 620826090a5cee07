"""The networks of TransNAS-Bench-101's micro space (Duan et al., CVPR 2021).

A stem of two convolutions that each halve the image, ``depth`` modules of two cells, global average, classifier. The
first module and every second one after it double the channels and halve the image, in the first of their cells. The
benchmark's networks, 64-41414, have 64 channels and 5 modules, for images of 256 × 256; with 47 classes it is that of
the task class_scene.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

from jaxtyping import Float, Int
from numpy import ndarray
from torch import Tensor, nn

from archflow.graphs import ArchBatch
from archflow.networks.darts import Halving
from archflow.networks.nasbench201 import first_alike
from archflow.networks.network import Network, added, conv, relu_conv_norm
from archflow.spaces.nasbench201 import CELL_EDGES
from archflow.spaces.transnas101 import OPERATIONS, TransNASMicro

NONE = OPERATIONS.index("none")


class TransNASNetwork(Network):
    """The network of one cell, given as the operations of its edges in the order of ``CELL_EDGES``."""

    def __init__(self, operations: Sequence[int], width: int, depth: int, classes: int) -> None:
        super().__init__()
        half = (width + 1) // 2
        body = [conv(3, half, 3, stride=2), nn.BatchNorm2d(half), relu_conv_norm(half, width, 3, stride=2)]
        for module in range(depth):
            before, width = width, width if module % 2 else 2 * width
            body += [Cell(operations, before, width), Cell(operations, width, width)]
        self.body = nn.Sequential(*body)
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
        self.classifier = nn.Linear(width, classes)

    def features(self, images: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch channels h w"]:
        """The feature maps of the last cell."""
        return self.body(images)


class Cell(nn.Module):
    """Each node is the sum of what its edges make of earlier nodes; without any, zeros.

    A cell with more channels behind it than before it halves the image, by the edges that begin at its input.
    """

    def __init__(self, operations: Sequence[int], c_in: int, c_out: int) -> None:
        super().__init__()
        self.channels, self.stride = c_out, 1 if c_in == c_out else 2
        self.edges = nn.ModuleDict(
            {
                f"{source}{target}": operation(OPERATIONS[number], c_out if source else c_in, c_out)
                for (source, target), number in zip(CELL_EDGES, operations, strict=True)
                if number != NONE
            }
        )

    def forward(self, maps: Float[Tensor, "batch c_in h w"]) -> Float[Tensor, "batch c_out h2 w2"]:
        """The last node; h2 and w2 are h and w, or h / 2 and w / 2, rounded up."""
        size = (-(-side // self.stride) for side in maps.shape[2:])
        of_its_shape = maps.new_empty(len(maps), self.channels, *size)
        nodes = [maps]
        for target in (1, 2, 3):
            read = [edge(nodes[int(name[0])]) for name, edge in self.edges.items() if name[1] == str(target)]
            nodes.append(added(read, of_its_shape))
        return nodes[-1]


def operation(name: str, c_in: int, c_out: int) -> nn.Module:
    """An operation other than "none"; with more channels behind it than before it, it halves the image."""
    changes = c_in != c_out
    if name == "skip_connect":
        return Halving(c_in, c_out, affine=True) if changes else nn.Identity()
    return relu_conv_norm(c_in, c_out, 1 if name == "nor_conv_1x1" else 3, stride=2 if changes else 1)


def build(arch: ArchBatch, width: int, depth: int, classes: int) -> Network:
    """The network of the one architecture in ``arch``."""
    (operations,) = TransNASMicro().operations(arch).tolist()
    return TransNASNetwork(operations, width, depth, classes)


def representatives(archs: ArchBatch) -> ArchBatch:
    """For each cell the first one of the space that computes the same: 1,948 stand for all 4,096.

    Operations that lie on no path from the input to the output go, and nodes have no order. A skip is no mere wire, as
    in some cells it changes the shape.
    """
    return TransNASMicro().from_operations(_alike()[TransNASMicro().keys(archs)])


@cache
def _alike() -> Int[ndarray, "cells 6"]:
    operations = TransNASMicro().operations(TransNASMicro().enumerate())
    return operations[first_alike(operations, wire=None)]
