"""Encoders by name.

``archflow.encoder(name, vocabulary, **settings)`` creates one, ``archflow.encoders()`` lists the names. To add one,
write an :class:`~archflow.encoding.base.Encoder` in a file here and add it to ``ENCODERS``, or register it from your
code.
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
        raise ValueError(f"'{name}' is not an encoder: it must be a subclass of archflow.Encoder, not {thing!r}")
    if getattr(thing, "name", None) != name:
        raise ValueError(f"'{name}' is not an encoder of that name: give its class the attribute name = '{name}'")


ENCODERS: Registry[type[Encoder]] = Registry(
    "encoder",
    {each.name: each for each in (ResGatedGCN, GIN, DiGCN, MLP, Transformer, FlowerFormer)},
    _require_encoder,
)


def encoder(name: str, vocabulary: Sequence[str], **settings: Any) -> Encoder:
    """A new encoder with random weights from PyTorch's global generator, so that ``torch.manual_seed`` fixes them.

    Raises:
        ValueError: the name or a setting is unknown, in which case the message lists the known ones; a setting is out
            of range; or the vocabulary is a single string.
    """
    kind = ENCODERS.find(name)
    known = [field.name for field in fields(kind.Settings)]
    unknown = [setting for setting in settings if setting not in known]
    if unknown:
        raise ValueError(f"encoder '{name}' has no setting '{unknown[0]}'; its settings are {', '.join(known)}")
    try:
        checked = kind.Settings(**settings)
    except ValueError as error:
        raise ValueError(f"encoder '{name}': {error}") from None
    return kind(vocabulary, checked)


def encoders() -> list[str]:
    """Names that :func:`encoder` knows, sorted."""
    return ENCODERS.names()


def seeded_encoder(name: str, vocabulary: Sequence[str], seed: int, settings: Mapping[str, Any]) -> Encoder:
    """As :func:`encoder`, with weights from the seed; PyTorch's generators are left unchanged."""
    with seeded(seed):
        return encoder(name, vocabulary, **settings)


@torch.no_grad()
def encode(model: Encoder, archs: ArchBatch, batch_size: int = 3125) -> Float[Tensor, "archs width"]:
    """The vectors of any number of architectures, without gradients, in batches small enough for the CPU's cache.

    They are computed in evaluation mode; the model's mode is restored afterwards.
    """
    modes = [(part, part.training) for part in model.modules()]
    model.eval()
    try:
        with model.threads(archs, batch_size):
            return torch.cat([model(archs[start : start + batch_size]) for start in range(0, len(archs), batch_size)])
    finally:
        for part, training in modes:
            part.training = training
