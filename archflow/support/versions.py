"""Versions of what a result depends on."""

from __future__ import annotations

import platform
from importlib.metadata import version


def versions() -> dict[str, str]:
    """The versions of archflow, Python and the libraries that compute, by name."""
    libraries = {name: version(name) for name in ("torch", "numpy", "scipy")}
    return {"archflow": version("archflow"), "python": platform.python_version(), **libraries}
