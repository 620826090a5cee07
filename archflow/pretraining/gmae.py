"""GMAE: masked operations (after GraphMAE, Hou et al., KDD 2022, arXiv:2205.10803).

In each minibatch the operations of a share of the nodes are masked. The encoder sees the other operations and all
edges, and an MLP predicts each masked operation from its node's value, trained by cross entropy. Inputs and outputs are
never masked, as they are not a choice. As in GraphMAE, some of the masked nodes get a random operation instead of the
mask.

The mask is an additional operation. Since an encoder's weights are for a fixed vocabulary, pre-training uses a second
encoder with the same settings and one more operation. It shares the encoder's weights; where its own are one row or
column longer, that part is learned for the mask, and starts at 0 as in GraphMAE.
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
"""Name of the mask in the extended vocabulary."""


@dataclass(frozen=True, eq=False)
class GMAE(Task):
    """The task ``gmae``.

    Attributes:
        share: share of a minibatch's nodes, inputs and outputs aside, that are masked; at least one is.
        replace: share of the masked nodes that get a random operation instead of the mask. With 1 there is no mask, for
            encoders to which none can be added.
        decoder_width: hidden width of the decoder, an MLP with one hidden layer.

    Raises:
        ValueError: a setting is of the wrong type or out of range.
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
            ValueError: the space has fewer than two operations to choose from, or no mask can be added to the encoder.
        """
        return GMAEObjective(self, encoder, archs)


class GMAEObjective(Objective):
    """GMAE's loss as a function of the numbers in a minibatch."""

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
        """The nodes whose operation is to be predicted, and the architectures with those operations masked."""
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
        values: the node values of an encoder, whose weights are shared.

    Raises:
        ValueError: the weights for the extended vocabulary are not those of the encoder plus one row or column.
    """

    def __init__(self, values: NodeValues) -> None:
        super().__init__()
        self.values, encoder = values, values.encoder
        extended = NodeValues(type(encoder)((*encoder.vocabulary, MASK), encoder.settings), values.max_nodes)
        refusal = f"no mask can be added to encoder '{encoder.name}'; with replace = 1, GMAE does not need one"
        # In a list, so that its weights, which are never used, are not registered as parameters of this module.
        self._extended = [extended]
        self._added: list[tuple[str, int]] = []
        self.mask = nn.ParameterList()
        for name, weight in extended.named_parameters():
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
        """Also set the mode of the extended encoder, which is not a submodule."""
        self._extended[0].train(mode)
        super().train(mode)
        return self

    def forward(self, archs: ArchBatch) -> Float[Tensor, "nodes width"]:
        """The value of every node of architectures over the extended vocabulary."""
        weights = {**dict(self.values.named_parameters()), **dict(self.values.named_buffers())}
        for (name, axis), mask in zip(self._added, self.mask, strict=True):
            weights[name] = torch.cat([weights[name], mask], axis)
        found: Tensor = functional_call(self._extended[0], weights, (archs,))
        return found
