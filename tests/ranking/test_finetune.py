"""What fine-tuning promises beyond other heads."""

import numpy as np
import pytest
import torch

from archflow.encoding.registry import encoder
from archflow.ranking.ranker import Ranker
from tests.ranking.test_every_head import CELLS, CONVOLUTIONS, SPACE, TEST, TRAIN, VALID, VALIDATION, new


def ranker(model=None, **settings):
    return Ranker(model or new(), "finetune", **{"epochs": 12, "device": "cpu", **settings})


def test_losses_fall_and_every_epoch_is_kept():
    fitted = ranker(epochs=40, lr=3e-3).fit(CELLS[TRAIN], CONVOLUTIONS[TRAIN], VALIDATION)
    before = ranker(epochs=1, lr=1e-12).fit(CELLS[TRAIN], CONVOLUTIONS[TRAIN])
    assert fitted.score(CELLS[TEST], CONVOLUTIONS[TEST]) > before.score(CELLS[TEST], CONVOLUTIONS[TEST]) + 0.2
    assert len(fitted.losses) == len(fitted.validation_taus) == 40
    assert fitted.losses[-1] < 0.5 * fitted.losses[0]
    assert fitted.predict(CELLS).dtype == np.float32


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
    watched = ranker().fit(CELLS[TRAIN], CONVOLUTIONS[TRAIN], VALIDATION)
    assert alone.losses == watched.losses


def test_only_the_order_of_the_labels_is_read():
    labels = CONVOLUTIONS[TRAIN]
    first, *others = (
        ranker().fit(CELLS[TRAIN], accuracy).predict(CELLS[TEST])
        for accuracy in (labels, np.exp(labels), 0.9 + 1e-12 * labels)
    )
    assert all(np.array_equal(first, other) for other in others)


@pytest.mark.parametrize("settings", [{"max_pairs": 5}, {"batch_size": 2}, {"batch_size": 99}, {"clip": 0.01}], ids=str)
def test_settings_are_used(settings):
    plain = ranker(epochs=2).fit(CELLS[TRAIN], CONVOLUTIONS[TRAIN])
    other = ranker(epochs=2, **settings).fit(CELLS[TRAIN], CONVOLUTIONS[TRAIN])
    assert other.settings.epochs == 2
    assert vars(other.settings).items() >= settings.items()
    assert not np.array_equal(plain.predict(CELLS), other.predict(CELLS))


@pytest.mark.parametrize(
    "settings", [{"epochs": 0}, {"batch_size": 1}, {"lr": 0.0}, {"lr": -1.0}, {"lr": float("nan")}], ids=str
)
def test_settings_that_make_no_sense(settings):
    with pytest.raises(ValueError, match=next(iter(settings))):
        ranker(**settings)


def test_progress_counts_epochs():
    told = []
    ranker(epochs=3).fit(CELLS[TRAIN], CONVOLUTIONS[TRAIN], progress=lambda *args: told.append(args))
    assert told == [("fine-tuning", 1, 3), ("fine-tuning", 2, 3), ("fine-tuning", 3, 3)]


def test_it_reads_no_proxies():
    with pytest.raises(ValueError, match="the head 'finetune' reads no proxies; the head 'gp' does"):
        ranker().fit(CELLS[TRAIN], CONVOLUTIONS[TRAIN], proxies=CONVOLUTIONS[TRAIN])


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


def test_a_vector_does_not_depend_on_the_company_behind_batch_norm(with_dropout):
    whole = with_dropout.predict(CELLS)
    for rows in ([9], [200, 3]):
        np.testing.assert_allclose(with_dropout.predict(CELLS[rows]), whole[rows], rtol=1e-4, atol=1e-5)
    assert np.array_equal(with_dropout.predict(CELLS), whole)


def test_running_averages_go_on_from_those_of_the_encoder_and_are_kept_in_a_file(tmp_path):
    model = flowerformer()
    model.norm.num_batches_tracked += 1_000
    fitted = ranker(model, epochs=2).fit(CELLS[TRAIN], CONVOLUTIONS[TRAIN])
    fitted.save(tmp_path / "ranker")
    loaded = Ranker.load(tmp_path / "ranker", device="cpu")
    assert loaded.encoder.norm.num_batches_tracked == 1_000 + 2 * 4
    assert np.array_equal(loaded.predict(CELLS), fitted.predict(CELLS))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device here")
def test_a_gpu_learns_too():
    found = ranker(device="cuda", epochs=40, lr=3e-3).fit(CELLS[TRAIN], CONVOLUTIONS[TRAIN], VALIDATION)
    assert found.score(CELLS[TEST], CONVOLUTIONS[TEST]) > 0.85
