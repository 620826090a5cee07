"""Python files of users that register encoders, tasks, spaces and networks."""

from __future__ import annotations

import importlib
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path

_LOADED: list[str] = []


def plug_in(files: Sequence[str | Path]) -> None:
    """Import Python files, once each. Their folders are appended to ``sys.path``, so they cannot shadow other modules.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is not a Python file, it raises an error, or another module has its name.
    """
    for file in files:
        path = Path(file).resolve()
        if str(path) in _LOADED:
            continue
        if not path.is_file():
            raise FileNotFoundError(f"there is no file {file}")
        if path.suffix != ".py" or not path.stem.isidentifier():
            raise ValueError(f"{file} is not a Python file with an importable name, such as my_encoder.py")
        if str(path.parent) not in sys.path:
            sys.path.append(str(path.parent))
        try:
            found = getattr(importlib.import_module(path.stem), "__file__", None)
        except Exception as error:  # a user's file can raise anything
            what = f"{type(error).__name__}: {error}{_where(error, path)}"
            raise ValueError(f"{file} cannot be imported ({what})") from error
        if not found or Path(found).resolve() != path:
            raise ValueError(f"{file} has the name of another module; rename the file")
        _LOADED.append(str(path))


def _where(error: Exception, path: Path) -> str:
    """The line of the file that raised an error; "" for a syntax error, whose message has the line already."""
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if Path(frame.filename) == path]
    return f", line {lines[-1]}" if lines else ""


def plugged_in() -> tuple[str, ...]:
    """The files plugged in so far, for child processes to plug in too."""
    return tuple(_LOADED)
