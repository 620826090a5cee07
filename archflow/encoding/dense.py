"""A batch as dense arrays, padded to its own largest architecture, for encoders that read the adjacency matrix.

What they see depends on how the nodes are numbered, unlike in encoders that pass messages.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from archflow.archs.batch import ArchBatch
from archflow.encoding.base import EncoderSettings, require_size
from archflow.support.settings import check_range


@dataclass(frozen=True)
class DenseSettings(EncoderSettings):
    """Of an encoder that reads the adjacency matrix.

    Attributes:
        nodes: the most nodes that an architecture may have.
    """

    nodes: int = 32

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range(self, "", 1, 4_096, "nodes")
        require_size(self, self.hidden * self.nodes * (self.nodes + 2), "hidden", "nodes")


class Dense(NamedTuple):
    """Architectures side by side; 0 where one has no node.

    Attributes:
        operations: the operation of each node, one-hot.
        adjacency: 1 at (u, v) where there is an edge u→v.
        present: whether there is such a node.
    """

    operations: Float[Tensor, "archs nodes operations"]
    adjacency: Float[Tensor, "archs nodes nodes"]
    present: Bool[Tensor, "archs nodes"]


def dense(archs: ArchBatch, like: Tensor) -> Dense:
    """The batch as dense arrays, of the device and the number type of ``like``."""
    sizes = np.diff(archs.node_offsets)
    present = np.arange(sizes.max()) < sizes[:, None]
    operations = np.zeros((*present.shape, len(archs.vocabulary)), bool)
    operations[(*np.nonzero(present), archs.operations)] = True
    adjacency = np.zeros((*present.shape, present.shape[1]), bool)
    adjacency[np.repeat(np.arange(len(archs)), np.diff(archs.edge_offsets)), archs.edges[0], archs.edges[1]] = True
    known = torch.from_numpy(present).to(like.device)
    return Dense(torch.from_numpy(operations).to(like), torch.from_numpy(adjacency).to(like), known)


def require_room(archs: ArchBatch, nodes: int, name: str) -> None:
    """Raise ValueError if an architecture has more nodes than the encoder called ``name`` was made for."""
    sizes = np.diff(archs.node_offsets)
    if sizes.max() > nodes:
        arch = int(np.argmax(sizes > nodes))
        raise ValueError(
            f"architecture {arch}: it has {sizes[arch]} nodes, but this encoder '{name}' was made for at most {nodes}; "
            f"make it with nodes={sizes.max()}"
        )
