"""ResGatedGCN: residual gated graph convolutions (Bresson and Laurent, 2017, arXiv:1711.07553) over a DAG.

With edges in both directions, and in each layer, as in the published settings of FGP (arXiv:2510.18360),

    conv(x)_i = S x_i + b + Σ_j σ(K x_i + Q x_j) ⊙ V x_j          (K, Q and V have biases too)
    x ← ReLU(0.2 x⁰ + 0.8 conv(x))

where x⁰ is the embedding of the node's operation. The encoding is the mean over the nodes. ``hidden`` is 128 in the
published settings for NAS-Bench-201, 256 for 101 and 301.
"""

from __future__ import annotations

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor, nn

from archflow.archs.batch import ArchBatch
from archflow.encoding.base import EncoderSettings, NodeEncoder
from archflow.encoding.kernels.gated import gated_layer
from archflow.encoding.sharing import shared_layers


class ResGatedGCN(NodeEncoder):
    """The encoder ``resgatedgcn``. Training mode and evaluation mode are the same."""

    name = "resgatedgcn"

    def __init__(self, vocabulary: Sequence[str], settings: EncoderSettings | None = None) -> None:
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
        classes = archs.neighbourhoods(len(self.convs) - 1)
        for layer, conv in zip(shared_layers(archs, classes, [archs.neighbours], x.device), self.convs, strict=True):
            x = gated_layer(embedded, conv(x).to(x.dtype), layer.own, layer.operation, layer.heard[0])
        return x
