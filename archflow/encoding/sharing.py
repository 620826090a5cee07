"""Computing equal neighbourhoods once.

In a message-passing encoder a node's value after l layers is a function of what lies within l edges of it. Small
operation vocabularies make these neighbourhoods repeat endlessly: the 125,000 nodes of NAS-Bench-201 have 7, 350 and
45,500 distinct ones for l = 0, 1, 2. So each layer is computed on one node of each class, and the last on all. This is
exact: the same sums in the same order, done once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int, Integer
from numba import config, set_num_threads
from numpy import ndarray
from torch import Tensor
from torch.nn.functional import embedding_bag

from archflow.archs.batch import ArchBatch, Neighbours, numbered


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
        return embedding_bag(self.rows, x, self.starts, mode=mode, include_last_offset=True)


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


# For compiled layers


def use_torchs_threads() -> None:
    """Let Numba's loops take as many threads as PyTorch's operations, or as many as Numba has if these are fewer."""
    threads = torch.get_num_threads()
    set_num_threads(min(threads, config.NUMBA_NUM_THREADS))  # type: ignore[attr-defined]  # Numba adds its settings late
    if torch.get_num_threads() != threads:
        # Numba just started its threads, and made their number that of all that use OpenMP.
        torch.set_num_threads(threads)


def arrays(*tensors: Tensor) -> list[ndarray]:
    """The memory of tensors on the CPU."""
    return [tensor.detach().numpy() for tensor in tensors]
