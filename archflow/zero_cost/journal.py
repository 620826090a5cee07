"""The file of an unfinished measurement: a line of settings, then a line per network."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from archflow.support.documents import plain
from archflow.support.reading import open_regular, read_json
from archflow.zero_cost.measures import Values

VERSION = 2
"""The version of the measures and of the file format; a journal of another version is not continued."""
_MOST = 1_000_000_000
"""Bytes of a journal; NAS-Bench-101's 423,624 cells with eleven proxies have 150 MB."""


@dataclass(frozen=True)
class Settings:
    """What the values depend on besides the architectures.

    Attributes:
        space: its name.
        names: of the proxies.
        images: a kind of synthetic images, or a folder.
        digest: of the minibatch if it comes from a folder; "" where the seed determines it.
        batch_size: images in the minibatch.
        seed: of the images, their labels, and all weights.
        size: height and width of the images.
        width: channels of the first cells.
        depth: cells, or cells per stage.
        classes: number of classes.
        device: on which the proxies are computed.
    """

    space: str
    names: tuple[str, ...]
    images: str
    digest: str
    batch_size: int
    seed: int
    size: int
    width: int
    depth: int
    classes: int
    device: str


class Journal:
    """The networks measured so far. An incomplete last line, left by a kill, is dropped.

    Args:
        path: the file.
        settings: those of the measurement.
        resume: whether to continue from an existing file rather than overwrite it.

    Raises:
        ValueError: the file was started with other settings, by another version, or is damaged.
    """

    def __init__(self, path: Path, settings: Settings, resume: bool) -> None:
        self.path, self._number = path, 1
        header = plain({"archflow": "proxies", "version": VERSION, "settings": settings})
        if path.exists():
            open_regular(path, _MOST).close()
        self._file = path.open("a+b" if resume else "w+b")
        self._file.seek(0)
        first = self._file.readline()
        if not _line(header).startswith(first):
            self._read(first)  # raises if it is not a journal at all
            raise ValueError(
                f"{path} was started with other settings or by another version of archflow; name another file, or "
                "leave --resume out"
            )
        end = sum(len(line) for line in chain([first], self._file) if line.endswith(b"\n"))
        self._file.truncate(end)
        if not end:
            self._write(header)
        self._file.seek(len(_line(header)))

    def entries(self) -> Iterator[tuple[str, Values, str]]:
        """Key, values and cause of failure ("" if none) of each network in the file; call it before :meth:`add`."""
        for line in self._file:
            self._number += 1
            match self._read(line):
                case {"network": str(key), "values": dict(values), "failed": str(failed)} if all(
                    isinstance(value, int | float) for value in values.values()
                ):
                    yield key, values, failed
                case _:
                    raise self._damaged(line)

    def add(self, network: str, values: Values, failed: str) -> None:
        """Write one more network."""
        self._write({"network": network, "values": values, "failed": failed})

    def _read(self, line: bytes) -> Any:
        try:
            return read_json(line)
        except ValueError:
            raise self._damaged(line) from None

    def _damaged(self, line: bytes) -> ValueError:
        where = f"at line {self._number}, {line[:40]!r}"
        return ValueError(f"{self.path} is damaged, {where}; remove it, or leave --resume out")

    def _write(self, entry: dict[str, Any]) -> None:
        self._file.write(_line(entry))
        self._file.flush()

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()


def _line(entry: dict[str, Any]) -> bytes:
    return json.dumps(entry).encode() + b"\n"
