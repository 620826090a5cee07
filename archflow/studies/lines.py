"""The results of all studies in a folder: a JSON Lines file with one line for each run.

Lines are appended whole and under a lock, so several commands may write at once. A last line that was cut off, by a
full disk or a crash, is skipped when reading, and terminated before the next line is appended.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from filelock import FileLock

from archflow.support.documents import strict_json
from archflow.support.reading import expecting, read_json, read_regular

FILE = "results.jsonl"
_MOST = 1_000_000_000
"""Bytes of the file; a line has some 3,000, the largest study some 3,000 lines."""
_TEXTS = ("key", "space", "encoder", "pretext", "head", "column")
_NUMBERS = ("labels", "seed", "split", "tau", "p_at_1", "p_at_5", "seconds", "pretrain_seconds")
_TYPES = {**dict.fromkeys(_TEXTS, str), **dict.fromkeys(_NUMBERS, int | float | None)}
_TYPES |= {"share": int | float | str, "settings": dict}  # a share may be "pool"
_OF_ALL = {"key", "space", "seed"}
_OF_A_RUN = {*_TEXTS, *_NUMBERS, "share"}
"""What a line has that names a pretext task."""


def append(folder: Path, line: dict[str, Any]) -> None:
    """Append a line, and flush it to disk."""
    with FileLock(folder / f"{FILE}.lock"), (folder / FILE).open("ab+") as file:
        size = file.seek(0, os.SEEK_END)
        if size:
            file.seek(size - 1)
            if file.read(1) != b"\n":
                file.write(b"\n")
        file.write(strict_json(line).encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())


def by_space(lines: Iterable[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """The lines grouped by space, in order of first appearance."""
    found: dict[str, list[dict[str, Any]]] = {}
    for line in lines:
        found.setdefault(line["space"], []).append(line)
    return found


def read(folder: Path) -> list[dict[str, Any]]:
    """All complete lines, the first one for each key; an empty list if there is no file.

    Raises:
        ValueError: a complete line is not a result; the message gives its number.
    """
    path = folder / FILE
    if not path.exists():
        return []
    found: dict[str, dict[str, Any]] = {}
    for number, text in enumerate(read_regular(path, _MOST).split(b"\n"), start=1):
        if not text.strip():
            continue
        try:
            line = read_json(text)
        except ValueError:  # cut off by a crash, perhaps with later lines after it
            continue
        with expecting(f"line {number} of {path} is not a study result; move the file away"):
            _check(line)
        found.setdefault(line["key"], line)
    return list(found.values())


def _check(line: dict[str, Any]) -> None:
    """Raise an error unless it has what every result has, and of the right types."""
    if missing := (_OF_A_RUN if "pretext" in line else _OF_ALL) - line.keys():
        raise KeyError(min(missing))
    for name, kind in _TYPES.items():
        if name in line and not isinstance(line[name], kind):
            raise TypeError(f"its {name} is of type {type(line[name]).__name__}")
