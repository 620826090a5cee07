"""Compute equal neighbourhoods once.

In a message-passing encoder, a node's value after l layers is a function of its neighbourhood within l edges. With
small operation vocabularies these neighbourhoods repeat: the 125,000 nodes of NAS-Bench-201 have only 7, 350 and 45,500
distinct ones for l = 0, 1, 2. So each layer but the last is computed on one node per class. This is exact: the same
sums in the same order, done once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Int, Integer
from numpy import ndarray
from torch import Tensor

from archflow.archs.batch import ArchBatch
from archflow.archs.ragged import Ragged, numbered


class Layer(NamedTuple):
    """The indices of one message-passing layer, whose output rows are computed from those of the layer before.

    Attributes:
        own: for each output, the input row of the same node; int64.
        operation: for each output, the operation of its node; int64.
        heard: for each kind of neighbour, the input rows that each output receives messages from.
        members: for each architecture, the output rows of its nodes.
    """

    own: Int[Tensor, " outputs"]
    operation: Int[Tensor, " outputs"]
    heard: list[Ragged[Tensor]]
    members: Ragged[Tensor]


def shared_classes(archs: ArchBatch, hops: int, apart: bool) -> list[Integer[ndarray, " nodes"]]:
    """The classes of 0, 1, …, ``hops`` hops for :func:`shared_layers`; if ``apart``, each node is one of its own."""
    if apart:
        return [np.arange(len(archs.operations))] * (hops + 1)
    return archs.neighbourhoods(hops)


def shared_layers(
    archs: ArchBatch,
    classes: Sequence[Integer[ndarray, " nodes"]],
    heard: Sequence[Ragged[ndarray]],
    device: torch.device,
) -> list[Layer]:
    """One layer for each entry of ``classes`` (0 hops, 1 hop, …); all but the last compute one node per class.

    The input rows of the first layer are the operations of the vocabulary; the outputs of the last are all nodes, in
    order. In each of the lists ``heard``, nodes of the same class of h hops must have equally many neighbours of each
    class of h - 1 hops.
    """
    everyone = np.arange(len(archs.operations))
    operations = archs.operations.astype(np.int64)
    row, layers = operations, []
    for next_row, nodes in [*map(numbered, classes[1:]), (everyone, everyone)]:
        layers.append(
            Layer(
                torch.from_numpy(row[nodes]).to(device),
                torch.from_numpy(operations[nodes]).to(device),
                [lists.take(nodes, row).to(device) for lists in heard],
                Ragged(next_row, archs.node_offsets).to(device),
            )
        )
        row = next_row
    return layers
