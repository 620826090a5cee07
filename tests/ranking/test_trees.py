import numpy as np
import pytest

from archflow.ranking.columns import normal_scores
from archflow.ranking.ensemble import Ensemble, EnsembleSettings, weight
from archflow.ranking.gp import GaussianProcess
from archflow.ranking.trees import ExtraTrees, TreesSettings
from tests.ranking.test_gp import blocks_and_labels, part

HEADS = [(ExtraTrees, TreesSettings()), (Ensemble, EnsembleSettings())]


def plain_prediction(forest, row):
    """What each tree says of a row of scaled columns, by walking down from its root."""
    said = []
    for node in forest["roots"]:
        while forest["child"][node] >= 0:
            left = forest["child"][node]
            node = left if row[forest["column"][node]] <= forest["cut"][node] else left + 1
        said.append(forest["value"][node])
    return said


def test_a_prediction_is_what_the_trees_say():
    blocks, labels = blocks_and_labels()
    head = ExtraTrees(TreesSettings(trees=20)).fit(blocks, labels)
    mean, std = head.predict(blocks)
    said = [plain_prediction(head.forest, row) for row in np.concatenate(head.columns(blocks), axis=1)]
    np.testing.assert_allclose(mean, np.mean(said, axis=1))
    np.testing.assert_allclose(std, np.std(said, axis=1), atol=1e-7)


def test_a_node_holds_the_mean_of_its_children_and_a_leaf_one_label():
    """As many labels reach a node as its children together: so its value lies between theirs, and roots near 0."""
    blocks, labels = blocks_and_labels()
    forest = ExtraTrees().fit(blocks, labels).forest
    inner = np.flatnonzero(forest["child"] >= 0)
    left, right = (forest["value"][forest["child"][inner] + side] for side in (0, 1))
    assert (np.minimum(left, right) <= forest["value"][inner]).all()
    assert (forest["value"][inner] <= np.maximum(left, right)).all()
    leaves = forest["value"][forest["child"] < 0]
    np.testing.assert_allclose(np.unique(leaves.round(9)), np.unique(normal_scores(labels).round(9)))
    assert np.abs(forest["value"][forest["roots"]]).mean() < 0.3


def test_trees_learn_steps():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(300, 4))
    labels = np.sign(x[:, 1]) + (x[:, 2] > 0.5)
    mean, _ = ExtraTrees().fit({"x": x[:150]}, labels[:150], {"x": x}).predict({"x": x[150:]})
    assert np.corrcoef(mean, labels[150:])[0, 1] > 0.9


def test_equal_rows_are_not_split():
    same = {"x": np.repeat([[0.0], [1.0]], 10, axis=0)}
    head = ExtraTrees(TreesSettings(trees=5)).fit(same, np.arange(20.0))
    assert len(head.forest["value"]) <= 15
    assert np.isfinite(head.predict(same)).all()


def test_a_seed_is_a_forest():
    blocks, labels = blocks_and_labels()
    first, again, other = (ExtraTrees(seed=seed).fit(blocks, labels).predict(blocks) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_out_of_bag_is_what_the_trees_say_that_did_not_see_a_label():
    """With leaves of one label a tree knows whatever it saw, where all labels and rows differ."""
    blocks, labels = blocks_and_labels()
    head = ExtraTrees(TreesSettings(trees=3)).fit(blocks, labels)
    said = np.array([plain_prediction(head.forest, row) for row in np.concatenate(head.columns(blocks), axis=1)])
    unseen = ~np.isclose(said, normal_scores(labels)[:, None])
    expected = [row[where].mean() if where.any() else np.nan for row, where in zip(said, unseen, strict=True)]
    np.testing.assert_allclose(head.out_of_bag, expected)
    assert np.isnan(head.out_of_bag).any()
    assert 0.3 < unseen.mean() < 0.45


def test_an_ensemble_is_the_weighted_mean_of_its_members():
    blocks, labels = blocks_and_labels()
    known = part(blocks, slice(40))
    ensemble = Ensemble().fit(known, labels[:40], blocks)
    mean, std = ensemble.predict(blocks, with_noise=True)
    process, its_std = GaussianProcess().fit(known, labels[:40], blocks).predict(blocks, with_noise=True)
    trees, w = ExtraTrees().fit(known, labels[:40], blocks).predict(blocks)[0], ensemble.weight
    np.testing.assert_allclose(mean, w * process + (1 - w) * trees)
    np.testing.assert_array_equal(std, its_std)


def test_weights_follow_from_the_labels():
    """Smooth labels make the process the better one, steps the trees."""
    x = np.random.default_rng(0).normal(size=(150, 4))
    smooth = Ensemble().fit({"x": x}, x @ [1, 2, 3, 4]).weight
    steps = Ensemble().fit({"x": x}, np.sign(x[:, 1]) + 0.01 * np.arange(150) / 150).weight
    assert steps < 0.4 < 0.8 < smooth


def test_a_weight_minimises_the_squared_error():
    rng = np.random.default_rng(0)
    y, g, t = rng.normal(size=(3, 50))
    g, t = y + 0.5 * g, y + t
    t[3] = np.nan
    grid = np.linspace(0, 1, 1001)
    best = grid[np.argmin([np.nansum((y - w * g - (1 - w) * t) ** 2) for w in grid])]
    assert weight(y, g, t) == pytest.approx(best, abs=1e-3)
    assert weight(y, g, t, 0.2, 49.0) == pytest.approx((weight(y, g, t) + 0.2) / 2)
    assert weight(y, g, t, 0.2, np.inf) == pytest.approx(0.2)
    assert (weight(y, y, g), weight(y, g, y), weight(y, g, g, 0.7)) == pytest.approx((1, 0, 0.7))


@pytest.mark.parametrize("wrong", [{"prior_weight": 1.1}, {"prior_weight": -0.1}, {"prior_labels": -1.0}])
def test_weights_that_are_none(wrong):
    with pytest.raises(ValueError, match="an ensemble needs"):
        EnsembleSettings(**wrong)


@pytest.mark.parametrize(("kind", "settings"), HEADS)
def test_a_saved_state_predicts_the_same(kind, settings, monkeypatch):
    blocks, labels = blocks_and_labels()
    head = kind(settings).fit(blocks, labels)
    found = head.predict(blocks)
    np.testing.assert_array_equal(kind.from_state(head.state(), settings).predict(blocks), found)
    for lost in {"roots", "weight"} & set(head.state()):
        with pytest.raises(ValueError, match=f"lacks '{lost}'"):
            kind.from_state({name: each for name, each in head.state().items() if name != lost}, settings)
    monkeypatch.setattr("archflow.ranking.columns._AT_ONCE", 7)
    np.testing.assert_allclose(head.predict(blocks), found, rtol=1e-9)


@pytest.mark.parametrize(("kind", "settings"), HEADS)
def test_bad_input_is_refused_as_by_the_process(kind, settings):
    blocks, labels = blocks_and_labels()
    for wrong, reason in [(labels[:1], "shape"), (0 * labels, "all labels are equal"), (labels + np.inf, "infinity")]:
        with pytest.raises(ValueError, match=reason):
            kind(settings).fit(blocks, wrong)


@pytest.mark.parametrize("given", [{"trees": 0}, {"columns": 0.0}, {"columns": 1.5}, {"leaf": 0}])
def test_settings_that_are_none(given):
    with pytest.raises(ValueError, match="a forest needs"):
        TreesSettings(**given)
