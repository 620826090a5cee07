"""A space made from a function that builds models."""

import logging

import numpy as np
import pytest
import torch
from torch import nn

import archflow
from archflow.benchmarks.networks import NETWORKS
from archflow.benchmarks.registry import SPACES

IMAGE = torch.zeros(1, 1, 8, 8)


def build(choose):
    width = choose.integer("width", 4, 8)
    kernel = choose.categorical("kernel", [1, 3, 5])
    layers = [nn.Conv2d(1, width, kernel, padding=kernel // 2), nn.BatchNorm2d(width)]
    for _ in range(choose.integer("depth", 1, 3)):
        layers += [nn.Conv2d(width, width, kernel, padding=kernel // 2)]
        layers += [nn.ReLU() if choose.categorical("activation", ["relu", "gelu"]) == "relu" else nn.GELU()]
    layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    if choose.boolean("deep"):
        hidden = choose.integer("hidden", 2, 4)
        layers += [nn.Linear(width, hidden), nn.ReLU()]
        width = hidden
    return nn.Sequential(*layers, nn.Linear(width, 10))


def sometimes(choose):
    kernel = choose.categorical("kernel", [1, 3, 9])
    if kernel == 9:
        raise RuntimeError("no such kernel")
    return nn.Conv2d(1, choose.integer("width", 1, 4), kernel)


@pytest.fixture(autouse=True)
def forgotten():
    yield
    for registry in (SPACES, NETWORKS):
        registry.pop("mine", None)


@pytest.fixture(scope="module")
def space():
    return archflow.space_from(build, IMAGE, name="mine")


def test_the_decisions_are_learned(space):
    found = {decision.name: decision.options for decision in space.decisions}
    assert found == {
        **{"width": ("4", "5", "6", "7", "8"), "kernel": ("1", "3", "5"), "depth": ("1", "2", "3")},
        **{"activation": ("relu", "gelu"), "deep": ("False", "True"), "hidden": ("2", "3", "4")},
    }
    assert (space.conditional, space.size, space.failures) == (True, None, {})
    assert space.proxies == ("parameters", "flops", "width", "kernel", "depth", "deep", "hidden")
    assert {"conv1x1", "conv3x3", "conv5x5", "relu", "gelu", "globalpool", "linear", "other"} < {*space.vocabulary}


def test_architectures_are_their_choices(space):
    archs = space.sample(60, seed=1)
    choices = space.encode(archs)
    assert len({*space.keys(archs)}) == 60
    assert space.sample(60, seed=1) == archs
    assert space.decode(choices) == archs
    assert space.parse(space.format(archs)) == archs
    assert space.from_keys(space.keys(archs)) == archs
    names, edges = space.parse(["width=7,kernel=3,depth=1,activation=gelu,deep=False"]).graph(0)
    chosen = [
        f"input/{part}" for part in ("width=7", "kernel=3", "depth=1", "activation=gelu", "deep=False", "hidden=-")
    ]
    assert names == [*chosen, "input", "conv3x3", "conv3x3", "gelu", "globalpool", "linear", "output"]
    assert edges == [(place, place + 1) for place in range(12)]


def test_mutants_differ_in_one_decision(space):
    archs = space.sample(60)
    mutants = space.mutate(archs, seed=3)
    assert mutants == space.mutate(archs, seed=3)
    before, after = (
        [dict(part.split("=") for part in text.split(",")) for text in space.format(x)] for x in (archs, mutants)
    )
    for one, other in zip(before, after, strict=True):
        differing = [name for name in one.keys() | other.keys() if one.get(name) != other.get(name)]
        assert len(differing) == 1 or sorted(differing) == ["deep", "hidden"]


def test_sizes_are_those_of_the_model(space):
    archs = space.sample(8, seed=2)
    for number in range(8):
        model = space.model(archs[[number]])
        assert space.parameters(archs)[number] == sum(each.numel() for each in model.parameters())
        assert model(torch.zeros(2, 1, 8, 8)).shape == (2, 10)
        assert archflow.ArchBatch.from_modules([model], IMAGE).graph(0)[0] == archs.graph(number)[0][6:]
    small = space.parse(["width=4,kernel=1,depth=1,activation=relu,deep=False"])
    assert space.flops(small).tolist() == [64 * 4 + 64 * 16 + 40]
    assert space.proxy("hidden", small).tolist() == [0]
    assert space.proxy("width", small).tolist() == [4]


def test_a_width_that_changes_no_graph_reaches_the_ranker(space, tmp_path):
    archs = space.sample(80, seed=5)
    width = space.proxy("width", archs)
    ranker = archflow.Ranker(None, space=space).fit(archs[:30], width[:30])
    assert ranker.score(archs[30:], width[30:]) > 0.8
    SPACES.register("mine", lambda: space)
    ranker.save(tmp_path / "ranker.archflow")
    again = archflow.Ranker.load(tmp_path / "ranker.archflow")
    assert np.array_equal(again.predict(archs), ranker.predict(archs))
    assert len({*space.keys(archs[ranker.suggest(archs, 5)])} - {*space.keys(archs[:30])}) == 5


def test_proxies_are_measured_on_the_models():
    space = archflow.space_from(build, IMAGE, name="mine")
    archs = space.sample(2)
    found = archflow.proxies("mine", archs, ["params", "nwot", "zen"], batch_size=4, processes=1)
    assert found["params"].tolist() == space.parameters(archs).tolist()
    assert not np.isnan(found["nwot"]).any()


def test_failing_models_are_counted_shown_and_left_out(caplog):
    with caplog.at_level(logging.WARNING, "archflow"):
        space = archflow.space_from(sometimes, IMAGE, name="mine")
    assert "mine: " in caplog.text
    assert (
        "models could not be built and are left out; the first: kernel=9: RuntimeError: no such kernel" in caplog.text
    )
    assert space.size is None
    assert [*space.failures] == ["kernel=9"]
    archs = space.sample(8)
    assert sorted(space.format(archs)) == [
        f"kernel={kernel},width={width}" for kernel in (1, 3) for width in range(1, 5)
    ]
    assert not any("kernel=9" in text for text in space.format(space.mutate(archs)))
    with pytest.raises(ValueError, match=r"cannot draw 9 different models of mine: after 8 .*1 could not be built"):
        space.sample(9)
    with pytest.raises(ValueError, match="architecture 0 of mine cannot be built: kernel=9"):
        space.decode(np.array([[2, 0]]))


class Counting:
    """A function that asks for another choice each time."""

    def __init__(self):
        self.calls = 0

    def __call__(self, choose):
        self.calls += 1
        return nn.Conv2d(1, choose.integer(f"width{self.calls}", 1, 2), 1)


def asking(ask):
    def function(choose):
        ask(choose)
        return nn.Conv2d(1, 1, 1)

    return function


class OnValues(nn.Module):
    def forward(self, x):
        return x.item()


def cuda(choose):
    choose.boolean("any")
    raise RuntimeError("no CUDA device is there")


def returning(value):
    def function(choose):
        choose.boolean("any")
        return value

    return function


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (Counting(), "asks for other choices when it is called with the same answers again"),
        (asking(lambda choose: None), "asks for no choice"),
        (asking(lambda choose: choose.categorical("layer", [nn.ReLU, nn.GELU])), "'layer' has an option of type type"),
        (asking(lambda choose: choose.categorical("layer", [])), "'layer' has no options, or one of them twice"),
        (asking(lambda choose: choose.categorical("layer", ["a,b"])), "the option 'a,b' of 'layer' is empty, long"),
        (asking(lambda choose: choose.integer("layer", 1, 2.5)), "are not whole numbers"),
        (asking(lambda choose: choose.integer("layer", 1, 10**9)), "'layer' has more than 1,000 options"),
        (asking(lambda choose: choose.boolean("flops")), "no choice can be called 'flops'"),
        (
            asking(lambda choose: [choose.integer("a", 1, high) for high in (2, 3)]),
            "'a' is asked for with other options",
        ),
        (
            asking(lambda choose: choose.integer("a", 1, choose.integer("b", 2, 3))),
            "'a' is asked for with other options",
        ),
        (returning(3), r"20 of 20 models cannot be built; .* returns no torch.nn.Module, but int"),
        (returning(OnValues()), "depends on the values of a tensor .*return x.item"),
        (returning(nn.Linear(3, 3)), "the model cannot be run without values"),
        (cuda, "move none to a GPU"),
    ],
)
def test_a_function_that_makes_no_space_is_one_line(function, message):
    with pytest.raises(ValueError, match=message) as caught:
        archflow.space_from(function, IMAGE, name="mine")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("string", "message"),
    [
        ("width=4", "line 1: activation is missing"),
        (
            "width=4,kernel=1,depth=1,activation=relu,deep=False,hidden=2",
            "hidden is not asked for after the other choices",
        ),
        ("width=9,kernel=1,depth=1,activation=relu,deep=False", "width cannot be '9'"),
        ("width=4,width=4", "'width' is chosen twice"),
        ("colour=red", "'colour' is no decision"),
        ("", "'' is no decision"),
    ],
)
def test_malformed_choices_are_one_line(space, string, message):
    with pytest.raises(ValueError, match=message):
        space.parse([string])


def test_architectures_of_elsewhere_are_refused(space):
    with pytest.raises(ValueError, match="another space"):
        space.encode(archflow.space("nasbench201").sample(1))
    names, _ = space.sample(1).graph(0)
    other = archflow.ArchBatch.from_graphs([(names[::-1], [])], space.vocabulary)
    with pytest.raises(ValueError, match="architecture 0 is not of mine: it does not begin with its 6 choices"):
        space.keys(other)
    with pytest.raises(ValueError, match="archflow already has a space 'darts'"):
        archflow.space_from(build, IMAGE, name="darts")
