"""The networks of NAS-Bench-201 (Dong and Yang, ICLR 2020).

A stem of one convolution, three stages of ``depth`` cells, between stages a residual block that halves the image and
doubles the channels, batch norm and ReLU, global average, classifier. Trained on CIFAR-10 with 16 channels and 5 cells
per stage, on images of 32 × 32. Half of an odd size is rounded up.
"""

from __future__ import annotations

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor, nn

from archflow.archs.batch import ArchBatch
from archflow.benchmarks.cell import Cell
from archflow.benchmarks.four_nodes import stand_ins
from archflow.benchmarks.nasbench201.space import OPERATIONS, NASBench201
from archflow.benchmarks.network import Network, conv, relu_conv_norm


class NASBench201Network(Network):
    """The network of one cell, given as the operations of its edges in the order of ``CELL_EDGES``."""

    def __init__(self, operations: Sequence[int], width: int, depth: int, classes: int) -> None:
        super().__init__()
        body: list[nn.Module] = [conv(3, width, 3), nn.BatchNorm2d(width)]
        for stage in range(3):
            if stage:
                body.append(Reduction(width, 2 * width))
                width *= 2
            body += [Cell([operation(OPERATIONS[number], width) for number in operations], width) for _ in range(depth)]
        self.body = nn.Sequential(*body, nn.BatchNorm2d(width), nn.ReLU())
        self.classifier = nn.Linear(width, classes)

    def features(self, images: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch channels h w"]:
        """The feature maps of the last cell, normalised and rectified."""
        return self.body(images)


def operation(name: str, width: int) -> nn.Module | None:
    """An operation; None for "none"."""
    if name == "none":
        return None
    if name == "skip_connect":
        return nn.Identity()
    if name == "avg_pool_3x3":
        return nn.AvgPool2d(3, 1, 1, count_include_pad=False)
    return relu_conv_norm(width, width, 1 if name == "nor_conv_1x1" else 3)


class Reduction(nn.Module):
    """A residual block that halves the image: two convolutions in parallel with a 2 × 2 average and a convolution."""

    def __init__(self, c_in: int, c_out: int) -> None:
        super().__init__()
        self.convs = nn.Sequential(relu_conv_norm(c_in, c_out, 3, stride=2), relu_conv_norm(c_out, c_out, 3))
        self.shortcut = nn.Sequential(nn.AvgPool2d(2, 2, ceil_mode=True), conv(c_in, c_out))

    def forward(self, maps: Float[Tensor, "batch c_in h w"]) -> Float[Tensor, "batch c_out h2 w2"]:
        """The sum of both branches."""
        return self.convs(maps) + self.shortcut(maps)


def build(arch: ArchBatch, width: int, depth: int, classes: int) -> Network:
    """The network of the one architecture in ``arch``."""
    (operations,) = NASBench201().encode(arch).tolist()
    return NASBench201Network(operations, width, depth, classes)


def representatives(archs: ArchBatch) -> ArchBatch:
    """For each cell, the first one of the space that computes the same; 5,425 represent all 15,625.

    Operations on no path from the input to the output are dropped, a skip counts as a wire, and nodes have no order.
    """
    return stand_ins(NASBench201, archs, wire=OPERATIONS.index("skip_connect"))
