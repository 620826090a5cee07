"""A pretext task: squared error of any columns, such as path features."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float, Int
from numpy import ndarray
from torch import Tensor, nn

from archflow.archs.batch import ArchBatch
from archflow.encoding.base import Encoder
from archflow.encoding.losses import mlp
from archflow.pretraining.task import Objective, Task


@dataclass(frozen=True, eq=False)
class Regression(Task):
    """Learn given columns by squared error."""

    name: ClassVar[str] = "regression"
    arrays: ClassVar[tuple[str, ...]] = ("columns",)
    columns: Float[ndarray, "archs columns"]

    def build(self, encoder: Encoder, archs: ArchBatch) -> nn.Module:
        """The encoder with a head."""
        return RegressionObjective(encoder, archs, self.columns)


class RegressionObjective(Objective):
    """Mean squared error of a head, a hidden layer on the encoding."""

    def __init__(self, encoder: Encoder, archs: ArchBatch, columns: Float[ndarray, "archs columns"]) -> None:
        super().__init__(encoder, archs)
        self.encoder, self.columns = encoder, torch.from_numpy(columns).float()
        self.head = mlp(encoder.width, 128, columns.shape[1])

    def forward(self, chosen: Int[ndarray, " batch"]) -> dict[str, Tensor]:
        """The one term."""
        error = self.head(self.encoder(self.archs[chosen])) - self.columns[torch.from_numpy(chosen)]
        return {"columns": error.square().mean()}
