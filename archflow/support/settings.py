"""Checks for settings, which are frozen dataclasses validated on construction."""

from __future__ import annotations

import dataclasses
import numbers
import reprlib
from typing import Any

_ACCEPTED: dict[str, tuple[Any, str]] = {
    "int": (int, "a whole number"),
    "float": (int | float, "a number"),
    "bool": (bool, "true or false"),
    "str": (str, "a name"),
}
"""For each field type, the accepted Python types and a description."""

_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = _SHORT.maxlong = 80
_SHORT.maxdict = _SHORT.maxlist = _SHORT.maxtuple = 12


def check_types(settings: Any, owner: str = "") -> None:
    """Check the types of a dataclass's fields, in its ``__post_init__``, and convert NumPy numbers to Python's.

    Args:
        settings: the dataclass; only fields of type int, float, bool and str are checked.
        owner: whose settings they are, to begin the message with.

    Raises:
        ValueError: a value is not of its field's type, or is an integer of 2**63 or more in size.
    """
    for field in dataclasses.fields(settings):
        value: Any = getattr(settings, field.name)
        kind = getattr(field.type, "__name__", field.type)  # the type itself, or its name where annotations are strings
        if kind in ("int", "float") and not isinstance(value, bool):
            if isinstance(value, numbers.Integral):
                value = int(value)
            elif isinstance(value, numbers.Real) and kind == "float":
                value = float(value)
        accepted, description = _ACCEPTED.get(str(kind), (object, ""))
        if not isinstance(value, accepted) or (isinstance(value, bool) and kind != "bool" and accepted is not object):
            raise ValueError(f"{_prefix(owner)}{field.name} must be {description}, not {short(value)}")
        if kind in ("int", "float") and isinstance(value, int) and abs(value) >= 2**63:
            raise ValueError(f"{_prefix(owner)}{field.name} is too large, {short(value)}")
        object.__setattr__(settings, field.name, value)


def check_range(settings: Any, owner: str, least: int, most: int, *names: str) -> None:
    """Raise ValueError unless each of the named fields is from ``least`` to ``most``."""
    for name in names:
        if not least <= getattr(settings, name) <= most:
            raise ValueError(
                f"{_prefix(owner)}{name} must be from {least} to {most:,}, not {short(getattr(settings, name))}"
            )


def _prefix(owner: str) -> str:
    return f"{owner}: " if owner else ""


def short(value: Any) -> str:
    """A value's representation for a message, with long parts cut in the middle."""
    try:
        return " ".join(_SHORT.repr(value).split())
    except (ValueError, RecursionError):  # an integer has too many digits to print
        return f"a value of type {type(value).__name__}"
