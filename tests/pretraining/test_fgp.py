import numpy as np
import pytest
import torch

from archflow import FGP, FlowDraw, ZeroCost, flow_surrogate
from tests.pretraining import ARCHS, DRAW, PROXIES, PROXY, SPACE, VARIANTS, assert_equal, new, run, weights_of
from tests.pretraining.test_every_task import make


@pytest.fixture(scope="module")
def weights():
    run(model := new(), FGP(DRAW, PROXY))
    return weights_of(model)


@pytest.mark.parametrize("variant", [name for name, task in VARIANTS.items() if isinstance(task, FGP | ZeroCost)])
def test_each_term_falls(variant):
    outcome = run(new(), VARIANTS[variant], epochs=25, lr=5e-3)
    for losses in outcome.losses.values():
        assert losses[-1] < 0.8 * losses[0]


# Reconstruction


@pytest.mark.parametrize(
    ("settings", "left"),
    [
        ({}, ["proxies", "reconstruction"]),
        ({"lambda1": 0}, ["proxies"]),
        ({"lambda2": 0}, ["reconstruction"]),
        ({"proxy": None}, ["reconstruction"]),
        ({"lambda2": 0, "proxy": None}, ["reconstruction"]),
    ],
    ids=str,
)
def test_either_term_can_be_off(settings, left):
    outcome = run(new(), FGP(**{"draw": DRAW, "proxy": PROXY, **settings}), epochs=1)
    assert outcome.losses.keys() == set(left)
    assert all(np.isfinite(losses[0]) for losses in outcome.losses.values())


def test_nothing_to_learn():
    for passes, rounds in (("forward", 2), ("backward", 3)):
        with pytest.raises(ValueError, match=f"with both passes, not {rounds} with passes '{passes}'"):
            FGP(DRAW, passes=passes, rounds=rounds).build(new(), ARCHS)
    with pytest.raises(ValueError, match="nothing to learn"):
        FGP(DRAW, PROXY, lambda1=0, lambda2=0)
    with pytest.raises(ValueError, match="nothing to learn"):
        FGP(DRAW, lambda1=0)
    with pytest.raises(ValueError, match="FGP needs at least one draw"):
        FGP([], PROXY)
    with pytest.raises(ValueError, match="the draw has 5 operations, the architectures' vocabulary 7"):
        FGP([DRAW, FlowDraw.sample(5)]).build(new(), ARCHS)


def test_surrogates_that_are_too_large(monkeypatch):
    monkeypatch.setattr("archflow.pretraining.fgp._MAX_BYTES", 50 * 4 * 13)
    FGP([DRAW, FlowDraw.sample(7, k=6)]).build(new(), ARCHS)
    with pytest.raises(ValueError, match="GiB of memory; use fewer draws or a smaller k"):
        FGP([DRAW, DRAW]).build(new(), ARCHS)


def test_the_weights_of_the_terms_scale_the_loss():
    once, twice = (run(new(), FGP(DRAW, lambda1=weight), lr=1e-12, epochs=1) for weight in (0.5, 1.0))
    assert twice.losses["reconstruction"][0] == pytest.approx(2 * once.losses["reconstruction"][0], rel=1e-4)


def test_the_standardised_surrogate_of_an_untrained_decoder_loses_about_one_for_each_coordinate():
    draw = FlowDraw.sample(len(SPACE.vocabulary), k=5)
    varying = int((flow_surrogate(ARCHS, draw).std(0) > 1e-6).sum())
    outcome = run(new(), FGP(draw, lambda1=1.0), lr=1e-12, epochs=1)
    assert outcome.losses["reconstruction"][0] == pytest.approx(varying / 5, rel=0.25)
    plain = run(new(), FGP(draw, lambda1=1.0, standardise=False), epochs=60, lr=1e-2)
    assert plain.losses["reconstruction"][-1] < 0.05 * varying / 5


@pytest.mark.parametrize("standardise", [True, False])
def test_surrogates_of_several_draws_are_concatenated(standardise):
    draws = [DRAW, FlowDraw.sample(7, k=3, seed=1), FlowDraw.sample(7, k=2, std=1.0, seed=2)]
    objective = FGP(draws, standardise=standardise).build(new(), ARCHS)
    each = [FGP(draw, standardise=standardise).build(new(), ARCHS).surrogate for draw in draws]
    torch.testing.assert_close(objective.surrogate, torch.cat(each, 1))
    described = FGP(draws).describe()
    assert (described["k"], described["draws"]) == (12, 3)


def test_a_list_of_one_draw_is_that_draw(weights):
    run(several := new(), FGP([DRAW], PROXY))
    assert_equal(several, weights)


@pytest.mark.parametrize(
    "variant", [name for name, task in VARIANTS.items() if isinstance(task, FGP) and name != "fgp"]
)
def test_variants_of_the_surrogate_give_different_targets(variant):
    surrogate = VARIANTS[variant].build(new(), ARCHS).surrogate
    plain = FGP(DRAW).build(new(), ARCHS).surrogate
    assert surrogate.shape != plain.shape or not torch.allclose(surrogate, plain, atol=1e-3)


# Proxies


def test_the_order_of_a_proxy_matters_and_not_its_scale(weights):
    run(model := new(), FGP(DRAW, np.log(PROXY) * 1e9))
    assert_equal(model, weights)
    run(model := new(), FGP(DRAW, -PROXY))
    assert not torch.equal(model.embed.weight, weights["embed.weight"])


def test_several_proxies(weights):
    run(model := new(), FGP(DRAW, PROXY[:, None]))
    assert_equal(model, weights)
    outcome = run(model := new(), FGP(DRAW, PROXIES), epochs=10, lr=5e-3)
    assert outcome.losses["proxies"][-1] < 0.8 * outcome.losses["proxies"][0]
    assert outcome.settings["proxies"] == 2
    assert not torch.equal(model.embed.weight, weights["embed.weight"])


def test_a_proxy_may_be_unknown_for_some_architectures():
    proxy = PROXY.astype(float)
    proxy[::3] = np.nan
    outcome = run(new(), FGP(DRAW, proxy), epochs=2)
    assert np.isfinite(outcome.losses["proxies"]).all()
    assert outcome.losses["proxies"][0] > 0


def plain_ranking_loss(scores, proxy, margin):
    """Pair by pair."""
    short = [
        max(0.0, margin - (scores[i] - scores[j]))
        for i in range(len(proxy))
        for j in range(len(proxy))
        if proxy[i] > proxy[j]
    ]
    return sum(short) / len(short)


@pytest.mark.parametrize("margin", [0.1, 1.0])
def test_the_ranking_loss_is_that_of_all_pairs(margin):
    objective = ZeroCost(PROXY, margin=margin).build(new(), ARCHS)
    chosen = np.array([3, 40, 11, 7, 7, 29, 0])
    with torch.no_grad():
        found = objective(chosen)
        scores = objective.proxy_loss.head(objective.encoder(ARCHS[chosen]))[:, 0].tolist()
    assert found.keys() == {"proxies"}
    assert float(found["proxies"]) == pytest.approx(plain_ranking_loss(scores, PROXY[chosen], margin), rel=1e-5)


@pytest.mark.parametrize("settings", [{}, {"proxy_loss": "regression"}, {"margin": 0.3, "proxy_width": 8}], ids=str)
def test_zero_cost_is_fgp_without_the_reconstruction(settings):
    alone, fgp = new(), new()
    outcome = run(alone, ZeroCost(PROXY, **settings))
    expected = run(fgp, FGP(DRAW, PROXY, lambda1=0, lambda2=1.0, **settings))
    assert outcome.losses == expected.losses
    assert_equal(alone, weights_of(fgp))


# Made for a space: see also test_every_task.py


def test_draws_belong_to_the_seed_and_the_space():
    task = make("fgp", seed=3)
    (draw,) = task.draws
    expected = FlowDraw.sample(7, 7, 0.1, 3)
    assert torch.equal(draw.P, expected.P)
    assert torch.equal(draw.W, expected.W)
    described = task.describe()
    assert [described[name] for name in ("k", "std", "draws", "draw_seed", "proxies")] == [7, 0.1, 1, 3, 2]
    several = make("fgp", draws=3, draw_seed=50, k=4, std=0.5)
    assert [draw.r.tolist() for draw in several.draws] == [
        FlowDraw.sample(7, 4, 0.5, seed).r.tolist() for seed in (50, 51, 52)
    ]
    described = several.describe()
    assert [described[name] for name in ("k", "std", "draws", "draw_seed")] == [12, 0.5, 3, 50]


def test_without_proxies():
    assert make("fgp", proxies=None).proxy is None
    with pytest.raises(ValueError, match=r"^the task zero-cost learns from proxies, but there are none; name some$"):
        make("zero-cost", proxies=None)
