"""Encoders: networks that turn architectures into vectors, all called alike.

``archflow.encoder(name, vocabulary, **settings)`` makes one, ``archflow.encoders()`` lists the names. To add one, write
an :class:`~archflow.encoding.base.Encoder` in a file here and name it in ``_ENCODERS``, or call
:func:`register_encoder` from your code.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
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
from archflow.support.files import load_tensors, save_tensors
from archflow.support.registry import Registry

_ENCODERS: Registry[type[Encoder]] = Registry(
    "encoder", {each.name: each for each in (ResGatedGCN, GIN, DiGCN, MLP, Transformer, FlowerFormer)}
)


def encoder(name: str, vocabulary: Sequence[str], **settings: Any) -> Encoder:
    """A new encoder with random weights (from torch's global generator; ``torch.manual_seed`` fixes them).

    Raises:
        ValueError: the name is unknown, or a setting is; the message lists the known ones.
    """
    kind = encoder_kind(name)
    try:
        return kind(vocabulary, **settings)
    except TypeError as error:
        raise ValueError(f"encoder '{name}': {error}") from None


def encoder_kind(name: str) -> type[Encoder]:
    """The class of the encoders of that name.

    Raises:
        ValueError: the name is unknown; the message lists the known ones.
    """
    return _ENCODERS.find(name, encoders())


def encoders() -> list[str]:
    """Names that :func:`encoder` knows."""
    return sorted(_ENCODERS)


def register_encoder(kind: type[Encoder]) -> None:
    """Make ``encoder(kind.name, …)`` know an encoder that is not archflow's own.

    Raises:
        ValueError: archflow has an encoder of that name.
    """
    _ENCODERS.register(kind.name, kind)


def describe(model: Encoder) -> dict[str, Any]:
    """What :func:`encoder` needs to make a model of the same shape, JSON-able."""
    return {"encoder": model.name, "vocabulary": list(model.vocabulary), "settings": model.settings}


def from_description(description: dict[str, Any]) -> Encoder:
    """The inverse of :func:`describe`, with new random weights."""
    return encoder(description["encoder"], description["vocabulary"], **description["settings"])


def save_encoder(model: Encoder, path: str | Path, **provenance: Any) -> None:
    """Write an encoder to one file; ``provenance`` (JSON-able) is kept with it."""
    save_tensors(path, "encoder", model.state_dict(), {**describe(model), "provenance": provenance})


def load_encoder(path: str | Path) -> tuple[Encoder, dict[str, Any]]:
    """An encoder written by :func:`save_encoder`, and its provenance.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is truncated or foreign, or its weights do not fit its description.
    """
    tensors, settings = load_tensors(path, "encoder")
    model = from_description(settings)
    load_weights(model, tensors, path)
    return model, settings["provenance"]


def load_weights(model: torch.nn.Module, tensors: dict[str, Tensor], path: str | Path) -> None:
    """Put a file's tensors into a model; a ValueError says which file does not fit."""
    try:
        model.load_state_dict(tensors)
    except RuntimeError as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"the weights in {path} do not fit: {reason}") from None


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
