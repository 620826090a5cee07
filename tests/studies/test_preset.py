"""The published settings to the letter."""

import numpy as np
import pytest
import torch

import archflow
from archflow.benchmarks.registry import published
from archflow.encoding.registry import ENCODERS
from archflow.pretraining.loop import PretrainSettings, pretrain
from archflow.pretraining.registry import make_task
from archflow.studies.grids import BUDGETS, run_at
from archflow.studies.preset import preset
from archflow.studies.protocol import GridPoint, Source

SPACE = archflow.space("nasbench201")


@pytest.mark.parametrize(
    ("space", "margin", "hidden", "epochs", "pairs", "k"),
    [
        ("nasbench101", 0.5, 256, 200, 128, 4),
        ("nasbench201", 0.5, 128, 500, None, 7),
        ("darts", 0.1, 256, 300, 128, 12),
    ],
)
def test_it_has_the_published_settings(space, margin, hidden, epochs, pairs, k):
    exact = preset("paper", space)
    assert exact.encoder_settings("resgatedgcn") == {"hidden": hidden, "layers": 3, "dropout": 0.1}
    assert exact.encoder_settings("flowerformer") == {}
    assert (exact.finetuning.margin, exact.finetuning.epochs, exact.finetuning.max_pairs) == (margin, epochs, pairs)
    assert (exact.finetuning.lr, exact.finetuning.weight_decay, exact.finetuning.clip) == (1e-3, 1e-6, 1.0)
    assert exact.pretraining == PretrainSettings(200, 256, 1e-3, 1e-6, schedule="constant")
    assert exact.task_settings("fgp") == {"lambda1": 0.5 * k, "lambda2": 0.5, "margin": margin, "standardise": False}
    assert exact.task_settings("zero-cost") == {"margin": margin}
    assert exact.task_settings("graphcl") == {}


def test_an_unknown_preset():
    with pytest.raises(ValueError, match="unknown preset 'letter'; known: paper"):
        preset("letter", "nasbench201")


def test_the_reconstruction_is_summed_over_coordinates():
    archs, k = SPACE.sample(50), published("nasbench201").k
    task = make_task("fgp", "nasbench201", archs, None, 0, preset("paper", "nasbench201").task_settings("fgp"))
    model = archflow.encoder("resgatedgcn", archs.vocabulary, hidden=8)
    objective = task.build(model, archs)
    s = archflow.flow_surrogate(archs, task.draws[0])
    assert s.shape == (50, k)
    plain = 0.5 * (objective.decoder(model(archs)) - s).square().sum(dim=1).mean()
    assert torch.allclose(objective(np.arange(50))["reconstruction"], plain)


@pytest.mark.parametrize("budget", ["paper", "published"])
def test_the_runs_of_a_budget(budget):
    point = GridPoint("nasbench201", "gin", "fgp-without-reconstruction", "finetune", 0.01, 1.0, 3, 0)
    source = Source("mine", "accuracy", 100, "", "", "none", "")
    run = run_at(point, source, BUDGETS[budget])
    exact = budget == "paper"
    assert run.encoder_settings == ({"dropout": 0.1} if exact else {})
    assert run.task_settings["lambda1"] == 0
    assert run.task_settings.get("standardise", True) is not exact
    assert (run.pretraining.schedule, run.pretraining.seed) == ("constant" if exact else "cosine", 3)
    assert run.head_settings.margin == (0.5 if exact else 0.1)


@pytest.mark.parametrize("name", ["resgatedgcn", "gin"])
def test_dropout_is_drawn_for_each_node_in_training_alone(name):
    archs = SPACE.sample(20)
    torch.manual_seed(0)
    without = archflow.encoder(name, archs.vocabulary, hidden=16)
    dropping = archflow.encoder(name, archs.vocabulary, hidden=16, dropout=0.3)
    dropping.load_state_dict(without.state_dict())
    assert torch.equal(dropping.eval()(archs), without(archs))
    dropping.train()
    assert not torch.equal(dropping(archs), dropping(archs))
    twice = archs[np.repeat(np.arange(5), 2)]
    z = dropping(twice)
    assert not torch.isclose(z[::2], z[1::2]).all(dim=1).any()
    mean = torch.stack([dropping(twice) for _ in range(20)]).mean(dim=0)
    assert (mean - without(twice)).norm() < (z - without(twice)).norm()


@pytest.mark.parametrize("name", ENCODERS.names())
def test_a_share_of_dropout_that_is_none(name):
    if hasattr(ENCODERS[name].Settings(), "dropout"):
        with pytest.raises(ValueError, match="dropout must be at least 0 and below 1"):
            archflow.encoder(name, SPACE.vocabulary, dropout=1.0)


def test_a_constant_rate_is_not_the_falling_one():
    archs = SPACE.sample(30)
    found = {}
    for schedule in ("cosine", "constant"):
        model = archflow.encoding.registry.seeded_encoder("gin", archs.vocabulary, 0, {"hidden": 8})
        task = make_task("fgp", "nasbench201", archs, None, 0, {})
        found[schedule] = pretrain(model, archs, task, epochs=3, batch_size=30, schedule=schedule).losses
    first, second = (losses["reconstruction"] for losses in found.values())
    assert first[0] == second[0]
    assert first[2] != second[2]
    with pytest.raises(ValueError, match="unknown schedule 'linear'; known: cosine, constant"):
        PretrainSettings(schedule="linear")
