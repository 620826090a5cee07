"""ResGatedGCN: residual gated graph convolutions (Bresson and Laurent, 2017, arXiv:1711.07553) over a DAG.

With edges in both directions, and in each layer, as in the published settings of FGP (arXiv:2510.18360),

    conv(x)_i = S x_i + b + Σ_j σ(K x_i + Q x_j) ⊙ V x_j          (K, Q and V have biases too)
    x ← dropout(ReLU(0.2 x⁰ + 0.8 conv(x)))

where x⁰ is the embedding of the node's operation. The encoding is the mean over the nodes. ``hidden`` is 128 in the
published settings for NAS-Bench-201, 256 for 101 and 301; dropout is 0.1 there, and 0 by default here.
"""

from __future__ import annotations

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import dropout

from archflow.archs.batch import ArchBatch
from archflow.encoding.base import ConvolutionSettings, NodeEncoder
from archflow.encoding.kernels.gated import gated_layer
from archflow.encoding.sharing import shared_classes, shared_layers


class ResGatedGCN(NodeEncoder):
    """The encoder ``resgatedgcn``. Without dropout, training mode and evaluation mode are the same."""

    name = "resgatedgcn"
    Settings = ConvolutionSettings

    def __init__(self, vocabulary: Sequence[str], settings: ConvolutionSettings | None = None) -> None:
        super().__init__(vocabulary, settings)
        self.embed = nn.Linear(len(self.vocabulary), self.width)
        # K, Q, S and V concatenated; b is the bias of S.
        self.convs = nn.ModuleList(nn.Linear(self.width, 4 * self.width) for _ in range(self.settings.layers))

    def prepare(self, archs: ArchBatch) -> None:
        """Number the distinct neighbourhoods."""
        archs.neighbourhoods(len(self.convs) - 1)

    def nodes(self, archs: ArchBatch) -> Float[Tensor, "nodes hidden"]:
        """See :class:`NodeEncoder`."""
        archs.require_vocabulary(self.vocabulary, "the encoder's")
        x = embedded = self.embed.weight.t() + self.embed.bias
        is_dropping = self.training and self.settings.dropout > 0
        classes = shared_classes(archs, len(self.convs) - 1, apart=is_dropping)
        for layer, conv in zip(shared_layers(archs, classes, [archs.neighbours], x.device), self.convs, strict=True):
            x = gated_layer(embedded, conv(x).to(x.dtype), layer.own, layer.operation, layer.heard[0])
            x = dropout(x, self.settings.dropout) if is_dropping else x
        return x
