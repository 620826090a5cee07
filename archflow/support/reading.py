"""Reading files from elsewhere, which may be anything: no more of them than their format needs.

Only regular files are opened, so that no pipe or device keeps a reader waiting. Every format declares a
:class:`Budget`: sizes are compared with it before anything is taken into memory, and what is decompressed is counted as
it comes.
"""

from __future__ import annotations

import bz2
import io
import json
import re
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Any

_MOST_REPEATED = 100
"""How many times its size in a zip file a member may have; deflate makes 1,000 of one, real files have less than 20."""
_REPEATED_FROM = 1 << 20
"""Bytes below which a member may be repeated more often."""
_AT_ONCE = 32 << 20
"""Bytes that an archive's index may have; that of NAS-Bench-301, 60,000 names, has 7 MB."""
_LONGEST_REASON = 300

_DAMAGE = (
    *(zipfile.BadZipFile, tarfile.TarError, zlib.error, EOFError, NotImplementedError, OSError, RuntimeError),
    *(UnicodeDecodeError, OverflowError, ValueError),
)
"""What ``zipfile``, ``tarfile`` and the decompressors raise where a file is damaged."""
_ANOTHER_FORM = (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError, struct.error)
"""What code raises that was given a document of another form than it expects."""


class TooMuchError(ValueError):
    """There is more of it than its format needs."""


@dataclass(frozen=True)
class Budget:
    """The most bytes that files of a format may have: about four times what the real ones have.

    Attributes:
        whole: of the file, the archive, or all files of a folder; and of all that is read from an archive.
        each: of one of the files; None where there is one alone.
    """

    whole: int
    each: int | None = None

    @property
    def file(self) -> int:
        """Bytes of one file."""
        return self.each or self.whole


def open_regular(path: str | Path, most: int) -> io.BufferedReader:
    """Open a file to read it.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no regular file, but a folder, a pipe or a device, or it has more than ``most`` bytes.
    """
    found = Path(path).stat()
    if not stat.S_ISREG(found.st_mode):
        raise ValueError(f"{path} is no regular file, but a folder, a pipe or a device")
    _require_size(str(path), found.st_size, most)
    return open(path, "rb")


def read_regular(path: str | Path, most: int) -> bytes:
    """The content of a file; raises what :func:`open_regular` does."""
    with open_regular(path, most) as file:
        return _Counted(file, str(path), most).read()


def decompress_bz2(content: bytes, name: str, most: int) -> bytes:
    """Decompress at most so many bytes.

    Raises:
        ValueError: it is damaged or not compressed by bzip2, or there are more bytes; the message begins with ``name``.
    """
    return _Counted(bz2.BZ2File(io.BytesIO(content)), name, most).read()


def read_json(content: bytes | str, **how: Any) -> Any:
    """A JSON document; ValueError, too, where it is nested too deeply."""
    try:
        return json.loads(content, **how)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


@contextmanager
def expecting(what: str) -> Iterator[None]:
    """Turn what a document of another form causes in the block into one line that begins with ``what``."""
    try:
        yield
    except TooMuchError:
        raise
    except _ANOTHER_FORM as error:
        raise ValueError(f"{what}: {reason(error)}") from None


def reason(error: Exception) -> str:
    """One line of bounded length on why something failed."""
    text = " ".join(str(error).split())
    text = text if len(text) <= _LONGEST_REASON else f"{text[: _LONGEST_REASON - 80]} … {text[-80:]}"
    if isinstance(error, KeyError):
        return f"it lacks {text}"
    return text if isinstance(error, ValueError) and text else f"{type(error).__name__}: {text}"


class Files:
    """Some files of a folder or an archive, in the order of their names; made by :func:`open_files`."""

    def __init__(self, path: Path, budget: Budget, sources: Mapping[str, Callable[[], IO[bytes]]]) -> None:
        self._path, self._most, self._sources = path, budget.file, sources
        self.names = sorted(sources)

    def label(self, name: str) -> str:
        """What a message calls one of the files."""
        return f"{self._path}: {name}"

    def open(self, name: str) -> IO[bytes]:
        """A stream of one file's bytes; reading raises ValueError where it is damaged or has more than it may."""
        label = self.label(name)
        with _damage(label):
            return io.BufferedReader(_Counted(self._sources[name](), label, self._most))

    def read(self, name: str) -> bytes:
        """The bytes of one file; raises what reading its stream does."""
        with self.open(name) as file:
            return file.read()


@contextmanager
def open_files(path: Path, wanted: re.Pattern[str], budget: Budget) -> Iterator[Files]:
    """The files with wanted names in a folder, a zip or a tar file, or the file itself if it has such a name.

    Args:
        path: of the folder or file.
        wanted: a pattern for the whole name within the folder or archive, with ``/`` between its parts.
        budget: how many bytes the format needs.

    Raises:
        FileNotFoundError: there is no such file or folder.
        ValueError: it is neither, or is damaged, or is no archive; a file in it is there twice, is sparse, no regular
            file, or larger than it may be.
    """
    with ExitStack() as stack:
        if path.is_dir():
            entries = _of_folder(path, wanted, budget)
        else:
            file = stack.enter_context(_Index(open_regular(path, budget.whole).detach()))
            with _damage(f"{path}", "truncated or no archive"):
                is_zip = zipfile.is_zipfile(file)
                file.seek(0)
                if is_zip:
                    entries = _of_zip(stack.enter_context(zipfile.ZipFile(file)), wanted)
                elif wanted.fullmatch(path.name):
                    entries = {path.name: (path.stat().st_size, partial(open_regular, path, budget.file))}
                else:
                    entries = _of_tar(stack.enter_context(tarfile.open(fileobj=file, mode="r:")), wanted)
        for name, (size, _) in entries.items():
            _require_size(f"{path}: {name}", size, budget.file)
        _require_size(f"{path}, unpacked,", sum(size for size, _ in entries.values()), budget.whole)
        yield Files(path, budget, {name: source for name, (_, source) in entries.items()})


_Entries = dict[str, tuple[int, Callable[[], IO[bytes]]]]


def _of_folder(path: Path, wanted: re.Pattern[str], budget: Budget) -> _Entries:
    entries: _Entries = {}
    for file in path.rglob("*"):
        name = file.relative_to(path).as_posix()
        if wanted.fullmatch(name) and not file.is_dir():
            entries[name] = file.stat().st_size, partial(open_regular, file, budget.file)
    return entries


def _of_zip(archive: zipfile.ZipFile, wanted: re.Pattern[str]) -> _Entries:
    entries: _Entries = {}
    for member in archive.infolist():
        name, size = member.filename, member.file_size
        if not wanted.fullmatch(name):
            continue
        if name in entries:
            raise ValueError(f"it has {name[:80]} twice")
        if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise ValueError(f"{name[:80]} is compressed by another method than deflate")
        if size > max(_REPEATED_FROM, _MOST_REPEATED * member.compress_size):
            raise TooMuchError(f"{name[:80]} has more than {_MOST_REPEATED} times its size in the archive")
        entries[name] = size, partial(archive.open, member)
    return entries


def _of_tar(archive: tarfile.TarFile, wanted: re.Pattern[str]) -> _Entries:
    entries: _Entries = {}
    before = -1
    for member in archive:
        if member.offset <= before:
            raise ValueError("a member of it lies before another that comes first")
        before = member.offset
        if not (member.isfile() and wanted.fullmatch(member.name)):
            continue
        if member.name in entries:
            raise ValueError(f"it has {member.name[:80]} twice")
        if member.issparse():
            raise ValueError(f"{member.name[:80]} is sparse: most of it is not there")
        entries[member.name] = member.size, partial(_of_member, archive, member)
    return entries


def _of_member(archive: tarfile.TarFile, member: tarfile.TarInfo) -> IO[bytes]:
    return archive.extractfile(member) or io.BytesIO()


def _require_size(what: str, size: int, most: int) -> None:
    if size > most:
        raise TooMuchError(f"{what} has {size:,} bytes, and no file of its kind has more than {most:,}")


@contextmanager
def _damage(name: str, what: str = "truncated or damaged") -> Iterator[None]:
    try:
        yield
    except TooMuchError as error:
        raise TooMuchError(f"{name} is refused: {error}") from None
    except _DAMAGE as error:
        raise ValueError(f"{name} is {what} ({reason(error)})") from None


class _Index(io.BufferedReader):
    """A file of which no more is read at once than an archive's index needs, whatever its header says."""

    def read(self, size: int | None = -1, /) -> bytes:
        if size is not None and size > _AT_ONCE:
            raise ValueError(f"an entry of its index claims {size:,} bytes")
        return super().read(size if size is not None and size >= 0 else _AT_ONCE)


class _Counted(io.RawIOBase):
    """A stream of at most so many bytes."""

    def __init__(self, source: IO[bytes], name: str, most: int) -> None:
        self._source, self._name, self._most, self._read = source, name, most, 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        with _damage(self._name):
            part = self._source.read(len(buffer))
        self._read += len(part)
        if self._read > self._most:
            raise TooMuchError(f"{self._name} has more than {self._most:,} bytes, and no file of its kind has so many")
        buffer[: len(part)] = part
        return len(part)

    def close(self) -> None:
        self._source.close()
        super().close()
