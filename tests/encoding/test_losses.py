import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from archflow.encoding.losses import pairwise_margin_loss

FEW_VALUES = st.sampled_from([-3.0, 0.0, 0.5, 1.0, 2.0, 90.1, 1e6])
PAIRED = st.lists(st.tuples(FEW_VALUES, FEW_VALUES), min_size=2, max_size=40).map(lambda rows: np.array(rows).T)


def plain_loss(score, target, margin):
    terms = [
        max(0.0, margin - (score[i] - score[j]))
        for i in range(len(score))
        for j in range(len(score))
        if target[i] > target[j]
    ]
    return sum(terms) / len(terms) if terms else 0.0


@given(PAIRED, st.sampled_from([0.0, 0.1, 1.0, 5.0]))
def test_loss_equals_a_double_loop(values, margin):
    score, target = torch.from_numpy(values.copy())
    found = pairwise_margin_loss(score, target, margin)
    assert found.shape == ()
    rounding = 1e-15 * float(score.abs().max())  # of the difference of scores that are large relative to the margin
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


def test_unknown_targets_are_in_no_pair():
    score = torch.tensor([3.0, 0.5, 0.2, 9.0])
    target = torch.tensor([math.nan, 1.0, 2.0, math.nan])
    assert float(pairwise_margin_loss(score, target)) == pytest.approx(0.4)


# Every pair has a different loss, so that a sum identifies its pairs
SCORE, TARGET = torch.tensor([0.0, -1, -4, -13], dtype=torch.float64), torch.tensor([0, 1, 2, 3])


@pytest.mark.parametrize("max_pairs", [1, 2, 5])
def test_max_pairs_draws_that_many_different_pairs(max_pairs):
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
