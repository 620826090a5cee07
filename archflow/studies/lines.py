"""The results of all studies in a folder: a JSON Lines file with one line for each run.

Lines are appended whole and under a lock, so several commands may write at once. A last line that was cut off, by a
full disk or a crash, is skipped when reading, and terminated before the next line is appended.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from filelock import FileLock

from archflow.support.documents import strict_json

FILE = "results.jsonl"


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
    for number, text in enumerate(path.read_bytes().split(b"\n"), start=1):
        if not text.strip():
            continue
        try:
            line = json.loads(text)
        except ValueError:  # cut off by a crash, perhaps with later lines after it
            continue
        if not isinstance(line, dict) or "key" not in line:
            raise ValueError(f"line {number} of {path} is not a study result; move the file away")
        found.setdefault(line["key"], line)
    return list(found.values())
