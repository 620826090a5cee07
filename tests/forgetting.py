"""What is plugged in and registered here is forgotten behind."""

import contextlib
import os
import sys

import pytest

from archflow.support.registry import REGISTRIES, installed


@contextlib.contextmanager
def forgetting():
    """What is registered, plug-ins, their modules and the path are afterwards what they were."""
    before = [(registry, dict(registry)) for registry in REGISTRIES.values()]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("archflow.support.plugins._LOADED", [])
        patch.setattr(sys, "path", list(sys.path))
        installed.cache_clear()
        yield
        folders = set(sys.path)
    for registry, entries in before:
        registry.clear()
        registry.update(entries)
    installed.cache_clear()
    folders -= set(sys.path)
    for name, module in list(sys.modules.items()):
        if os.path.dirname(getattr(module, "__file__", None) or "") in folders:
            del sys.modules[name]
