"""Encoders by name: networks that turn architectures into vectors, all called alike.

``archflow.encoder(name, vocabulary, **settings)`` makes one, ``archflow.encoders()`` lists the names. To add one, write
an :class:`~archflow.encoding.base.Encoder` in a file here and name it in ``ENCODERS``, or register it from your code.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from archflow.archs.batch import ArchBatch
from archflow.encoding.base import Encoder
from archflow.encoding.digcn import DiGCN
from archflow.encoding.flowerformer import FlowerFormer
from archflow.encoding.gin import GIN
from archflow.encoding.mlp import MLP
from archflow.encoding.resgatedgcn import ResGatedGCN
from archflow.encoding.transformer import Transformer
from archflow.support.devices import seeded
from archflow.support.registry import Registry


def _require_encoder(name: str, thing: Any) -> None:
    if not (isinstance(thing, type) and issubclass(thing, Encoder)):
        raise ValueError(f"'{name}' is no encoder: it must be a subclass of archflow.Encoder, not {thing!r}")
    if getattr(thing, "name", None) != name:
        raise ValueError(f"'{name}' is no encoder of that name: give its class the attribute name = '{name}'")


ENCODERS: Registry[type[Encoder]] = Registry(
    "encoder",
    {each.name: each for each in (ResGatedGCN, GIN, DiGCN, MLP, Transformer, FlowerFormer)},
    _require_encoder,
)


def encoder(name: str, vocabulary: Sequence[str], **settings: Any) -> Encoder:
    """A new encoder with random weights (from torch's global generator; ``torch.manual_seed`` fixes them).

    Raises:
        ValueError: the name or a setting is unknown, or a setting is out of its range; the message lists the known
            ones. Or the vocabulary is one string.
    """
    kind = ENCODERS.find(name)
    known = [field.name for field in fields(kind.Settings)]
    unknown = [setting for setting in settings if setting not in known]
    if unknown:
        raise ValueError(f"encoder '{name}' has no setting '{unknown[0]}'; its settings are {', '.join(known)}")
    try:
        its_settings = kind.Settings(**settings)
    except ValueError as error:
        raise ValueError(f"encoder '{name}': {error}") from None
    return kind(vocabulary, its_settings)


def encoders() -> list[str]:
    """Names that :func:`encoder` knows, sorted."""
    return ENCODERS.names()


def seeded_encoder(name: str, vocabulary: Sequence[str], seed: int, settings: Mapping[str, Any]) -> Encoder:
    """As :func:`encoder`, with the weights that belong to the seed; torch's generators are left as they were."""
    with seeded(seed):
        return encoder(name, vocabulary, **settings)


@torch.no_grad()
def encode(model: Encoder, archs: ArchBatch, batch_size: int = 3125) -> Float[Tensor, "archs width"]:
    """The vectors of any number of architectures, without gradients, some at a time so that they fit in the cache.

    They are computed in evaluation mode; afterwards the model is in the mode that it was in.
    """
    modes = [(part, part.training) for part in model.modules()]
    model.eval()
    try:
        return torch.cat([model(archs[start : start + batch_size]) for start in range(0, len(archs), batch_size)])
    finally:
        for part, training in modes:
            part.training = training
