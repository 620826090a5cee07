"""GMAE: masked operations (after GraphMAE, Hou et al., KDD 2022, arXiv:2205.10803).

In each minibatch the operations of a share of the nodes are masked; the encoder reads the rest and the edges, and an
MLP predicts each masked operation from its node's value, by cross entropy. Inputs and outputs are never masked: they
are no choice. As in GraphMAE, a few of the masked nodes carry a random operation instead of the mask.

The mask is one more operation. An encoder's weights are for a fixed vocabulary, so during pre-training a second encoder
of the same settings reads one operation more: its weights are those of the encoder and, where one is longer, numbers of
the mask's own, which begin at 0 as in GraphMAE.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from numpy import ndarray
from torch import Tensor, nn
from torch.func import functional_call

from archflow.archs.batch import ArchBatch
from archflow.encoding.base import Encoder
from archflow.encoding.losses import mlp
from archflow.pretraining.nodes import NodeValues, inner_operations, most_nodes
from archflow.pretraining.task import Objective, Task, step_generator

MASK = "[mask]"
"""The mask's name in the longer vocabulary."""


@dataclass(frozen=True, eq=False)
class GMAE(Task):
    """The task ``gmae``.

    Attributes:
        share: of the nodes of a minibatch that are neither inputs nor outputs, how many are masked; at least one is.
        replace: of the masked nodes, how many carry a random operation instead of the mask. With 1 there is no mask,
            for encoders to which none can be added.
        decoder_width: hidden width of the decoder, an MLP with one hidden layer.

    Raises:
        ValueError: a setting has another type or range.
    """

    name: ClassVar[str] = "gmae"

    share: float = 0.5
    replace: float = 0.1
    decoder_width: int = 128

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_widths("decoder_width")
        if not (0 < self.share <= 1 and 0 <= self.replace <= 1):
            raise ValueError(
                f"GMAE needs a share above 0, at most 1, and replace from 0 to 1, not {self.share} and {self.replace}"
            )

    def build(self, encoder: Encoder, archs: ArchBatch) -> GMAEObjective:
        """The encoder with a mask and a decoder.

        Raises:
            ValueError: the space has no two operations to choose from, or no mask can be added to the encoder.
        """
        return GMAEObjective(self, encoder, archs)


class GMAEObjective(Objective):
    """The loss as a function of which architectures are in the minibatch."""

    def __init__(self, task: GMAE, encoder: Encoder, archs: ArchBatch) -> None:
        super().__init__(encoder, archs)
        self.task = task
        self.inner = inner_operations(archs)
        if self.inner.sum() < 2:
            raise ValueError("GMAE needs two operations to choose from, besides inputs and outputs")
        values = NodeValues(encoder, most_nodes(archs))
        self.values = WithMask(values) if task.replace < 1 else values
        self.decoder = mlp(values.width, task.decoder_width, len(archs.vocabulary))

    def forward(self, chosen: Int[ndarray, " batch"]) -> dict[str, Tensor]:
        """The one term of the loss on the chosen architectures, by name."""
        archs = self.archs[chosen]
        hidden, masked = self._masked(archs, step_generator())
        values = self.values(masked)
        nodes = torch.from_numpy(hidden).to(values.device)
        truth = torch.from_numpy(archs.operations[hidden].astype(np.int64)).to(values.device)
        loss = F.cross_entropy(self.decoder(values[nodes]), truth, reduction="sum") / max(1, len(hidden))
        return {"operations": loss}

    def _masked(self, archs: ArchBatch, rng: np.random.Generator) -> tuple[Int[ndarray, " hidden"], ArchBatch]:
        """The nodes whose operation is to be predicted, and the architectures without it."""
        candidates = np.flatnonzero(self.inner[archs.operations])
        count = min(len(candidates), max(1, round(self.task.share * len(candidates))))
        hidden = rng.choice(candidates, count, replace=False)
        operations = archs.operations.astype(np.int64)
        operations[hidden] = len(archs.vocabulary)
        replaced = hidden if self.task.replace == 1 else hidden[rng.random(count) < self.task.replace]
        operations[replaced] = rng.choice(np.flatnonzero(self.inner), len(replaced))
        vocabulary = archs.vocabulary if self.task.replace == 1 else (*archs.vocabulary, MASK)
        return hidden, ArchBatch(operations, archs.node_offsets, archs.edges, archs.edge_offsets, vocabulary)


class WithMask(nn.Module):
    """Node values over a vocabulary with one more operation, the mask.

    Args:
        values: those of an encoder; all weights are its own but those of the mask.

    Raises:
        ValueError: the encoder's weights for a longer vocabulary are not those it has and one row or column more.
    """

    def __init__(self, values: NodeValues) -> None:
        super().__init__()
        self.values, encoder = values, values.encoder
        longer = NodeValues(type(encoder)((*encoder.vocabulary, MASK), encoder.settings), values.places)
        refusal = f"no mask can be added to encoder '{encoder.name}'; GMAE does without one if replace is 1"
        # In a list, so that its own weights, which are never used, are none of this module's.
        self._longer = [longer]
        self._added: list[tuple[str, int]] = []
        self.mask = nn.ParameterList()
        for name, weight in longer.named_parameters():
            own = values.get_parameter(name)
            grown = [(axis, ours) for axis, ours in enumerate(own.shape) if ours != weight.shape[axis]]
            if not grown:
                continue
            axis, ours = grown[0]
            if len(grown) > 1 or ours != len(encoder.vocabulary) or weight.shape[axis] != ours + 1:
                raise ValueError(refusal)
            self._added.append((name, axis))
            self.mask.append(nn.Parameter(torch.zeros_like(own.narrow(axis, 0, 1))))
        if not self._added:
            raise ValueError(refusal)

    def train(self, mode: bool = True) -> WithMask:
        """Also the longer encoder, which is none of this module's."""
        self._longer[0].train(mode)
        super().train(mode)
        return self

    def forward(self, archs: ArchBatch) -> Float[Tensor, "nodes width"]:
        """The value of every node of architectures over the longer vocabulary."""
        weights = {**dict(self.values.named_parameters()), **dict(self.values.named_buffers())}
        for (name, axis), mask in zip(self._added, self.mask, strict=True):
            weights[name] = torch.cat([weights[name], mask], axis)
        found: Tensor = functional_call(self._longer[0], weights, (archs,))
        return found
