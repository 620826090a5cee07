import random
import re

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from archflow import ArchBatch, Ranker, encoder
from archflow.benchmarks.nasbench201.space import NASBench201
from archflow.encoding.registry import save_encoder
from archflow.ranking.metrics import kendall_tau
from archflow.support.files import load_tensors, save_tensors
from tests.strategies import VOCABULARY, random_graphs

SPACE = NASBench201()
CELLS = SPACE.sample(240, seed=1)
CONVOLUTIONS = (np.isin(SPACE.encode(CELLS), (2, 3)) * [1.0, 1.1, 1.2, 1.3, 1.4, 1.5]).sum(axis=1)
"""How many convolutions a cell has, roughly: something that is easy to learn."""
TRAIN, VALID, TEST = slice(0, 50), slice(50, 80), slice(80, None)
VALIDATION = (CELLS[VALID], CONVOLUTIONS[VALID])


def new(seed=0, hidden=16, layers=2):
    torch.manual_seed(seed)
    return encoder("resgatedgcn", SPACE.vocabulary, hidden=hidden, layers=layers)


def ranker(model=None, **settings):
    return Ranker(model or new(), **{"epochs": 12, "device": "cpu", **settings})


@pytest.fixture(scope="module")
def fitted():
    return ranker(epochs=40, lr=3e-3).fit(CELLS[TRAIN], CONVOLUTIONS[TRAIN], VALIDATION)


# Learning


def test_learns_a_simple_ranking(fitted):
    before = ranker(epochs=1, lr=1e-12).fit(CELLS[TRAIN], CONVOLUTIONS[TRAIN])
    assert fitted.score(CELLS[TEST], CONVOLUTIONS[TEST]) > 0.85
    assert fitted.score(CELLS[TEST], CONVOLUTIONS[TEST]) > before.score(CELLS[TEST], CONVOLUTIONS[TEST]) + 0.2
    assert len(fitted.losses) == len(fitted.validation_taus) == 40
    assert fitted.losses[-1] < 0.5 * fitted.losses[0]


def test_score_is_tau_of_the_predictions(fitted):
    scores = fitted.predict(CELLS[TEST])
    assert scores.shape == (160,)
    assert scores.dtype == np.float32
    assert fitted.score(CELLS[TEST], CONVOLUTIONS[TEST]) == kendall_tau(CONVOLUTIONS[TEST], scores)


MISLEADING = (CELLS[VALID], -CONVOLUTIONS[VALID])
"""Validation labels on which τ falls the more is learned, so that the last epoch is not the best."""


@pytest.mark.parametrize("lr", [1e-3, 0.1])
def test_the_best_epoch_on_the_validation_cells_is_kept(lr):
    fitted = ranker(lr=lr, epochs=15).fit(CELLS[TRAIN], CONVOLUTIONS[TRAIN], MISLEADING)
    assert len(fitted.validation_taus) == 15
    assert fitted.validation_taus[-1] < max(fitted.validation_taus)
    assert fitted.score(*MISLEADING) == max(fitted.validation_taus)


def test_the_best_epoch_is_that_of_a_shorter_run():
    longer = ranker(lr=0.1, epochs=15).fit(CELLS[TRAIN], CONVOLUTIONS[TRAIN], MISLEADING)
    best = int(np.argmax(longer.validation_taus)) + 1
    assert best < 15
    shorter = ranker(lr=0.1, epochs=best).fit(CELLS[TRAIN], CONVOLUTIONS[TRAIN])
    assert shorter.validation_taus == []
    assert np.array_equal(longer.predict(CELLS[TEST]), shorter.predict(CELLS[TEST]))


def test_without_validation_the_last_epoch_is_kept():
    alone = ranker().fit(CELLS[TRAIN], CONVOLUTIONS[TRAIN])
    assert alone.validation_taus == []
    watched = ranker().fit(CELLS[TRAIN], CONVOLUTIONS[TRAIN], VALIDATION)
    assert alone.losses == watched.losses


def test_the_order_of_the_labels_matters_and_not_their_scale():
    labels = CONVOLUTIONS[TRAIN]
    first, stretched, reversed_ = (
        ranker().fit(CELLS[TRAIN], accuracy).predict(CELLS[TEST]) for accuracy in (labels, np.exp(labels), -labels)
    )
    assert np.array_equal(first, stretched)
    assert not np.array_equal(first, reversed_)


def test_labels_may_be_close_together():
    labels = 0.9 + 1e-12 * CONVOLUTIONS[TRAIN]
    found = ranker().fit(CELLS[TRAIN], labels)
    assert np.array_equal(
        found.predict(CELLS[TEST]), ranker().fit(CELLS[TRAIN], CONVOLUTIONS[TRAIN]).predict(CELLS[TEST])
    )


def test_labels_may_be_a_list_of_whole_numbers():
    labels = (10 * CONVOLUTIONS[:10]).round().astype(int)
    found = ranker(epochs=2).fit(CELLS[:10], labels.tolist())
    assert np.array_equal(found.predict(CELLS), ranker(epochs=2).fit(CELLS[:10], labels).predict(CELLS))


@pytest.mark.parametrize("settings", [{"max_pairs": 5}, {"batch_size": 2}, {"batch_size": 99}, {"clip": 0.01}], ids=str)
def test_settings_are_used(settings):
    plain = ranker(epochs=2).fit(CELLS[TRAIN], CONVOLUTIONS[TRAIN])
    other = ranker(epochs=2, **settings).fit(CELLS[TRAIN], CONVOLUTIONS[TRAIN])
    assert other.settings["epochs"] == 2
    assert other.settings.items() >= settings.items()
    assert not np.array_equal(plain.predict(CELLS), other.predict(CELLS))


# Nothing else moves


def test_the_given_encoder_stays_as_it_was():
    model = new()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    fitted = ranker(model).fit(CELLS[TRAIN], CONVOLUTIONS[TRAIN], VALIDATION)
    assert fitted.encoder is model
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert all(parameter.grad is None and parameter.requires_grad for parameter in model.parameters())
    trained = fitted._model.encoder.state_dict()
    assert all(not torch.equal(before[name], tensor) for name, tensor in trained.items())


def test_the_encoder_is_where_it_begins():
    first, second = (ranker(new(seed), epochs=1).fit(CELLS[TRAIN], CONVOLUTIONS[TRAIN]) for seed in (0, 1))
    assert not np.array_equal(first.predict(CELLS), second.predict(CELLS))


def test_the_seed_fixes_everything():
    torch.manual_seed(3)
    first = ranker(seed=4).fit(CELLS[TRAIN], CONVOLUTIONS[TRAIN], VALIDATION)
    torch.manual_seed(5)
    second = ranker(seed=4).fit(CELLS[TRAIN], CONVOLUTIONS[TRAIN], VALIDATION)
    other = ranker(seed=5).fit(CELLS[TRAIN], CONVOLUTIONS[TRAIN], VALIDATION)
    assert first.losses == second.losses
    assert first.validation_taus == second.validation_taus
    assert np.array_equal(first.predict(CELLS), second.predict(CELLS))
    assert not np.array_equal(first.predict(CELLS), other.predict(CELLS))


def test_fitting_again_begins_anew(fitted):
    twice = ranker().fit(CELLS[TEST], CONVOLUTIONS[TEST]).fit(CELLS[TRAIN], CONVOLUTIONS[TRAIN])
    once = ranker().fit(CELLS[TRAIN], CONVOLUTIONS[TRAIN])
    assert np.array_equal(twice.predict(CELLS), once.predict(CELLS))
    assert twice.losses == once.losses


@pytest.mark.parametrize("max_pairs", [None, 10])
def test_random_generators_of_the_caller_are_left_alone(max_pairs):
    subject = ranker(epochs=2, max_pairs=max_pairs)
    np.random.seed(5)  # noqa: NPY002 - this is what must not move
    before = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()  # noqa: NPY002
    subject.fit(CELLS[TRAIN], CONVOLUTIONS[TRAIN], VALIDATION).predict(CELLS)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.array_equal(np.random.get_state()[1], before[1])  # noqa: NPY002
    assert random.getstate() == before[2]


def test_predictions_do_not_depend_on_the_company(fitted):
    whole = fitted.predict(CELLS)
    np.testing.assert_allclose(fitted.predict(CELLS[[9]]), whole[[9]], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(fitted.predict(CELLS[[200, 3]]), whole[[200, 3]], rtol=1e-4, atol=1e-5)
    assert np.array_equal(fitted.predict(CELLS), whole)


def test_progress_counts_epochs():
    told = []
    ranker(epochs=3).fit(CELLS[TRAIN], CONVOLUTIONS[TRAIN], progress=lambda *args: told.append(args))
    assert told == [("fine-tuning", 1, 3), ("fine-tuning", 2, 3), ("fine-tuning", 3, 3)]


# Batch norm and dropout


def flowerformer():
    torch.manual_seed(0)
    return encoder("flowerformer", SPACE.vocabulary, hidden=16, layers=2)


@pytest.fixture(scope="module")
def with_dropout():
    return ranker(flowerformer(), epochs=20, lr=3e-3).fit(CELLS[TRAIN], CONVOLUTIONS[TRAIN], VALIDATION)


def test_an_encoder_with_dropout_and_batch_norm_learns(with_dropout):
    assert with_dropout.score(CELLS[TEST], CONVOLUTIONS[TEST]) > 0.6
    assert with_dropout.score(*VALIDATION) == max(with_dropout.validation_taus)


@pytest.mark.parametrize("training", [True, False])
def test_it_is_fine_tuned_in_training_mode_and_left_as_it_was(with_dropout, training):
    """In whatever mode the encoder and whatever state the generator of the caller is."""
    model = flowerformer().train(training)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    torch.manual_seed(5)
    state = torch.get_rng_state()
    fitted = ranker(model, epochs=20, lr=3e-3).fit(CELLS[TRAIN], CONVOLUTIONS[TRAIN], VALIDATION)
    assert fitted.losses == with_dropout.losses
    assert fitted.validation_taus == with_dropout.validation_taus
    assert np.array_equal(fitted.predict(CELLS), with_dropout.predict(CELLS))
    assert torch.equal(torch.get_rng_state(), state)
    assert all(part.training == training for part in model.modules())
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


def test_running_averages_go_on_from_those_of_the_encoder():
    model = flowerformer()
    model.norm.num_batches_tracked += 1_000
    fitted = ranker(model, epochs=2).fit(CELLS[TRAIN], CONVOLUTIONS[TRAIN])
    assert fitted._model.encoder.norm.num_batches_tracked == 1_000 + 2 * 4


def test_a_vector_does_not_depend_on_the_company_behind_batch_norm(with_dropout):
    whole = with_dropout.predict(CELLS)
    np.testing.assert_allclose(with_dropout.predict(CELLS[[9]]), whole[[9]], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(with_dropout.predict(CELLS[[200, 3]]), whole[[200, 3]], rtol=1e-4, atol=1e-5)
    assert np.array_equal(with_dropout.predict(CELLS), whole)


def test_a_file_keeps_running_averages(with_dropout, tmp_path):
    with_dropout.save(tmp_path / "ranker")
    loaded = Ranker.load(tmp_path / "ranker", device="cpu")
    assert np.array_equal(loaded.predict(CELLS), with_dropout.predict(CELLS))
    for name, tensor in with_dropout._model.state_dict().items():
        assert torch.equal(loaded._model.state_dict()[name], tensor)
        assert loaded._model.state_dict()[name].dtype == tensor.dtype


# Files


def test_a_file_predicts_the_same(fitted, tmp_path):
    path = tmp_path / "ranker"
    fitted.save(path, table="τ", rows=[1, 2])
    loaded = Ranker.load(path, device="cpu")
    assert np.array_equal(loaded.predict(CELLS), fitted.predict(CELLS))
    assert loaded.settings == fitted.settings
    assert loaded.losses == fitted.losses
    assert loaded.validation_taus == fitted.validation_taus
    assert loaded.provenance == {"table": "τ", "rows": [1, 2]}
    loaded.save(tmp_path / "again")
    assert np.array_equal(Ranker.load(tmp_path / "again", device="cpu").predict(CELLS), fitted.predict(CELLS))
    assert ranker().provenance == {}


def test_a_loaded_ranker_can_be_fitted(fitted, tmp_path):
    fitted.save(tmp_path / "ranker")
    again = Ranker.load(tmp_path / "ranker", device="cpu").fit(CELLS[TRAIN], CONVOLUTIONS[TRAIN])
    assert again.score(CELLS[TEST], CONVOLUTIONS[TEST]) > 0.8


def test_a_truncated_file(fitted, tmp_path):
    path = tmp_path / "ranker"
    fitted.save(path)
    content = path.read_bytes()
    for length in (0, 8, 100, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:length])
        with pytest.raises(ValueError, match=re.escape(f"{path} is truncated or no archflow file")):
            Ranker.load(path, device="cpu")


def test_files_of_another_kind(fitted, tmp_path):
    path = tmp_path / "ranker"
    save_encoder(new(), path)
    with pytest.raises(ValueError, match="no archflow 'ranker' file: it holds 'encoder'"):
        Ranker.load(path)
    torch.save({"weights": torch.zeros(3)}, path)
    with pytest.raises(ValueError, match=re.escape(str(path))):
        Ranker.load(path)
    save_file(new().state_dict(), path)
    with pytest.raises(ValueError, match="it was not written by archflow"):
        Ranker.load(path)
    with pytest.raises(FileNotFoundError, match="there is no file"):
        Ranker.load(tmp_path / "nowhere")
    fitted.save(path)
    tensors, settings = load_tensors(path, "ranker")
    settings["encoder"]["settings"]["hidden"] = 8
    save_tensors(path, "ranker", tensors, settings)
    with pytest.raises(ValueError, match=re.escape(f"the weights in {path} do not fit")):
        Ranker.load(path, device="cpu")


# Bad input

LABELS = CONVOLUTIONS[:4]


@pytest.mark.parametrize(
    ("labels", "reason"),
    [
        ([1, 2, 3], r"there are 4 architectures, but the labels have shape \(3,\)"),
        ([1, 2, 3, 4, 5], r"there are 4 architectures, but the labels have shape \(5,\)"),
        ([[1, 2, 3, 4]], r"the labels have shape \(1, 4\)"),
        ([], r"the labels have shape \(0,\)"),
        ([1, np.nan, 3, np.nan], r"the labels contain NaN or infinity \(the first at number 2\)"),
        ([1, 2, np.inf, 3], r"the labels contain NaN or infinity \(the first at number 3\)"),
        ([-np.inf, 2, 1, 3], r"the labels contain NaN or infinity \(the first at number 1\)"),
        ([np.nan] * 4, "the labels contain NaN"),
        ([7.5] * 4, "all labels are equal"),
    ],
)
def test_labels_that_teach_nothing(labels, reason):
    subject = ranker()
    with pytest.raises(ValueError, match=reason):
        subject.fit(CELLS[:4], labels)
    with pytest.raises(ValueError, match=reason.replace("labels", "validation labels")):
        subject.fit(CELLS[:4], LABELS, validation=(CELLS[:4], labels))
    with pytest.raises(ValueError, match="not been fitted"):
        subject.predict(CELLS)


def test_fewer_than_two_labels():
    with pytest.raises(ValueError, match="a ranking needs at least two labels, not 1"):
        ranker().fit(CELLS[:1], [1.0])
    with pytest.raises(ValueError, match="a ranking needs at least two validation labels, not 1"):
        ranker().fit(CELLS[:4], LABELS, validation=(CELLS[:1], [1.0]))


def test_not_fitted(tmp_path):
    for use in (
        lambda: ranker().predict(CELLS),
        lambda: ranker().score(CELLS, CONVOLUTIONS),
        lambda: ranker().save(tmp_path / "ranker"),
    ):
        with pytest.raises(ValueError, match="has not been fitted"):
            use()
    assert not list(tmp_path.iterdir())


def test_architectures_of_another_space(fitted):
    others = ArchBatch.from_graphs(random_graphs(20, seed=0), VOCABULARY)
    labels = np.arange(float(len(others)))
    for use in (
        lambda: fitted.predict(others),
        lambda: ranker().fit(others, labels),
        lambda: ranker().fit(CELLS[TRAIN], CONVOLUTIONS[TRAIN], (others, labels)),
    ):
        with pytest.raises(ValueError, match="the architectures are of another space"):
            use()


@pytest.mark.parametrize(
    "settings", [{"epochs": 0}, {"batch_size": 1}, {"lr": 0.0}, {"lr": -1.0}, {"lr": float("nan")}], ids=str
)
def test_settings_that_make_no_sense(settings):
    with pytest.raises(ValueError, match=next(iter(settings))):
        ranker(**settings)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device here")
def test_an_absent_gpu():
    with pytest.raises(ValueError, match="there is no device 'cuda' here"):
        ranker(device="cuda").fit(CELLS[TRAIN], CONVOLUTIONS[TRAIN])


def test_a_failed_fit_keeps_what_was_learned_before():
    subject = ranker(epochs=2).fit(CELLS[TRAIN], CONVOLUTIONS[TRAIN])
    scores = subject.predict(CELLS)
    with pytest.raises(ValueError, match="all labels are equal"):
        subject.fit(CELLS[:4], [1, 1, 1, 1])
    assert np.array_equal(subject.predict(CELLS), scores)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device here")
def test_a_gpu_learns_too():
    found = ranker(device="cuda", epochs=40, lr=3e-3).fit(CELLS[TRAIN], CONVOLUTIONS[TRAIN], VALIDATION)
    assert found.score(CELLS[TEST], CONVOLUTIONS[TEST]) > 0.85
