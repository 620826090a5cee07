"""JSON documents: settings and results as they are written down."""

from __future__ import annotations

import dataclasses
import json
from typing import Any


def strict_json(value: Any, indent: int | None = None) -> str:
    """JSON with null for NaN and infinity, which JSON does not have; dataclasses become objects."""
    return json.dumps(plain(value), indent=indent, allow_nan=False)


def plain(value: Any) -> Any:
    """The value as it comes back from a JSON document: what settings are compared by."""
    return json.loads(json.dumps(value, default=_fields), parse_constant=lambda _: None)


def _fields(value: Any) -> dict[str, Any]:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.asdict(value)
    raise TypeError(f"{type(value).__name__} cannot be written as JSON")
