import warnings
from dataclasses import asdict

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import multivariate_normal, norm
from torch import Tensor

from archflow.benchmarks.tables import table as make_table
from archflow.paths import path_features
from archflow.ranking import gp
from archflow.ranking.columns import Scaling, normal_scores
from archflow.ranking.gp import GaussianProcess, GPSettings, Hyperparameters, fitted, log_marginal_likelihood, log_prior
from archflow.ranking.metrics import kendall_tau
from archflow.support.files import load_tensors, save_tensors

pytestmark = pytest.mark.filterwarnings("error")
KERNELS = ("matern52", "rbf")


def blocks_and_labels(n=60, seed=0, noise=0.1):
    """Two blocks, of which the first says much about the labels."""
    rng = np.random.default_rng(seed)
    a, b = rng.normal(size=(n, 3)), rng.normal(size=(n, 5))
    return {"a": a, "b": b}, np.sin(a[:, 0]) + a[:, 1] + noise * rng.normal(size=n)


def part(blocks, rows):
    return {name: columns[rows] for name, columns in blocks.items()}


def plain_kernel(x, z, variance, length, kernel):
    """One pair of rows after the other."""
    found = np.empty((len(x), len(z)))
    for i, a in enumerate(x):
        for j, b in enumerate(z):
            r = np.sqrt(np.mean((a - b) ** 2)) / length
            if kernel == "rbf":
                found[i, j] = variance * np.exp(-(r**2) / 2)
            else:
                found[i, j] = variance * (1 + np.sqrt(5) * r + 5 / 3 * r**2) * np.exp(-np.sqrt(5) * r)
    return found


@pytest.fixture
def fixed(monkeypatch):
    """Hyperparameters that are not fitted."""
    theta = Hyperparameters(*(torch.tensor(values, dtype=torch.float64) for values in ([0.7, 0.2], [0.8, 2.5], 0.05)))
    monkeypatch.setattr(gp, "fitted", lambda *_: theta)
    return theta


# Exact


@pytest.mark.parametrize("kernel", KERNELS)
def test_equal_to_the_closed_form(fixed, kernel):
    blocks, labels = blocks_and_labels()
    known, asked = part(blocks, slice(40)), part(blocks, slice(40, None))
    process = GaussianProcess(GPSettings(kernel=kernel)).fit(known, labels[:40], blocks)
    mean, std = process.predict(asked)

    scaled = {name: Scaling.of(blocks[name], name)(blocks[name], name) for name in blocks}
    variances, lengths = {"a": 0.7, "b": 0.2}, {"a": 0.8, "b": 2.5}
    k = sum(plain_kernel(scaled[n], scaled[n], variances[n], lengths[n], kernel) for n in blocks)
    C, y = k[:40, :40] + 0.05 * np.eye(40), normal_scores(labels[:40])
    np.testing.assert_allclose(mean, k[40:, :40] @ np.linalg.solve(C, y), atol=1e-10)
    variance = np.diag(k[40:, 40:] - k[40:, :40] @ np.linalg.solve(C, k[:40, 40:]))
    np.testing.assert_allclose(std, np.sqrt(variance), atol=1e-10)
    np.testing.assert_allclose(process.predict(asked, with_noise=True)[1], np.sqrt(variance + 0.05), atol=1e-10)

    likelihood = log_marginal_likelihood(gp.distances(process.X, process.X), process._y, fixed, kernel)
    assert likelihood.item() == pytest.approx(multivariate_normal(np.zeros(40), C).logpdf(y), abs=1e-8)


def test_left_out_is_the_mean_of_the_process_without_a_label(fixed):
    blocks, labels = blocks_and_labels(20)
    process = GaussianProcess().fit(blocks, labels)
    X, y = process.X, normal_scores(labels)
    for i, mean in enumerate(process.left_out()):
        others = np.arange(len(y)) != i
        x, z = [each[others] for each in X], [each[[i]] for each in X]
        C = gp.covariance(gp.distances(x, x), process.theta, "matern52").numpy() + process.theta.noise.item() * np.eye(
            19
        )
        k = gp.covariance(gp.distances(z, x), process.theta, "matern52").numpy()[0]
        assert mean == pytest.approx(k @ np.linalg.solve(C, y[others]))


@pytest.mark.parametrize("kernel", KERNELS)
def test_the_gradient_is_that_of_the_likelihood(kernel):
    blocks, labels = blocks_and_labels(12)
    X = [torch.from_numpy(columns) for columns in blocks.values()]
    r, y = gp.distances(X, X), torch.from_numpy(normal_scores(labels))

    def likelihood(logarithms):
        return log_marginal_likelihood(r, y, gp._unflat(logarithms.exp()), kernel)

    assert torch.autograd.gradcheck(likelihood, torch.randn(5, dtype=torch.float64).requires_grad_())


@pytest.mark.parametrize("kernel", KERNELS)
def test_fitting_raises_the_posterior(kernel):
    blocks, labels = blocks_and_labels()
    X = [torch.from_numpy(columns) for columns in blocks.values()]
    r, y = gp.distances(X, X), torch.from_numpy(normal_scores(labels))

    def posterior(theta, settings):
        return (log_marginal_likelihood(r, y, theta, kernel) + log_prior(theta, settings)).item()

    found = []
    for steps in (0, 3, 150):
        settings = GPSettings(kernel=kernel, steps=steps)
        found.append(posterior(fitted(r, y, settings), settings))
    assert found == sorted(found)
    assert found[-1] > found[0] + 10
    best = fitted(r, y, settings)
    for number in range(5):  # no step from there is better
        for change in (0.9, 1.1):
            changed = gp._flat(best).clone()
            changed[number] *= change
            assert posterior(gp._unflat(changed), settings) < found[-1]


def test_it_listens_to_the_block_that_says_something():
    blocks, labels = blocks_and_labels()
    process = GaussianProcess().fit(blocks, labels)
    a, b = process.theta.variance.tolist()
    assert a > 5 * b


@pytest.mark.parametrize("kernel", KERNELS)
def test_intervals_hold_as_many_labels_as_they_say(kernel):
    """Labels drawn from the process itself, mean over 10 draws of 200 held out."""
    covered = []
    for seed in range(10):
        blocks, labels = blocks_and_labels(300, seed, noise=0.5)
        process = GaussianProcess(GPSettings(kernel=kernel)).fit(part(blocks, slice(100)), labels[:100], blocks)
        mean, std = process.predict(part(blocks, slice(100, None)), with_noise=True)
        for level in (0.5, 0.8, 0.95):
            half = norm.ppf((1 + level) / 2) * std
            low, high = process.to_labels(mean - half), process.to_labels(mean + half)
            covered.append(((low <= labels[100:]) & (labels[100:] <= high)).mean())
    np.testing.assert_allclose(np.reshape(covered, (10, 3)).mean(axis=0), [0.5, 0.8, 0.95], atol=0.07)


# Shapes, parts, files


def test_parts_change_nothing(monkeypatch):
    blocks, labels = blocks_and_labels(500)
    process = GaussianProcess().fit(part(blocks, slice(50)), labels[:50])
    whole = process.predict(blocks)
    monkeypatch.setattr("archflow.ranking.columns._AT_ONCE", 7)
    np.testing.assert_allclose(process.predict(blocks), whole, rtol=1e-9, atol=1e-12)
    single = {name: columns.astype(np.float32) for name, columns in blocks.items()}
    np.testing.assert_allclose(process.predict(single), whole, atol=1e-4)


def test_a_saved_state_predicts_the_same(tmp_path):
    blocks, labels = blocks_and_labels()
    process = GaussianProcess(GPSettings(kernel="rbf")).fit(blocks, labels)
    state = process.state()
    assert all(isinstance(tensor, Tensor) for tensor in state.values())
    save_tensors(tmp_path / "gp", "gp", state, asdict(process.settings))
    tensors, found = load_tensors(tmp_path / "gp", "gp")
    settings = GPSettings(**{name: tuple(v) if isinstance(v, list) else v for name, v in found.items()})
    loaded = GaussianProcess.from_state(tensors, settings)
    assert loaded.settings == process.settings
    np.testing.assert_array_equal(loaded.predict(blocks), process.predict(blocks))
    np.testing.assert_array_equal(loaded.to_labels([0.3]), process.to_labels([0.3]))


@pytest.mark.parametrize("lost", ["labels", "theta", "scores/a", "X/b"])
def test_a_state_that_lacks_something(lost):
    state = GaussianProcess().fit(*blocks_and_labels()).state()
    del state[lost]
    with pytest.raises(ValueError, match=f"lacks '{lost}'"):
        GaussianProcess.from_state(state, GPSettings())


def test_the_order_of_blocks_says_nothing():
    blocks, labels = blocks_and_labels()
    found = GaussianProcess().fit(blocks, labels).predict(blocks)
    turned = dict(reversed(blocks.items()))
    np.testing.assert_array_equal(GaussianProcess().fit(turned, labels).predict(turned), found)


@given(st.lists(st.floats(-5, 5), min_size=2, max_size=30).filter(lambda labels: len(set(labels)) > 1))
@settings(max_examples=30)
def test_scores_become_labels_again(labels):
    labels = np.array(labels)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        process = GaussianProcess(GPSettings(steps=0)).fit({"a": np.arange(len(labels))[:, None]}, labels)
    np.testing.assert_allclose(process.to_labels(normal_scores(labels)), labels)
    wide = process.to_labels(np.linspace(-9, 9, 1000))
    assert (np.diff(wide) >= 0).all()
    assert wide[0] < labels.min()
    assert labels.max() < wide[-1]


# Bad input


@pytest.mark.parametrize(
    ("labels", "reason"),
    [
        ([1.0], "at least two labels, not 1"),
        ([], "at least two labels, not 0"),
        ([2.0] * 20, "all labels are equal"),
        ([1.0, np.nan, 3.0], r"NaN or infinity \(the first at number 2\)"),
        ([1.0, 2.0, -np.inf], r"NaN or infinity \(the first at number 3\)"),
    ],
)
def test_labels_that_teach_nothing(labels, reason):
    blocks, _ = blocks_and_labels(len(labels))
    with pytest.raises(ValueError, match=reason):
        GaussianProcess().fit(blocks, labels)


def test_blocks_that_do_not_fit():
    blocks, labels = blocks_and_labels()
    with pytest.raises(ValueError, match=r"60 architectures, but the labels have shape \(59,\)"):
        GaussianProcess().fit(blocks, labels[1:])
    with pytest.raises(ValueError, match="same number of rows"):
        GaussianProcess().fit({**blocks, "c": np.ones((3, 1))}, labels)
    with pytest.raises(ValueError, match="no block"):
        GaussianProcess().fit({}, labels)
    with pytest.raises(ValueError, match="the reference has the blocks a, not a, b"):
        GaussianProcess().fit(blocks, labels, {"a": blocks["a"]})
    with pytest.raises(ValueError, match="the block 'a' must have 2 columns"):
        GaussianProcess().fit(blocks, labels, {**blocks, "a": blocks["a"][:, :2]})
    with pytest.raises(ValueError, match="the block 'a' must be a matrix"):
        GaussianProcess().fit({"a": labels}, labels)
    process = GaussianProcess().fit(blocks, labels)
    with pytest.raises(ValueError, match="the block 'b' is missing"):
        process.predict({"a": blocks["a"]})
    with pytest.raises(ValueError, match="the block 'b' must have 5 columns"):
        process.predict({"a": blocks["a"], "b": blocks["a"]})


def test_constant_columns_say_nothing():
    blocks, labels = blocks_and_labels()
    found = GaussianProcess().fit(blocks, labels).predict(blocks)
    more = {**blocks, "a": np.column_stack([np.full(60, 3.0), blocks["a"]]), "c": np.full((60, 2), np.nan)}
    with pytest.warns(UserWarning, match="2 columns of the block 'c' hold NaN"):
        process = GaussianProcess().fit(more, labels)
    np.testing.assert_array_equal(process.predict(more), found)
    with pytest.raises(ValueError, match="no column varies"):
        GaussianProcess().fit({"a": np.ones((60, 1))}, labels)


def test_what_is_not_finite_is_filled_and_said_once():
    blocks, labels = blocks_and_labels()
    blocks["a"][[3, 7, 11], [0, 1, 1]] = np.nan, np.inf, -np.inf
    with pytest.warns(UserWarning, match="2 columns of the block 'a' hold NaN or infinity") as caught:
        process = GaussianProcess().fit(blocks, labels)
    assert len(caught) == 1
    assert np.isfinite(process.predict(blocks)).all()
    scaled = Scaling.of(blocks["b"], "b")(np.array([[np.nan, np.inf, -np.inf, 0, 0]]), "b")[0]
    own = Scaling.of(blocks["b"], "b")(blocks["b"], "b")
    assert scaled[:3].tolist() == [0, own[:, 1].max(), own[:, 2].min()]


def test_one_architecture_with_different_labels():
    blocks, labels = blocks_and_labels()
    twice = {name: np.concatenate([columns, columns]) for name, columns in blocks.items()}
    mean, _ = GaussianProcess().fit(twice, np.concatenate([labels, labels + 0.2])).predict(blocks)
    assert np.corrcoef(mean, labels)[0, 1] > 0.9


def test_a_singular_kernel():
    ones = torch.ones(50, 50, dtype=torch.float64)
    L = gp.factor(ones)
    torch.testing.assert_close(L @ L.T, ones, atol=1e-6, rtol=0)
    same = {"a": np.repeat([[0.0], [1.0]], 30, axis=0)}
    process = GaussianProcess(GPSettings(noise=(1e-12, 1e-3))).fit(same, np.arange(60.0))
    assert np.isfinite(process.predict(same)).all()


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"kernel": "linear"}, "unknown kernel 'linear'; known: matern52, rbf"),
        ({"noise": (0.0, 1.0)}, "the prior of the noise"),
        ({"steps": -1}, "steps must be 0 or more"),
    ],
)
def test_settings_that_are_none(given, reason):
    with pytest.raises(ValueError, match=reason):
        GPSettings(**given)


# Columns


@given(st.lists(st.integers(-3, 3), min_size=2, max_size=50).filter(lambda values: len(set(values)) > 1))
def test_scores_are_standard_and_keep_the_order(values):
    column = np.array(values, float)[:, None]
    scores = Scaling.of(column, "a")(column, "a")[:, 0]
    assert scores.mean() == pytest.approx(0, abs=1e-9)
    assert scores.std() == pytest.approx(1)
    np.testing.assert_array_equal(np.sign(scores[:, None] - scores), np.sign(column - column.T))
    np.testing.assert_allclose(Scaling.of(np.exp(column), "a")(np.exp(column), "a")[:, 0], scores)


def test_scores_of_long_columns_are_normal():
    column = np.random.default_rng(0).exponential(size=(100_000, 1))
    scores = Scaling.of(column, "a")(column, "a")[:, 0]
    own = normal_scores(column[:, 0])
    middle = np.abs(own) < 3
    assert np.abs(scores - own)[middle].max() < 0.1
    assert np.abs(scores - own).mean() < 0.02


# Real cells


def test_it_ranks_nasbench201():
    table = make_table("nasbench201/analog")
    accuracy, blocks = table["baseline_accuracy"], {"paths": path_features(table.archs).values}
    labelled = np.random.default_rng(0).permutation(len(table))[:118]
    mean, _ = GaussianProcess().fit(part(blocks, labelled), accuracy[labelled], blocks).predict(blocks)
    assert kendall_tau(accuracy, mean) > 0.7
