"""What holds for every space of the registry alike, over the public face."""

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import given, settings

import archflow
from archflow.benchmarks.registry import Space

from ..references import flow_surrogate

SPACES = [archflow.space(name) for name in archflow.spaces()]
EVERY = pytest.mark.parametrize("space", SPACES, ids=lambda space: space.name)
SIZES = {
    "nasbench101": 423_624,
    "nasbench201": 15_625,
    "transnas101-micro": 4_096,
    "transnas101-macro": 3_256,
    "nasbench-macro": 6_561,
    "nasbench-graph": 26_206,
    "nasbench-graph-proteins": 2_021,
    "nasbench-asr": 8_242,
    "darts": 1_076_746_950_455_072_400,
    "nasbench-nlp": None,
}
LISTED = [space for space in SPACES if space.size and space.size < 1e9]


def test_the_names_are_those_of_the_spaces():
    assert {space.name: space.size for space in SPACES} == SIZES
    assert [space.name for space in SPACES] == archflow.spaces()


def test_a_space_of_archflows_own_is_not_replaced():
    with pytest.raises(ValueError, match=r"^archflow has a space 'darts' of its own; call yours otherwise$"):
        archflow.register_space("darts", lambda: archflow.space("nasbench201"))
    assert archflow.space("darts").name == "darts"


@pytest.mark.parametrize("space", LISTED, ids=lambda space: space.name)
def test_enumerate_lists_every_network_once(space):
    archs = space.enumerate()
    assert len(archs) == space.size == len(np.unique(space.keys(archs)))
    assert archs.vocabulary == space.vocabulary
    assert archs == space.enumerate()


@pytest.mark.parametrize("space", [space for space in SPACES if space not in LISTED], ids=lambda space: space.name)
def test_what_cannot_be_listed_says_so(space):
    with pytest.raises(ValueError, match=rf"{space.name}.*sample"):
        space.enumerate()


@EVERY
@settings(max_examples=5, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_samples(space, seed):
    archs = space.sample(40, seed)
    assert len(np.unique(space.keys(archs))) == len(archs) == 40
    assert archs == space.sample(40, seed)
    assert archs != space.sample(40, seed + 1)
    again = space.parse(space.format(archs))
    assert np.array_equal(space.keys(again), space.keys(archs))
    assert space.format(again) == space.format(archs)
    chosen = np.random.default_rng(seed).permutation(40)[:7]
    assert np.array_equal(space.keys(archs[chosen]), space.keys(archs)[chosen])
    for name in space.proxies:
        values = space.proxy(name, archs)
        assert values.shape == (40,)
        assert np.isfinite(values).all()
        assert np.array_equal(space.proxy(name, archs[chosen]), values[chosen])


@EVERY
@settings(max_examples=5, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_mutants(space, seed):
    archs = space.sample(40, seed)
    mutants = space.mutate(archs, seed)
    assert len(mutants) == 40
    assert (space.keys(mutants) != space.keys(archs)).all()
    assert mutants == space.mutate(archs, seed)
    assert np.array_equal(space.keys(space.parse(space.format(mutants))), space.keys(mutants))


@EVERY
def test_a_sample_must_be_of_something(space):
    for n in (0, -1):
        with pytest.raises(ValueError, match=f"cannot draw {n} different architectures"):
            space.sample(n)


@EVERY
def test_an_unknown_proxy(space):
    with pytest.raises(ValueError, match="luck"):
        space.proxy("luck", space.sample(3))


@EVERY
def test_architectures_of_another_space(space: Space):
    other = archflow.space("nasbench201" if space.name != "nasbench201" else "nasbench-graph").sample(3)
    with pytest.raises(ValueError, match=f"of another space than {space.name}"):
        space.keys(other)


@EVERY
def test_the_surrogate_is_that_of_the_equations(space):
    archs = space.sample(25, seed=3)
    k, std = space.flow_defaults
    draw = archflow.FlowDraw.sample(len(space.vocabulary), k, std, seed=1, dtype=torch.float64)
    graphs = [archs.graph(index) for index in range(len(archs))]
    expected = flow_surrogate(graphs, list(space.vocabulary), draw.r, draw.P, draw.W)
    torch.testing.assert_close(archflow.flow_surrogate(archs, draw), expected)


@EVERY
def test_pre_training_fine_tuning_and_ranking_run_unchanged(space):
    archs = space.sample(60, seed=1)
    proxy = np.stack([space.proxy(name, archs) for name in space.proxies], axis=1) if space.proxies else None
    encoder = archflow.encoder("resgatedgcn", space.vocabulary, hidden=16, layers=2)
    draw = archflow.FlowDraw.sample(len(space.vocabulary), *space.flow_defaults)
    losses = archflow.pretrain(encoder, archs, archflow.FGP(draw, proxy=proxy), epochs=6, device="cpu").losses
    assert losses["reconstruction"][-1] < losses["reconstruction"][0]
    accuracy = np.random.default_rng(0).normal(size=20)
    scores = archflow.Ranker(encoder, epochs=3, device="cpu").fit(archs[:20], accuracy).predict(archs)
    assert scores.shape == (60,)
    assert len(np.unique(scores)) > 10
