"""DiGCN: the directed graph convolutions of the Neural Predictor (Wen et al., ECCV 2020, arXiv:1912.00848).

In each layer, with one-hot operations as x⁰,

    x ← ½ ReLU(N(A + I) x W⁺) + ½ ReLU(N(Aᵀ + I) x W⁻)

A says which node feeds which, and N divides each row by its sum: a node hears the mean over itself and its successors
through W⁺, and the mean over itself and its predecessors through W⁻. (One could also transpose what is normalised
already; that each direction is normalised by itself is the usual reading.) The encoding is the mean over the nodes.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from archflow.archs.batch import ArchBatch
from archflow.encoding.base import NodeEncoder
from archflow.encoding.sharing import shared_bags, with_self


class DiGCN(NodeEncoder):
    """The encoder ``digcn``.

    Args:
        vocabulary: names of the operations of the space.
        hidden: width of the node values and of the encoding.
        layers: number of graph convolutions.
    """

    name = "digcn"

    def __init__(self, vocabulary: Sequence[str], hidden: int = 128, layers: int = 3) -> None:
        super().__init__()
        if hidden < 1 or layers < 1:
            raise ValueError(f"digcn needs hidden ≥ 1 and layers ≥ 1, not {hidden} and {layers}")
        self.vocabulary = tuple(vocabulary)
        self.width = hidden
        self.settings = {"hidden": hidden, "layers": layers}
        widths = [len(self.vocabulary), *[hidden] * (layers - 1)]
        self.down = nn.ModuleList(nn.Linear(width, hidden, bias=False) for width in widths)
        self.up = nn.ModuleList(nn.Linear(width, hidden, bias=False) for width in widths)
        for parameter in self.parameters():  # PyTorch's default would shrink the values threefold in each layer
            nn.init.xavier_uniform_(parameter)

    def prepare(self, archs: ArchBatch) -> None:
        """Number the distinct neighbourhoods."""
        archs.neighbourhoods(len(self.up) - 1, directed=True)

    def nodes(self, archs: ArchBatch) -> Float[Tensor, "nodes hidden"]:
        """The value of every node; training mode and evaluation mode are the same.

        Raises:
            ValueError: the architectures have another vocabulary.
        """
        archs.require_vocabulary(self.vocabulary, "the encoder's")
        x = torch.eye(len(self.vocabulary)).to(next(self.parameters()))
        classes = archs.neighbourhoods(len(self.up) - 1, directed=True)
        plan = shared_bags(archs, classes, [with_self(archs.successors), with_self(archs.predecessors)], x.device)
        for layer, down, up in zip(plan, self.down, self.up, strict=True):
            after, before = layer.heard
            heard = after.of(down(x).to(x.dtype), "mean").relu() + before.of(up(x).to(x.dtype), "mean").relu()
            x = heard / 2
        return x
