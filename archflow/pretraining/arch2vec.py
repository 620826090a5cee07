"""arch2vec: a variational graph auto-encoder (Yan et al., NeurIPS 2020, arXiv:2006.06936).

Each node's value v_i defines a normal distribution, from which one sample is decoded into its operation and edges:

    y_i ~ N(μ(v_i), diag σ²(v_i)),   p(operation of i) = softmax(U y_i + c),   p(i and j share an edge) = σ(y_i · y_j)

and the loss is the cross entropy of the operations and of the edges, plus a small multiple of the KL divergence of the
distributions from N(0, I). As published, μ, log σ² and U are linear, and edges are undirected.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Int
from numpy import ndarray
from torch import Tensor, nn

from archflow.archs.batch import ArchBatch
from archflow.encoding.base import Encoder
from archflow.pretraining.nodes import NodeValues, most_nodes
from archflow.pretraining.task import Objective, Task, step_generator


@dataclass(frozen=True, eq=False)
class Arch2Vec(Task):
    """The task ``arch2vec``.

    Attributes:
        latent: width of the sample that a node is decoded from; published as 16.
        kl: weight of the KL divergence from N(0, I), which is a mean over nodes and a sum over ``latent``. Published as
            one over the number of nodes in a minibatch, which for the published minibatches is about 0.005.

    Raises:
        ValueError: ``latent`` is not a valid width, or ``kl`` is negative or not finite.
    """

    name: ClassVar[str] = "arch2vec"

    latent: int = 16
    kl: float = 0.005

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_widths("latent")
        if not 0 <= self.kl < np.inf:
            raise ValueError(f"arch2vec needs a finite kl ≥ 0, not {self.kl}")

    def build(self, encoder: Encoder, archs: ArchBatch) -> Arch2VecObjective:
        """The encoder with the decoder of nodes."""
        return Arch2VecObjective(self, encoder, archs)


class Arch2VecObjective(Objective):
    """arch2vec's loss as a function of the numbers in a minibatch."""

    def __init__(self, task: Arch2Vec, encoder: Encoder, archs: ArchBatch) -> None:
        super().__init__(encoder, archs)
        self.kl = task.kl
        self.values = NodeValues(encoder, most_nodes(archs))
        self.mean = nn.Linear(self.values.width, task.latent)
        self.log_variance = nn.Linear(self.values.width, task.latent)
        self.operation = nn.Linear(task.latent, len(archs.vocabulary))

    def forward(self, chosen: Int[ndarray, " batch"]) -> dict[str, Tensor]:
        """The weighted terms of the loss on the chosen architectures, by name."""
        archs = self.archs[chosen]
        values = self.values(archs)
        mean, log_variance = self.mean(values).float(), self.log_variance(values).float()
        noise = torch.from_numpy(step_generator().standard_normal(mean.shape, np.float32)).to(mean.device)
        sample = mean + (log_variance / 2).exp() * noise
        operations = torch.from_numpy(archs.operations.astype(np.int64)).to(mean.device)
        first, second, connected = (torch.from_numpy(array).to(mean.device) for array in pairs(archs))
        similarity = (sample[first] * sample[second]).sum(1)
        edges = F.binary_cross_entropy_with_logits(similarity, connected.float(), reduction="sum")
        divergence = (mean.square() + log_variance.exp() - 1 - log_variance).sum(1) / 2
        return {
            "operations": F.cross_entropy(self.operation(sample), operations),
            "edges": edges / max(1, len(first)),
            "kl": self.kl * divergence.mean(),
        }


def pairs(archs: ArchBatch) -> tuple[Int[ndarray, " pairs"], Int[ndarray, " pairs"], Bool[ndarray, " pairs"]]:
    """All pairs of nodes of the same architecture, as node numbers of the whole batch, and whether there is an edge.

    The first of a pair has the smaller number, and pairs are sorted by their first node, then their second.
    """
    nodes = np.arange(len(archs.operations))
    later = archs.node_offsets[1:][archs.owners] - nodes - 1
    # The pair of nodes i < j is at start[i] + j.
    start = np.cumsum(later) - later - nodes - 1
    first = np.repeat(nodes, later)
    second = np.arange(len(first)) - start[first]
    connected = np.zeros(len(first), bool)
    ends = np.sort(archs.edge_index, axis=0)
    connected[start[ends[0]] + ends[1]] = True
    return first, second, connected
