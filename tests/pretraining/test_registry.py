from dataclasses import dataclass, fields

import numpy as np
import pytest
import torch
from archflow.pretraining.zero_cost import ZeroCost
from numpy import ndarray

import archflow
from archflow.benchmarks.nasbench201.space import NASBench201
from archflow.flow import FlowDraw
from archflow.pretraining.arch2vec import Arch2Vec
from archflow.pretraining.fgp import FGP
from archflow.pretraining.gmae import GMAE
from archflow.pretraining.graphcl import GraphCL
from archflow.pretraining.registry import make_task, register_task, task_kind, tasks

SPACE = NASBench201()
ARCHS = SPACE.sample(20)
PROXY = np.stack([SPACE.parameters(ARCHS), np.arange(20)], axis=1).astype(float)


def make(name, proxy=PROXY, seed=3, **settings):
    return make_task(name, SPACE, ARCHS, proxy, seed, settings)


def test_names():
    assert tasks() == archflow.tasks() == ["fgp", "zero-cost", "arch2vec", "gmae", "graphcl"]
    for name in tasks():
        task_kind(name)


@pytest.mark.parametrize(
    ("name", "kind"), [("zero-cost", ZeroCost), ("arch2vec", Arch2Vec), ("gmae", GMAE), ("graphcl", GraphCL)]
)
def test_a_task_without_settings_is_the_default_one(name, kind):
    task, drawn = make(name)
    assert drawn == {}
    expected = kind(PROXY) if name == "zero-cost" else kind()
    assert task.describe() == expected.describe()
    assert (type(task), task.describe()["task"]) == (kind, name)


def test_a_task_is_given_its_settings_and_the_proxies():
    task, _ = make("zero-cost", margin=0.5, proxy_loss="regression")
    assert np.array_equal(task.proxy, PROXY)
    assert (task.margin, task.proxy_loss) == (0.5, "regression")
    settings = {"margin": 0.25}
    make_task("zero-cost", SPACE, ARCHS, PROXY, 0, settings)
    assert settings == {"margin": 0.25}


def test_fgp_draws_as_the_seed_and_the_space_say():
    task, drawn = make("fgp", lambda1=0.25)
    k, std = 7, 0.1
    assert drawn == {"k": k, "std": std, "draws": 1, "draw_seed": 3}
    (draw,) = task.draws
    expected = FlowDraw.sample(7, k, std, 3)
    assert torch.equal(draw.P, expected.P)
    assert torch.equal(draw.W, expected.W)
    assert task.lambda1 == 0.25
    assert np.array_equal(task.proxy, PROXY)


def test_several_draws_of_another_seed():
    task, drawn = make("fgp", draws=3, draw_seed=50, k=4, std=0.5)
    assert drawn == {"k": 4, "std": 0.5, "draws": 3, "draw_seed": 50}
    assert [draw.r.tolist() for draw in task.draws] == [
        FlowDraw.sample(7, 4, 0.5, seed).r.tolist() for seed in (50, 51, 52)
    ]


def test_fgp_without_proxies():
    assert make("fgp", proxy=None)[0].proxy is None


@pytest.mark.parametrize("name", ["fgp", "zero-cost", "arch2vec", "gmae", "graphcl"])
def test_an_unknown_setting_lists_the_known_ones(name):
    with pytest.raises(ValueError, match=f"^the task {name} has no setting 'luck'; it has: ") as caught:
        make(name, luck=1)
    known = str(caught.value).partition("it has: ")[2].split(", ")
    assert known == sorted(known)
    kind = {"fgp": FGP, "zero-cost": ZeroCost, "arch2vec": Arch2Vec, "gmae": GMAE, "graphcl": GraphCL}[name]
    own = {field.name for field in fields(kind)} - {"proxy", "draw"}
    assert set(known) == own | ({"k", "std", "draws", "draw_seed"} if name == "fgp" else set())


@pytest.mark.parametrize(
    ("name", "settings", "reason"),
    [
        ("nope", {}, "^unknown task 'nope'; known tasks: fgp, zero-cost, arch2vec, gmae, graphcl$"),
        ("none", {}, "^unknown task 'none'"),
        ("zero-cost", {"proxy": None}, "no setting 'proxy'"),
        ("zero-cost", {"k": 3}, "no setting 'k'"),
        ("zero-cost", {"lambda1": 0.5}, "no setting 'lambda1'; it has: margin, proxy_loss, proxy_width"),
        ("fgp", {"proxy": None}, "no setting 'proxy'"),
        ("fgp", {"draw": None}, "no setting 'draw'"),
        ("fgp", {"draws": 0}, "draws must be at least 1, not 0"),
        ("fgp", {"k": 0}, "k"),
    ],
)
def test_wrong_settings(name, settings, reason):
    with pytest.raises(ValueError, match=reason):
        make_task(name, SPACE, ARCHS, PROXY, 3, settings)


def test_a_task_that_needs_proxies_says_so():
    with pytest.raises(ValueError, match=r"^the task zero-cost learns from proxies, but there are none; name some$"):
        make("zero-cost", proxy=None)


@dataclass(frozen=True)
class Bare:
    """A task without settings."""

    def build(self, encoder, archs):
        raise NotImplementedError

    def describe(self):
        return {"task": "bare"}


@dataclass(frozen=True, eq=False)
class Hungry(Bare):
    """One that is given all there is."""

    draw: list[FlowDraw]
    proxy: ndarray
    own: int = 5


def test_a_task_of_ones_own(forgetful):
    register_task("bare", Bare)
    archflow.register_task("hungry", Hungry)
    assert archflow.tasks()[-2:] == ["bare", "hungry"]
    assert make("bare", proxy=None) == (Bare(), {})
    with pytest.raises(ValueError, match=r"^the task bare has no setting 'x'; it has: none$"):
        make("bare", x=1)
    task, drawn = make("hungry", own=6, draws=2)
    assert (len(task.draw), task.proxy is PROXY, task.own, drawn["draw_seed"]) == (2, True, 6, 3)
    with pytest.raises(ValueError, match=r"^the task hungry learns from proxies"):
        make("hungry", proxy=None)
    with pytest.raises(ValueError, match=r"known tasks: fgp, .*graphcl, bare, hungry$"):
        make("nope")


class NoDataclass:
    def build(self, encoder, archs):
        raise NotImplementedError


@pytest.mark.parametrize(
    ("name", "kind", "reason"),
    [
        ("mine", NoDataclass, "the task mine must be a dataclass"),
        ("mine", Bare(), "the task mine must be a dataclass"),
        ("none", Bare, "no task can be called none"),
        ("fgp", Bare, "archflow has a task 'fgp' of its own; call yours otherwise$"),
    ],
    ids=["no dataclass", "no class", "none", "archflow's own"],
)
def test_what_cannot_be_registered(forgetful, name, kind, reason):
    with pytest.raises(ValueError, match=f"^{reason}"):
        register_task(name, kind)
    assert len(tasks()) == 5
