"""Finding a data file in an installed package without importing the package."""

from __future__ import annotations

import importlib.util
from pathlib import Path


def file_in_package(package: str, file: str, distribution: str) -> Path:
    """Path of ``file`` in ``package``, without importing it.

    Raises:
        ModuleNotFoundError: the package is not installed; the message names the PyPI ``distribution`` to install.
    """
    spec = importlib.util.find_spec(package)
    if spec is not None and spec.submodule_search_locations:
        path = Path(spec.submodule_search_locations[0]) / file
        if path.is_file():
            return path
    raise ModuleNotFoundError(f"this table comes with the package {distribution}: pip install {distribution}")
