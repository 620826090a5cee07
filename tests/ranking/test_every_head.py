"""What every head promises, through the ranker that it is used by."""

import random
import re
import warnings
from dataclasses import dataclass

import numpy as np
import polars
import pytest
import torch
from safetensors.torch import save_file

from archflow.archs.batch import ArchBatch
from archflow.benchmarks.nasbench101.space import NASBench101
from archflow.benchmarks.nasbench201.space import NASBench201
from archflow.encoding.files import save_encoder
from archflow.encoding.registry import encoder
from archflow.ranking.head import Head
from archflow.ranking.metrics import kendall_tau
from archflow.ranking.ranker import Ranker
from archflow.ranking.registry import HEADS
from archflow.support.files import load_tensors, save_tensors
from tests.strategies import VOCABULARY, random_graphs, renumber

SPACE = NASBench201()
CELLS = SPACE.sample(240, seed=1)
CONVOLUTIONS = (np.isin(SPACE.encode(CELLS), (2, 3)) * [1.0, 1.1, 1.2, 1.3, 1.4, 1.5]).sum(axis=1)
"""How many convolutions a cell has, roughly: something that is easy to learn."""
TRAIN, VALID, TEST = slice(0, 50), slice(50, 80), slice(80, None)
VALIDATION = (CELLS[VALID], CONVOLUTIONS[VALID])
SETTINGS = {"finetune": {"epochs": 6, "lr": 3e-3}, "gp": {"steps": 20, "trees": 10}, "trees": {"trees": 30}}
"""Settings that make a head quick; where it has none, its defaults."""

pytestmark = pytest.mark.parametrize("head", sorted(HEADS))


def new(seed=0):
    torch.manual_seed(seed)
    return encoder("resgatedgcn", SPACE.vocabulary, hidden=16, layers=2)


def ranker(head, model=None, **settings):
    return Ranker(model or new(), head, **{"space": None, "device": "cpu", **SETTINGS.get(head, {}), **settings})


@pytest.fixture(scope="module")
def fitted_heads():
    return {}


@pytest.fixture
def fitted(head, fitted_heads):
    if head not in fitted_heads:
        more = {"epochs": 40} if head == "finetune" else {}
        fitted_heads[head] = ranker(head, **more).fit(CELLS[TRAIN], CONVOLUTIONS[TRAIN], VALIDATION)
    return fitted_heads[head]


# Learning


def test_it_learns_a_simple_ranking(fitted):
    scores = fitted.predict(CELLS[TEST])
    assert scores.shape == (160,)
    assert scores.dtype.kind == "f"
    assert fitted.score(CELLS[TEST], CONVOLUTIONS[TEST]) == kendall_tau(CONVOLUTIONS[TEST], scores) > 0.6
    assert fitted.labelled.archs == CELLS[:80]
    assert np.array_equal(fitted.labelled.labels, CONVOLUTIONS[:80])


def test_validation_labels_are_used(head):
    first, other, none = (
        ranker(head).fit(CELLS[TRAIN], CONVOLUTIONS[TRAIN], validation).predict(CELLS[TEST])
        for validation in (VALIDATION, (CELLS[VALID], -CONVOLUTIONS[VALID]), None)
    )
    assert not (np.array_equal(first, other) and np.array_equal(first, none))
    if not HEADS[head].needs_validation:
        together = ranker(head).fit(CELLS[:80], CONVOLUTIONS[:80])
        assert np.array_equal(together.predict(CELLS[TEST]), first)


def test_the_order_of_the_labels_matters_and_not_their_scale(head):
    labels = CONVOLUTIONS[TRAIN]
    first, stretched, close, reversed_ = (
        ranker(head).fit(CELLS[TRAIN], accuracy).predict(CELLS[TEST])
        for accuracy in (labels, np.exp(labels), 0.9 + 1e-9 * labels, -labels)
    )
    assert kendall_tau(first, stretched) == pytest.approx(1)
    assert kendall_tau(first, close) == pytest.approx(1, abs=1e-3)
    assert kendall_tau(first, reversed_) < -0.5


@pytest.mark.parametrize(
    "form",
    [list, torch.tensor, np.float32, polars.Series, lambda labels: np.array(labels, object), np.ma.array],
    ids=["list", "tensor", "float32", "polars", "objects", "masked"],
)
def test_labels_of_any_form(head, form):
    labels = (10 * CONVOLUTIONS[:12]).round().astype(int)
    expected = ranker(head).fit(CELLS[:12], labels).predict(CELLS)
    assert np.array_equal(ranker(head).fit(CELLS[:12], form(labels)).predict(CELLS), expected)


def test_two_labels_suffice_and_below_ten_it_is_said(head):
    with pytest.warns(UserWarning, match="2 labels say little: expect a poor ranking below 10") as caught:
        scores = ranker(head).fit(CELLS[:2], [1, 2]).predict(CELLS)
    assert len(caught) == 1
    assert np.isfinite(scores).all()
    assert scores[0] < scores[1]


def test_an_architecture_labelled_twice_has_the_mean(head):
    archs = CELLS[[*range(12), 3, 5, 3, 7]]
    labels = np.array([*CONVOLUTIONS[:12], CONVOLUTIONS[3] + 1, CONVOLUTIONS[5], CONVOLUTIONS[3] + 2, 0])
    with pytest.warns(UserWarning, match="2 of the architectures have several different labels") as caught:
        found = ranker(head).fit(archs, labels)
    assert len(caught) == 1
    means = CONVOLUTIONS[:12].copy()
    means[3] += 1
    means[7] /= 2
    assert found.labelled.archs == CELLS[:12]
    np.testing.assert_allclose(found.labelled.labels, means)
    assert np.array_equal(found.predict(CELLS), ranker(head).fit(CELLS[:12], found.labelled.labels).predict(CELLS))
    with pytest.raises(ValueError, match="all labels of different architectures are equal"):
        ranker(head).fit(CELLS[[0, 1, 1]], [1, 0, 2])
    with pytest.raises(ValueError, match="at least two labels of different architectures, not 1"):
        ranker(head).fit(CELLS[[4, 4]], [1, 2])


# Nothing else moves


@pytest.mark.parametrize("training", [True, False])
def test_the_given_encoder_stays_as_it_was(head, training):
    model = new().train(training)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    subject = ranker(head, model).fit(CELLS[TRAIN], CONVOLUTIONS[TRAIN], VALIDATION)
    scores = subject.predict(CELLS)
    assert subject.encoder is model
    assert all(part.training == training for part in model.modules())
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert all(parameter.grad is None and parameter.requires_grad for parameter in model.parameters())
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1)
    assert np.array_equal(subject.predict(CELLS), scores)


def test_the_encoder_is_read(head):
    first, second = (ranker(head, new(seed)).fit(CELLS[TRAIN], CONVOLUTIONS[TRAIN]) for seed in (0, 1))
    assert not np.array_equal(first.predict(CELLS), second.predict(CELLS))


def test_the_seed_fixes_everything_and_generators_are_left_alone(head):
    np.random.seed(5)  # noqa: NPY002 - this is what must not move
    first = ranker(head, seed=4).fit(CELLS[TRAIN], CONVOLUTIONS[TRAIN], VALIDATION)
    torch.manual_seed(3)
    before = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()  # noqa: NPY002
    second = ranker(head, new(), seed=4).fit(CELLS[TRAIN], CONVOLUTIONS[TRAIN], VALIDATION)
    assert np.array_equal(first.predict(CELLS), second.predict(CELLS))
    assert (first.losses, first.validation_taus) == (second.losses, second.validation_taus)
    torch.manual_seed(3)
    subject = ranker(head, seed=4, model=second.encoder)
    subject.fit(CELLS[TRAIN], CONVOLUTIONS[TRAIN], VALIDATION).suggest(CELLS, 3)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.array_equal(np.random.get_state()[1], before[1])  # noqa: NPY002
    assert random.getstate() == before[2]


def test_fitting_again_begins_anew_and_a_failed_fit_keeps_what_was_learned(head):
    twice = ranker(head).fit(CELLS[TEST], CONVOLUTIONS[TEST]).fit(CELLS[TRAIN], CONVOLUTIONS[TRAIN])
    scores = twice.predict(CELLS)
    assert np.array_equal(scores, ranker(head).fit(CELLS[TRAIN], CONVOLUTIONS[TRAIN]).predict(CELLS))
    with pytest.raises(ValueError, match="all labels are equal"):
        twice.fit(CELLS[:4], [1, 1, 1, 1])
    assert np.array_equal(twice.predict(CELLS), scores)
    assert twice.labelled.archs == CELLS[TRAIN]


def test_predictions_do_not_depend_on_the_company(fitted):
    whole = fitted.predict(CELLS)
    for rows in ([9], [200, 3]):
        np.testing.assert_allclose(fitted.predict(CELLS[rows]), whole[rows], rtol=1e-4, atol=1e-5)
    assert np.array_equal(fitted.predict(CELLS), whole)


def test_deviations_are_given_or_refused(fitted):
    try:
        mean, std = fitted.predict(CELLS, return_std=True)
    except ValueError as error:
        assert "does not say how sure it is" in str(error)  # noqa: PT017 - either is right
        with pytest.raises(ValueError, match="does not say how sure it is"):
            fitted.intervals(CELLS)
    else:
        assert np.array_equal(mean, fitted.predict(CELLS))
        assert (std > 0).all()
        low, high = fitted.intervals(CELLS).T
        assert ((low < mean) & (mean < high)).all()
    with pytest.raises(ValueError, match="level must be between 0 and 1, not 80"):
        fitted.intervals(CELLS, 80)


# Suggestions


def test_suggestions_are_the_best_that_were_not_trained(fitted):
    candidates = CELLS[[*range(240), *range(100, 200)]]
    found = fitted.suggest(candidates, 20)
    assert len(set(found.tolist())) == 20
    assert ((found >= 80) & (found < 240)).all()
    assert CONVOLUTIONS[found].mean() > np.sort(CONVOLUTIONS[TEST])[-60:].mean()
    assert np.array_equal(fitted.suggest(candidates, 20), found)
    assert sorted(fitted.suggest(CELLS, 160)) == list(range(80, 240))
    assert sorted(fitted.suggest(candidates, 240, exclude_trained=False)) == list(range(240))
    for n in (161, 0):
        with pytest.raises(ValueError, match=f"{n} architectures cannot be suggested out of 160 that may be"):
            fitted.suggest(CELLS, n)


def test_a_space_knows_what_is_the_same_network(head):
    space, rng = NASBench101(), np.random.default_rng(0)
    archs = space.sample(40, seed=0)
    same = ArchBatch.from_graphs([renumber(archs.graph(number), rng) for number in range(40)], space.vocabulary)
    model = encoder("resgatedgcn", space.vocabulary, hidden=8, layers=1)
    subject = ranker(head, model, space="nasbench101").fit(archs[:30], space.parameters(archs[:30]))
    assert sorted(subject.suggest(ArchBatch.concatenate([same, archs]), 10)) == list(range(30, 40))


# Files


def test_a_file_predicts_the_same(fitted, tmp_path):
    path = tmp_path / "ranker"
    fitted.save(path, table="τ", rows=[1, 2])
    loaded = Ranker.load(path, device="cpu")
    assert np.array_equal(loaded.predict(CELLS), fitted.predict(CELLS))
    assert np.array_equal(loaded.suggest(CELLS, 5), fitted.suggest(CELLS, 5))
    assert loaded.labelled.archs == fitted.labelled.archs
    assert np.array_equal(loaded.labelled.labels, fitted.labelled.labels)
    for name in ("settings", "losses", "validation_taus", "seed"):
        assert getattr(loaded, name) == getattr(fitted, name)
    assert loaded.provenance == {"table": "τ", "rows": [1, 2]}
    loaded.save(tmp_path / "again")
    assert np.array_equal(Ranker.load(tmp_path / "again", device="cpu").predict(CELLS), fitted.predict(CELLS))
    assert loaded.fit(CELLS[TRAIN], CONVOLUTIONS[TRAIN]).score(CELLS[TEST], CONVOLUTIONS[TEST]) > 0.6


def test_files_that_are_none(head, fitted, tmp_path):
    path = tmp_path / "ranker"
    fitted.save(path)
    content = path.read_bytes()
    for length in (0, 8, 100, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:length])
        with pytest.raises(ValueError, match=re.escape(f"{path} is truncated or not an archflow file")):
            Ranker.load(path, device="cpu")
    save_encoder(new(), path)
    with pytest.raises(ValueError, match="not an archflow 'ranker' file: it holds 'encoder'"):
        Ranker.load(path)
    save_file(new().state_dict(), path)
    with pytest.raises(ValueError, match="it was not written by archflow"):
        Ranker.load(path)
    with pytest.raises(FileNotFoundError, match="there is no file"):
        Ranker.load(tmp_path / "nowhere")


def _narrow(tensors, about):
    about["encoder"]["settings"]["hidden"] = 8


def _half(tensors, about):
    name = next(name for name in tensors if name.startswith("head.") and tensors[name].dtype.is_floating_point)
    tensors[name] = tensors[name].half()


def _single(tensors, about):
    name = [name for name in tensors if name.startswith("head.")][-1]
    tensors[name] = tensors[name].double() if tensors[name].dtype == torch.float32 else tensors[name].float()


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (_narrow, "the weights in {path} do not fit"),
        (_half, "the weights in {path} do not fit: .*torch.float16"),
        (_single, "the weights in {path} do not fit"),
        (lambda tensors, about: tensors.pop(next(n for n in tensors if n.startswith("head."))), "do not fit"),
        (lambda tensors, about: tensors.pop("labelled.edges"), "{path} is damaged .*'edges'"),
        (lambda tensors, about: about.pop("settings"), "{path} is damaged .*'settings'"),
        (lambda tensors, about: about.pop("version"), "{path} was written by another version of archflow"),
        (lambda tensors, about: about.update(version=3), "{path} was written by another version of archflow"),
        (lambda tensors, about: about.update(head="mine"), "unknown head 'mine'; known heads: finetune"),
        (lambda tensors, about: about.update(space="mine"), "unknown space 'mine'; known spaces: darts"),
    ],
)
def test_files_that_do_not_fit_together(fitted, tmp_path, spoil, reason):
    path = tmp_path / "ranker"
    fitted.save(path)
    tensors, about = load_tensors(path, "ranker")
    spoil(tensors, about)
    save_tensors(path, "ranker", tensors, about)
    with pytest.raises(ValueError, match=reason.format(path=re.escape(str(path)))) as caught:
        Ranker.load(path, device="cpu")
    assert "\n" not in str(caught.value)


# Bad input


@pytest.mark.parametrize(
    ("labels", "reason"),
    [
        ([1, 2, 3], r"there are 4 architectures, but the labels have shape \(3,\)"),
        ([[1, 2, 3, 4]], r"the labels have shape \(1, 4\)"),
        ([], r"the labels have shape \(0,\)"),
        ([1, np.nan, 3, np.nan], r"the labels contain NaN or infinity \(the first at number 2\)"),
        ([-np.inf, 2, 1, 3], r"the labels contain NaN or infinity \(the first at number 1\)"),
        (np.ma.array([1, 2, 3, 4], mask=[0, 0, 1, 0]), r"NaN or infinity \(the first at number 3\)"),
        ([7.5] * 4, "all labels are equal"),
        (["a", "b", "c", "d"], "the labels are not numbers: could not convert string to float: 'a'"),
        ([1, [2], 3, 4], "the labels are not numbers"),
        ([1, 2, 3, {}], "the labels are not numbers"),
    ],
)
def test_labels_that_teach_nothing(head, labels, reason):
    subject = ranker(head)
    with pytest.raises(ValueError, match=reason):
        subject.fit(CELLS[:4], labels)
    with pytest.raises(ValueError, match=reason.replace("labels", "validation labels")):
        subject.fit(CELLS[:4], CONVOLUTIONS[:4], validation=(CELLS[:4], labels))
    with pytest.raises(ValueError, match="a ranking needs at least two labels, not 1"):
        subject.fit(CELLS[:1], [1.0])
    for use in (
        lambda: subject.predict(CELLS),
        lambda: subject.score(CELLS, CONVOLUTIONS),
        lambda: subject.suggest(CELLS, 1),
        lambda: subject.save("nowhere/ranker"),
        lambda: subject.labelled,
    ):
        with pytest.raises(ValueError, match="has not been fitted"):
            use()


def test_architectures_of_another_space(head, fitted):
    others = ArchBatch.from_graphs(random_graphs(20, seed=0), VOCABULARY)
    labels = np.arange(20.0)
    for use in (
        lambda: fitted.predict(others),
        lambda: fitted.suggest(others, 1),
        lambda: ranker(head).fit(others, labels),
        lambda: ranker(head).fit(CELLS[TRAIN], CONVOLUTIONS[TRAIN], (others, labels)),
        lambda: ranker(head, space="darts").fit(CELLS[TRAIN], CONVOLUTIONS[TRAIN]),
    ):
        with pytest.raises(ValueError, match="the architectures are of another space"):
            use()


def test_what_a_ranker_cannot_be_made_with(head):
    with pytest.raises(ValueError, match=f"head '{head}' has no setting 'colour'; its settings are"):
        ranker(head, colour=1)
    with pytest.raises(ValueError, match="unknown head 'gold'; known heads: finetune, gp"):
        ranker("gold")
    with pytest.raises(ValueError, match="unknown space 'gold'; known spaces: darts"):
        ranker(head, space="gold")
    if HEADS[head].needs_encoder:
        with pytest.raises(ValueError, match="needs an encoder"):
            Ranker(None, head)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device here")
def test_an_absent_gpu(head):
    with pytest.raises(ValueError, match="there is no device 'cuda' here"):
        ranker(head, device="cuda").fit(CELLS[TRAIN], CONVOLUTIONS[TRAIN])


# Manners


def test_it_has_the_manners_of_scikit_learn(head, fitted):
    subject = ranker(head, seed=2)
    name, value = next(iter(SETTINGS.get(head, {"seed": 2}).items()))
    assert subject.get_params().items() >= {"head": head, "seed": 2, name: value}.items()
    assert Ranker(**subject.get_params()).get_params() == subject.get_params()  # as sklearn.base.clone does
    assert subject.set_params(seed=3, device="auto") is subject
    assert (subject.seed, subject.device) == (3, "auto")
    with pytest.raises(ValueError, match="colour"):
        subject.set_params(colour=1)
    assert subject.seed == 3
    assert f"Ranker(resgatedgcn, head='{head}'" in repr(subject)
    assert "not fitted" in repr(subject)
    assert "fitted on 80 architectures" in repr(fitted)
    subject.set_params(head=next(other for other in HEADS if other != head))
    assert subject.settings == type(subject.settings)()


@dataclass(frozen=True)
class MineSettings:
    sign: float = 1.0


class Mine(Head):
    """Ranks by the number of edges whatever the labels are: as little as a head may be."""

    name = "mine"
    Settings = MineSettings

    def fit(self, encoder, archs, columns, labels, **how):
        self.sign = torch.tensor(self.settings.sign)

    def predict(self, archs, columns):
        return self.sign.item() * np.diff(archs.edge_offsets), None

    def tensors(self):
        return {"sign": self.sign}

    def restore(self, encoder, tensors, device="auto"):
        self.sign = tensors["sign"]


def test_a_head_of_ones_own(head, tmp_path, monkeypatch):
    archs = ArchBatch.from_graphs(random_graphs(50, seed=0), VOCABULARY)
    given = Ranker(None, Mine(MineSettings(-1.0))).fit(archs[:20], np.arange(20.0))
    with pytest.raises(ValueError, match="leave sign out"):
        Ranker(None, Mine(), sign=2.0)
    given.save(tmp_path / "ranker")
    with pytest.raises(ValueError, match="unknown head 'mine'"):
        Ranker.load(tmp_path / "ranker")
    monkeypatch.setitem(HEADS, "mine", Mine)
    loaded = Ranker.load(tmp_path / "ranker")
    assert np.array_equal(loaded.predict(archs), -np.diff(archs.edge_offsets))
    assert loaded.settings.sign == -1
    assert Ranker(**given.get_params()).settings == given.settings


def test_nothing_is_warned_about_in_vain(head):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ranker(head).fit(CELLS[[*range(12), 0]], [*CONVOLUTIONS[:12], CONVOLUTIONS[0]]).predict(CELLS)
