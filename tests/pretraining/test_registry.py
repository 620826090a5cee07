from dataclasses import dataclass
from typing import ClassVar

import pytest
from numpy import ndarray

import archflow
from archflow import FlowDraw, Task
from archflow.pretraining.registry import tasks
from tests.pretraining import ARCHS, PROXIES
from tests.pretraining.test_every_task import make


class Bare(Task):
    """A task without settings."""

    name = "bare"


@dataclass(frozen=True, eq=False)
class Own(Task):
    """A task with settings."""

    name: ClassVar[str] = "own"

    depth: int = 2
    rate: float = 0.5


@dataclass(frozen=True, eq=False)
class Hungry(Task):
    """A task that is made for a space, from proxies and a draw."""

    name: ClassVar[str] = "hungry"
    arrays: ClassVar[tuple[str, ...]] = ("draw", "proxy")

    draw: FlowDraw
    proxy: ndarray
    own: int = 5

    @classmethod
    def for_space(cls, operations, published, proxies, seed, *, k=None, **settings):
        return cls(FlowDraw.sample(operations, k or published.k, published.std, seed), proxies, **settings)


def test_a_users_own_task(forgetful):
    for kind in (Bare, Own, Hungry):
        archflow.register("task", kind.name, kind)
    assert set(tasks()) >= {"bare", "own", "hungry", "fgp"}
    assert make("bare", proxies=None).describe() == {"task": "bare"}
    assert make("own", depth=3).describe() == {"task": "own", "depth": 3, "rate": 0.5}
    hungry = make("hungry", own=6, k=3)
    assert (hungry.draw.P.shape, hungry.draw.std, hungry.proxy is PROXIES) == ((7, 3), 0.1, True)
    assert hungry.describe() == {"task": "hungry", "own": 6}
    for name, settings, reason in [
        ("bare", {"x": 1}, "the task bare has no setting 'x'; it has: none"),
        ("own", {"x": 1}, "the task own has no setting 'x'; it has: depth, rate"),
        ("own", {"depth": 2.5}, "task own: depth must be a whole number, not 2.5"),
        ("own", {"rate": "x"}, "task own: rate must be a number, not 'x'"),
        ("hungry", {"draw": 1}, "the task hungry has no setting 'draw'; it has: k, own"),
        ("nope", {}, "unknown task 'nope'; known tasks: arch2vec, bare, fgp, gmae, graphcl, hungry, own, zero-cost"),
        ("none", {}, "unknown task 'none'"),
    ]:
        with pytest.raises(ValueError, match=f"^{reason}"):
            make(name, **settings)
    with pytest.raises(NotImplementedError):
        Bare().build(None, ARCHS)


class NoTask:
    name = "mine"


@pytest.mark.parametrize(
    ("name", "kind", "reason"),
    [
        ("mine", NoTask, "the task mine must be a subclass of archflow.Task"),
        ("mine", Bare(), "the task mine must be a subclass of archflow.Task"),
        ("mine", Bare, "the task mine must have name = 'mine'"),
        ("none", Bare, "no task can be named none"),
        ("fgp", Bare, "archflow already has a task 'fgp'; choose another name$"),
    ],
    ids=["no task", "no class", "another name", "none", "archflow's own"],
)
def test_what_cannot_be_registered(forgetful, name, kind, reason):
    with pytest.raises(ValueError, match=f"^{reason}"):
        archflow.register("task", name, kind)
    assert len(tasks()) == 5
