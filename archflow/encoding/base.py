"""What all encoders have in common."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from archflow.archs.batch import ArchBatch
from archflow.support.settings import check_range, check_types

MOST_WEIGHTS = 1 << 28
"""An encoder may have so many weights, 1 GiB; training takes four times that."""


@dataclass(frozen=True)
class EncoderSettings:
    """What an encoder can be asked for; an encoder that has more derives its own settings from these.

    Attributes:
        hidden: width of the values inside the encoder, and of its vectors.
        layers: number of its layers.

    Raises:
        ValueError: a value has not its field's type, or is out of its range.
    """

    hidden: int = 128
    layers: int = 3

    def __post_init__(self) -> None:
        check_types(self)
        check_range(self, "", 1, 65_536, "hidden")
        check_range(self, "", 1, 1_000, "layers")
        # A transformer's layer has 12 hidden² weights; those of other encoders have fewer.
        require_size(self, 12 * self.hidden**2 * self.layers, "hidden", "layers")


def require_size(settings: Any, weights: int, *names: str) -> None:
    """Raise ValueError if the named settings ask for more than ``MOST_WEIGHTS`` weights; ``weights`` is an estimate."""
    if weights > MOST_WEIGHTS:
        asked = " and ".join(f"{name} = {getattr(settings, name)}" for name in names)
        raise ValueError(f"an encoder with {asked} would have more than {MOST_WEIGHTS:,} weights")


class Encoder(nn.Module):
    """A network that turns each architecture of a batch into a vector; the parent of every encoder.

    A subclass makes its parameters in an ``__init__`` with the same arguments, after calling this one.

    Attributes:
        name: what ``archflow.encoder`` calls it.
        Settings: the class of its settings, a frozen dataclass with a default for each field.
        vocabulary: names of the operations of the space that it reads.
        settings: what it was made with.
        width: length d of its vectors, ``settings.hidden``.

    Raises:
        ValueError: the vocabulary is one string rather than a sequence of names.
    """

    name: ClassVar[str]
    Settings: ClassVar[type[Any]] = EncoderSettings
    vocabulary: tuple[str, ...]
    settings: Any
    width: int

    def __init__(self, vocabulary: Sequence[str], settings: Any = None) -> None:
        super().__init__()
        if isinstance(vocabulary, str):
            raise ValueError(
                f"the vocabulary is the string '{vocabulary}', but must be a sequence of operation names, "
                f"as archflow.space(…).vocabulary"
            )
        self.vocabulary = tuple(vocabulary)
        self.settings = self.Settings() if settings is None else settings
        self.width = self.settings.hidden

    def prepare(self, archs: ArchBatch) -> None:
        """Derive once, for all minibatches that will be sliced from ``archs``, what this encoder needs of them."""

    def forward(self, archs: ArchBatch) -> Float[Tensor, "archs width"]:
        """The vectors of the architectures.

        Raises:
            ValueError: the architectures have another vocabulary.
        """
        raise NotImplementedError

    def __call__(self, archs: ArchBatch) -> Float[Tensor, "archs width"]:  # for the type checker alone
        return super().__call__(archs)


class NodeEncoder(Encoder):
    """An encoder whose vectors are means of a value for each node, through which pretext tasks on nodes learn."""

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
