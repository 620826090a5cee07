"""Stand-ins for NumPy's types, numbers and arrays while a pickle is read.

They are inert records that hold validated bytes, a shape and one of a short list of types. Arrays are made from them
only after the whole pickle was read.
"""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy import ndarray

_MAX_KEY = 32
"""Maximum length of a tuple that is the key of a dictionary."""

_Scalar = str | bytes | int | float | bool | None


class Refused(Exception):
    """The pickle asks for something that is not allowed."""


@dataclass(frozen=True, slots=True)
class Named:
    """The result of a pickle's GLOBAL instruction: a name."""

    module: str
    name: str


@dataclass(slots=True)
class Type:
    """Stands in for ``numpy.dtype``: its letter, item size in bytes, and byte order once the state is known."""

    letter: str
    size: int
    order: str = "="

    @classmethod
    def from_code(cls, code: Any, *_: Any) -> Type:
        if isinstance(code, bytes):
            code = code.decode("ascii")
        if not isinstance(code, str) or not _CODE.fullmatch(code):
            raise Refused(f"it has an array of type {str(code)[:40]!r}")
        letter, number = code[0], int(code[1:])
        return cls(letter, 4 * number if letter == "U" else number)

    def take(self, state: Any) -> None:
        """Set the state that NumPy writes: version, order, no fields and no shape, and the size of text."""
        version, order, *rest = state
        plain = [None, None, None, -1, -1, 0]
        text = [None, None, None, self.size, 4 if self.letter == "U" else 1, 8 if self.letter == "U" else 0]
        of_text = self.letter in "SU" and rest[:5] == text[:5] and rest[5:] in ([8], [0])
        if (version, order in ("<", ">", "|", "=")) != (3, True) or not (rest == plain or of_text):
            raise Refused("it describes the type of an array in a way that arrays of numbers do not need")
        self.order = order

    @property
    def code(self) -> str:
        """NumPy's name for it."""
        return f"{self.order}{self.letter}{self.size // 4 if self.letter == 'U' else self.size}"


_CODE = re.compile(r"b1|[iu][1248]|f[248]|[SU](?:0|[1-9]\d{0,3})")
"""The types that arrays may have: booleans, numbers, text of fixed length."""
_FORMATS = {"b1": "?", "i1": "b", "i2": "h", "i4": "i", "i8": "q", "u1": "B", "u2": "H", "u4": "I", "u8": "Q"}
_FORMATS |= {"f2": "e", "f4": "f", "f8": "d"}


@dataclass(slots=True)
class Array:
    """Stands in for an array: its content, once that is known and fits the type and shape."""

    content: bytes | None = None
    code: str = ""
    shape: tuple[int, ...] = ()
    fortran: bool = False

    def take(self, state: Any) -> None:
        """Set the state that NumPy writes: version, shape, type, order, content."""
        version, shape, dtype, fortran, content = state
        if version != 1:
            raise Refused("it has an array of an unknown version")
        self.fill(content, dtype, shape, bool(fortran))

    def fill(self, content: Any, dtype: Any, shape: Any, fortran: bool) -> None:
        if isinstance(content, str):  # Python 2
            content = content.encode("latin1")
        if not (isinstance(content, bytes) and isinstance(dtype, Type) and isinstance(shape, tuple)):
            raise Refused("it has an array that is not of numbers")
        if len(shape) > 32 or not all(type(side) is int and side >= 0 for side in shape):
            raise Refused("it has an array without a proper shape")
        if math.prod(shape) * dtype.size != len(content):
            raise Refused(f"it has an array of shape {shape} and {len(content):,} bytes, which do not match")
        self.content, self.code, self.shape, self.fortran = content, dtype.code, shape, fortran

    def array(self) -> ndarray:
        if self.content is None:
            raise Refused("it has an array without content")
        flat: ndarray = np.frombuffer(self.content, np.dtype(self.code))
        return flat.reshape(self.shape, order="F" if self.fortran else "C").copy()


def _scalar(dtype: Any, content: Any) -> _Scalar:
    """Stands in for ``numpy.core.multiarray.scalar``."""
    if isinstance(content, str):
        content = content.encode("latin1")
    if not isinstance(dtype, Type) or not isinstance(content, bytes) or len(content) != dtype.size:
        raise Refused("it has a number without a proper type")
    if dtype.letter == "S":
        return content.rstrip(b"\0")
    if dtype.letter == "U":
        return content.decode("utf-32-be" if dtype.order == ">" else "utf-32-le").rstrip("\0")
    order = ">" if dtype.order == ">" else "<"
    value: _Scalar = struct.unpack(order + _FORMATS[f"{dtype.letter}{dtype.size}"], content)[0]
    return value


def _reconstruct(subtype: Any, shape: Any, _: Any) -> Array:
    """Stands in for ``numpy.core.multiarray._reconstruct``; the array's state follows separately."""
    if subtype != Named("numpy", "ndarray") or shape != (0,):
        raise Refused("it creates an array in a way that NumPy does not write")
    return Array()


def _from_buffer(content: Any, dtype: Any, shape: Any, order: Any) -> Array:
    """Stands in for ``numpy._core.numeric._frombuffer``."""
    array = Array()
    array.fill(content, dtype, shape, order == "F")
    return array


def _encode(text: Any, encoding: Any) -> bytes:
    """Stands in for ``_codecs.encode``, with which old protocols write bytes."""
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
        raise Refused("it encodes something other than Latin-1 text")
    return text.encode("latin1")


def _no_bytes() -> bytes:
    """Stands in for ``bytes``, with which old protocols write an empty string."""
    return b""


def _set(items: Any) -> set[Any]:
    """Stands in for ``set``, which old protocols call."""
    return set(map(checked_key, items))


def ordered(pairs: Any = ()) -> dict[Any, Any]:
    """Stands in for ``collections.OrderedDict``."""
    entries: dict[Any, Any] = {}
    for key, value in pairs:
        entries[checked_key(key)] = value
    return entries


CALLED: dict[Named, Callable[..., Any]] = {
    Named("numpy", "dtype"): Type.from_code,
    **{Named(f"numpy.{core}.multiarray", "_reconstruct"): _reconstruct for core in ("core", "_core")},
    **{Named(f"numpy.{core}.multiarray", "scalar"): _scalar for core in ("core", "_core")},
    **{Named(f"numpy.{core}.numeric", "_frombuffer"): _from_buffer for core in ("core", "_core")},
    Named("_codecs", "encode"): _encode,
    **{Named(builtins, "bytes"): _no_bytes for builtins in ("builtins", "__builtin__")},
    **{Named(builtins, "set"): _set for builtins in ("builtins", "__builtin__")},
    Named("collections", "OrderedDict"): ordered,
}
"""The functions that pickles of numbers, NumPy arrays and dictionaries call, by their names in NumPy 1 and 2."""
NAMED = {*CALLED, Named("numpy", "ndarray")}


def checked_key(key: Any) -> Any:
    """The key, if it is quick to hash: a plain value, or a short tuple of plain values."""
    if type(key) is str:
        return key
    parts = key if isinstance(key, tuple) else (key,)
    if len(parts) > _MAX_KEY or not all(map(_is_plain, parts)):
        raise Refused("it has a dictionary or a set with keys that are neither plain values nor short tuples of them")
    return key


def _is_plain(value: Any) -> bool:
    if isinstance(value, int):
        return value.bit_length() <= 64
    return value is None or isinstance(value, str | bytes | float)
