"""GIN: the graph isomorphism network (Xu et al., ICLR 2019, arXiv:1810.00826) over a DAG, edges in both directions.

In each layer, with one-hot operations as x⁰,

    x_i ← dropout(ReLU(MLP(x_i + Σ_j x_j))),      MLP(x) = W₂ ReLU(W₁ x + b₁) + b₂

The concatenated values of all layers (jumping knowledge) go through one linear map, and the encoding is the mean over
the nodes. ε is 0 and there is no batch normalisation, so that an architecture's encoding does not depend on the rest of
its minibatch, training and evaluation mode agree, and equal neighbourhoods can be computed once. Linear maps commute
with sums: W₁ is applied before the messages are summed, and the last map after the mean, where there are fewer rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from archflow.archs.batch import ArchBatch
from archflow.archs.ragged import Ragged
from archflow.encoding.base import ConvolutionSettings, NodeEncoder
from archflow.encoding.sharing import shared_classes, shared_layers


class GIN(NodeEncoder):
    """The encoder ``gin``. Without dropout, training mode and evaluation mode are the same."""

    name = "gin"
    Settings = ConvolutionSettings

    def __init__(self, vocabulary: Sequence[str], settings: ConvolutionSettings | None = None) -> None:
        super().__init__(vocabulary, settings)
        hidden, layers = self.settings.hidden, self.settings.layers
        widths = [len(self.vocabulary), *[hidden] * (layers - 1)]
        self.first = nn.ModuleList(nn.Linear(width, hidden) for width in widths)
        self.second = nn.ModuleList(nn.Linear(hidden, hidden) for _ in range(layers))
        self.join = nn.Linear(layers * hidden, hidden)

    def prepare(self, archs: ArchBatch) -> None:
        """Number the distinct neighbourhoods."""
        archs.neighbourhoods(len(self.first) - 1)

    def nodes(self, archs: ArchBatch) -> Float[Tensor, "nodes hidden"]:
        """See :class:`NodeEncoder`."""
        return self.join(torch.cat([x.index_select(0, members.values) for x, members in self._layers(archs)], 1))

    def forward(self, archs: ArchBatch) -> Float[Tensor, "archs hidden"]:
        """See :class:`Encoder`."""
        return self.join(torch.cat([members.mean(x) for x, members in self._layers(archs)], 1))

    def _layers(self, archs: ArchBatch) -> Iterator[tuple[Float[Tensor, "rows hidden"], Ragged[Tensor]]]:
        """For each layer the values of its rows, and which rows are the nodes of each architecture."""
        archs.require_vocabulary(self.vocabulary, "the encoder's")
        x = torch.eye(len(self.vocabulary)).to(self.join.weight)
        is_dropping = self.training and self.settings.dropout > 0
        classes = shared_classes(archs, len(self.first) - 1, apart=is_dropping)
        layers = shared_layers(archs, classes, [archs.neighbours.with_self()], x.device)
        for layer, first, second in zip(layers, self.first, self.second, strict=True):
            assert isinstance(first, nn.Linear)
            summed = layer.heard[0].sum(F.linear(x, first.weight).to(x.dtype))
            x = torch.relu(second(torch.relu(summed + first.bias))).to(x.dtype)
            x = F.dropout(x, self.settings.dropout) if is_dropping else x
            yield x, layer.members
