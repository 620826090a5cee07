"""Every task teaches every registered encoder."""

import pytest
import torch

from archflow.encoding.registry import encoder, encoders
from archflow.pretraining.arch2vec import Arch2Vec
from archflow.pretraining.gmae import GMAE
from archflow.pretraining.graphcl import GraphCL
from archflow.pretraining.zero_cost import ZeroCost
from tests.pretraining import assert_learns, assert_resumes
from tests.pretraining.test_loop import PROXY, SPACE, task

TASKS = {
    "fgp": task(lambda1=0.5),
    "zero-cost": ZeroCost(PROXY),
    "arch2vec": Arch2Vec(),
    "gmae": GMAE(),
    "graphcl": GraphCL(["edges"], share=0.1),  # what it learns soonest
}


def new(name):
    torch.manual_seed(2)
    return encoder(name, SPACE.vocabulary, hidden=16, layers=2)


@pytest.mark.parametrize("name", encoders())
@pytest.mark.parametrize("kind", TASKS)
def test_the_loss_falls(kind, name):
    # No mask can be added to a multilayer perceptron.
    outcome = assert_learns(
        GMAE(replace=1) if (kind, name) == ("gmae", "mlp") else TASKS[kind], new(name), epochs=8, share=0.95
    )
    assert outcome.settings["encoder"] == name
    assert outcome.settings["task"] == kind


@pytest.mark.parametrize("kind", ["fgp", "gmae"])
def test_dropout_and_batch_norm_resume(kind, tmp_path):
    assert new("flowerformer").settings["dropout"] == 0.5
    assert_resumes(TASKS[kind], tmp_path, lambda: new("flowerformer"))
