"""Versions of the software that a result depends on."""

from __future__ import annotations

import platform
from importlib.metadata import version


def versions() -> dict[str, str]:
    """The versions of archflow, Python and the numerical libraries, by name."""
    libraries = {name: version(name) for name in ("torch", "numpy", "scipy")}
    return {"archflow": version("archflow"), "python": platform.python_version(), **libraries}
