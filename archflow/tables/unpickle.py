"""Reading pickles from elsewhere without running what they ask for."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any


def restricted_load(path: str | Path, allowed: Mapping[tuple[str, str], Callable[..., Any]]) -> Any:
    """Unpickle ``path``, with nothing callable but what ``allowed`` gives for a (module, name).

    The values stand in for the named classes, so the code that wrote the pickle is neither needed nor run.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the pickle names anything else, or is truncated or malformed.
    """

    class Restricted(pickle.Unpickler):
        def find_class(self, module: str, name: str) -> Callable[..., Any]:
            if (module, name) not in allowed:
                raise _Refused(f"{path} is refused: it asks for {module}.{name}, which is not allowed")
            return allowed[module, name]

    with open(path, "rb") as file:
        try:
            return Restricted(file).load()
        except _Refused:
            raise
        except Exception as error:  # a malformed pickle can raise nearly anything
            raise ValueError(f"{path} is truncated or no pickle ({type(error).__name__}: {error})") from None


class _Refused(ValueError):
    """The pickle asks for something that is not allowed."""
