"""GIN: the graph isomorphism network (Xu et al., ICLR 2019, arXiv:1810.00826) over a DAG, edges in both directions.

In each layer, with one-hot operations as x⁰,

    x_i ← ReLU(MLP(x_i + Σ_j x_j)),      MLP(x) = W₂ ReLU(W₁ x + b₁) + b₂

The values of all layers side by side (jumping knowledge) go through one linear map, and the encoding is the mean over
the nodes. ε is 0 and there is no batch normalisation, so that an architecture's encoding depends on nothing else in its
minibatch, training and evaluation are the same, and equal neighbourhoods may be computed once. A sum and a linear map
may trade places: W₁ is applied before the messages are summed, and the last map after the mean, where rows are fewer.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int, Integer
from numpy import ndarray
from torch import Tensor, nn

from archflow.encoders.base import Encoder
from archflow.graphs import ArchBatch, Neighbours, numbered


class GIN(Encoder):
    """The encoder ``gin``.

    Args:
        vocabulary: names of the operations of the space.
        hidden: width of the node values and of the encoding.
        layers: number of graph convolutions.
    """

    name = "gin"

    def __init__(self, vocabulary: Sequence[str], hidden: int = 128, layers: int = 3) -> None:
        super().__init__()
        if hidden < 1 or layers < 1:
            raise ValueError(f"gin needs hidden ≥ 1 and layers ≥ 1, not {hidden} and {layers}")
        self.vocabulary = tuple(vocabulary)
        self.width = hidden
        self.settings = {"hidden": hidden, "layers": layers}
        widths = [len(self.vocabulary), *[hidden] * (layers - 1)]
        self.first = nn.ModuleList(nn.Linear(width, hidden) for width in widths)
        self.second = nn.ModuleList(nn.Linear(hidden, hidden) for _ in range(layers))
        self.join = nn.Linear(layers * hidden, hidden)

    def prepare(self, archs: ArchBatch) -> None:
        """Number the distinct neighbourhoods."""
        archs.neighbourhoods(len(self.first) - 1)

    def forward(self, archs: ArchBatch) -> Float[Tensor, "archs hidden"]:
        """The encoding of every architecture; training mode and evaluation mode are the same.

        Raises:
            ValueError: the architectures have another vocabulary.
        """
        archs.require_vocabulary(self.vocabulary, "the encoder's")
        x = torch.eye(len(self.vocabulary)).to(self.join.weight)
        classes = archs.neighbourhoods(len(self.first) - 1)
        plan = shared_bags(archs, classes, [with_self(archs.neighbours)], x.device)
        means = []
        for layer, first, second in zip(plan, self.first, self.second, strict=True):
            summed = layer.heard[0].of(F.linear(x, first.weight).to(x.dtype), "sum")
            x = torch.relu(second(torch.relu(summed + first.bias))).to(x.dtype)
            means.append(layer.members.of(x, "mean"))
        return self.join(torch.cat(means, 1))


# Computing equal neighbourhoods once, for layers that add up or average what a node hears


class Bags(NamedTuple):
    """Lists of rows, end to end; both int64. List i is ``rows[starts[i]:starts[i + 1]]``."""

    rows: Int[Tensor, " rows"]
    starts: Int[Tensor, " lists+1"]

    @classmethod
    def on(cls, device: torch.device, rows: Int[ndarray, " rows"], starts: Int[ndarray, " lists+1"]) -> Bags:
        """From arrays."""
        return cls(torch.from_numpy(rows).to(device), torch.from_numpy(starts).to(device))

    def of(self, x: Float[Tensor, "inputs hidden"], mode: str) -> Float[Tensor, "lists hidden"]:
        """The "sum" or the "mean" of the rows in each list, without a copy of each row."""
        return F.embedding_bag(self.rows, x, self.starts, mode=mode, include_last_offset=True)


class BagLayer(NamedTuple):
    """What one layer computes: output rows from input rows.

    Attributes:
        heard: for each kind of neighbour, the input rows that each output hears.
        members: for each architecture the output rows of its nodes.
    """

    heard: list[Bags]
    members: Bags


def shared_bags(
    archs: ArchBatch, classes: Sequence[Integer[ndarray, " nodes"]], heard: Sequence[Neighbours], device: torch.device
) -> list[BagLayer]:
    """As many layers as ``classes`` has hops, from 0; all but the last compute one node of each class.

    The input rows of the first layer are the operations of the vocabulary; the outputs of the last are all nodes, in
    order. Nodes of one class of h hops must hear, in each list of ``heard``, equally many of each class of h - 1 hops.
    """
    everyone = np.arange(len(archs.operations))
    row, plan = archs.operations.astype(np.int64), []
    for next_row, nodes in [*map(numbered, classes[1:]), (everyone, everyone)]:
        bags = [Bags.on(device, *lists.of(nodes, row)) for lists in heard]
        plan.append(BagLayer(bags, Bags.on(device, next_row, archs.node_offsets)))
        row = next_row
    return plan


def with_self(lists: Neighbours) -> Neighbours:
    """Each node's list with the node itself put first."""
    nodes = np.arange(len(lists.starts) - 1)
    return Neighbours(np.insert(lists.nodes, lists.starts[:-1], nodes), lists.starts + np.arange(len(lists.starts)))
