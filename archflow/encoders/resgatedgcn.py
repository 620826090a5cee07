"""ResGatedGCN: residual gated graph convolutions (Bresson and Laurent, 2017, arXiv:1711.07553) over a DAG.

With edges in both directions, and in each layer, as in METHOD's settings,

    conv(x)_i = S x_i + b + Σ_j σ(K x_i + Q x_j) ⊙ V x_j          (K, Q and V with a bias of their own)
    x ← ReLU(0.2 x⁰ + 0.8 conv(x))

where x⁰ is the embedding of the node's operation. The encoding is the mean over the nodes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from archflow.encoders.base import Encoder
from archflow.encoders.sharing import Layer, shared_layers
from archflow.graphs import ArchBatch


class ResGatedGCN(Encoder):
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
        # What a node needs of itself, K and S side by side (b is the bias of S), and what it sends, Q and V.
        self.own = nn.ModuleList(nn.Linear(hidden, 2 * hidden) for _ in range(layers))
        self.sent = nn.ModuleList(nn.Linear(hidden, 2 * hidden) for _ in range(layers))

    def prepare(self, archs: ArchBatch) -> None:
        """Number the distinct neighbourhoods."""
        archs.neighbourhoods(len(self.own) - 1)

    def forward(self, archs: ArchBatch) -> Float[Tensor, "archs hidden"]:
        """The encoding of every architecture; training mode and evaluation mode are the same.

        Raises:
            ValueError: the architectures have another vocabulary.
        """
        archs.require_vocabulary(self.vocabulary, "the encoder's")
        device = self.embed.weight.device
        layers, owners, sizes = shared_layers(archs, len(self.own), device)
        x = embedded = self.embed.weight.t() + self.embed.bias
        for layer, own, sent in zip(layers, self.own, self.sent, strict=True):
            x = _GatedLayer.apply(embedded, own(x).to(x.dtype), sent(x).to(x.dtype), layer)  # type: ignore[no-untyped-call]
        return x.new_zeros(len(archs), self.width).index_add(0, owners, x) / sizes[:, None]


class _GatedLayer(torch.autograd.Function):
    """x ← ReLU(0.2 x⁰ + 0.8 conv(x)) from the projections of x, in few passes over the messages.

    Outputs that hear equally many messages are taken some at a time: their messages stay in the cache, gates take the
    place of the queries, and the sum over messages is a sum of dense arrays, which needs no scatter.
    """

    @staticmethod
    def forward(ctx: Any, embedded: Tensor, own: Tensor, sent: Tensor, layer: Layer) -> Tensor:
        """``embedded`` (operations, hidden), ``own`` and ``sent`` (inputs, 2 hidden) to (outputs, hidden)."""
        hidden = embedded.shape[1]
        out = (0.2 * embedded).index_select(0, layer.operation)
        kept = []
        for group in layer.groups:
            key, self_ = own.index_select(0, layer.own[group.outputs]).split(hidden, 1)
            received = sent.index_select(0, layer.source[group.messages]).view(*group.shape, 2 * hidden)
            gate, value = received.split(hidden, 2)
            gate.add_(key[:, None]).sigmoid_()
            part = out[group.outputs].add_(self_, alpha=0.8)
            for nth in range(group.degree):
                part.addcmul_(gate[:, nth], value[:, nth], value=0.8)
            if ctx.needs_input_grad[1]:
                kept.append(received)
        out.relu_()
        ctx.save_for_backward(out, *kept)
        ctx.layer, ctx.operations, ctx.inputs = layer, len(embedded), len(own)
        return out

    @staticmethod
    def backward(ctx: Any, grad_out: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        """Gradients of ``embedded``, ``own`` and ``sent``."""
        out, *kept = ctx.saved_tensors
        layer, hidden = ctx.layer, out.shape[1]
        grad = grad_out * (out > 0)
        grad_embedded = grad.new_zeros(ctx.operations, hidden).index_add_(0, layer.operation, grad, alpha=0.2)
        grad *= 0.8
        grad_own, grad_sent = grad.new_zeros(2, ctx.inputs, 2 * hidden).unbind()
        for group, received in zip(layer.groups, kept, strict=True):
            grad_group = grad[group.outputs]
            gate, value = received.split(hidden, 2)
            grad_received = torch.empty_like(received)
            grad_gate, grad_value = grad_received.split(hidden, 2)
            torch.mul(grad_group[:, None], gate, out=grad_value)
            torch.mul(grad_value, value, out=grad_gate).addcmul_(grad_gate, gate, value=-1)
            grad_key_and_self = torch.cat([grad_gate.sum(1), grad_group], 1)
            grad_own.index_add_(0, layer.own[group.outputs], grad_key_and_self)
            grad_sent.index_add_(0, layer.source[group.messages], grad_received.view(-1, 2 * hidden))
        return grad_embedded, grad_own, grad_sent, None
