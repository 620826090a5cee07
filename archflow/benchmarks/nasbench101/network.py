"""The networks of NAS-Bench-101 (Ying et al., ICML 2019).

A stem of one convolution, three stacks of ``depth`` cells, global average, classifier. Each stack but the first begins
with a maximum pooling that halves the image, and its cells have twice the channels. Trained on CIFAR-10 with 128
channels and 3 cells per stack, on images of 32 × 32; :meth:`.NASBench101.parameters` is the size of that network. The
benchmark ran TensorFlow; initial weights and batch norm are those of its PyTorch version, with which the published
zero-cost proxies were measured.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from archflow.archs.batch import ArchBatch
from archflow.benchmarks.nasbench101.space import NASBench101
from archflow.benchmarks.network import Network, as_rectified, conv


class NASBench101Network(Network):
    """The network of one cell, given as the operation of each vertex and the vertices that it reads.

    Vertex 0 is the input, the last one is the output, and each vertex follows those that it reads.
    """

    def __init__(
        self, operations: Sequence[str], sources: Sequence[Sequence[int]], width: int, depth: int, classes: int
    ) -> None:
        super().__init__()
        body: list[nn.Module] = [conv_norm_relu(3, width, 3)]
        before = width
        for stack in range(3):
            if stack:
                # Half of an odd size is rounded up, as with TensorFlow's padding "SAME".
                body.append(nn.MaxPool2d(2, ceil_mode=True))
                width *= 2
            for _ in range(depth):
                body.append(Cell(operations, sources, before, width))
                before = width
        self.body = as_rectified(nn.Sequential(*body))
        self.classifier = nn.Linear(width, classes)
        nn.init.normal_(self.classifier.weight, std=0.01)
        nn.init.zeros_(self.classifier.bias)

    def features(self, images: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch channels h w"]:
        """The feature maps of the last cell."""
        return self.body(images)

    def forward(self, images: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch classes"]:
        """The class logits. The average is not a layer, as in the PyTorch version, whose FLOPs thus leave it out."""
        return self.classifier(self.features(images).mean(dim=(2, 3)))


class Cell(nn.Module):
    """Each inner vertex applies its operation to the sum of what it reads; the output concatenates what it reads.

    What a vertex reads from the cell's input first passes a 1 × 1 convolution; the output adds that to the
    concatenation. A reader with fewer channels than the vertex it reads takes the first ones.
    """

    def __init__(self, operations: Sequence[str], sources: Sequence[Sequence[int]], c_in: int, c_out: int) -> None:
        super().__init__()
        self.sources, self.channels = sources, vertex_channels(sources, c_out)
        self.projections = nn.ModuleDict(
            {
                str(vertex): conv_norm_relu(c_in, channels, 1)
                for vertex, channels in enumerate(self.channels)
                if 0 in sources[vertex]
            }
        )
        self.operations = nn.ModuleList(map(operation, operations, self.channels))

    def forward(self, maps: Float[Tensor, "batch c_in h w"]) -> Float[Tensor, "batch c_out h w"]:
        """The feature maps of the output."""
        vertices = [maps]
        for vertex in range(1, len(self.sources)):
            read = [vertices[source][:, : self.channels[vertex]] for source in self.sources[vertex] if source]
            if read and vertex == len(self.sources) - 1:
                read = [torch.cat(read, dim=1)]
            if 0 in self.sources[vertex]:
                read.append(self.projections[str(vertex)](maps))
            vertices.append(self.operations[vertex](sum(read[1:], read[0])))
        return vertices[-1]


def operation(name: str, channels: int) -> nn.Module:
    """What a vertex applies to the sum of its inputs, or the output to their concatenation."""
    if name in ("input", "output"):
        return nn.Identity()
    if name == "maxpool3x3":
        return nn.MaxPool2d(3, 1, 1)
    return conv_norm_relu(channels, channels, 3 if name == "conv3x3-bn-relu" else 1)


def conv_norm_relu(c_in: int, c_out: int, kernel: int) -> nn.Sequential:
    """Convolution, batch norm, ReLU."""
    return nn.Sequential(conv(c_in, c_out, kernel), nn.BatchNorm2d(c_out), nn.ReLU())


def vertex_channels(sources: Sequence[Sequence[int]], c_out: int) -> list[int]:
    """Channels of each vertex, 0 for the input.

    The vertices that the output reads share its channels; the first ones get one more where these do not divide evenly.
    The others have as many as their largest reader.

    Raises:
        ValueError: the output reads more vertices than it has channels.
    """
    shared = [source for source in sources[-1] if source]
    if len(shared) > c_out:
        raise ValueError(f"{c_out} channels are too few for a cell whose output joins {len(shared)} vertices")
    channels = [0] * (len(sources) - 1) + [c_out]
    for place, vertex in enumerate(shared):
        channels[vertex] = c_out // len(shared) + (place < c_out % len(shared))
    for vertex in reversed(range(1, len(sources) - 1)):
        if vertex not in shared:
            channels[vertex] = max(channels[reader] for reader, read in enumerate(sources) if vertex in read)
    return channels


def build(arch: ArchBatch, width: int, depth: int, classes: int) -> Network:
    """The network of the one architecture in ``arch``, in the numbering that the benchmark trained.

    Raises:
        ValueError: the cell is not in the space, or ``width`` is below the number of vertices that its output joins.
    """
    operations, edges = representatives(arch).graph(0)
    sources = [[source for source, target in edges if target == vertex] for vertex in range(len(operations))]
    return NASBench101Network(operations, sources, width, depth, classes)


def representatives(archs: ArchBatch) -> ArchBatch:
    """The same cells in the numbering that the benchmark trained; every vertex of a cell is live."""
    return NASBench101().from_keys(NASBench101().keys(archs))
