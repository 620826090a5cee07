"""A batch as dense arrays, padded to its largest architecture, for encoders that read the adjacency matrix.

Unlike message-passing encoders, these depend on the numbering of the nodes.
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
    """Settings of encoders that read the adjacency matrix.

    Attributes:
        nodes: maximum number of nodes of an architecture.
    """

    nodes: int = 32

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range(self, "", 1, 4_096, "nodes")
        require_size(self, self.hidden * self.nodes * (self.nodes + 2), "hidden", "nodes")


class Dense(NamedTuple):
    """Stacked architectures, padded with zeros.

    Attributes:
        operations: the operation of each node, one-hot.
        adjacency: 1 at (u, v) for an edge u→v.
        present: whether an architecture has the node.
    """

    operations: Float[Tensor, "archs nodes operations"]
    adjacency: Float[Tensor, "archs nodes nodes"]
    present: Bool[Tensor, "archs nodes"]


def dense(archs: ArchBatch, like: Tensor) -> Dense:
    """The batch as dense arrays, with the device and dtype of ``like``."""
    sizes = np.diff(archs.node_offsets)
    present = np.arange(sizes.max()) < sizes[:, None]
    operations = np.zeros((*present.shape, len(archs.vocabulary)), bool)
    operations[(*np.nonzero(present), archs.operations)] = True
    adjacency = np.zeros((*present.shape, present.shape[1]), bool)
    adjacency[np.repeat(np.arange(len(archs)), np.diff(archs.edge_offsets)), archs.edges[0], archs.edges[1]] = True
    mask = torch.from_numpy(present).to(like.device)
    return Dense(torch.from_numpy(operations).to(like), torch.from_numpy(adjacency).to(like), mask)


def require_room(archs: ArchBatch, nodes: int, name: str) -> None:
    """Raise ValueError if an architecture has more than ``nodes`` nodes; ``name`` is the encoder's."""
    sizes = np.diff(archs.node_offsets)
    if sizes.max() > nodes:
        arch = int(np.argmax(sizes > nodes))
        raise ValueError(
            f"architecture {arch}: it has {sizes[arch]} nodes, but this encoder '{name}' was made for at most {nodes}; "
            f"make it with nodes={sizes.max()}"
        )
