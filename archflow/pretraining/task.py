"""The base classes of pretext tasks, which an encoder learns from architectures alone, without labels.

A :class:`Task` holds settings. Its ``build`` turns an encoder and architectures into an :class:`Objective`: a module
that maps the numbers of a minibatch to the terms of the loss by name. :func:`archflow.pretrain` does the rest.

archflow has FGP and, as baselines, zero-cost proxies alone (both in ``fgp.py``), arch2vec, GMAE and GraphCL.
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Protocol, Self

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy import ndarray
from torch import Tensor, nn

from archflow.archs.batch import ArchBatch
from archflow.encoding.base import Encoder
from archflow.support.documents import plain
from archflow.support.settings import check_range, check_types


class FlowDefaults(Protocol):
    """The published settings of a space's flow surrogate, such as :class:`archflow.benchmarks.record.Published`."""

    @property
    def k(self) -> int:
        """Length of the surrogate."""

    @property
    def std(self) -> float:
        """Standard deviation of the random weights."""


@dataclass(frozen=True, eq=False)
class Task:
    """The base class of all pretext tasks: a frozen dataclass whose fields are the task's settings.

    Attributes:
        name: its name in settings and in :func:`archflow.tasks`.
        arrays: names of the fields that are not settings, but data about the architectures or random draws.
    """

    name: ClassVar[str]
    arrays: ClassVar[tuple[str, ...]] = ()

    def __post_init__(self) -> None:
        """Check the settings; a task with bounds to check extends this.

        Raises:
            ValueError: a setting is not of its field's type.
        """
        check_types(self, f"task {self.name}")

    def check_widths(self, *names: str) -> None:
        """Raise ValueError unless each of the named settings is a width that a layer can have, from 1 to 65,536."""
        check_range(self, f"task {self.name}", 1, 65_536, *names)

    def build(self, encoder: Encoder, archs: ArchBatch) -> nn.Module:
        """A module that contains ``encoder`` and maps (batch,) int64 numbers to a dict of scalar terms.

        Raises:
            ValueError: the task cannot be learned on these architectures or by this encoder.
        """
        raise NotImplementedError

    def describe(self) -> dict[str, Any]:
        """The settings, JSON-able, with the name as "task" first; arrays are left out."""
        settings = {field.name: getattr(self, field.name) for field in fields(self) if field.name not in self.arrays}
        return {"task": self.name, **plain(settings)}

    @classmethod
    def for_space(
        cls,
        operations: int,
        published: FlowDefaults,
        proxies: Float[ndarray, "archs proxies"] | None,
        seed: int,
        **settings: Any,
    ) -> Self:
        """The task for the architectures of a space.

        Args:
            operations: size of the vocabulary.
            published: defaults for the flow surrogate's draw.
            proxies: one column per proxy, or None.
            seed: for random numbers that are drawn once for the whole pre-training.
            settings: some of :meth:`setting_names`.

        Raises:
            ValueError: a setting is out of range, or the task needs proxies and there are none.
        """
        return cls(**settings)

    @classmethod
    def setting_names(cls) -> list[str]:
        """The settings that :meth:`for_space` takes, sorted: fields other than arrays, and its keyword arguments."""
        names = {field.name for field in fields(cls)} - set(cls.arrays)
        arguments = inspect.signature(cls.for_space).parameters.values()
        return sorted(names | {argument.name for argument in arguments if argument.kind is argument.KEYWORD_ONLY})


class Objective(nn.Module):
    """The loss of a task as a function of the numbers in a minibatch; the base class of the tasks' objectives.

    Args:
        encoder: the encoder to train. Subclasses hold it in an attribute, either directly or inside another module.
        archs: all architectures from which minibatches will be taken.
    """

    def __init__(self, encoder: Encoder, archs: ArchBatch) -> None:
        super().__init__()
        self.archs = archs
        encoder.prepare(archs)

    def forward(self, chosen: Int[ndarray, " batch"]) -> dict[str, Tensor]:
        """The weighted terms of the loss on the chosen architectures, by name; their sum is the loss."""
        raise NotImplementedError


def step_generator() -> np.random.Generator:
    """NumPy's generator for one minibatch, seeded from PyTorch's global one, which the loop seeds for each step."""
    return np.random.default_rng(int(torch.randint(2**62, ())))
