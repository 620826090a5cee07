"""Read untrusted pickles without running code that they name.

A pickle is a program for a small machine. This machine knows the instructions for plain values, NumPy arrays and a few
named records, and refuses all others. Every name in a pickle is resolved to an inert stand-in, which is not a class,
has no attributes that can be set, and is called by this machine alone. No NumPy object exists while a pickle is read;
arrays are made afterwards, from records whose type, shape and length were checked.
"""

from __future__ import annotations

import pickle
import struct
from collections.abc import Callable, Collection
from pathlib import Path
from typing import IO, Any, ClassVar

from archflow.support.reading import TooMuchError, open_regular, reason
from archflow.support.stand_ins import CALLED, NAMED, Array, Named, Refused, Type, checked_key, ordered

MAX_DEPTH = 64
"""How deep lists, tuples and dictionaries may be nested; the benchmarks' files have fewer than ten levels."""
MAX_SHARING = 8
"""Maximum number of values per byte of a pickle, counting a shared value each time it occurs."""
_CHUNK = 1 << 20
"""Bytes to read at a time, so that memory is not allocated for a length that the file only claims."""


class Record(dict[str, Any]):
    """The attributes, by name, of an object whose class the caller named."""


def restricted_load(
    path: str | Path,
    file: IO[bytes] | None = None,
    *,
    records: Collection[tuple[str, str]] = (),
    encoding: str = "ascii",
    most: int = 100_000_000,
) -> Any:
    """Unpickle plain values and NumPy arrays; the code that wrote the pickle is neither needed nor run.

    Args:
        path: the file; if ``file`` is given, only a name for messages.
        file: the pickle itself, if it is part of another file.
        records: classes, as (module, name), whose objects are read as a :class:`Record`.
        encoding: of Python 2 strings, including those in arrays; "latin1" keeps every byte.
        most: bytes that the file at ``path`` may have.

    Returns:
        Numbers, text, bytes, lists, tuples, sets, dictionaries (ordered ones too), arrays and records.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: ``path`` is not a regular file or is too large; the pickle names anything else, is malformed, is
            nested too deeply, or shares values so often that it stands for far more of them than its size suggests.
    """
    if file is None:
        with open_regular(path, most) as opened:
            return restricted_load(path, opened, records=records, encoding=encoding)
    machine = _Machine(file, records, encoding)
    try:
        found = machine.load()
        _check_extent(found, MAX_SHARING * machine.size)
        return _with_arrays(found) if machine.has_arrays else found
    except Refused as error:
        raise ValueError(f"{path} is refused: {' '.join(str(error).split())}") from None
    except (MemoryError, TooMuchError):
        raise
    except Exception as error:  # a malformed pickle can raise nearly anything
        raise ValueError(f"{path} is truncated or not a pickle ({reason(error)})") from None


class _Bounded:
    """A file that never allocates more memory than it has content."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file, self.size = file, 0

    def read(self, count: int) -> bytes:
        parts = []
        while count > 0:
            part = self._file.read(min(count, _CHUNK))
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
        self._records = {Named(*record) for record in records}
        self.has_arrays = False

    @property
    def size(self) -> int:
        """Bytes read so far."""
        return self._bounded.size

    def find_class(self, module: str, name: str) -> Any:
        named = Named(module, name)
        if named not in NAMED and named not in self._records:
            raise Refused(f"it asks for {module[:80]}.{name[:80]}, which is not allowed")
        return named

    def call(self, named: Any, arguments: Any) -> Any:
        """The result of calling a stand-in."""
        if named in self._records and isinstance(named, Named):
            if arguments != ():
                raise Refused(f"it creates {named.name} with arguments, not from its attributes")
            return Record()
        made = CALLED[named](*arguments)
        self.has_arrays |= isinstance(made, Array)
        return made

    def load_reduce(self) -> None:
        arguments = self.stack.pop()
        if not isinstance(self.stack[-1], Named) or self.stack[-1] not in CALLED or not isinstance(arguments, tuple):
            raise Refused("it calls something that is not allowed")
        self.stack[-1] = self.call(self.stack[-1], arguments)

    def load_newobj(self) -> None:
        arguments = self.stack.pop()
        if self.stack[-1] not in self._records:
            raise Refused("it creates an object of a class that is not allowed")
        self.stack[-1] = self.call(self.stack[-1], arguments)

    def load_build(self) -> None:
        state = self.stack.pop()
        match self.stack[-1]:
            case Type() | Array() as stand_in:
                stand_in.take(state)
            case Record() as record if isinstance(state, dict) and all(isinstance(name, str) for name in state):
                record.update(state)
            case _:
                raise Refused("it changes the state of something that has none")

    def load_setitem(self) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self._dictionary()[checked_key(key)] = value

    def load_setitems(self) -> None:
        items = self._since_mark()
        entries = self._dictionary()
        for key, value in zip(items[::2], items[1::2], strict=True):
            entries[checked_key(key)] = value

    def load_dict(self) -> None:
        items = self._since_mark()
        self.append(ordered(zip(items[::2], items[1::2], strict=True)))

    def load_append(self) -> None:
        value = self.stack.pop()
        self._list().append(value)

    def load_appends(self) -> None:
        items = self._since_mark()
        self._list().extend(items)

    def load_additems(self) -> None:
        items = self._since_mark()
        if type(self.stack[-1]) is not set:
            raise Refused("it adds to something that is not a set")
        self.stack[-1].update(map(checked_key, items))

    def load_bytearray8(self) -> None:
        (length,) = struct.unpack("<Q", self.read(8))
        self.append(self.read(length))

    def load_refused(self) -> None:
        raise Refused("it has an instruction that plain values do not need")

    def _since_mark(self) -> list[Any]:
        items: list[Any] = self.pop_mark()  # type: ignore[attr-defined]  # not in the type stubs
        return items

    def _dictionary(self) -> dict[Any, Any]:
        if type(self.stack[-1]) is not dict:
            raise Refused("it adds to something that is not a dictionary")
        entries: dict[Any, Any] = self.stack[-1]
        return entries

    def _list(self) -> list[Any]:
        if type(self.stack[-1]) is not list:
            raise Refused("it adds to something that is not a list")
        items: list[Any] = self.stack[-1]
        return items


_STANDARD = (
    *("PROTO", "FRAME", "STOP", "MARK", "POP", "POP_MARK", "DUP", "NONE", "NEWTRUE", "NEWFALSE", "INT", "BININT"),
    *("BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT", "STRING", "BINSTRING", "SHORT_BINSTRING"),
    *("BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "UNICODE", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8"),
    *("EMPTY_LIST", "LIST", "EMPTY_TUPLE", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3", "EMPTY_DICT", "EMPTY_SET"),
    *("GET", "BINGET", "LONG_BINGET", "PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE", "GLOBAL", "STACK_GLOBAL"),
)
"""Instructions of the standard library that only put plain values and stand-ins on the stack or into the memo."""
_OURS = ("REDUCE", "NEWOBJ", "BUILD", "SETITEM", "SETITEMS", "DICT", "APPEND", "APPENDS", "ADDITEMS", "BYTEARRAY8")

_opcodes = {name: getattr(pickle, name)[0] for name in (*_STANDARD, *_OURS)}
_Machine.dispatch = {
    **dict.fromkeys(pickle._Unpickler.dispatch, _Machine.load_refused),
    **{_opcodes[name]: pickle._Unpickler.dispatch[_opcodes[name]] for name in _STANDARD},
    **{_opcodes[name]: getattr(_Machine, f"load_{name.lower()}") for name in _OURS},
}


def _check_extent(found: Any, most: int) -> None:
    """Refuse a value that is nested too deeply, contains itself, or has far more parts than its file has bytes."""
    level, total = [found] if isinstance(found, list | tuple | dict) else [], 0
    for _ in range(MAX_DEPTH):
        total += sum(map(len, level))
        if total > most:
            raise Refused(f"it shares values so often that it stands for more than {most:,} of them")
        inside = (child for each in level for child in (each.values() if isinstance(each, dict) else each))
        level = [child for child in inside if isinstance(child, list | tuple | dict)]
        if not level:
            return
    raise Refused(f"it is nested more than {MAX_DEPTH} deep")


def _with_arrays(value: Any) -> Any:
    """The same value with arrays in place of their stand-ins."""
    if isinstance(value, Array):
        return value.array()
    if isinstance(value, dict):
        return type(value)((key, _with_arrays(each)) for key, each in value.items())
    if isinstance(value, list | tuple):
        return type(value)(map(_with_arrays, value))
    return value
