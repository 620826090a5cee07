"""Computing equal neighbourhoods once.

In a message-passing encoder a node's value after l layers is a function of what lies within l edges of it. Small
operation vocabularies make these neighbourhoods repeat endlessly: the 125,000 nodes of NAS-Bench-201 have 7, 350 and
45,500 distinct ones for l = 0, 1, 2. So each layer is computed on one node of each class, and the last on all. This is
exact: the same sums in the same order, done once.
"""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Int
from numpy import ndarray
from torch import Tensor

from archflow.graphs import ArchBatch

GROUP = 2048
"""Most outputs in a group: the messages of so many fit in a processor's cache."""


class Group(NamedTuple):
    """Outputs of a layer that hear the same number of messages: their rows, and those of their messages."""

    outputs: slice
    messages: slice
    degree: int

    @property
    def shape(self) -> tuple[int, int]:
        """Outputs by messages for each."""
        return self.outputs.stop - self.outputs.start, self.degree


class Layer(NamedTuple):
    """What one message-passing layer computes: rows from the rows of the layer before.

    Attributes:
        own: for each output the input row of the same node; int64.
        operation: for each output the operation of its node; int64.
        source: for each message the input row that it comes from, output after output; int64.
        groups: the outputs by the number of messages that they hear, ascending, some at a time.
    """

    own: Int[Tensor, " outputs"]
    operation: Int[Tensor, " outputs"]
    source: Int[Tensor, " messages"]
    groups: list[Group]


def shared_layers(
    archs: ArchBatch, layers: int, device: torch.device
) -> tuple[list[Layer], Int[Tensor, " nodes"], Int[Tensor, " archs"]]:
    """The layers of a message-passing encoder over edges in both directions, equal neighbourhoods taken once.

    The input rows of the first layer are the operations of the vocabulary; the outputs of the last are all nodes.

    Returns:
        The layers; for each output of the last the architecture that it belongs to; each architecture's node count.
    """
    classes = archs.neighbourhoods(layers - 1)
    degrees = np.diff(archs.neighbours.starts)
    row = archs.operations.astype(np.int64)
    plan = []
    for layer in range(layers):
        if layer < layers - 1:
            nodes, row_of_class = _first_of_each(classes[layer + 1])
        else:
            nodes, row_of_class = np.arange(len(row)), None
        by_degree = np.argsort(degrees[nodes].astype(np.uint16), kind="stable")
        nodes = nodes[by_degree]
        neighbours = archs.neighbours.of(nodes)
        plan.append(
            Layer(
                torch.from_numpy(row[nodes]).to(device),
                torch.from_numpy(archs.operations[nodes].astype(np.int64)).to(device),
                torch.from_numpy(row[neighbours.nodes]).to(device),
                _groups(neighbours.starts),
            )
        )
        if row_of_class is not None:
            rank = np.empty_like(by_degree)
            rank[by_degree] = np.arange(len(by_degree))
            row = rank[row_of_class]
    owners = torch.from_numpy(archs.owners[nodes]).to(device)
    return plan, owners, torch.from_numpy(np.diff(archs.node_offsets)).to(device)


def _first_of_each(classes: Int[ndarray, " nodes"]) -> tuple[Int[ndarray, " present"], Int[ndarray, " nodes"]]:
    """One node of every class that is present, and for each node the position of its class among those."""
    _, nodes, position = np.unique(classes, return_index=True, return_inverse=True)
    return nodes, position


def _groups(starts: Int[ndarray, " outputs+1"]) -> list[Group]:
    degrees = np.diff(starts)
    changes = np.flatnonzero(np.diff(degrees)) + 1
    bounds = np.unique(np.concatenate([np.arange(0, len(degrees), GROUP), changes, [len(degrees)]])).tolist()
    return [
        Group(slice(first, last), slice(int(starts[first]), int(starts[last])), int(degrees[first]))
        for first, last in pairwise(bounds)
    ]
