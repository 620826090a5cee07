"""Pre-training tasks by name, each with the settings that it takes."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from jaxtyping import Float
from numpy import ndarray

from archflow.archs.batch import ArchBatch
from archflow.benchmarks.registry import published
from archflow.benchmarks.space import Space
from archflow.flow import FlowDraw
from archflow.pretraining.arch2vec import Arch2Vec
from archflow.pretraining.fgp import FGP
from archflow.pretraining.gmae import GMAE
from archflow.pretraining.graphcl import GraphCL
from archflow.pretraining.task import Task
from archflow.pretraining.zero_cost import ZeroCost
from archflow.support.registry import Registry

_TASKS: Registry[type[Any]] = Registry(
    "task", {"fgp": FGP, "zero-cost": ZeroCost, "arch2vec": Arch2Vec, "gmae": GMAE, "graphcl": GraphCL}
)


def tasks() -> list[str]:
    """Names of the pre-training tasks."""
    return list(_TASKS)


def register_task(name: str, kind: type[Any]) -> None:
    """Make archflow know a pre-training task that is not its own, so that ``--task`` and ``--method`` take its name.

    Args:
        name: what it is to be called.
        kind: a dataclass that is a :class:`.Task`. A field "proxy" is given the proxies, (archs, proxies);
            a field "draw" the draws of the flow surrogate.

    Raises:
        ValueError: ``kind`` is no dataclass, or the name is that of a task of archflow's own or "none", which stands
            for no task.
    """
    if not (isinstance(kind, type) and dataclasses.is_dataclass(kind)):
        raise ValueError(f"the task {name} must be a dataclass, whose fields are its settings, not {kind!r}")
    if name == "none":
        raise ValueError("no task can be called none, which stands for no pre-training")
    _TASKS.register(name, kind)


def make_task(
    name: str,
    space: Space,
    archs: ArchBatch,
    proxy: Float[ndarray, "archs proxies"] | None,
    seed: int,
    settings: dict[str, Any],
) -> tuple[Task, dict[str, Any]]:
    """The task of that name for architectures of a space, and what describes its draw.

    Args:
        name: one of :func:`tasks`.
        space: whose flow draw is the default.
        archs: those that will be pre-trained on.
        proxy: a column for each proxy, or None.
        seed: of the draw, unless "draw_seed" is among the settings.
        settings: keyword arguments of the task. For one that has a "draw", "k", "std", "draws" (how many) and
            "draw_seed" are taken here.

    Raises:
        ValueError: the name or a setting is unknown, or the task needs proxies and there are none.
    """
    kind = task_kind(name)
    fields = {field.name: field for field in dataclasses.fields(kind)}
    given: dict[str, Any] = {}
    drawn: dict[str, Any] = {}
    if "draw" in fields:
        settings_of = published(space.name)
        drawn = {"k": settings_of.k, "std": settings_of.std, "draws": 1, "draw_seed": seed}
        drawn |= {setting: settings[setting] for setting in drawn if setting in settings}
        given["draw"] = _draws(len(archs.vocabulary), **drawn)
    if "proxy" in fields:
        if proxy is None and fields["proxy"].default is not None:
            raise ValueError(f"the task {name} learns from proxies, but there are none; name some")
        given["proxy"] = proxy
    own = fields.keys() - given.keys()
    unknown = [setting for setting in settings if setting not in own | drawn.keys()]
    if unknown:
        choices = ", ".join(sorted(own | drawn.keys())) or "none"
        raise ValueError(f"the task {name} has no setting '{unknown[0]}'; it has: {choices}")
    given |= {setting: value for setting, value in settings.items() if setting in own}
    task: Task = kind(**given)
    return task, drawn


def task_kind(name: str) -> type[Any]:
    """The class of the task of that name.

    Raises:
        ValueError: the name is unknown; the message lists the known ones.
    """
    return _TASKS.find(name, tasks())


def _draws(operations: int, k: int, std: float, draws: int, draw_seed: int) -> Sequence[FlowDraw]:
    if draws < 1:
        raise ValueError(f"draws must be at least 1, not {draws}")
    return [FlowDraw.sample(operations, k, std, draw_seed + number) for number in range(draws)]
