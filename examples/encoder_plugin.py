"""An encoder of your own, as a plug-in: a mean over nodes of what they and their predecessors are.

``archflow --plugin encoder_plugin.py evaluate --space nasbench201 --encoder mean-of-neighbours`` compares it by the
paper's protocol; ``python encoder_plugin.py`` tries it.
"""

import argparse

import numpy as np
import torch
from torch import nn

import archflow
from archflow.encoding.base import NodeEncoder


class MeanOfNeighbours(NodeEncoder):
    """One linear layer on each node and the sum over its predecessors."""

    name = "mean-of-neighbours"

    def __init__(self, vocabulary, settings=None):
        super().__init__(vocabulary, settings)
        self.embed = nn.Embedding(len(self.vocabulary), self.width)
        self.mix = nn.Linear(2 * self.width, self.width)

    def nodes(self, archs):
        archs.require_vocabulary(self.vocabulary, "the encoder's")
        device = self.embed.weight.device
        own = self.embed(torch.from_numpy(archs.operations.astype(np.int64)).to(device))
        source, target = torch.from_numpy(archs.edge_index).to(device)
        before = torch.zeros_like(own).index_add(0, target, own[source])
        return torch.relu(self.mix(torch.cat([own, before], dim=1)))


archflow.register("encoder", MeanOfNeighbours.name, MeanOfNeighbours)

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--small", action="store_true", help="fewer architectures and epochs")
    options = parser.parse_args()
    space = archflow.space("nasbench201")
    archs = space.sample(100 if options.small else 3000, seed=0)
    encoder = archflow.encoder("mean-of-neighbours", archs.vocabulary, hidden=32)
    task = archflow.FGP(archflow.FlowDraw.sample(len(archs.vocabulary)), proxy=space.flops(archs))
    losses = archflow.pretrain(encoder, archs, task, epochs=2 if options.small else 30, seed=0).losses
    print({name: f"{values[0]:.3f} to {values[-1]:.3f}" for name, values in losses.items()})
