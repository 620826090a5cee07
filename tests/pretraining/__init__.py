"""Helpers for the tests of pre-training: two other small encoders, variants of every task, and short runs."""

import os
import signal

import numpy as np
import torch
from torch import nn

from archflow import FGP, GMAE, Arch2Vec, ArchBatch, FlowDraw, GraphCL, ZeroCost, pretrain
from archflow.benchmarks.nasbench201.space import NASBench201
from archflow.encoding.base import Encoder, EncoderSettings, NodeEncoder
from archflow.encoding.dense import DenseSettings
from archflow.encoding.registry import encoder
from tests.strategies import VOCABULARY

SPACE = NASBench201()
ARCHS = SPACE.sample(50, seed=0)
PROXY = SPACE.parameters(ARCHS)
PROXIES = np.stack([PROXY, -SPACE.flops(ARCHS)], axis=1).astype(float)
PROXIES[::3, 1] = np.nan
DRAW = FlowDraw.sample(len(SPACE.vocabulary))
STEPS = 4
"""Minibatches of 16 per epoch; the last has 2."""

VARIANTS = {
    "fgp": FGP(DRAW, PROXY, lambda1=0.5),
    "fgp, several draws and rounds": FGP([DRAW, FlowDraw.sample(7, seed=1)], PROXIES, lambda1=0.5, rounds=2, alpha=0.3),
    "fgp, forward alone": FGP(DRAW, passes="forward"),
    "fgp, backward alone": FGP(DRAW, passes="backward"),
    "zero-cost": ZeroCost(PROXY),
    "zero-cost, regression": ZeroCost(PROXIES, proxy_loss="regression"),
    "arch2vec": Arch2Vec(),
    "gmae": GMAE(),
    "gmae, without a mask": GMAE(replace=1),
    "graphcl": GraphCL(share=0.05),
    "graphcl, edges": GraphCL(["edges"], share=0.1),
}


class Flat(Encoder):
    """Reads the concatenated operations of the nodes, and has no node values."""

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
    """Sums the embeddings of each node and its predecessors, and normalises them over the batch."""

    name = "table"

    def __init__(self, vocabulary, settings=None):
        super().__init__(vocabulary, settings or EncoderSettings(hidden=16))
        self.table, self.norm = nn.Embedding(len(self.vocabulary), self.width), nn.BatchNorm1d(self.width)

    def nodes(self, archs):
        archs.require_vocabulary(self.vocabulary, "the encoder's")
        own = self.table(torch.from_numpy(archs.operations.astype(np.int64)))
        source, target = torch.from_numpy(archs.edge_index)
        return self.norm(own + torch.zeros_like(own).index_add(0, target, own[source]))


def new(name="resgatedgcn", seed=0, vocabulary=SPACE.vocabulary):
    """A small encoder; "flat" and "table" are those above."""
    torch.manual_seed(seed)
    own = {"flat": Flat, "table": Table}
    return own[name](vocabulary) if name in own else encoder(name, vocabulary, hidden=16, layers=2)


def run(model, task=None, archs=ARCHS, **settings):
    task = task or FGP(DRAW, PROXY)
    return pretrain(model, archs, task, **{"epochs": 3, "batch_size": 16, "device": "cpu", **settings})


def weights_of(model):
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def assert_equal(model, weights):
    """Bit for bit."""
    assert model.state_dict().keys() == weights.keys()
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, weights[name]), name


class InterruptAt:
    """A progress callback that sends Ctrl-C once, in the given step since it was made."""

    def __init__(self, step):
        self.steps_left = step

    def __call__(self, phase, done, total):
        self.steps_left -= 1
        if self.steps_left == 0:
            os.kill(os.getpid(), signal.SIGINT)


def batch_of(graphs):
    return ArchBatch.from_graphs(graphs, VOCABULARY)
