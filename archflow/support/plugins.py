"""A person's own Python files, in which encoders, tasks, spaces and networks are registered."""

from __future__ import annotations

import importlib
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path

from archflow.support.digests import digest_sources

_LOADED: list[str] = []


def plug_in(files: Sequence[str | Path]) -> None:
    """Import Python files, once each. Their folders go to the end of ``sys.path``, so that they hide no other module.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no Python file, it raises an error, or its name is that of another module.
    """
    for file in files:
        path = Path(file).resolve()
        if str(path) in _LOADED:
            continue
        if not path.is_file():
            raise FileNotFoundError(f"there is no file {file}")
        if path.suffix != ".py" or not path.stem.isidentifier():
            raise ValueError(f"{file} is no Python file with a name that can be imported, such as my_encoder.py")
        if str(path.parent) not in sys.path:
            sys.path.append(str(path.parent))
        try:
            found = getattr(importlib.import_module(path.stem), "__file__", None)
        except Exception as error:  # whatever a person's file raises
            what = f"{type(error).__name__}: {error}{_where(error, path)}"
            raise ValueError(f"{file} cannot be imported ({what})") from error
        if not found or Path(found).resolve() != path:
            raise ValueError(f"{file} has the name of another module; rename the file")
        _LOADED.append(str(path))


def _where(error: Exception, path: Path) -> str:
    """The line of a file at which an error arose; a syntax error says it itself."""
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if Path(frame.filename) == path]
    return f", line {lines[-1]}" if lines else ""


code_of = digest_sources


def plugged_in() -> tuple[str, ...]:
    """The files that were plugged in, for processes that must do the same."""
    return tuple(_LOADED)
