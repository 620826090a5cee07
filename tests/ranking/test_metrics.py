import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from archflow.ranking.metrics import kendall_tau, precision_at, scores_of, spread_of

FEW_VALUES = st.sampled_from([-3.0, 0.0, 0.5, 1.0, 2.0, 90.1, 1e6])
PAIRED = st.lists(st.tuples(FEW_VALUES, FEW_VALUES), min_size=2, max_size=40).map(lambda rows: np.array(rows).T)


def plain_tau(a, b):
    """Kendall's τ-b, pair by pair."""
    concordant = discordant = tied_a = tied_b = pairs = 0
    for i, j in itertools.combinations(range(len(a)), 2):
        pairs += 1
        sign = np.sign(a[i] - a[j]) * np.sign(b[i] - b[j])
        concordant += sign > 0
        discordant += sign < 0
        tied_a += a[i] == a[j]
        tied_b += b[i] == b[j]
    if tied_a == pairs or tied_b == pairs:
        return math.nan
    return (concordant - discordant) / math.sqrt((pairs - tied_a) * (pairs - tied_b))


# Kendall's τ


@given(PAIRED)
def test_tau_equals_counting_pairs(values):
    assert kendall_tau(*values) == pytest.approx(plain_tau(*values), abs=1e-12, nan_ok=True)


def test_tau_of_many_different_values():
    rng = np.random.default_rng(0)
    truth = rng.random(300)
    score = truth + rng.normal(0, 0.3, 300)
    assert kendall_tau(truth, score) == pytest.approx(plain_tau(truth, score), abs=1e-12)
    assert kendall_tau(truth, np.exp(truth)) == 1
    assert kendall_tau(truth, -truth) == -1


def test_tau_of_a_constant_is_nan():
    assert math.isnan(kendall_tau(np.arange(3), np.ones(3)))
    assert isinstance(kendall_tau([1, 2, 3], [2, 1, 3]), float)


# Precision


@given(PAIRED, st.sampled_from([0.5, 1, 5, 12.5, 33, 50, 99.9, 100]))
def test_precision_equals_comparing_sets(values, percent):
    truth, score = values
    count = max(1, round(len(truth) * percent / 100))
    best = [set(sorted(range(len(of)), key=lambda index, of=of: (-of[index], index))[:count]) for of in values]
    assert precision_at(truth, score, percent) == len(best[0] & best[1]) / count


@pytest.mark.parametrize(("percent", "expected"), [(1, 0.9), (5, 0.98), (100, 1.0)])
def test_precision_of_a_thousand(percent, expected):
    truth = np.arange(1_000.0)
    score = truth.copy()
    score[[0, 995]] = score[[995, 0]]
    assert precision_at(truth, score, percent) == pytest.approx(expected)


def test_precision_needs_at_least_one_architecture():
    assert precision_at([1, 2, 3], [1, 2, 3], 1) == 1
    assert precision_at([1, 2, 3], [1, 3, 2], 1) == 0


@pytest.mark.parametrize("percent", [0, -1, 100.5, math.nan])
def test_a_percentage_out_of_range(percent):
    with pytest.raises(ValueError, match="percent must be above 0 and at most 100"):
        precision_at([1, 2], [1, 2], percent)


@pytest.mark.parametrize("measure", [kendall_tau, lambda a, b: precision_at(a, b, 5)], ids=["tau", "precision"])
@pytest.mark.parametrize(
    ("accuracy", "score", "reason"),
    [
        ([1, 2, 3], [1, 2], r"lists of one length, not \(3,\) and \(2,\)"),
        ([[1, 2]], [[1, 2]], "lists of one length"),
        (1, 2, "lists of one length"),
        ([1], [1], "at least two"),
        ([], [], "at least two"),
        ([1, math.nan, 2], [1, 2, 3], "must not contain NaN"),
        ([1, 2, 3], [1, 2, math.nan], "must not contain NaN"),
    ],
)
def test_what_cannot_be_ranked(measure, accuracy, score, reason):
    with pytest.raises(ValueError, match=reason):
        measure(accuracy, score)


def test_the_spread_is_that_of_resampled_architectures():
    rng = np.random.default_rng(3)
    accuracy = rng.normal(size=200)
    score = accuracy + rng.normal(size=200)
    spread = spread_of(accuracy, score, resamples=400, seed=1)
    fresh = []
    for _ in range(400):  # what it estimates: the deviation between independent samples of 200
        again = rng.normal(size=200)
        fresh.append(scores_of(again, again + rng.normal(size=200)).tau)
    assert spread.tau == pytest.approx(np.std(fresh), rel=0.35)
    assert spread == spread_of(accuracy, score, resamples=400, seed=1)
    assert spread_of(accuracy, accuracy).tau == pytest.approx(0, abs=1e-9)
    with pytest.raises(ValueError, match="resamples must be 2 or more, not 1"):
        spread_of(accuracy, score, resamples=1)
