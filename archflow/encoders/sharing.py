"""Computing equal neighbourhoods once.

In a message-passing encoder a node's value after l layers is a function of what lies within l edges of it. Small
operation vocabularies make these neighbourhoods repeat endlessly: the 125,000 nodes of NAS-Bench-201 have 7, 350 and
45,500 distinct ones for l = 0, 1, 2. So each layer is computed on one node of each class, and the last on all. This is
exact: the same sums in the same order, done once.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Int
from numpy import ndarray
from torch import Tensor

from archflow.graphs import ArchBatch, numbered


class Layer(NamedTuple):
    """What one message-passing layer computes: rows from the rows of the layer before; all int64.

    Attributes:
        own: for each output the input row of the same node.
        operation: for each output the operation of its node.
        source: for each message the input row that it comes from, output after output.
        starts: output i hears the messages ``starts[i]:starts[i + 1]``.
    """

    own: Int[Tensor, " outputs"]
    operation: Int[Tensor, " outputs"]
    source: Int[Tensor, " messages"]
    starts: Int[Tensor, " outputs+1"]

    @classmethod
    def on(cls, device: torch.device, *arrays: Int[ndarray, " n"]) -> Layer:
        """From arrays in the order of the attributes."""
        own, operation, source, starts = (torch.from_numpy(array).to(device) for array in arrays)
        return cls(own, operation, source, starts)


def shared_layers(archs: ArchBatch, layers: int, device: torch.device) -> list[Layer]:
    """The layers of a message-passing encoder over edges in both directions, equal neighbourhoods taken once.

    The input rows of the first layer are the operations of the vocabulary; the outputs of the last are all nodes, in
    order.
    """
    classes, lists = archs.neighbourhoods(layers - 1), archs.neighbours
    operations = archs.operations.astype(np.int64)
    row, plan = operations, []
    for hop in range(1, layers):
        next_row, nodes = numbered(classes[hop])
        heard = lists.of(nodes)
        plan.append(Layer.on(device, row[nodes], operations[nodes], row[heard.nodes], heard.starts))
        row = next_row
    return [*plan, Layer.on(device, row, operations, row[lists.nodes], lists.starts)]
