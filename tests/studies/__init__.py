"""A table of 640 architectures (pool: 321, of which 1 % is 3), plug-ins, and hand-made lines of results."""

import numpy as np

from archflow.benchmarks.nasbench201.space import NASBench201
from archflow.benchmarks.table import Table

SPACE = NASBench201()
PRETEXTS = ("none", "graphcl", "arch2vec", "gmae", "zero-cost", "fgp")
"""The pretexts of the study table1."""

PLUGIN = """
import torch
from torch import nn
import archflow
from archflow.encoding.base import NodeEncoder

class Bag(NodeEncoder):
    name = "bag"
    def __init__(self, vocabulary, settings=None):
        super().__init__(vocabulary, settings)
        self.embed = nn.Embedding(len(vocabulary), self.width)
    def nodes(self, archs):
        return self.embed(torch.from_numpy(archs.operations).long())

archflow.register("encoder", Bag.name, Bag)
"""
"""An encoder in at most 20 lines: the mean of a learned vector for each operation."""

TASK_PLUGIN = """
from dataclasses import dataclass
import torch
from torch import nn
import archflow

class Objective(nn.Module):
    def __init__(self, task, encoder, archs):
        super().__init__()
        self.weight, self.encoder, self.archs, self.head = task.weight, encoder, archs, nn.Linear(encoder.width, 1)
    def forward(self, chosen):
        batch = self.archs[chosen]
        edges = torch.from_numpy(batch.edge_offsets[1:] - batch.edge_offsets[:-1]).float()
        return {"edges": self.weight * (self.head(self.encoder(batch))[:, 0] - edges).square().mean()}

@dataclass(frozen=True, eq=False)
class CountEdges(archflow.Task):
    name = "count-edges"
    weight: float = 1.0
    def build(self, encoder, archs):
        return Objective(self, encoder, archs)

archflow.register("task", "count-edges", CountEdges)
"""
"""A pretext task: predict the number of edges."""


def made_up_table(name="tiny", count=640) -> Table:
    """A table of cells of NAS-Bench-201 whose accuracies follow their parameters, with noise."""
    archs, rng = SPACE.sample(count, 0), np.random.default_rng(0)
    accuracy = np.log(SPACE.parameters(archs)) + rng.normal(size=count) / 2
    return Table(name, SPACE, archs, {"accuracy": accuracy}, "accuracy")


TABLE = made_up_table()


def line(key, **changes):
    """A line of results."""
    return {
        **{"space": "nasbench201", "encoder": "resgatedgcn", "pretext": "fgp", "head": "finetune", "column": "a"},
        **{"labels": 0.01, "share": 1.0, "seed": 0, "split": 0, "tau": 0.5, "p_at_1": 0.1, "p_at_5": 0.25},
        **{"validation_tau": 0.5, "best_epoch": 2, "seconds": 2.0, "pretrain_seconds": 1.0, "key": str(key)},
        **changes,
    }


def without_seconds(lines):
    """Lines by key, without the times."""
    found = {each["key"]: {k: v for k, v in each.items() if not k.endswith("seconds")} for each in lines}
    assert len(found) == len(lines)
    return found


class InterruptAt:
    """A progress callback that raises KeyboardInterrupt at a point in a phase."""

    def __init__(self, phase, done):
        self.phase, self.done = phase, done

    def __call__(self, phase, done, total):
        if phase == self.phase and done >= self.done:
            raise KeyboardInterrupt
