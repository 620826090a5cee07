"""MLP: a multilayer perceptron on the flat encoding of a cell (as in White et al., NeurIPS 2020, arXiv:2007.04965).

The input is the one-hot operation and the row of the adjacency matrix of each node, concatenated and padded with zeros.
The encoding depends on the numbering of the nodes.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from archflow.archs.batch import ArchBatch
from archflow.encoding.base import Encoder
from archflow.encoding.dense import DenseSettings, dense, require_room


class MLP(Encoder):
    """The encoder ``mlp``: linear maps, each followed by a rectifier. Training and evaluation mode are the same."""

    name = "mlp"
    Settings = DenseSettings

    def __init__(self, vocabulary: Sequence[str], settings: DenseSettings | None = None) -> None:
        super().__init__(vocabulary, settings)
        nodes = self.settings.nodes
        self.first = nn.Linear(nodes * (len(self.vocabulary) + nodes), self.width)
        self.rest = nn.ModuleList(nn.Linear(self.width, self.width) for _ in range(self.settings.layers - 1))

    def prepare(self, archs: ArchBatch) -> None:
        """Refuse architectures that are too large, naming their number in the whole batch."""
        require_room(archs, self.settings.nodes, self.name)

    def forward(self, archs: ArchBatch) -> Float[Tensor, "archs hidden"]:
        """See :class:`Encoder`.

        Raises:
            ValueError: the architectures have another vocabulary, or one has more nodes than the encoder was made for.
        """
        archs.require_vocabulary(self.vocabulary, "the encoder's")
        require_room(archs, self.settings.nodes, self.name)
        cells = dense(archs, self.first.weight)
        inputs = torch.cat([cells.operations, cells.adjacency], 2)
        # Leave out the weights of padding.
        weight = self.first.weight.unflatten(1, (self.settings.nodes, -1))
        weight = weight[:, : inputs.shape[1], : inputs.shape[2]]
        x = F.linear(inputs.flatten(1), weight.flatten(1), self.first.bias).relu()
        for linear in self.rest:
            x = linear(x).relu()
        return x
