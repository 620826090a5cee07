"""What is plugged in and registered here is forgotten behind."""

import contextlib
import copy
import importlib
import os
import sys

import pytest


@contextlib.contextmanager
def forgetting():
    """Encoders, tasks, plug-ins, their modules and the path are afterwards what they were."""
    with pytest.MonkeyPatch.context() as patch:
        for module, name in (("archflow.encoding.registry", "_ENCODERS"), ("archflow.pretraining.registry", "_TASKS")):
            found = importlib.import_module(module)
            patch.setattr(found, name, copy.copy(getattr(found, name)))
        patch.setattr("archflow.support.plugins._LOADED", [])
        patch.setattr(sys, "path", list(sys.path))
        yield
        folders = set(sys.path)
    folders -= set(sys.path)
    for name, module in list(sys.modules.items()):
        if os.path.dirname(getattr(module, "__file__", None) or "") in folders:
            del sys.modules[name]
