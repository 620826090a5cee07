"""Short digests, by which settings, data and code are told apart."""

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
    """Sixteen hexadecimal digits of a JSON-able value; the order of an object's entries does not matter."""
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:_DIGITS]


def digest_arrays(arrays: Iterable[ndarray]) -> str:
    """Sixteen hexadecimal digits of the arrays' bytes, one array after the other."""
    found = hashlib.sha256()
    for array in arrays:
        found.update(array.tobytes())
    return found.hexdigest()[:_DIGITS]


def digest_sources(*kinds: type[Any]) -> str:
    """Sixteen hexadecimal digits of the files that define classes; "" if all are archflow's own or were typed in."""
    files = set()
    for kind in kinds:
        if kind.__module__.partition(".")[0] != "archflow":
            with contextlib.suppress(OSError, TypeError):
                files.add(inspect.getfile(kind))
    content = b"".join(Path(file).read_bytes() for file in sorted(files))
    return hashlib.sha256(content).hexdigest()[:_DIGITS] if files else ""
