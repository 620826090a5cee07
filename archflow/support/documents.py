"""Settings and results as JSON."""

from __future__ import annotations

import dataclasses
import json
from typing import Any


def strict_json(value: Any, indent: int | None = None) -> str:
    """JSON with dataclasses as objects, and null for NaN and infinity, which JSON lacks."""
    return json.dumps(plain(value), indent=indent, allow_nan=False)


def plain(value: Any) -> Any:
    """The value after a round trip through JSON, so that settings can be compared with those read from a file."""
    return json.loads(json.dumps(value, default=_fields), parse_constant=lambda _: None)


def _fields(value: Any) -> dict[str, Any]:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.asdict(value)
    raise TypeError(f"{type(value).__name__} cannot be written as JSON")
