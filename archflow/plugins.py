"""A person's own Python files, in which encoders, tasks, spaces and networks are registered."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from pathlib import Path

_LOADED: list[str] = []


def plug_in(files: Sequence[str | Path]) -> None:
    """Import Python files, once each; their folders come last of where Python looks, so that they hide no other module.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no Python file, or its name is that of another module.
    """
    for file in files:
        path = Path(file).resolve()
        if str(path) in _LOADED:
            continue
        if not path.is_file():
            raise FileNotFoundError(f"there is no file {file}")
        if path.suffix != ".py" or not path.stem.isidentifier():
            raise ValueError(f"{file} is no Python file whose name can be imported, as my_encoder.py can")
        if str(path.parent) not in sys.path:
            sys.path.append(str(path.parent))
        found = getattr(importlib.import_module(path.stem), "__file__", None)
        if not found or Path(found).resolve() != path:
            raise ValueError(f"{file} has the name of another module; call it otherwise")
        _LOADED.append(str(path))


def plugged_in() -> tuple[str, ...]:
    """The files that were plugged in, for processes that must do the same."""
    return tuple(_LOADED)
