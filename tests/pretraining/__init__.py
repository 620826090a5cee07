"""What the tests of all pretext tasks share: two small encoders of other kinds, and what every task must do."""

import numpy as np
import pytest
import torch
from torch import nn

from archflow.encoding.base import Encoder, EncoderSettings, NodeEncoder
from archflow.encoding.dense import DenseSettings
from tests.pretraining.test_loop import InterruptAt, assert_equal, new, run, weights_of


class Flat(Encoder):
    """Reads the operations of some nodes end to end, and has no values for single nodes."""

    name = "flat"
    Settings = DenseSettings

    def __init__(self, vocabulary, settings=None):
        super().__init__(vocabulary, settings or DenseSettings(hidden=16, nodes=8))
        self.first = nn.Linear(self.settings.nodes * len(self.vocabulary), self.width)

    def forward(self, archs):
        archs.require_vocabulary(self.vocabulary, "the encoder's")
        inputs = torch.zeros(len(archs), self.settings.nodes, len(self.vocabulary))
        place = np.arange(len(archs.operations)) - archs.node_offsets[:-1][archs.owners]
        inputs[archs.owners, place, archs.operations.astype(np.int64)] = 1
        return torch.relu(self.first(inputs.flatten(1)))


class Table(NodeEncoder):
    """Adds up what an embedding says of each node and its predecessors, and normalises it over the batch."""

    name = "table"

    def __init__(self, vocabulary, settings=None):
        super().__init__(vocabulary, settings or EncoderSettings(hidden=16))
        self.table, self.norm = nn.Embedding(len(self.vocabulary), self.width), nn.BatchNorm1d(self.width)

    def nodes(self, archs):
        archs.require_vocabulary(self.vocabulary, "the encoder's")
        own = self.table(torch.from_numpy(archs.operations.astype(np.int64)))
        source, target = torch.from_numpy(archs.edge_index)
        return self.norm(own + torch.zeros_like(own).index_add(0, target, own[source]))


def assert_learns(task, kind=None, epochs=20, share=0.9):
    """Every term of the loss that is named falls to a share of what it was."""
    torch.manual_seed(0)
    outcome = run(kind or new(), task, epochs=epochs, lr=5e-3)
    for losses in outcome.losses.values():
        assert np.isfinite(losses).all()
    totals = np.sum(list(outcome.losses.values()), axis=0)
    assert totals[-1] < share * totals[0]
    return outcome


def assert_resumes(task, tmp_path, make=new):
    """A run that is interrupted and goes on equals one that is not, bit for bit; and the seed alone decides."""
    expected, again, other = make(), make(), make()
    outcome = run(expected, task)
    weights = weights_of(expected)
    torch.manual_seed(99)
    assert run(again, task).losses == outcome.losses
    assert_equal(again, weights)
    run(other, task, seed=1)
    assert any(not torch.equal(tensor, weights[name]) for name, tensor in other.state_dict().items())
    path = tmp_path / "checkpoint"
    with pytest.raises(KeyboardInterrupt):
        run(make(), task, checkpoint=path, progress=InterruptAt(6))
    resumed = make()
    assert run(resumed, task, checkpoint=path, resume=True).losses == outcome.losses
    assert_equal(resumed, weights)


def assert_checkpoint_is_of_another_run(task, others, tmp_path):
    """A checkpoint of ``task`` is refused by tasks that differ in one setting; ``others`` gives them by its name."""
    path = tmp_path / "checkpoint"
    with pytest.raises(KeyboardInterrupt):
        run(new(), task, checkpoint=path, progress=InterruptAt(2))
    for name, other in others.items():
        with pytest.raises(ValueError, match=f"is the checkpoint of another run: .*{name}"):
            run(new(), other, checkpoint=path, resume=True)
