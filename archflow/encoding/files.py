"""Encoders in files: the weights as tensors, with the name, vocabulary and settings."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from archflow.encoding.base import Encoder
from archflow.encoding.registry import encoder
from archflow.support.files import load_tensors, save_tensors


def describe(model: Encoder) -> dict[str, Any]:
    """The name, vocabulary and settings of an encoder, JSON-able."""
    return {"encoder": model.name, "vocabulary": list(model.vocabulary), "settings": asdict(model.settings)}


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


def load_weights(model: nn.Module, tensors: dict[str, Tensor], path: str | Path) -> None:
    """Load a file's tensors into a model; ValueError with the file's ``path`` if they do not fit."""
    try:
        model.load_state_dict(tensors)
    except RuntimeError as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"the weights in {path} do not fit: {reason}") from None
