"""Pretext tasks by name.

To add one, write a :class:`~archflow.pretraining.task.Task` in a file here and add it to ``TASKS``, or call
``archflow.register("task", name, kind)`` from your code.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jaxtyping import Float
from numpy import ndarray

from archflow.archs.batch import ArchBatch
from archflow.benchmarks.registry import published
from archflow.pretraining.arch2vec import Arch2Vec
from archflow.pretraining.fgp import FGP, ZeroCost
from archflow.pretraining.gmae import GMAE
from archflow.pretraining.graphcl import GraphCL
from archflow.pretraining.task import Task
from archflow.support.registry import Registry


def _check(name: str, kind: Any) -> None:
    if not (isinstance(kind, type) and issubclass(kind, Task)):
        raise ValueError(f"the task {name} must be a subclass of archflow.Task, not {kind!r}")
    if name == "none":
        raise ValueError("no task can be named none, which stands for no pre-training")
    if getattr(kind, "name", None) != name:
        raise ValueError(f"the task {name} must have name = {name!r}, which is stored with its settings")


TASKS: Registry[type[Task]] = Registry(
    "task", {kind.name: kind for kind in (FGP, ZeroCost, Arch2Vec, GMAE, GraphCL)}, _check
)


def tasks() -> list[str]:
    """Names of the pretext tasks, sorted."""
    return TASKS.names()


def make_task(
    name: str,
    space_name: str,
    archs: ArchBatch,
    proxies: Float[ndarray, "archs proxies"] | None,
    seed: int,
    settings: Mapping[str, Any],
) -> Task:
    """The task of that name for architectures of a space.

    Args:
        name: one of :func:`tasks`.
        space_name: the space whose published settings of the flow surrogate are the defaults.
        archs: the architectures to pre-train on.
        proxies: one column per proxy, or None.
        seed: of the flow surrogate's draw, unless "draw_seed" is among the settings.
        settings: some of the task's :meth:`~.Task.setting_names`.

    Raises:
        ValueError: the name or a setting is unknown, a setting is invalid, or the task needs proxies and there are
            none.
    """
    kind = TASKS.find(name)
    known = kind.setting_names()
    unknown = [setting for setting in settings if setting not in known]
    if unknown:
        raise ValueError(f"the task {name} has no setting '{unknown[0]}'; it has: {', '.join(known) or 'none'}")
    return kind.for_space(len(archs.vocabulary), published(space_name), proxies, seed, **settings)
