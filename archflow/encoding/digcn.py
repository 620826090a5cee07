"""DiGCN: the directed graph convolutions of the Neural Predictor (Wen et al., ECCV 2020, arXiv:1912.00848).

In each layer, with one-hot operations as x⁰,

    x ← ½ ReLU(N(A + I) x W⁺) + ½ ReLU(N(Aᵀ + I) x W⁻)

A is the adjacency matrix, and N divides each row by its sum: a node receives the mean over itself and its successors
through W⁺, and the mean over itself and its predecessors through W⁻. (The paper could also be read as transposing the
normalised matrix; normalising each direction separately is the usual reading.) The encoding is the mean over the nodes.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from archflow.archs.batch import ArchBatch
from archflow.encoding.base import EncoderSettings, NodeEncoder
from archflow.encoding.sharing import shared_layers


class DiGCN(NodeEncoder):
    """The encoder ``digcn``. Training mode and evaluation mode are the same."""

    name = "digcn"

    def __init__(self, vocabulary: Sequence[str], settings: EncoderSettings | None = None) -> None:
        super().__init__(vocabulary, settings)
        widths = [len(self.vocabulary), *[self.width] * (self.settings.layers - 1)]
        self.down = nn.ModuleList(nn.Linear(width, self.width, bias=False) for width in widths)
        self.up = nn.ModuleList(nn.Linear(width, self.width, bias=False) for width in widths)
        for parameter in self.parameters():  # PyTorch's default shrinks the values threefold per layer
            nn.init.xavier_uniform_(parameter)

    def prepare(self, archs: ArchBatch) -> None:
        """Number the distinct neighbourhoods."""
        archs.neighbourhoods(len(self.up) - 1, directed=True)

    def nodes(self, archs: ArchBatch) -> Float[Tensor, "nodes hidden"]:
        """See :class:`NodeEncoder`."""
        archs.require_vocabulary(self.vocabulary, "the encoder's")
        x = torch.eye(len(self.vocabulary)).to(next(self.parameters()))
        classes = archs.neighbourhoods(len(self.up) - 1, directed=True)
        heard = [archs.successors.with_self(), archs.predecessors.with_self()]
        for layer, down, up in zip(shared_layers(archs, classes, heard, x.device), self.down, self.up, strict=True):
            after, before = layer.heard
            x = (after.mean(down(x).to(x.dtype)).relu() + before.mean(up(x).to(x.dtype)).relu()) / 2
        return x
