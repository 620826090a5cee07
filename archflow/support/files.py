"""Files of archflow: written beside and renamed, read without pickle.

Every file is a safetensors file: named arrays, and one JSON document in its header. A reader sees either the whole
old file or the whole new one, whatever happens to the process that writes.
"""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor


def write_atomically(path: str | Path, content: bytes | str) -> None:
    """Write ``content`` to a temporary file beside ``path``, flush it to the disk, and rename it.

    Raises:
        OSError: the folder cannot be written or is full; a previous file at ``path`` is then untouched.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    data = content.encode() if isinstance(content, str) else content
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    try:
        with os.fdopen(handle, "wb") as file:
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
    """Raise OSError now, rather than after hours of work, if a file could not be written at ``path``.

    Folders that are missing are not made: what counts is whether the nearest one that is there can be written to.
    """
    path = Path(path)
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder; a file is to be written there")
    there = next(folder for folder in path.absolute().parents if os.path.lexists(folder))
    try:
        with tempfile.TemporaryFile(dir=there):
            pass
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from None


def cache_folder() -> Path:
    """Where archflow keeps what it made once: ``$ARCHFLOW_CACHE``, else ``~/.cache/archflow``; it may not exist yet."""
    return Path(os.environ.get("ARCHFLOW_CACHE") or Path.home() / ".cache" / "archflow")


def without_repetition(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of a JSON file, for ``json.loads(…, object_pairs_hook=…)``: by itself the last of two entries wins.

    Raises:
        ValueError: two entries have one name; the message says which.
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
    """Only the settings, which stand at the file's beginning; raises what :func:`load_tensors` does."""
    with _opened(path, kind) as (_, settings):
        return settings


@contextlib.contextmanager
def _opened(path: str | Path, kind: str) -> Iterator[tuple[Any, dict[str, Any]]]:
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            if metadata.get("archflow") != kind:
                found = metadata.get("archflow")
                what = f"it holds '{found}'" if found else "it was not written by archflow"
                raise ValueError(f"{path} is no archflow '{kind}' file: {what}")
            yield file, json.loads(metadata["settings"])
    except SafetensorError as error:
        raise ValueError(f"{path} is truncated or no archflow file ({error})") from None


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
