"""Architectures, encoders and rankers in files, whatever they are: the file says which it holds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from archflow.archs.batch import ArchBatch
from archflow.encoding.base import Encoder
from archflow.encoding.files import load_encoder, save_encoder
from archflow.ranking.ranker import Ranker
from archflow.support.files import kind_of


def save(path: str | Path, thing: Encoder | Ranker | ArchBatch) -> None:
    """Write an encoder, a fitted ranker or architectures to one file, a safetensors file without pickle.

    >>> archflow.save("encoder.archflow", encoder)
    >>> encoder = archflow.load("encoder.archflow")

    Raises:
        ValueError: it is something else, or a ranker that was not fitted.
        OSError: the file cannot be written.
    """
    if isinstance(thing, Encoder):
        save_encoder(thing, path)
    elif isinstance(thing, Ranker | ArchBatch):
        thing.save(path)
    else:
        what = (
            "the path comes first" if isinstance(path, Encoder | Ranker | ArchBatch) else f"not {type(thing).__name__}"
        )
        raise ValueError(f"archflow.save(path, thing) writes an encoder, a ranker or architectures; {what}")


def load(path: str | Path, device: str = "auto") -> Any:
    """What :func:`save`, or a command, wrote.

    Args:
        path: the file.
        device: where the encoder of a ranker is to compute; an encoder alone is on the CPU.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is truncated, foreign, of another version, or holds something else.
    """
    kind = kind_of(path)
    if kind == "encoder":
        return load_encoder(path)[0]
    if kind == "ranker":
        return Ranker.load(path, device)
    if kind == "archs":
        return ArchBatch.load(path)
    raise ValueError(f"{path} holds neither an encoder nor a ranker nor architectures, but '{kind}'")
