import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from archflow.encoding.losses import pairwise_margin_loss
from archflow.ranking.metrics import kendall_tau, precision_at

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


def plain_loss(score, target, margin):
    terms = [
        max(0.0, margin - (score[i] - score[j]))
        for i in range(len(score))
        for j in range(len(score))
        if target[i] > target[j]
    ]
    return sum(terms) / len(terms) if terms else 0.0


# Kendall's τ


@settings(deadline=None)
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


@settings(deadline=None)
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


# The loss


@settings(deadline=None)
@given(PAIRED, st.sampled_from([0.0, 0.1, 1.0, 5.0]))
def test_loss_equals_a_double_loop(values, margin):
    score, target = torch.from_numpy(values.copy())
    found = pairwise_margin_loss(score, target, margin)
    assert found.shape == ()
    rounding = 1e-15 * float(score.abs().max())  # of a difference of large scores, in which the margin is small
    expected = plain_loss(score.tolist(), target.tolist(), margin)
    assert float(found) == pytest.approx(expected, rel=1e-12, abs=1e-12 + rounding)


def test_default_margin():
    score, target = torch.tensor([0.0, 0.04]), torch.tensor([1, 2])
    assert float(pairwise_margin_loss(score, target)) == pytest.approx(0.06)
    assert float(pairwise_margin_loss(-score, target)) == pytest.approx(0.14)


def test_gradient_equals_a_double_loops():
    generator = torch.Generator().manual_seed(0)
    score = torch.randn(12, generator=generator, dtype=torch.float64).requires_grad_()
    target = torch.randint(5, (12,), generator=generator)
    pairs = [(i, j) for i in range(12) for j in range(12) if target[i] > target[j]]
    expected = torch.zeros(12, dtype=torch.float64)
    for i, j in pairs:
        if 0.3 - (score[i] - score[j]) > 0:
            expected[i] -= 1 / len(pairs)
            expected[j] += 1 / len(pairs)
    pairwise_margin_loss(score, target, 0.3).backward()
    torch.testing.assert_close(score.grad, expected)
    assert torch.autograd.gradcheck(lambda values: pairwise_margin_loss(values, target, 0.3), score)


@pytest.mark.parametrize("target", [[1.0, 1.0, 1.0], [math.nan] * 3])
@pytest.mark.parametrize("max_pairs", [None, 2])
def test_without_pairs_the_loss_and_its_gradient_are_zero(target, max_pairs):
    score = torch.zeros(3, requires_grad=True)
    loss = pairwise_margin_loss(score, torch.tensor(target), max_pairs=max_pairs)
    loss.backward()
    assert loss == 0
    assert score.grad.tolist() == [0, 0, 0]


def test_unknown_targets_take_part_in_no_pair():
    score = torch.tensor([3.0, 0.5, 0.2, 9.0])
    target = torch.tensor([math.nan, 1.0, 2.0, math.nan])
    assert float(pairwise_margin_loss(score, target)) == pytest.approx(0.4)


# Every pair loses a different amount, so that a sum tells which pairs it may hold
SCORE, TARGET = torch.tensor([0.0, -1, -4, -13], dtype=torch.float64), torch.tensor([0, 1, 2, 3])


@pytest.mark.parametrize("max_pairs", [1, 2, 5])
def test_max_pairs_draws_so_many_different_pairs(max_pairs):
    losses = [float(SCORE[j] - SCORE[i]) for i, j in itertools.permutations(range(4), 2) if TARGET[i] > TARGET[j]]
    assert len(set(losses)) == 6
    possible = {sum(chosen) for chosen in itertools.combinations(losses, max_pairs)}
    generator, seen = torch.Generator().manual_seed(0), set()
    for _ in range(300):
        seen.add(round(float(pairwise_margin_loss(SCORE, TARGET, 0.0, max_pairs, generator)) * max_pairs, 6))
    assert seen == possible


@pytest.mark.parametrize("max_pairs", [6, 7, 1_000])
def test_max_pairs_that_are_not_reached_change_nothing(max_pairs):
    generator = torch.Generator().manual_seed(0)
    state = generator.get_state()
    assert pairwise_margin_loss(SCORE, TARGET, 0.1, max_pairs, generator) == pairwise_margin_loss(SCORE, TARGET, 0.1)
    assert torch.equal(generator.get_state(), state)


def test_the_generator_fixes_the_pairs():
    score, target = torch.randn(30, generator=torch.Generator().manual_seed(1)), torch.arange(30)
    first, again, other = (
        float(pairwise_margin_loss(score, target, 0.1, 20, torch.Generator().manual_seed(seed))) for seed in (3, 3, 4)
    )
    assert first == again
    assert first != other
