import numpy as np
import pytest
import torch
from archflow.pretraining.zero_cost import ZeroCost

from archflow import FGP, FlowDraw
from tests.pretraining import assert_checkpoint_is_of_another_run, assert_learns, assert_resumes
from tests.pretraining.test_loop import ARCHS, PROXY, SPACE, assert_equal, new, run, weights_of


def plain_ranking_loss(scores, proxy, margin):
    """Pair after pair."""
    short = [
        max(0.0, margin - (scores[i] - scores[j]))
        for i in range(len(proxy))
        for j in range(len(proxy))
        if proxy[i] > proxy[j]
    ]
    return sum(short) / len(short)


@pytest.mark.parametrize("margin", [0.1, 1.0])
def test_the_loss_is_that_of_all_pairs(margin):
    objective = ZeroCost(PROXY, margin=margin).build(new(), ARCHS)
    chosen = np.array([3, 40, 11, 7, 7, 29, 0])
    with torch.no_grad():
        found = objective(chosen)
        scores = objective.proxy_loss.head(objective.encoder(ARCHS[chosen]))[:, 0].tolist()
    assert found.keys() == {"proxies"}
    assert float(found["proxies"]) == pytest.approx(plain_ranking_loss(scores, PROXY[chosen], margin), rel=1e-5)


@pytest.mark.parametrize("settings", [{}, {"proxy_loss": "regression"}, {"margin": 0.3, "proxy_width": 8}], ids=str)
def test_it_is_fgp_without_the_reconstruction(settings):
    alone, fgp = new(), new()
    outcome = run(alone, ZeroCost(PROXY, **settings))
    expected = run(fgp, FGP(FlowDraw.sample(7), PROXY, lambda1=0, lambda2=1.0, **settings))
    assert outcome.losses == expected.losses
    assert_equal(alone, weights_of(fgp))


def test_it_learns():
    outcome = assert_learns(ZeroCost(PROXY), share=0.8)
    assert outcome.settings["task"] == "zero-cost"
    assert outcome.settings["proxies"] == 1


def test_several_proxies():
    both = np.stack([PROXY, -SPACE.flops(ARCHS).astype(float)], axis=1)
    both[::3, 1] = np.nan
    assert assert_learns(ZeroCost(both, proxy_loss="regression")).settings["proxies"] == 2


def test_it_resumes(tmp_path):
    assert_resumes(ZeroCost(PROXY), tmp_path)


def test_a_checkpoint_of_other_settings(tmp_path):
    others = {
        "margin was 1.0, is 0.1": ZeroCost(PROXY, margin=0.1),
        "proxy_loss": ZeroCost(PROXY, "regression"),
        "proxy_width": ZeroCost(PROXY, proxy_width=8),
        "data": ZeroCost(-PROXY),
        "task": FGP(FlowDraw.sample(7), PROXY),
    }
    assert_checkpoint_is_of_another_run(ZeroCost(PROXY), others, tmp_path)


@pytest.mark.parametrize(
    ("task", "reason"),
    [
        (ZeroCost(PROXY[:-1]), r"the proxy has shape \(49,\), but there are 50 architectures"),
        (ZeroCost(np.ones(50)), "no two different values"),
        (ZeroCost(np.full(50, np.nan)), "no two different values"),
        (ZeroCost(PROXY, "guessing"), "unknown proxy_loss 'guessing'; known: ranking, regression"),
    ],
    ids=["short", "constant", "unknown", "loss"],
)
def test_settings_that_make_no_sense(task, reason):
    with pytest.raises(ValueError, match=reason):
        run(new(), task)
