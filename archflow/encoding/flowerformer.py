"""FlowerFormer: a graph transformer with message passing in the order of computation (CVPR 2024, arXiv:2403.12821).

The initial values of the nodes are an embedding of their operations, N(E[operation]), rectified and then scaled to
length 1. N is batch norm, with separate weights at each occurrence. Each layer is

    a ← N(x + ReLU(flow(x)))
    b ← N(x + attention(x))
    x ← N(y + W₂ ReLU(W₁ y))            with y = a + b

and the encoding is the mean over the nodes. The flow goes forward, generation by generation, then backward in reverse:

    f_i = GRU(x_i, Σ_j α_ij f_j)        over predecessors j, with α_ij ∝ exp(u · f_j), Σ_j α_ij = 1
    g_i = GRU'(f_i, Σ_j β_ij g_j)       over successors j, with β_ij ∝ exp(v · g_j), Σ_j β_ij = 1

where GRU(x, m) has the input x and the hidden state m, which is 0 for nodes without messages. In the multi-head
attention, node i attends to its ancestors, its descendants and itself; dropout is applied to the attention weights.

Where the paper leaves a choice, this follows the published settings: queries, keys and values without bias, a
feed-forward of twice the width, dropout in the attention only, no positional encoding, and an embedding normalised as
above. In the published code, the logit of α_ij also depends on x_i and on an embedding of the edge, which is the same
for all edges. Both add a constant to all logits of a softmax, which does not change it, so they are left out. In its
backward pass, the published code passes messages only from the nearest generation of successors; here, as in the paper,
a node receives messages from all its successors.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import dropout, linear, normalize

from archflow.archs.batch import ArchBatch
from archflow.archs.ragged import Ragged
from archflow.encoding.base import EncoderSettings, NodeEncoder, require_equal_heads
from archflow.encoding.kernels.attention import attention, related
from archflow.encoding.kernels.flow import flow


@dataclass(frozen=True)
class FlowerFormerSettings(EncoderSettings):
    """Settings of the encoder ``flowerformer``.

    Attributes:
        hidden: width of the node values and of the encoding; published as 64 for NAS-Bench-101 and 201, 256 for 301.
        layers: number of layers; published as 9 for 101 and 201, 8 for 301.
        heads: number of attention heads, which split the width between them.
        dropout: probability of dropping an attention weight in training; published as 0.5 for 101 and 201, 0.3 for
            301. The random numbers come from PyTorch's global generator.

    Raises:
        ValueError: a setting is out of range, or ``heads`` does not divide ``hidden``.
    """

    hidden: int = 64
    layers: int = 9
    heads: int = 8
    dropout: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        require_equal_heads(self)
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout must be at least 0 and below 1, not {self.dropout}")


class Structure(NamedTuple):
    """A batch in the order of its sweep, in which the nodes of a generation are adjacent.

    Attributes:
        operations: the operation of each row; int64.
        generations: the rows of each generation, from the first.
        predecessors: for each row, the rows that it reads from.
        successors: for each row, the rows that read from it.
        members: for each architecture, its rows; concatenated, the row of each node of the batch.
        related: for each of ``members.values``, the rows of the node itself, its ancestors and its descendants.
    """

    operations: Int[Tensor, " rows"]
    generations: list[slice]
    predecessors: Ragged[Tensor]
    successors: Ragged[Tensor]
    members: Ragged[Tensor]
    related: Ragged[Tensor]

    @classmethod
    def of(cls, archs: ArchBatch, device: torch.device) -> Structure:
        """The structure of a batch, on a device."""
        sweep = archs.sweep
        return cls(
            torch.from_numpy(archs.operations[sweep.nodes].astype(np.int64)).to(device),
            [generation.rows for generation in sweep.generations],
            sweep.predecessors.to(device),
            sweep.successors.to(device),
            Ragged(sweep.row, archs.node_offsets).to(device),
            related(archs).to(device),
        )


class FlowerFormer(NodeEncoder):
    """The encoder ``flowerformer``.

    Training mode and evaluation mode differ because of batch norm. In training, the means and variances are those of
    all nodes of the batch, so a vector also depends on the other architectures, and running averages are kept; PyTorch
    refuses a batch of a single node. In evaluation the running averages are used, so a vector depends on its
    architecture alone. Each training step moves the averages a tenth of the way to its batch's, as published, so after
    about thirty steps of fine-tuning little is left of those from pre-training.
    """

    name = "flowerformer"
    Settings = FlowerFormerSettings

    def __init__(self, vocabulary: Sequence[str], settings: FlowerFormerSettings | None = None) -> None:
        super().__init__(vocabulary, settings)
        hidden, heads, dropout = self.settings.hidden, self.settings.heads, self.settings.dropout
        self.embed = nn.Linear(len(self.vocabulary), hidden, bias=False)
        self.norm = nn.BatchNorm1d(hidden)
        self.blocks = nn.ModuleList(Block(hidden, heads, dropout) for _ in range(self.settings.layers))

    def nodes(self, archs: ArchBatch) -> Float[Tensor, "nodes hidden"]:
        """See :class:`NodeEncoder`.

        Raises:
            ValueError: the architectures have another vocabulary, or there is only one node in training mode.
        """
        archs.require_vocabulary(self.vocabulary, "the encoder's")
        batch = Structure.of(archs, self.embed.weight.device)
        x = normalize(torch.relu(self.norm(self.embed.weight.t().index_select(0, batch.operations))))
        for block in self.blocks:
            x = block(x, batch)
        return x.index_select(0, batch.members.values)


class Block(nn.Module):
    """One layer: the flow and the attention in parallel, then the feed-forward."""

    def __init__(self, hidden: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.forward_flow, self.backward_flow = Flow(hidden), Flow(hidden)
        # Queries, keys and values concatenated.
        self.look = nn.Linear(hidden, 3 * hidden, bias=False)
        nn.init.xavier_uniform_(self.look.weight[: 2 * hidden])
        nn.init.xavier_uniform_(self.look.weight[2 * hidden :])
        self.seen = nn.Linear(hidden, hidden)
        self.widen, self.narrow = nn.Linear(hidden, 2 * hidden), nn.Linear(2 * hidden, hidden)
        self.flow_norm, self.attention_norm, self.norm = (nn.BatchNorm1d(hidden) for _ in range(3))

    def forward(self, x: Float[Tensor, "rows hidden"], batch: Structure) -> Float[Tensor, "rows hidden"]:
        """The layer's equations: a from the flow, b from the attention, y = a + b."""
        flow = self.forward_flow(x, batch.predecessors, batch.generations)
        flow = torch.relu(self.backward_flow(flow, batch.successors, batch.generations[::-1]))
        kept = dropout(x.new_ones(len(batch.related.values), self.heads), self.dropout, self.training)
        attended = self.seen(attention(self.look(x).to(x.dtype), kept, batch.related, batch.members))
        y = self.flow_norm(x + flow) + self.attention_norm(x + attended)
        out: Tensor = self.norm(y + self.narrow(torch.relu(self.widen(y))))
        return out


class Flow(nn.Module):
    """The flow in one direction: the GRU of each row receives messages weighted by the scores of their senders."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.score = nn.Linear(hidden, 1, bias=False)
        self.gru = nn.GRUCell(hidden, hidden)

    def forward(
        self, x: Float[Tensor, "rows hidden"], heard: Ragged[Tensor], steps: list[slice]
    ) -> Float[Tensor, "rows hidden"]:
        """The values of the rows, generation by generation in the order of ``steps``."""
        own = linear(x, self.gru.weight_ih, self.gru.bias_ih).to(x.dtype)
        return flow(own, self.gru.weight_hh, self.gru.bias_hh, self.score.weight[0], heard, steps)
