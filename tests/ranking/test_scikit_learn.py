"""A ranker among scikit-learn's regressors, its cross-validation, and files that say what they hold."""

import numpy as np
import pytest

import archflow
from archflow.ranking.cross_validation import cross_validated
from archflow.ranking.metrics import kendall_tau

SPACE = archflow.space("nasbench201")
ARCHS = SPACE.sample(24, seed=0)
LABELS = (np.log(SPACE.parameters(ARCHS)) + np.random.default_rng(0).normal(size=24) / 4).tolist()


def ranker(**settings):
    return archflow.Ranker(None, "trees", space=SPACE, **settings)


def test_it_is_a_regressor_that_is_cloned_and_cross_validated():
    base, selection = pytest.importorskip("sklearn.base"), pytest.importorskip("sklearn.model_selection")
    made = ranker(trees=5, seed=3)
    copy = base.clone(made)
    assert base.is_regressor(made)
    assert repr(copy) == repr(made) == "<Ranker(None, head='trees', trees=5, seed=3), not fitted>"
    encoder = archflow.encoder("gin", SPACE.vocabulary, hidden=4)
    assert base.clone(archflow.Ranker(encoder)).encoder is not encoder
    folds = selection.KFold(3, shuffle=True, random_state=0)
    found = selection.cross_val_score(made, ARCHS, LABELS, cv=folds)
    for tau, (train, test) in zip(found, folds.split(LABELS), strict=True):
        own = ranker(trees=5, seed=3).fit(ARCHS[train], np.array(LABELS)[train])
        assert tau == own.score(ARCHS[test], np.array(LABELS)[test])
    search = selection.GridSearchCV(made, {"trees": [3, 6]}, cv=2).fit(ARCHS, LABELS)
    assert search.best_estimator_.get_params()["trees"] in (3, 6)
    assert search.predict(ARCHS).shape == (24,)


def test_cross_validation_equals_folds_by_hand():
    fitted = ranker(trees=5).fit(ARCHS, LABELS)
    found, before = cross_validated(fitted, 4), fitted.predict(ARCHS)
    keys, labels = SPACE.keys(fitted.labelled.archs), fitted.labelled.labels
    names = np.unique(keys)
    fold_of = dict(zip(names.tolist(), np.random.default_rng(0).permutation(len(names)) % 4, strict=True))
    fold = np.array([fold_of[key] for key in keys.tolist()])
    expected = []
    for number in range(4):
        own = ranker(trees=5).fit(fitted.labelled.archs[fold != number], labels[fold != number])
        expected.append(kendall_tau(labels[fold == number], own.predict(fitted.labelled.archs[fold == number])))
    assert found.taus == expected
    assert (found.tau, found.tau_std) == (np.mean(expected), np.std(expected, ddof=1))
    assert np.array_equal(fitted.predict(ARCHS), before)


@pytest.mark.filterwarnings("ignore:.* labels say little")
def test_too_few_labels_or_columns_of_ones_own_are_not_cross_validated():
    assert cross_validated(ranker(trees=3).fit(ARCHS[:5], LABELS[:5])) is None
    own = ranker(trees=3).fit(ARCHS, LABELS, proxies=LABELS)
    with pytest.raises(ValueError, match="was fitted with proxies of your own, which it does not keep"):
        cross_validated(own)


def test_trained_is_what_the_ranker_was_fitted_on():
    fitted = ranker(trees=3).fit(ARCHS[:9], LABELS[:9], (ARCHS[9:12], LABELS[9:12]))
    known = np.isin(SPACE.keys(ARCHS), SPACE.keys(ARCHS[:12]))
    assert np.array_equal(fitted.trained(ARCHS), known)
    with pytest.raises(ValueError, match="not been fitted"):
        ranker().trained(ARCHS)
    with pytest.raises(ValueError, match="of another space than the ranker's"):
        fitted.trained(archflow.space("darts").sample(2))


def test_a_file_says_what_it_holds(tmp_path):
    path = tmp_path / "file.archflow"
    encoder = archflow.encoder("gin", SPACE.vocabulary, hidden=4)
    fitted = ranker(trees=3).fit(ARCHS, LABELS)
    for thing in (encoder, fitted, ARCHS):
        archflow.save(path, thing)
        assert type(archflow.load(path)) is type(thing)
    assert archflow.load(path) == ARCHS
    archflow.save(path, fitted)
    assert np.array_equal(archflow.load(path).predict(ARCHS), fitted.predict(ARCHS))


def test_what_cannot_be_saved_or_loaded(tmp_path):
    path = tmp_path / "file.archflow"
    with pytest.raises(ValueError, match="writes an encoder, a ranker or architectures; not list"):
        archflow.save(path, [1])
    with pytest.raises(ValueError, match="the path comes first"):
        archflow.save(ARCHS, path)
    with pytest.raises(ValueError, match="not been fitted"):
        archflow.save(path, ranker())
    assert not path.exists()
    with pytest.raises(FileNotFoundError, match="there is no file"):
        archflow.load(path)
    path.write_bytes(b"text")
    with pytest.raises(ValueError, match="truncated or not an archflow file"):
        archflow.load(path)
    for file in (str(path), path, "encoder.archflow"):
        with pytest.raises(ValueError, match=r"is a file, not a vocabulary; archflow\.load\('.*'\) returns") as caught:
            archflow.encoder("gin", file)
        assert "\n" not in str(caught.value)
