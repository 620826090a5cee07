"""Reading pickles from elsewhere without running what they ask for."""

from __future__ import annotations

import pickle
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np

Allowed = Mapping[tuple[str, str], Callable[..., Any]]
"""For a (module, name) in a pickle what stands in for it."""


def restricted_load(path: str | Path, allowed: Allowed, file: IO[bytes] | None = None, encoding: str = "ascii") -> Any:
    """Unpickle ``path``, with nothing callable but what ``allowed`` gives for a (module, name).

    The values stand in for the named classes, so the code that wrote the pickle is neither needed nor run.

    Args:
        path: the file; where ``file`` is given, only its name in messages.
        allowed: what may be called; ``NUMPY`` is numbers and arrays.
        file: the pickle itself, where it is a part of another file.
        encoding: of the strings of Python 2, arrays among them: "latin1" keeps every byte.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the pickle names anything else, or is truncated or malformed.
    """

    class Restricted(pickle.Unpickler):
        def find_class(self, module: str, name: str) -> Callable[..., Any]:
            if (module, name) not in allowed:
                raise _Refused(f"{path} is refused: it asks for {module}.{name}, which is not allowed")
            return allowed[module, name]

    if file is None:
        with open(path, "rb") as opened:
            return restricted_load(path, allowed, opened, encoding)
    try:
        return Restricted(file, encoding=encoding).load()
    except _Refused:
        raise
    except Exception as error:  # a malformed pickle can raise nearly anything
        reason = " ".join(str(error).split())
        raise ValueError(f"{path} is truncated or no pickle ({type(error).__name__}: {reason})") from None


class _Refused(ValueError):
    """The pickle asks for something that is not allowed."""


def _numeric(code: str, *_: Any) -> np.dtype[Any]:
    """Stands in for ``numpy.dtype``: numbers, truth values and text, no Python objects and no records."""
    if not isinstance(code, str) or code.lstrip("<>|=")[:1] not in tuple("biufSU"):
        raise TypeError(f"it has an array of type {code!r}")
    return np.dtype(code)


def _empty(_subtype: Any, _shape: Any, _code: Any) -> np.ndarray:
    """Stands in for ``numpy.core.multiarray._reconstruct``; the pickle's state then gives shape, type and content."""
    return np.ndarray((0,), "b")


def _only_named(*_: Any) -> None:
    """Stands in for ``numpy.ndarray``, which pickles name and never call."""
    raise TypeError("it makes an array by itself")


def _scalar(dtype: np.dtype[Any], content: bytes) -> Any:
    """Stands in for ``numpy.core.multiarray.scalar``."""
    return np.frombuffer(content, dtype, count=1)[0].item()


def _from_buffer(content: bytes, dtype: np.dtype[Any], shape: tuple[int, ...], order: str) -> np.ndarray:
    """Stands in for ``numpy._core.numeric._frombuffer``."""
    return np.frombuffer(content, dtype).reshape(shape, order="F" if order == "F" else "C")


def _encode(text: str, _encoding: str) -> bytes:
    """Stands in for ``_codecs.encode``, by which old protocols write bytes."""
    return text.encode("latin1")


NUMPY: Allowed = {
    ("numpy", "dtype"): _numeric,
    ("numpy", "ndarray"): _only_named,
    **{(f"numpy.{core}.multiarray", "_reconstruct"): _empty for core in ("core", "_core")},
    **{(f"numpy.{core}.multiarray", "scalar"): _scalar for core in ("core", "_core")},
    **{(f"numpy.{core}.numeric", "_frombuffer"): _from_buffer for core in ("core", "_core")},
    ("_codecs", "encode"): _encode,
    ("collections", "OrderedDict"): OrderedDict,
}
"""What pickles of numbers, NumPy arrays and dictionaries call, in the names of NumPy 1 and 2."""
