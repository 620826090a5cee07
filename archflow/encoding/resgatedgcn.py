"""ResGatedGCN: residual gated graph convolutions (Bresson and Laurent, 2017, arXiv:1711.07553) over a DAG.

With edges in both directions, and in each layer, as in METHOD's settings,

    conv(x)_i = S x_i + b + Σ_j σ(K x_i + Q x_j) ⊙ V x_j          (K, Q and V with a bias of their own)
    x ← ReLU(0.2 x⁰ + 0.8 conv(x))

where x⁰ is the embedding of the node's operation. The encoding is the mean over the nodes.
"""

from __future__ import annotations

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor, nn

from archflow.archs.batch import ArchBatch
from archflow.encoding.base import NodeEncoder
from archflow.encoding.kernels.gated import gated_layer
from archflow.encoding.sharing import shared_layers


class ResGatedGCN(NodeEncoder):
    """The encoder ``resgatedgcn``.

    Args:
        vocabulary: names of the operations of the space.
        hidden: width of the node values and of the encoding; 128 is published for NAS-Bench-201, 256 for 101 and 301.
        layers: number of graph convolutions.
    """

    name = "resgatedgcn"

    def __init__(self, vocabulary: Sequence[str], hidden: int = 128, layers: int = 3) -> None:
        super().__init__()
        if hidden < 1 or layers < 1:
            raise ValueError(f"resgatedgcn needs hidden ≥ 1 and layers ≥ 1, not {hidden} and {layers}")
        self.vocabulary = tuple(vocabulary)
        self.width = hidden
        self.settings = {"hidden": hidden, "layers": layers}
        self.embed = nn.Linear(len(self.vocabulary), hidden)
        # K, Q, S and V side by side; b is the bias of S.
        self.convs = nn.ModuleList(nn.Linear(hidden, 4 * hidden) for _ in range(layers))

    def prepare(self, archs: ArchBatch) -> None:
        """Number the distinct neighbourhoods."""
        archs.neighbourhoods(len(self.convs) - 1)

    def nodes(self, archs: ArchBatch) -> Float[Tensor, "nodes hidden"]:
        """The value of every node; training mode and evaluation mode are the same.

        Raises:
            ValueError: the architectures have another vocabulary.
        """
        archs.require_vocabulary(self.vocabulary, "the encoder's")
        x = embedded = self.embed.weight.t() + self.embed.bias
        layers = shared_layers(archs, len(self.convs), x.device)
        for layer, conv in zip(layers, self.convs, strict=True):
            x = gated_layer(embedded, conv(x).to(x.dtype), layer)
        return x
