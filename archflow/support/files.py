"""archflow's files: replaced atomically, read without pickle.

Every file is a safetensors file: named arrays, with one JSON document in the header. A reader sees either the complete
old file or the complete new one, even if the writing process dies.
"""

from __future__ import annotations

import contextlib
import glob
import json
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import platformdirs
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from archflow.support.settings import short

_ORPHAN_AGE = 10
"""An unlocked temporary file older than this many seconds was left behind by a dead writer."""


def write_atomically(path: str | Path, content: bytes | str) -> None:
    """Write ``content`` to a temporary file beside ``path``, flush it to the disk, and rename it.

    A symbolic link is followed, and its target replaced. A character device, such as ``/dev/null``, is written to
    directly. Temporary files that killed processes left beside ``path`` are removed.

    Raises:
        OSError: the folder is not writable, the disk is full, or ``path`` is a folder, a pipe or anything else that is
            not a file; an existing file at ``path`` is left unchanged.
    """
    path = _require_file(path)
    data = content.encode() if isinstance(content, str) else content
    if path.is_char_device():
        path.write_bytes(data)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    _remove_leftovers(path)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    try:
        with os.fdopen(handle, "wb") as file:
            _lock(file)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
            os.chmod(temporary, 0o666 & ~_umask())
            os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise


def require_writable(path: str | Path) -> None:
    """Raise OSError if ``path`` cannot be written, so that a long computation fails before it starts.

    Missing folders are not created; the nearest existing one must be writable.
    """
    path = _require_file(path)
    if path.is_char_device():
        return
    nearest = next(folder for folder in path.absolute().parents if os.path.lexists(folder))
    try:
        with tempfile.TemporaryFile(dir=nearest):
            pass
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from None


@contextlib.contextmanager
def locked(path: str | Path) -> Iterator[None]:
    """Let no other command write ``path`` inside the block, by a lock on ``.NAME.lock`` beside it.

    The lock file is removed at the end. The system releases the lock of a process that dies, so a lock file that it
    left behind keeps nobody out. A character device is not locked.

    Raises:
        OSError: another command holds the lock, or the folder is not writable.
    """
    from filelock import FileLock, Timeout

    file = _require_file(path).absolute()
    if file.is_char_device():
        yield
        return
    made = [folder for folder in file.parents if not folder.exists()]
    file.parent.mkdir(parents=True, exist_ok=True)
    # A short wait, since a lock file that its owner is just removing cannot be locked.
    lock = FileLock(file.with_name(f".{file.name}.lock"), timeout=0.2, poll_interval=0.02)
    try:
        lock.acquire()
    except Timeout:
        raise OSError(f"another command is writing {path}; wait until it ends, or write somewhere else") from None
    try:
        yield
    finally:
        with contextlib.suppress(OSError):  # Windows removes no open file
            os.unlink(lock.lock_file)
        lock.release()
        for folder in made:
            with contextlib.suppress(OSError):  # it is not empty
                folder.rmdir()


def _require_file(path: str | Path) -> Path:
    """The path with links resolved; OSError if something other than a file or a character device is there."""
    path = Path(path)
    path = path.resolve() if path.is_symlink() else path
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder, but a file is to be written there")
    if path.exists() and not path.is_file() and not path.is_char_device():
        raise OSError(f"{path} is not a regular file (but a pipe, a socket or a disk), so nothing is written there")
    return path


def _remove_leftovers(path: Path) -> None:
    """Remove temporary files that dead writers of ``path`` left behind: those that are no longer locked."""
    for leftover in path.parent.glob(f".{glob.escape(path.name)}.*.tmp"):
        with contextlib.suppress(OSError):
            # A recent file may belong to a writer that has not locked it yet.
            if time.time() - leftover.stat().st_mtime > _ORPHAN_AGE:
                with leftover.open("rb") as file:
                    _lock(file)
                    leftover.unlink()


def _lock(file: IO[bytes]) -> None:
    """Lock a file until it is closed, where the system supports it; OSError if another process holds the lock."""
    try:
        import fcntl
    except ModuleNotFoundError:  # Windows, where an open file cannot be removed anyway
        return
    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def data_folder() -> Path:
    """Where archflow keeps what a user adds: ``$ARCHFLOW_DATA``, or else the system's folder; it may not exist yet."""
    return Path(os.environ.get("ARCHFLOW_DATA") or platformdirs.user_data_path("archflow", appauthor=False))


def without_repetition(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object whose keys are unique, for ``json.loads(…, object_pairs_hook=…)``.

    Raises:
        ValueError: a key is repeated; the message names it.
    """
    entries: dict[str, Any] = {}
    for name, value in pairs:
        if name in entries:
            raise ValueError(f"{name!r} is given twice")
        entries[name] = value
    return entries


def save_tensors(path: str | Path, kind: str, tensors: dict[str, Tensor], settings: dict[str, Any]) -> None:
    """Write ``tensors`` and the JSON-able ``settings`` as one file of the given ``kind`` ("archs", "ranker", …)."""
    metadata = {"archflow": kind, "settings": json.dumps(settings)}
    contiguous = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    write_atomically(path, save(contiguous, metadata))


def load_tensors(path: str | Path, kind: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read what :func:`save_tensors` wrote.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is truncated, not one of archflow's, or of another ``kind``.
    """
    with _opened(path, kind) as (file, settings):
        return {name: file.get_tensor(name) for name in file.keys()}, settings  # noqa: SIM118 - not a dict


def load_settings(path: str | Path, kind: str) -> dict[str, Any]:
    """Read only the settings, from the file's header; raises what :func:`load_tensors` does."""
    with _opened(path, kind) as (_, settings):
        return settings


def kind_of(path: str | Path) -> str:
    """The kind of one of archflow's files, from its header.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is truncated, or not one of archflow's.
    """
    with _header(path) as (_, metadata):
        return metadata["archflow"]


@contextlib.contextmanager
def _opened(path: str | Path, kind: str) -> Iterator[tuple[Any, dict[str, Any]]]:
    with _header(path) as (file, metadata):
        if metadata["archflow"] != kind:
            raise ValueError(f"{path} is not an archflow '{kind}' file: it holds {short(metadata['archflow'])}")
        try:
            settings = json.loads(metadata["settings"])
        except (KeyError, ValueError, RecursionError) as error:
            raise ValueError(f"{path} is damaged: its settings cannot be read ({short(error)})") from None
        if not isinstance(settings, dict):
            raise ValueError(f"{path} is damaged: its settings are {short(settings)}")
        yield file, settings


@contextlib.contextmanager
def _header(path: str | Path) -> Iterator[tuple[Any, dict[str, str]]]:
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            if not metadata.get("archflow"):
                raise ValueError(f"{path} is not an archflow file: it was not written by archflow")
            yield file, metadata
    except SafetensorError as error:
        raise ValueError(f"{path} is truncated or not an archflow file ({str(error)[:200]})") from None


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
