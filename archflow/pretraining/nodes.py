"""Node values from any encoder, for tasks that predict operations and edges."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Bool, Float
from numpy import ndarray
from torch import Tensor, nn

from archflow.archs.batch import ArchBatch
from archflow.encoding.base import Encoder, NodeEncoder

_UNFOLDED_WIDTH = 64
"""Width of a node value that is unfolded from the architecture's vector."""


class NodeValues(nn.Module):
    """A value for each node: the encoder's, or, if it has none, unfolded from the architecture's vector.

    Unfolding is one layer that gives a value for each node number, so what is learned depends on the numbering of the
    nodes, as it does for all encoders without node values.

    Args:
        encoder: any encoder.
        nodes: maximum number of nodes of an architecture.
    """

    def __init__(self, encoder: Encoder, nodes: int) -> None:
        super().__init__()
        self.encoder, self.max_nodes = encoder, nodes
        own = isinstance(encoder, NodeEncoder)
        self.width = encoder.width if own else _UNFOLDED_WIDTH
        self.unfold = None if own else nn.Linear(encoder.width, nodes * _UNFOLDED_WIDTH)

    def forward(self, archs: ArchBatch) -> Float[Tensor, "nodes width"]:
        """The value of every node, in the batch's order."""
        if isinstance(self.encoder, NodeEncoder):
            return self.encoder.nodes(archs)
        assert self.unfold is not None
        padded = torch.relu(self.unfold(self.encoder(archs))).view(-1, _UNFOLDED_WIDTH)
        start = np.arange(len(archs)) * self.max_nodes - archs.node_offsets[:-1]
        row = start[archs.owners] + np.arange(len(archs.operations))
        return padded[torch.from_numpy(row).to(padded.device)]


def most_nodes(archs: ArchBatch) -> int:
    """The number of nodes of the largest architecture."""
    return int(np.diff(archs.node_offsets).max())


def inner_operations(archs: ArchBatch) -> Bool[ndarray, " operations"]:
    """Which operations are a choice, that is, neither an input nor an output of the network.

    Inputs and outputs are recognised by names that begin with these words. In a vocabulary without such names they are
    the operations that occur only at nodes without predecessors or successors; if that leaves fewer than two to choose
    from, all operations are a choice.
    """
    named = np.array([name.startswith(("input", "output")) for name in archs.vocabulary])
    if named.any():
        return ~named
    between = (archs.predecessors.counts > 0) & (archs.successors.counts > 0)
    found = np.bincount(archs.operations[between], minlength=len(archs.vocabulary)) > 0
    return found if found.sum() > 1 else np.ones_like(found)
