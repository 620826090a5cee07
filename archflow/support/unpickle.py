"""Reading pickles from elsewhere without running what they ask for.

A pickle is a program for a small machine. This one knows the instructions by which plain values, NumPy arrays and a few
named records are written, and refuses all others. Whatever a pickle names is answered with an inert stand-in of ours:
it is no class, has no attributes that can be set, and only this machine calls it. No object of NumPy exists while a
pickle is read; arrays are made afterwards, from records whose type, shape and length were checked.
"""

from __future__ import annotations

import math
import pickle
import re
import struct
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, ClassVar

import numpy as np
from numpy import ndarray

MAX_DEPTH = 64
"""How deep lists, tuples and dictionaries may be nested; the benchmarks' files have less than ten levels."""
MAX_SHARING = 8
"""How many times as many values as a pickle has bytes there may be once what it shares is written out."""
_MAX_KEY = 32
"""Entries of a tuple that is the key of a dictionary."""
_AT_ONCE = 1 << 20
"""Bytes that are read at a time, so that a length is not believed before so much is there."""

_Scalar = str | bytes | int | float | bool | None


class Record(dict[str, Any]):
    """An object of a class that the caller named: its attributes by name."""


def restricted_load(
    path: str | Path,
    file: IO[bytes] | None = None,
    *,
    records: Collection[tuple[str, str]] = (),
    encoding: str = "ascii",
) -> Any:
    """Unpickle plain values and NumPy arrays; the code that wrote the pickle is neither needed nor run.

    Args:
        path: the file; where ``file`` is given, only its name in messages.
        file: the pickle itself, where it is a part of another file.
        records: classes, as (module, name), whose objects are read as a :class:`Record`.
        encoding: of the strings of Python 2, arrays among them: "latin1" keeps every byte.

    Returns:
        Numbers, text, bytes, lists, tuples, sets, dictionaries (ordered ones too), arrays and records.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the pickle names anything else, is truncated or malformed, or nests or shares its values so deeply
            that reading them would take more than their size says.
    """
    if file is None:
        with open(path, "rb") as opened:
            return restricted_load(path, opened, records=records, encoding=encoding)
    machine = _Machine(file, records, encoding)
    try:
        found = machine.load()
        _check_extent(found, MAX_SHARING * machine.size)
        return _with_arrays(found) if machine.has_arrays else found
    except _Refused as error:
        raise ValueError(f"{path} is refused: {' '.join(str(error).split())}") from None
    except Exception as error:  # a malformed pickle can raise nearly anything
        reason = " ".join(str(error).split())[:200]
        raise ValueError(f"{path} is truncated or no pickle ({type(error).__name__}: {reason})") from None


class _Refused(Exception):
    """The pickle asks for something that is not allowed."""


# Stand-ins


@dataclass(frozen=True, slots=True)
class _Named:
    """What a pickle's GLOBAL gives: a name."""

    module: str
    name: str


@dataclass(slots=True)
class _Type:
    """Stands in for ``numpy.dtype``: a letter, the bytes of an item, and their order once the state is known."""

    letter: str
    size: int
    order: str = "="

    @classmethod
    def called(cls, code: Any, *_: Any) -> _Type:
        if isinstance(code, bytes):
            code = code.decode("ascii")
        if not isinstance(code, str) or not _CODE.fullmatch(code):
            raise _Refused(f"it has an array of type {str(code)[:40]!r}")
        letter, number = code[0], int(code[1:])
        return cls(letter, 4 * number if letter == "U" else number)

    def take(self, state: Any) -> None:
        """The state that NumPy writes: version, order, no fields and no shape, and for text its size."""
        version, order, *rest = state
        plain = [None, None, None, -1, -1, 0]
        text = [None, None, None, self.size, 4 if self.letter == "U" else 1, 8 if self.letter == "U" else 0]
        of_text = self.letter in "SU" and rest[:5] == text[:5] and rest[5:] in ([8], [0])
        if (version, order in ("<", ">", "|", "=")) != (3, True) or not (rest == plain or of_text):
            raise _Refused("it describes an array's type in a way that no array of numbers needs")
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
class _Array:
    """Stands in for an array: its content, once that is known and found to fit type and shape."""

    content: bytes | None = None
    code: str = ""
    shape: tuple[int, ...] = ()
    fortran: bool = False

    def take(self, state: Any) -> None:
        """The state that NumPy writes: version, shape, type, order, content."""
        version, shape, its, fortran, content = state
        if version != 1:
            raise _Refused("it has an array of another version")
        self.fill(content, its, shape, bool(fortran))

    def fill(self, content: Any, its: Any, shape: Any, fortran: bool) -> None:
        if isinstance(content, str):  # Python 2
            content = content.encode("latin1")
        if not (isinstance(content, bytes) and isinstance(its, _Type) and isinstance(shape, tuple)):
            raise _Refused("it has an array that is not of numbers")
        if len(shape) > 32 or not all(type(side) is int and side >= 0 for side in shape):
            raise _Refused("it has an array without a proper shape")
        if math.prod(shape) * its.size != len(content):
            raise _Refused(f"it has an array of shape {shape} and {len(content):,} bytes, which do not fit")
        self.content, self.code, self.shape, self.fortran = content, its.code, shape, fortran

    def array(self) -> ndarray:
        if self.content is None:
            raise _Refused("it has an array without content")
        flat: ndarray = np.frombuffer(self.content, np.dtype(self.code))
        return flat.reshape(self.shape, order="F" if self.fortran else "C").copy()


def _scalar(its: Any, content: Any) -> _Scalar:
    """Stands in for ``numpy.core.multiarray.scalar``."""
    if isinstance(content, str):
        content = content.encode("latin1")
    if not isinstance(its, _Type) or not isinstance(content, bytes) or len(content) != its.size:
        raise _Refused("it has a number without a proper type")
    if its.letter == "S":
        return content.rstrip(b"\0")
    if its.letter == "U":
        return content.decode("utf-32-be" if its.order == ">" else "utf-32-le").rstrip("\0")
    order = ">" if its.order == ">" else "<"
    value: _Scalar = struct.unpack(order + _FORMATS[f"{its.letter}{its.size}"], content)[0]
    return value


def _reconstruct(subtype: Any, shape: Any, _: Any) -> _Array:
    """Stands in for ``numpy.core.multiarray._reconstruct``; the array's state then gives all else."""
    if subtype != _Named("numpy", "ndarray") or shape != (0,):
        raise _Refused("it makes an array in another way than NumPy writes it")
    return _Array()


def _from_buffer(content: Any, its: Any, shape: Any, order: Any) -> _Array:
    """Stands in for ``numpy._core.numeric._frombuffer``."""
    array = _Array()
    array.fill(content, its, shape, order == "F")
    return array


def _encode(text: Any, encoding: Any) -> bytes:
    """Stands in for ``_codecs.encode``, by which old protocols write bytes."""
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
        raise _Refused("it encodes something that is no text of Latin-1")
    return text.encode("latin1")


def _no_bytes() -> bytes:
    """Stands in for ``bytes``, by which old protocols write none."""
    return b""


def _set(items: Any) -> set[Any]:
    """Stands in for ``set``, of which old protocols write a call."""
    return set(map(_key, items))


def _ordered(pairs: Any = ()) -> dict[Any, Any]:
    """Stands in for ``collections.OrderedDict``."""
    entries: dict[Any, Any] = {}
    for key, value in pairs:
        entries[_key(key)] = value
    return entries


_CALLED: dict[_Named, Callable[..., Any]] = {
    _Named("numpy", "dtype"): _Type.called,
    **{_Named(f"numpy.{core}.multiarray", "_reconstruct"): _reconstruct for core in ("core", "_core")},
    **{_Named(f"numpy.{core}.multiarray", "scalar"): _scalar for core in ("core", "_core")},
    **{_Named(f"numpy.{core}.numeric", "_frombuffer"): _from_buffer for core in ("core", "_core")},
    _Named("_codecs", "encode"): _encode,
    **{_Named(builtins, "bytes"): _no_bytes for builtins in ("builtins", "__builtin__")},
    **{_Named(builtins, "set"): _set for builtins in ("builtins", "__builtin__")},
    _Named("collections", "OrderedDict"): _ordered,
}
"""What pickles of numbers, NumPy arrays and dictionaries call, in the names of NumPy 1 and 2."""
_NAMED = {*_CALLED, _Named("numpy", "ndarray")}


def _key(key: Any) -> Any:
    """A key of a dictionary, whose hash is quickly found: a plain value, or a short tuple of some."""
    if type(key) is str:
        return key
    parts = key if isinstance(key, tuple) else (key,)
    if len(parts) > _MAX_KEY or not all(map(_is_plain, parts)):
        raise _Refused("it has a dictionary or a set with keys that are neither plain values nor short tuples of them")
    return key


def _is_plain(value: Any) -> bool:
    if isinstance(value, int):
        return value.bit_length() <= 64
    return value is None or isinstance(value, str | bytes | float)


# The machine


class _Bounded:
    """A file of which no more is taken into memory than it has."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file, self.size = file, 0

    def read(self, count: int) -> bytes:
        parts = []
        while count > 0:
            part = self._file.read(min(count, _AT_ONCE))
            if not part:
                raise EOFError("it ends too early")
            parts.append(part)
            count -= len(part)
        return self._counted(b"".join(parts))

    def readline(self) -> bytes:
        line = self._file.readline()
        if not line.endswith(b"\n"):
            raise EOFError("it ends too early")
        return self._counted(line)

    def _counted(self, content: bytes) -> bytes:
        self.size += len(content)
        return content


class _Machine(pickle._Unpickler):
    """The standard library's unpickler in Python, with only those instructions that plain values need."""

    dispatch: ClassVar[dict[int, Any]]
    stack: list[Any]
    append: Callable[[Any], None]
    read: Callable[[int], bytes]

    def __init__(self, file: IO[bytes], records: Collection[tuple[str, str]], encoding: str) -> None:
        self._bounded = _Bounded(file)
        super().__init__(self._bounded, encoding=encoding)
        self._records = {_Named(*record) for record in records}
        self.has_arrays = False

    @property
    def size(self) -> int:
        """Bytes read so far."""
        return self._bounded.size

    def find_class(self, module: str, name: str) -> Any:
        named = _Named(module, name)
        if named not in _NAMED and named not in self._records:
            raise _Refused(f"it asks for {module[:80]}.{name[:80]}, which is not allowed")
        return named

    def call(self, named: Any, arguments: Any) -> Any:
        """What a call of something named gives."""
        if named in self._records and isinstance(named, _Named):
            if arguments != ():
                raise _Refused(f"it makes {named.name} in another way than by its attributes")
            return Record()
        made = _CALLED[named](*arguments)
        self.has_arrays |= isinstance(made, _Array)
        return made

    def load_reduce(self) -> None:
        arguments = self.stack.pop()
        if not isinstance(self.stack[-1], _Named) or self.stack[-1] not in _CALLED or not isinstance(arguments, tuple):
            raise _Refused("it calls something that is not allowed")
        self.stack[-1] = self.call(self.stack[-1], arguments)

    def load_newobj(self) -> None:
        arguments = self.stack.pop()
        if self.stack[-1] not in self._records:
            raise _Refused("it makes an object of a class that is not allowed")
        self.stack[-1] = self.call(self.stack[-1], arguments)

    def load_build(self) -> None:
        state = self.stack.pop()
        match self.stack[-1]:
            case _Type() | _Array() as stand_in:
                stand_in.take(state)
            case Record() as record if isinstance(state, dict) and all(isinstance(name, str) for name in state):
                record.update(state)
            case _:
                raise _Refused("it changes the state of something that has none")

    def load_setitem(self) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self._dictionary()[_key(key)] = value

    def load_setitems(self) -> None:
        items = self._since_mark()
        entries = self._dictionary()
        for key, value in zip(items[::2], items[1::2], strict=True):
            entries[_key(key)] = value

    def load_dict(self) -> None:
        items = self._since_mark()
        self.append(_ordered(zip(items[::2], items[1::2], strict=True)))

    def load_append(self) -> None:
        value = self.stack.pop()
        self._list().append(value)

    def load_appends(self) -> None:
        items = self._since_mark()
        self._list().extend(items)

    def load_additems(self) -> None:
        items = self._since_mark()
        if type(self.stack[-1]) is not set:
            raise _Refused("it adds to something that is no set")
        self.stack[-1].update(map(_key, items))

    def load_bytearray8(self) -> None:
        (length,) = struct.unpack("<Q", self.read(8))
        self.append(self.read(length))

    def load_refused(self) -> None:
        raise _Refused("it has an instruction that plain values do not need")

    def _since_mark(self) -> list[Any]:
        items: list[Any] = self.pop_mark()  # type: ignore[attr-defined]  # known to the standard library alone
        return items

    def _dictionary(self) -> dict[Any, Any]:
        if type(self.stack[-1]) is not dict:
            raise _Refused("it adds to something that is no dictionary")
        entries: dict[Any, Any] = self.stack[-1]
        return entries

    def _list(self) -> list[Any]:
        if type(self.stack[-1]) is not list:
            raise _Refused("it adds to something that is no list")
        items: list[Any] = self.stack[-1]
        return items


_AS_THEY_ARE = (
    *("PROTO", "FRAME", "STOP", "MARK", "POP", "POP_MARK", "DUP", "NONE", "NEWTRUE", "NEWFALSE", "INT", "BININT"),
    *("BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT", "STRING", "BINSTRING", "SHORT_BINSTRING"),
    *("BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "UNICODE", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8"),
    *(
        "EMPTY_LIST",
        "LIST",
        "EMPTY_TUPLE",
        "TUPLE",
        "TUPLE1",
        "TUPLE2",
        "TUPLE3",
        "EMPTY_DICT",
        "EMPTY_SET",
        "GET",
        "BINGET",
    ),
    *("LONG_BINGET", "PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE", "GLOBAL", "STACK_GLOBAL"),
)
"""Instructions that put plain values, or what :meth:`_Machine.find_class` gives, on the stack or into the memo."""
_OURS = ("REDUCE", "NEWOBJ", "BUILD", "SETITEM", "SETITEMS", "DICT", "APPEND", "APPENDS", "ADDITEMS", "BYTEARRAY8")

_code_of = {name: getattr(pickle, name)[0] for name in (*_AS_THEY_ARE, *_OURS)}
_Machine.dispatch = {
    **dict.fromkeys(pickle._Unpickler.dispatch, _Machine.load_refused),
    **{_code_of[name]: pickle._Unpickler.dispatch[_code_of[name]] for name in _AS_THEY_ARE},
    **{_code_of[name]: getattr(_Machine, f"load_{name.lower()}") for name in _OURS},
}


# Afterwards


def _check_extent(found: Any, most: int) -> None:
    """Refuse what is nested too deeply, contains itself, or is much longer than its file once written out."""
    level, total = [found] if isinstance(found, list | tuple | dict) else [], 0
    for _ in range(MAX_DEPTH):
        total += sum(map(len, level))
        if total > most:
            raise _Refused(f"it stands for more than {most:,} values, as it shares them")
        inside = (child for each in level for child in (each.values() if isinstance(each, dict) else each))
        level = [child for child in inside if isinstance(child, list | tuple | dict)]
        if not level:
            return
    raise _Refused(f"it is nested more than {MAX_DEPTH} deep")


def _with_arrays(value: Any) -> Any:
    """The same with arrays in place of what stands for them."""
    if isinstance(value, _Array):
        return value.array()
    if isinstance(value, dict):
        return type(value)((key, _with_arrays(each)) for key, each in value.items())
    if isinstance(value, list | tuple):
        return type(value)(map(_with_arrays, value))
    return value
