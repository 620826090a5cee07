"""The networks of TransNAS-Bench-101's micro space (Duan et al., CVPR 2021).

A stem of two convolutions that each halve the image, ``depth`` modules of two cells, global average, classifier. The
first module and every second one after it double the channels and halve the image, in the first of their cells. The
benchmark's networks, 64-41414, have 64 channels and 5 modules, for images of 256 × 256; the task class_scene has 47
classes.
"""

from __future__ import annotations

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor, nn

from archflow.archs.batch import ArchBatch
from archflow.benchmarks.cell import Cell
from archflow.benchmarks.darts.network import Halving
from archflow.benchmarks.four_nodes import CELL_EDGES, stand_ins
from archflow.benchmarks.network import Network, as_rectified, conv, relu_conv_norm
from archflow.benchmarks.transnas101.space import OPERATIONS, TransNASMicro


class TransNASNetwork(Network):
    """The network of one cell, given as the operations of its edges in the order of ``CELL_EDGES``."""

    def __init__(self, operations: Sequence[int], width: int, depth: int, classes: int) -> None:
        super().__init__()
        half = (width + 1) // 2
        body = [conv(3, half, 3, stride=2), nn.BatchNorm2d(half), relu_conv_norm(half, width, 3, stride=2)]
        for module in range(depth):
            before, width = width, width if module % 2 else 2 * width
            body += [cell(operations, before, width), cell(operations, width, width)]
        self.body = as_rectified(nn.Sequential(*body))
        self.classifier = nn.Linear(width, classes)

    def features(self, images: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch channels h w"]:
        """The feature maps of the last cell."""
        return self.body(images)


def cell(operations: Sequence[int], c_in: int, c_out: int) -> Cell:
    """A cell; where it increases the channels, the edges that start at its input halve the image."""
    entering = (c_out if source else c_in for source, _ in CELL_EDGES)
    made = [operation(OPERATIONS[number], before, c_out) for number, before in zip(operations, entering, strict=True)]
    return Cell(made, c_out, stride=1 if c_in == c_out else 2)


def operation(name: str, c_in: int, c_out: int) -> nn.Module | None:
    """An operation, None for "none"; where it increases the channels, it halves the image."""
    if name == "none":
        return None
    changes = c_in != c_out
    if name == "skip_connect":
        return Halving(c_in, c_out, affine=True) if changes else nn.Identity()
    return relu_conv_norm(c_in, c_out, 1 if name == "nor_conv_1x1" else 3, stride=2 if changes else 1)


def build(arch: ArchBatch, width: int, depth: int, classes: int) -> Network:
    """The network of the one architecture in ``arch``."""
    (operations,) = TransNASMicro().encode(arch).tolist()
    return TransNASNetwork(operations, width, depth, classes)


def representatives(archs: ArchBatch) -> ArchBatch:
    """For each cell, the first one of the space that computes the same; 1,948 represent all 4,096.

    Operations on no path from the input to the output are dropped, and nodes have no order. A skip does not count as a
    wire, as it changes the shape in some cells.
    """
    return stand_ins(TransNASMicro, archs, wire=None)
