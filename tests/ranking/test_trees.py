import numpy as np
import pytest

from archflow.ranking.columns import normal_scores
from archflow.ranking.ensemble import Ensemble, EnsembleSettings
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


def test_an_ensemble_is_the_mean_of_its_members():
    blocks, labels = blocks_and_labels()
    known = part(blocks, slice(40))
    mean, std = Ensemble().fit(known, labels[:40], blocks).predict(blocks, with_noise=True)
    process, its_std = GaussianProcess().fit(known, labels[:40], blocks).predict(blocks, with_noise=True)
    np.testing.assert_allclose(mean, (process + ExtraTrees().fit(known, labels[:40], blocks).predict(blocks)[0]) / 2)
    np.testing.assert_array_equal(std, its_std)


@pytest.mark.parametrize(("kind", "settings"), HEADS)
def test_a_saved_state_predicts_the_same(kind, settings, monkeypatch):
    blocks, labels = blocks_and_labels()
    head = kind(settings).fit(blocks, labels)
    found = head.predict(blocks)
    np.testing.assert_array_equal(kind.from_state(head.state(), settings).predict(blocks), found)
    state = head.state()
    del state["roots"]
    with pytest.raises(ValueError, match="lacks 'roots'"):
        kind.from_state(state, settings)
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
