"""What stands in for NumPy's types, numbers and arrays while a pickle is read.

Inert records of ours: they hold bytes, a shape and a type from a short list of exact spellings, all checked, and become
arrays only after the whole pickle was read.
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
"""Entries of a tuple that is the key of a dictionary."""

_Scalar = str | bytes | int | float | bool | None


class Refused(Exception):
    """The pickle asks for something that is not allowed."""


@dataclass(frozen=True, slots=True)
class Named:
    """What a pickle's GLOBAL gives: a name."""

    module: str
    name: str


@dataclass(slots=True)
class Type:
    """Stands in for ``numpy.dtype``: a letter, the bytes of an item, and their order once the state is known."""

    letter: str
    size: int
    order: str = "="

    @classmethod
    def called(cls, code: Any, *_: Any) -> Type:
        if isinstance(code, bytes):
            code = code.decode("ascii")
        if not isinstance(code, str) or not _CODE.fullmatch(code):
            raise Refused(f"it has an array of type {str(code)[:40]!r}")
        letter, number = code[0], int(code[1:])
        return cls(letter, 4 * number if letter == "U" else number)

    def take(self, state: Any) -> None:
        """The state that NumPy writes: version, order, no fields and no shape, and for text its size."""
        version, order, *rest = state
        plain = [None, None, None, -1, -1, 0]
        text = [None, None, None, self.size, 4 if self.letter == "U" else 1, 8 if self.letter == "U" else 0]
        of_text = self.letter in "SU" and rest[:5] == text[:5] and rest[5:] in ([8], [0])
        if (version, order in ("<", ">", "|", "=")) != (3, True) or not (rest == plain or of_text):
            raise Refused("it describes an array's type in a way that no array of numbers needs")
        self.order = order

    @property
    def code(self) -> str:
        """NumPy's name for it."""
        return f"{self.order}{self.letter}{self.size // 4 if self.letter == 'U' else self.size}"


_CODE = re.compile(r"b1|[iu][1248]|f[248]|[SU](?:0|[1-9]\d{0,3})")
"""The types that arrays may have: truth values, numbers, text of fixed length."""
_FORMATS = {"b1": "?", "i1": "b", "i2": "h", "i4": "i", "i8": "q", "u1": "B", "u2": "H", "u4": "I", "u8": "Q"}
_FORMATS |= {"f2": "e", "f4": "f", "f8": "d"}


@dataclass(slots=True)
class Array:
    """Stands in for an array: its content, once that is known and found to fit type and shape."""

    content: bytes | None = None
    code: str = ""
    shape: tuple[int, ...] = ()
    fortran: bool = False

    def take(self, state: Any) -> None:
        """The state that NumPy writes: version, shape, type, order, content."""
        version, shape, its, fortran, content = state
        if version != 1:
            raise Refused("it has an array of another version")
        self.fill(content, its, shape, bool(fortran))

    def fill(self, content: Any, its: Any, shape: Any, fortran: bool) -> None:
        if isinstance(content, str):  # Python 2
            content = content.encode("latin1")
        if not (isinstance(content, bytes) and isinstance(its, Type) and isinstance(shape, tuple)):
            raise Refused("it has an array that is not of numbers")
        if len(shape) > 32 or not all(type(side) is int and side >= 0 for side in shape):
            raise Refused("it has an array without a proper shape")
        if math.prod(shape) * its.size != len(content):
            raise Refused(f"it has an array of shape {shape} and {len(content):,} bytes, which do not fit")
        self.content, self.code, self.shape, self.fortran = content, its.code, shape, fortran

    def array(self) -> ndarray:
        if self.content is None:
            raise Refused("it has an array without content")
        flat: ndarray = np.frombuffer(self.content, np.dtype(self.code))
        return flat.reshape(self.shape, order="F" if self.fortran else "C").copy()


def _scalar(its: Any, content: Any) -> _Scalar:
    """Stands in for ``numpy.core.multiarray.scalar``."""
    if isinstance(content, str):
        content = content.encode("latin1")
    if not isinstance(its, Type) or not isinstance(content, bytes) or len(content) != its.size:
        raise Refused("it has a number without a proper type")
    if its.letter == "S":
        return content.rstrip(b"\0")
    if its.letter == "U":
        return content.decode("utf-32-be" if its.order == ">" else "utf-32-le").rstrip("\0")
    order = ">" if its.order == ">" else "<"
    value: _Scalar = struct.unpack(order + _FORMATS[f"{its.letter}{its.size}"], content)[0]
    return value


def _reconstruct(subtype: Any, shape: Any, _: Any) -> Array:
    """Stands in for ``numpy.core.multiarray._reconstruct``; the array's state then gives all else."""
    if subtype != Named("numpy", "ndarray") or shape != (0,):
        raise Refused("it makes an array in another way than NumPy writes it")
    return Array()


def _from_buffer(content: Any, its: Any, shape: Any, order: Any) -> Array:
    """Stands in for ``numpy._core.numeric._frombuffer``."""
    array = Array()
    array.fill(content, its, shape, order == "F")
    return array


def _encode(text: Any, encoding: Any) -> bytes:
    """Stands in for ``_codecs.encode``, by which old protocols write bytes."""
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
        raise Refused("it encodes something that is no text of Latin-1")
    return text.encode("latin1")


def _no_bytes() -> bytes:
    """Stands in for ``bytes``, by which old protocols write none."""
    return b""


def _set(items: Any) -> set[Any]:
    """Stands in for ``set``, of which old protocols write a call."""
    return set(map(checked_key, items))


def ordered(pairs: Any = ()) -> dict[Any, Any]:
    """Stands in for ``collections.OrderedDict``."""
    entries: dict[Any, Any] = {}
    for key, value in pairs:
        entries[checked_key(key)] = value
    return entries


CALLED: dict[Named, Callable[..., Any]] = {
    Named("numpy", "dtype"): Type.called,
    **{Named(f"numpy.{core}.multiarray", "_reconstruct"): _reconstruct for core in ("core", "_core")},
    **{Named(f"numpy.{core}.multiarray", "scalar"): _scalar for core in ("core", "_core")},
    **{Named(f"numpy.{core}.numeric", "_frombuffer"): _from_buffer for core in ("core", "_core")},
    Named("_codecs", "encode"): _encode,
    **{Named(builtins, "bytes"): _no_bytes for builtins in ("builtins", "__builtin__")},
    **{Named(builtins, "set"): _set for builtins in ("builtins", "__builtin__")},
    Named("collections", "OrderedDict"): ordered,
}
"""What pickles of numbers, NumPy arrays and dictionaries call, in the names of NumPy 1 and 2."""
NAMED = {*CALLED, Named("numpy", "ndarray")}


def checked_key(key: Any) -> Any:
    """A key of a dictionary, whose hash is quickly found: a plain value, or a short tuple of some."""
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
