"""The networks of NAS-Bench-201 (Dong and Yang, ICLR 2020).

A stem of one convolution, three stages of ``depth`` cells, between stages a residual block that halves the image and
doubles the channels, batch norm and rectifier, global average, classifier. Trained on CIFAR-10 with 16 channels and 5
cells a stage, on images of 32 × 32.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from hashlib import md5

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray
from torch import Tensor, nn

from archflow.graphs import ArchBatch
from archflow.networks.network import Network, added, conv, relu_conv_norm
from archflow.spaces.nasbench201 import CELL_EDGES, OPERATIONS, NASBench201
from archflow.spaces.nasbench201_signal import live

NONE, SKIP = (OPERATIONS.index(name) for name in ("none", "skip_connect"))


class NASBench201Network(Network):
    """The network of one cell, given as the operations of its edges in the order of ``CELL_EDGES``."""

    def __init__(self, operations: Sequence[int], width: int, depth: int, classes: int) -> None:
        super().__init__()
        body: list[nn.Module] = [conv(3, width, 3), nn.BatchNorm2d(width)]
        for stage in range(3):
            if stage:
                body.append(Reduction(width, 2 * width))
                width *= 2
            body += [Cell(operations, width) for _ in range(depth)]
        self.body = nn.Sequential(*body, nn.BatchNorm2d(width), nn.ReLU())
        self.classifier = nn.Linear(width, classes)

    def features(self, images: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch channels h w"]:
        """The feature maps of the last cell, normalised and rectified."""
        return self.body(images)


class Cell(nn.Module):
    """Each node is the sum of what its edges make of earlier nodes; without any, zeros."""

    def __init__(self, operations: Sequence[int], width: int) -> None:
        super().__init__()
        self.edges = nn.ModuleDict(
            {
                f"{source}{target}": operation(OPERATIONS[number], width)
                for (source, target), number in zip(CELL_EDGES, operations, strict=True)
                if number != NONE
            }
        )

    def forward(self, maps: Float[Tensor, "batch width h w"]) -> Float[Tensor, "batch width h w"]:
        """The last node."""
        nodes = [maps]
        for target in (1, 2, 3):
            read = [edge(nodes[int(name[0])]) for name, edge in self.edges.items() if name[1] == str(target)]
            nodes.append(added(read, maps))
        return nodes[-1]


def operation(name: str, width: int) -> nn.Module:
    """An operation other than "none"."""
    if name == "skip_connect":
        return nn.Identity()
    if name == "avg_pool_3x3":
        return nn.AvgPool2d(3, 1, 1, count_include_pad=False)
    return relu_conv_norm(width, width, 1 if name == "nor_conv_1x1" else 3)


class Reduction(nn.Module):
    """A residual block that halves the image: two convolutions, beside an average of 2 × 2 and one convolution."""

    def __init__(self, c_in: int, c_out: int) -> None:
        super().__init__()
        self.convs = nn.Sequential(relu_conv_norm(c_in, c_out, 3, stride=2), relu_conv_norm(c_out, c_out, 3))
        self.shortcut = nn.Sequential(nn.AvgPool2d(2, 2), conv(c_in, c_out))

    def forward(self, maps: Float[Tensor, "batch c_in h w"]) -> Float[Tensor, "batch c_out h2 w2"]:
        """The sum of both ways."""
        return self.convs(maps) + self.shortcut(maps)


def build(arch: ArchBatch, width: int, depth: int, classes: int) -> Network:
    """The network of the one architecture in ``arch``."""
    (operations,) = NASBench201().operations(arch).tolist()
    return NASBench201Network(operations, width, depth, classes)


def representatives(archs: ArchBatch) -> ArchBatch:
    """For each cell the first one of the space that computes the same: 5,425 stand for all 15,625.

    Operations that lie on no path from the input to the output go, a skip is no more than a wire, nodes have no order.
    """
    return NASBench201().from_operations(_alike()[NASBench201().keys(archs)])


@cache
def _alike() -> Int[ndarray, "cells 6"]:
    operations = NASBench201().operations(NASBench201().enumerate())
    return operations[first_alike(operations, wire=SKIP)]


def first_alike(cells: Int[ndarray, "cells 6"], wire: int | None) -> Int[ndarray, " cells"]:
    """For each cell of six operations the first one whose live operations form the same graph.

    Args:
        cells: operations of the edges in the order of ``CELL_EDGES``, 0 where there is none.
        wire: the operation that hands on what it reads; None if there is no such.
    """
    forms = [_form(cell, alive, wire) for cell, alive in zip(cells.tolist(), live(cells).tolist(), strict=True)]
    first: dict[str, int] = {}
    return np.array([first.setdefault(form, number) for number, form in enumerate(forms)])


def _form(cell: list[int], alive: list[bool], wire: int | None) -> str:
    """A name for the graph of the live operations, equal for isomorphic ones: Weisfeiler and Leman's refinement."""

    def sources(node: int) -> list[int]:
        """What is added up in a node of the cell: operations by the number of their edge, the input as -1."""
        if node == 0:
            return [-1]
        edges = [edge for edge, (_, target) in enumerate(CELL_EDGES) if target == node and alive[edge]]
        return [source for e in edges for source in (sources(CELL_EDGES[e][0]) if cell[e] == wire else [e])]

    reads = {edge: sources(CELL_EDGES[edge][0]) for edge in range(6) if alive[edge] and cell[edge] != wire}
    reads |= {-1: [], 6: sources(3)}
    readers = {node: [reader for reader, read in reads.items() for source in read if source == node] for node in reads}
    names = {node: str(cell[node]) if 0 <= node < 6 else f"end {node}" for node in reads}
    for _ in reads:
        around = {node: [sorted(names[other] for other in side[node]) for side in (reads, readers)] for node in reads}
        names = {
            node: md5(f"{names[node]} {around[node]}".encode(), usedforsecurity=False).hexdigest() for node in reads
        }
    return " ".join(sorted(names.values()))
