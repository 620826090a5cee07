"""Short digests that identify settings, data and code."""

from __future__ import annotations

import contextlib
import hashlib
import inspect
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from numpy import ndarray

_DIGITS = 16


def digest(settings: Any) -> str:
    """Sixteen hexadecimal digits for a JSON-able value, independent of the order of keys."""
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:_DIGITS]


def digest_arrays(arrays: Iterable[ndarray]) -> str:
    """Sixteen hexadecimal digits for the concatenated bytes of the arrays."""
    hasher = hashlib.sha256()
    for array in arrays:
        hasher.update(array.tobytes())
    return hasher.hexdigest()[:_DIGITS]


def digest_sources(*kinds: type[Any]) -> str:
    """Sixteen hexadecimal digits for the source files of classes; "" if all are archflow's own or have no file."""
    files = set()
    for kind in kinds:
        if kind.__module__.partition(".")[0] != "archflow":
            with contextlib.suppress(OSError, TypeError):
                files.add(inspect.getfile(kind))
    content = b"".join(Path(file).read_bytes() for file in sorted(files))
    return hashlib.sha256(content).hexdigest()[:_DIGITS] if files else ""
