"""The file of an unfinished measurement: a line of settings, then a line a network."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from archflow.proxies.measures import Values

VERSION = 1
"""Of what is measured and how it is written; a journal of another version is not gone on with."""


@dataclass(frozen=True)
class Settings:
    """What the values depend on, besides the architectures."""

    space: str
    names: tuple[str, ...]
    images: str
    batch_size: int
    seed: int
    size: int
    width: int
    depth: int
    classes: int


class Journal:
    """What is measured so far: a line of settings, then a line a network. A line that a kill cut off does not count.

    Attributes:
        entries: key, values and cause of failure ("" if none) of the networks that were measured before.
    """

    def __init__(self, path: Path, settings: Settings, resume: bool) -> None:
        self.path, self.entries = path, list[tuple[str, Values, str]]()
        header = json.loads(json.dumps({"archflow": "proxies", "version": VERSION, "settings": asdict(settings)}))
        whole = 0
        if resume and path.exists():
            content = path.read_bytes()
            whole = content.rfind(b"\n") + 1
            try:
                first, *lines = content[:whole].decode().splitlines() or [json.dumps(header)]
                same = json.loads(first) == header
                found = [json.loads(line) for line in lines] if same else []
                self.entries = [(entry["network"], dict(entry["values"]), str(entry["failed"])) for entry in found]
            except (ValueError, KeyError, TypeError) as error:
                raise ValueError(f"{path} is damaged ({error}); remove it, or leave --resume out") from None
            if not same:
                raise ValueError(
                    f"{path} was begun with other settings or by another version of archflow; name another file, or "
                    "leave --resume out"
                )
        self._file = path.open("r+b" if whole else "wb")
        self._file.truncate(whole)
        self._file.seek(whole)
        if not whole:
            self._write(header)

    def add(self, network: str, values: Values, failed: str) -> None:
        """One network more."""
        self._write({"network": network, "values": values, "failed": failed})

    def _write(self, entry: dict[str, Any]) -> None:
        self._file.write(json.dumps(entry).encode() + b"\n")
        self._file.flush()

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
