"""Values of single nodes, from any encoder, for tasks that ask about operations and edges."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Bool, Float
from numpy import ndarray
from torch import Tensor, nn

from archflow.archs.batch import ArchBatch
from archflow.encoding.base import Encoder, NodeEncoder

_UNFOLDED = 64
"""Width of a node's value where it is read off the architecture's vector."""


class NodeValues(nn.Module):
    """A value for each node: the encoder's own, or, where it has none, unfolded from the architecture's one vector.

    Unfolding is one layer that gives a value for each place in the numbering of the nodes. So, as with all encoders
    without node values, what is learned depends on how nodes are numbered.

    Args:
        encoder: any.
        places: the most nodes that an architecture may have.
    """

    def __init__(self, encoder: Encoder, places: int) -> None:
        super().__init__()
        self.encoder, self.places = encoder, places
        own = isinstance(encoder, NodeEncoder)
        self.width = encoder.width if own else _UNFOLDED
        self.unfold = None if own else nn.Linear(encoder.width, places * _UNFOLDED)

    def forward(self, archs: ArchBatch) -> Float[Tensor, "nodes width"]:
        """The value of every node, in the batch's order."""
        if isinstance(self.encoder, NodeEncoder):
            return self.encoder.nodes(archs)
        assert self.unfold is not None
        padded = torch.relu(self.unfold(self.encoder(archs))).view(-1, _UNFOLDED)
        begin = np.arange(len(archs)) * self.places - archs.node_offsets[:-1]
        row = begin[archs.owners] + np.arange(len(archs.operations))
        return padded[torch.from_numpy(row).to(padded.device)]


def most_nodes(archs: ArchBatch) -> int:
    """How many nodes the largest architecture has."""
    return int(np.diff(archs.node_offsets).max())


def inner_operations(archs: ArchBatch) -> Bool[ndarray, " operations"]:
    """Which operations are a choice, that is neither an input nor an output of the network.

    Inputs and outputs are told by names that begin with these words. In a vocabulary without such names they are the
    operations that no node between others carries; if that leaves no two to choose from, all operations are a choice.
    """
    named = np.array([name.startswith(("input", "output")) for name in archs.vocabulary])
    if named.any():
        return ~named
    between = (archs.predecessors.counts > 0) & (archs.successors.counts > 0)
    found = np.bincount(archs.operations[between], minlength=len(archs.vocabulary)) > 0
    return found if found.sum() > 1 else np.ones_like(found)
