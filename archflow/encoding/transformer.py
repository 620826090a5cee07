"""Transformer: self-attention over the nodes of a cell (Vaswani et al., 2017, arXiv:1706.03762; pre-norm layers).

A node's token is the sum of an embedding of its operation, an embedding of its number, and a linear map of its row and
column of the adjacency matrix. The encoding is the mean over the nodes, and depends on their numbering.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from archflow.archs.batch import ArchBatch
from archflow.encoding.base import NodeEncoder, require_equal_heads
from archflow.encoding.dense import DenseSettings, dense, require_room


@dataclass(frozen=True)
class TransformerSettings(DenseSettings):
    """Settings of the encoder ``transformer``.

    Attributes:
        hidden: width of the tokens and of the encoding, a multiple of ``heads``; the feed-forward is four times wider.
        heads: number of attention heads.
    """

    heads: int = 4

    def __post_init__(self) -> None:
        super().__post_init__()
        require_equal_heads(self)


class Transformer(NodeEncoder):
    """The encoder ``transformer``. Training mode and evaluation mode are the same, up to rounding."""

    name = "transformer"
    Settings = TransformerSettings

    def __init__(self, vocabulary: Sequence[str], settings: TransformerSettings | None = None) -> None:
        super().__init__(vocabulary, settings)
        hidden, heads, nodes = self.settings.hidden, self.settings.heads, self.settings.nodes
        self.operation = nn.Linear(len(self.vocabulary), hidden, bias=False)
        self.place = nn.Embedding(nodes, hidden)
        nn.init.normal_(self.place.weight, std=0.2)  # about the scale of the rest of a token
        self.edges = nn.Linear(2 * nodes, hidden)
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(hidden, heads, 4 * hidden, dropout=0, batch_first=True, norm_first=True)
            for _ in range(self.settings.layers)
        )
        self.norm = nn.LayerNorm(hidden)

    def prepare(self, archs: ArchBatch) -> None:
        """Refuse architectures that are too large, naming their number in the whole batch."""
        require_room(archs, self.settings.nodes, self.name)

    def nodes(self, archs: ArchBatch) -> Float[Tensor, "nodes hidden"]:
        """See :class:`NodeEncoder`.

        Raises:
            ValueError: the architectures have another vocabulary, or one has more nodes than the encoder was made for.
        """
        x, present = self._tokens(archs)
        return x[present]

    def forward(self, archs: ArchBatch) -> Float[Tensor, "archs hidden"]:
        """See :class:`Encoder`.

        Raises:
            ValueError: the architectures have another vocabulary, or one has more nodes than the encoder was made for.
        """
        x, present = self._tokens(archs)
        return (x * present[:, :, None]).sum(1) / present.sum(1, keepdim=True)

    def _tokens(self, archs: ArchBatch) -> tuple[Float[Tensor, "archs nodes hidden"], Bool[Tensor, "archs nodes"]]:
        """The tokens after the last layer, and the mask of nodes that are present."""
        archs.require_vocabulary(self.vocabulary, "the encoder's")
        require_room(archs, self.settings.nodes, self.name)
        cells = dense(archs, self.edges.weight)
        nodes = cells.present.shape[1]
        # Leave out the weights of padding.
        weight = self.edges.weight.unflatten(1, (2, -1))[:, :, :nodes].flatten(1)
        rows_and_columns = torch.cat([cells.adjacency, cells.adjacency.mT], 2)
        x = self.operation(cells.operations) + self.place.weight[:nodes]
        x = x + F.linear(rows_and_columns, weight, self.edges.bias)
        # Attention is fastest without a mask, which only padding needs.
        padded = len(archs.operations) < cells.present.numel()
        for layer in self.layers:
            x = layer(x, src_key_padding_mask=~cells.present if padded else None)
        return self.norm(x), cells.present
