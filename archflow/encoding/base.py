"""What all encoders have in common."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from archflow.archs.batch import ArchBatch


class Encoder(nn.Module):
    """A network that turns each architecture of a batch into a vector; the parent of every encoder.

    Attributes:
        name: what ``archflow.encoder`` calls it.
        vocabulary: names of the operations of the space that it reads.
        width: length d of its vectors.
        settings: the keyword arguments that it was made with, JSON-able.
    """

    name: ClassVar[str]
    vocabulary: tuple[str, ...]
    width: int
    settings: dict[str, Any]

    def prepare(self, archs: ArchBatch) -> None:
        """Derive once, for all minibatches that will be sliced from ``archs``, what this encoder needs of them."""

    def forward(self, archs: ArchBatch) -> Float[Tensor, "archs width"]:
        """The vectors of the architectures.

        Raises:
            ValueError: the architectures have another vocabulary.
        """
        raise NotImplementedError

    def __call__(self, archs: ArchBatch) -> Float[Tensor, "archs width"]:  # for the type checker alone
        return super().__call__(archs)


class NodeEncoder(Encoder):
    """An encoder whose vectors are means of a value for each node, through which pretext tasks on nodes learn."""

    def nodes(self, archs: ArchBatch) -> Float[Tensor, "nodes width"]:
        """The value of every node, in the batch's order; an architecture's vector is their mean, up to rounding.

        Raises:
            ValueError: the architectures have another vocabulary.
        """
        raise NotImplementedError

    def forward(self, archs: ArchBatch) -> Float[Tensor, "archs width"]:
        """The mean of each architecture's node values.

        Raises:
            ValueError: the architectures have another vocabulary.
        """
        x = self.nodes(archs)
        owners = torch.from_numpy(archs.owners).to(x.device)
        sizes = torch.from_numpy(np.diff(archs.node_offsets)).to(x.device)
        return x.new_zeros(len(archs), self.width).index_add(0, owners, x) / sizes[:, None]
