"""The base classes of encoders and of their settings."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from archflow.archs.batch import ArchBatch
from archflow.support.settings import check_range, check_types
from archflow.support.threads import threads_for

MOST_WEIGHTS = 1 << 28
"""Maximum number of weights of an encoder, 1 GiB; training takes four times that."""


@dataclass(frozen=True)
class EncoderSettings:
    """The settings that all encoders have; an encoder with more derives its own class from this one.

    Attributes:
        hidden: width of the encoder's hidden values and of its vectors.
        layers: number of layers.

    Raises:
        ValueError: a value is not of its field's type, or is out of range.
    """

    hidden: int = 128
    layers: int = 3

    def __post_init__(self) -> None:
        check_types(self)
        check_range(self, "", 1, 65_536, "hidden")
        check_range(self, "", 1, 1_000, "layers")
        # A transformer layer has 12 hidden² weights; the layers of other encoders have fewer.
        require_size(self, 12 * self.hidden**2 * self.layers, "hidden", "layers")


@dataclass(frozen=True)
class ConvolutionSettings(EncoderSettings):
    """The settings of ResGatedGCN and GIN.

    Attributes:
        dropout: probability of dropping a node's hidden value after each layer in training. Above 0, nodes with equal
            neighbourhoods differ, and training takes about twice as long. The random numbers come from PyTorch's global
            generator.
    """

    dropout: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout must be at least 0 and below 1, not {self.dropout}")


def require_size(settings: Any, weights: int, *names: str) -> None:
    """Raise ValueError if ``weights``, estimated from the named settings, exceeds ``MOST_WEIGHTS``."""
    if weights > MOST_WEIGHTS:
        chosen = " and ".join(f"{name} = {getattr(settings, name)}" for name in names)
        raise ValueError(f"an encoder with {chosen} would have more than {MOST_WEIGHTS:,} weights")


def require_equal_heads(settings: Any) -> None:
    """Raise ValueError unless ``heads`` is from 1 to ``hidden`` and divides it."""
    check_range(settings, "", 1, settings.hidden, "heads")
    if settings.hidden % settings.heads:
        raise ValueError(
            f"hidden must be a multiple of heads, but {settings.hidden} is not a multiple of {settings.heads}"
        )


class Encoder(nn.Module):
    """A network that turns each architecture of a batch into a vector; the base class of all encoders.

    A subclass creates its parameters in an ``__init__`` with the same arguments, after calling this one.

    Attributes:
        name: its name in ``archflow.encoder``.
        Settings: the class of its settings, a frozen dataclass with a default for each field.
        vocabulary: names of the operations of the space that it encodes.
        settings: its settings.
        width: length d of its vectors, ``settings.hidden``.

    Raises:
        ValueError: the vocabulary is a single string or a file rather than a sequence of names.
    """

    name: ClassVar[str]
    Settings: ClassVar[type[Any]] = EncoderSettings
    vocabulary: tuple[str, ...]
    settings: Any
    width: int

    def __init__(self, vocabulary: Sequence[str], settings: Any = None) -> None:
        super().__init__()
        if isinstance(vocabulary, Path) or (isinstance(vocabulary, str) and Path(vocabulary).suffix):
            raise ValueError(
                f"'{vocabulary}' is a file, not a vocabulary; archflow.load('{vocabulary}') returns the encoder in it"
            )
        if isinstance(vocabulary, str):
            raise ValueError(
                f"the vocabulary is the string '{vocabulary}', but must be a sequence of operation names, "
                f"such as archflow.space(…).vocabulary"
            )
        self.vocabulary = tuple(vocabulary)
        self.settings = self.Settings() if settings is None else settings
        self.width = self.settings.hidden

    def prepare(self, archs: ArchBatch) -> None:
        """Derive once what this encoder needs for all minibatches that will be sliced from ``archs``."""

    def threads(self, archs: ArchBatch, batch_size: int) -> AbstractContextManager[None]:
        """Compute minibatches of ``archs`` inside the block in as many threads as pay."""
        nodes = len(archs.operations) / max(1, len(archs)) * min(batch_size, len(archs))
        return threads_for(nodes * sum(weights.numel() for weights in self.parameters()))

    def forward(self, archs: ArchBatch) -> Float[Tensor, "archs width"]:
        """The vectors of the architectures.

        Raises:
            ValueError: the architectures have another vocabulary.
        """
        raise NotImplementedError

    def __call__(self, archs: ArchBatch) -> Float[Tensor, "archs width"]:  # for type checkers
        return super().__call__(archs)


class NodeEncoder(Encoder):
    """An encoder whose vectors are means of node values, for pretext tasks on nodes."""

    def nodes(self, archs: ArchBatch) -> Float[Tensor, "nodes width"]:
        """The value of every node, in the batch's order; an architecture's vector is their mean, up to rounding.

        Raises:
            ValueError: the architectures have another vocabulary.
        """
        raise NotImplementedError

    def forward(self, archs: ArchBatch) -> Float[Tensor, "archs width"]:
        """The mean of each architecture's node values.

        Raises:
            ValueError: the architectures have another vocabulary.
        """
        x = self.nodes(archs)
        owners = torch.from_numpy(archs.owners).to(x.device)
        sizes = torch.from_numpy(np.diff(archs.node_offsets)).to(x.device)
        return x.new_zeros(len(archs), self.width).index_add(0, owners, x) / sizes[:, None]
