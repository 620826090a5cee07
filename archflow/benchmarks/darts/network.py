"""The networks of DARTS (Liu, Simonyan and Yang, ICLR 2019), as NASLib builds them (Ruchte et al., 2020).

A stem of one convolution, ``depth`` cells that each read the two before them, global average, classifier. The cells at
a third and at two thirds of the depth reduce: they double the channels and halve the image. For CIFAR-10 there are 32
channels and 8 cells; :meth:`.DARTS.parameters` and ``flops`` are the sizes of that network. The auxiliary classifier
and drop-path, which only training uses, are left out.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import pad

from archflow.archs.batch import ArchBatch
from archflow.benchmarks.darts.notation import OPERATIONS
from archflow.benchmarks.darts.space import DARTS
from archflow.benchmarks.network import Network, conv, relu_conv_norm


class DARTSNetwork(Network):
    """The network of a normal and a reduction cell, each given as the (source, operation) of its eight edges."""

    def __init__(self, edges: Sequence[Sequence[Sequence[int]]], width: int, depth: int, classes: int) -> None:
        super().__init__()
        before = last = 3 * width
        self.stem = nn.Sequential(conv(3, last, 3), nn.BatchNorm2d(last))
        self.cells = nn.ModuleList()
        reduced = False
        for index in range(depth):
            reduces = index in (depth // 3, 2 * depth // 3)
            width *= 1 + reduces
            self.cells.append(Cell(edges[reduces], (before, last), width, reduces, reduced))
            before, last, reduced = last, 4 * width, reduces
        self.classifier = nn.Linear(last, classes)

    def features(self, images: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch channels h w"]:
        """The feature maps of the last cell."""
        before = last = self.stem(images)
        for cell in self.cells:
            before, last = last, cell(before, last)
        return last


class Cell(nn.Module):
    """Nodes 0 and 1 are the inputs, nodes 2 to 5 each sum two edges, and the output concatenates these four.

    Args:
        edges: source and operation of each edge, in the order of the nodes in which they end.
        inputs: channels of the two previous cells, the earlier one first.
        width: channels of each node.
        reduces: whether the edges that start at an input halve the image.
        reduced: whether the previous cell halved it, so that the maps from before that cell are twice as large.
    """

    def __init__(
        self, edges: Sequence[Sequence[int]], inputs: tuple[int, int], width: int, reduces: bool, reduced: bool
    ) -> None:
        super().__init__()
        before, last = inputs
        self.before = Halving(before, width, affine=True) if reduced else relu_conv_norm(before, width, 1)
        self.last = relu_conv_norm(last, width, 1)
        self.sources = [source for source, _ in edges]
        self.operations = nn.ModuleList(
            operation(OPERATIONS[number], width, stride=2 if reduces and source < 2 else 1) for source, number in edges
        )

    def forward(
        self, before: Float[Tensor, "batch c_before h0 w0"], last: Float[Tensor, "batch c_last h1 w1"]
    ) -> Float[Tensor, "batch 4*width h w"]:
        """Nodes 2 to 5, concatenated along the channels."""
        nodes = [self.before(before), self.last(last)]
        for edge in range(0, 8, 2):
            first, second = (self.operations[e](nodes[self.sources[e]]) for e in (edge, edge + 1))
            nodes.append(first + second)
        return torch.cat(nodes[2:], dim=1)


def operation(name: str, width: int, stride: int) -> nn.Module:
    """An operation of the space; its norms have no scale and shift."""
    if name == "skip_connect":
        return Halving(width, width, affine=False) if stride == 2 else nn.Identity()
    if name == "max_pool_3x3":
        return nn.Sequential(nn.MaxPool2d(3, stride, 1), nn.BatchNorm2d(width, affine=False))
    if name == "avg_pool_3x3":
        pool = nn.AvgPool2d(3, stride, 1, count_include_pad=False)
        return nn.Sequential(pool, nn.BatchNorm2d(width, affine=False))
    kernel = int(name[-1])
    if name.startswith("dil_conv"):
        return separable(width, kernel, stride, dilation=2)
    return nn.Sequential(separable(width, kernel, stride), separable(width, kernel))


def separable(width: int, kernel: int, stride: int = 1, dilation: int = 1) -> nn.Sequential:
    """ReLU, depthwise convolution, pointwise convolution, batch norm."""
    return nn.Sequential(
        nn.ReLU(),
        conv(width, width, kernel, stride, groups=width, dilation=dilation),
        conv(width, width),
        nn.BatchNorm2d(width, affine=False),
    )


class Halving(nn.Module):
    """A skip connection that halves the image, DARTS' "factorized reduction".

    Half of the output channels read the pixels in even rows and columns, the other half those in odd ones. An image of
    odd size is padded with zeros.
    """

    def __init__(self, c_in: int, c_out: int, affine: bool) -> None:
        super().__init__()
        self.relu = nn.ReLU()
        self.even, self.odd = (conv(c_in, c_out // 2, stride=2) for _ in range(2))
        self.norm = nn.BatchNorm2d(c_out, affine=affine)

    def forward(self, maps: Float[Tensor, "batch c_in h w"]) -> Float[Tensor, "batch c_out h2 w2"]:
        """Both halves, normalised; h2 and w2 are h / 2 and w / 2, rounded up."""
        maps = self.relu(maps)
        shifted = pad(maps, (-1, 1, -1, 1))
        return self.norm(torch.cat([self.even(maps), self.odd(shifted)], dim=1))


def build(arch: ArchBatch, width: int, depth: int, classes: int) -> Network:
    """The network of the one architecture in ``arch``."""
    (edges,) = DARTS().edges(arch).tolist()
    return DARTSNetwork(edges, width, depth, classes)


def representatives(archs: ArchBatch) -> ArchBatch:
    """The same with each node's edges in the order of their sources; every operation of an architecture is live."""
    return DARTS().from_keys(DARTS().keys(archs))
