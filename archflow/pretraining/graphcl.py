"""GraphCL: graph contrastive learning (You et al., NeurIPS 2020, arXiv:2010.13902).

Each architecture of a minibatch is augmented at random, twice. A head on the encodings learns to find the two views of
the same architecture among all views of the minibatch. The loss is the normalised, temperature-scaled cross entropy
(NT-Xent)

    − log exp(c(a, b) / τ) / Σ exp(c(a, v) / τ)      over all views v but a itself, c the cosine

averaged over all views a, where b is the other view of the same architecture. (GraphCL as printed omits b, and the
views on a's side, from the sum; that cannot be computed for a minibatch of one.)

The augmentations are GraphCL's four, restricted so that the result is still an architecture: acyclic, over the same
vocabulary, with no node cut off from its inputs or outputs. Inputs and outputs of the network are kept.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from numpy import ndarray
from torch import Tensor

from archflow.archs.batch import ArchBatch
from archflow.encoding.base import Encoder
from archflow.encoding.losses import mlp
from archflow.pretraining.nodes import inner_operations
from archflow.pretraining.task import Objective, Task, step_generator
from archflow.support.settings import short

Inner = Bool[ndarray, " operations"]
"""Which operations are a choice; see :func:`.inner_operations`."""


@dataclass(frozen=True, eq=False)
class GraphCL(Task):
    """The task ``graphcl``.

    Attributes:
        augmentations: names from ``AUGMENTATIONS``; one of them, drawn at random, is applied to each view.
        share: share of nodes or edges that an augmentation changes, from 0 to 1; GraphCL's is 0.2.
        temperature: τ; GraphCL's is 0.2, on graphs of a few dozen nodes.
        projection_width: width of the head, an MLP with one hidden layer.

    Raises:
        ValueError: an augmentation is unknown, there is none, or a setting is of the wrong type or out of range.
    """

    name: ClassVar[str] = "graphcl"

    augmentations: Sequence[str] = ("edges", "operations", "nodes", "branches")
    share: float = 0.2
    temperature: float = 0.2
    projection_width: int = 128

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_widths("projection_width")
        known = ", ".join(AUGMENTATIONS)
        if not isinstance(self.augmentations, list | tuple) or not self.augmentations:
            raise ValueError(f"GraphCL needs a list of at least one augmentation; known: {known}")
        for name in self.augmentations:
            if not isinstance(name, str) or name not in AUGMENTATIONS:
                raise ValueError(f"unknown augmentation {short(name)}; known: {known}")
        if not (0 <= self.share <= 1 and 0 < self.temperature < np.inf):
            raise ValueError(
                f"GraphCL needs a share from 0 to 1 and a temperature above 0, not {self.share} and {self.temperature}"
            )

    def build(self, encoder: Encoder, archs: ArchBatch) -> GraphCLObjective:
        """The encoder with a head."""
        return GraphCLObjective(self, encoder, archs)


class GraphCLObjective(Objective):
    """GraphCL's loss as a function of the numbers in a minibatch."""

    def __init__(self, task: GraphCL, encoder: Encoder, archs: ArchBatch) -> None:
        super().__init__(encoder, archs)
        self.encoder, self.task, self.inner = encoder, task, inner_operations(archs)
        self.head = mlp(encoder.width, task.projection_width, task.projection_width)

    def forward(self, chosen: Int[ndarray, " batch"]) -> dict[str, Tensor]:
        """The one term of the loss on the chosen architectures, by name."""
        archs, rng = self.archs[chosen], step_generator()
        views = [augmented(archs, self.inner, self.task.augmentations, self.task.share, rng) for _ in range(2)]
        first, second = self.head(self.encoder(ArchBatch.concatenate(views))).chunk(2)
        return {"contrast": nt_xent(first, second, self.task.temperature)}


def nt_xent(
    first: Float[Tensor, "archs width"], second: Float[Tensor, "archs width"], temperature: float
) -> Float[Tensor, ""]:
    """The loss of two views of each architecture; see the module."""
    views = F.normalize(torch.cat([first, second]))
    scores = views @ views.t() / temperature
    numbers = torch.arange(len(views), device=views.device)
    itself = numbers[:, None] == numbers
    return F.cross_entropy(scores.masked_fill(itself, -torch.inf), numbers.roll(len(first)))


def augmented(
    archs: ArchBatch,
    inner: Inner,
    names: Sequence[str],
    share: float,
    rng: np.random.Generator,
) -> ArchBatch:
    """Each architecture after one of the named augmentations, drawn at random.

    Args:
        archs: the architectures.
        inner: which operations are a choice, see :func:`.inner_operations`; nodes with other operations are kept.
        names: names of the augmentations.
        share: share of nodes or edges that an augmentation changes.
        rng: draws the augmentations and the nodes or edges.
    """
    drawn = rng.integers(len(names), size=len(archs))
    groups = [np.flatnonzero(drawn == number) for number in range(len(names))]
    parts = [
        AUGMENTATIONS[name](archs[group], inner, share, rng)
        for name, group in zip(names, groups, strict=True)
        if len(group)
    ]
    return ArchBatch.concatenate(parts)[np.argsort(np.concatenate(groups))]


# The augmentations, all without a loop over architectures


def rewired(archs: ArchBatch, inner: Inner, share: float, rng: np.random.Generator) -> ArchBatch:
    """Add at most a fraction ``share`` of the number of edges, then drop each edge with probability ``share``.

    A new edge leads from a node with successors to one of a later generation, so there can be no cycle. Among the edges
    into a node, and among those out of it, the one with the largest random number is kept, so a node lacks predecessors
    or successors only if it did before. (Dropping alone would not change a NAS-Bench-201 cell, in which each edge is
    the only one into a node or the only one out of a node.)
    """
    source, target = archs.edge_index
    nodes, generation, followed = len(archs.operations), archs.generations, archs.successors.counts > 0
    drawn = archs.owners[source[rng.random(len(source)) < share]]
    ends = archs.node_offsets[drawn] + rng.integers(np.diff(archs.node_offsets)[drawn], size=(2, len(drawn)))
    ends = np.where(generation[ends[0]] < generation[ends[1]], ends, ends[::-1])
    added = ends[:, (generation[ends[0]] < generation[ends[1]]) & followed[ends[0]]]
    once = np.unique(np.concatenate([source * nodes + target, added[0] * nodes + added[1]]))
    source, target = once // nodes, once % nodes
    number = rng.random(len(once))
    largest_out, largest_in = np.zeros((2, nodes))
    np.maximum.at(largest_out, source, number)
    np.maximum.at(largest_in, target, number)
    stays = (number >= share) | (number == largest_out[source]) | (number == largest_in[target])
    return _part(archs, np.ones(nodes, bool), source[stays], target[stays])


def other_operations(archs: ArchBatch, inner: Inner, share: float, rng: np.random.Generator) -> ArchBatch:
    """Replace the operation of each node with probability ``share``; inputs and outputs keep theirs."""
    choices, place = np.flatnonzero(inner), np.cumsum(inner) - 1
    operations = archs.operations.astype(np.int64)
    nodes = np.flatnonzero(inner[operations] & (rng.random(len(operations)) < share))
    if len(choices) > 1:
        step = rng.integers(1, len(choices), size=len(nodes))
        operations[nodes] = choices[(place[operations[nodes]] + step) % len(choices)]
    return ArchBatch(operations, archs.node_offsets, archs.edges, archs.edge_offsets, archs.vocabulary)


def without_nodes(archs: ArchBatch, inner: Inner, share: float, rng: np.random.Generator) -> ArchBatch:
    """Drop each node with probability ``share``, connecting its predecessors to its successors.

    Inputs, outputs and nodes without predecessors or successors are kept; so is, of two neighbours that would both be
    dropped, the one with the larger random number.
    """
    source, target = archs.edge_index
    number = rng.random(len(archs.operations))
    between = (archs.predecessors.counts > 0) & (archs.successors.counts > 0)
    number[~between | ~inner[archs.operations]] = 1
    smallest_near = np.ones(len(number))
    np.minimum.at(smallest_near, source, number[target])
    np.minimum.at(smallest_near, target, number[source])
    stays = (number >= share) | (number >= smallest_near)
    kept, into = stays[source] & stays[target], np.flatnonzero(~stays[target])
    beyond = archs.successors.take(target[into])
    bridges = np.repeat(source[into], beyond.counts), beyond.values
    ends = np.concatenate([source[kept], bridges[0]]), np.concatenate([target[kept], bridges[1]])
    once = np.unique(ends[0] * len(stays) + ends[1])
    return _part(archs, stays, once // len(stays), once % len(stays))


def without_branches(archs: ArchBatch, inner: Inner, share: float, rng: np.random.Generator) -> ArchBatch:
    """Drop each node with probability ``share``, and with it all nodes that are no longer on a full path.

    A full path starts at a node that had no predecessors and ends at one that had no successors. Inputs and outputs are
    not drawn, and inputs are always kept. An architecture that would lose a node without successors is left unchanged.
    """
    source, target = archs.edge_index
    alive = ~inner[archs.operations] | (rng.random(len(archs.operations)) >= share)
    is_end = archs.successors.counts == 0
    fed, heard = alive & (archs.generations == 0), alive & is_end
    for _ in range(int(archs.generations.max())):
        fed[target[fed[source]]] = True
        heard[source[heard[target]]] = True
        fed, heard = fed & alive, heard & alive
    broken = np.add.reduceat(is_end & ~fed, archs.node_offsets[:-1], dtype=np.int64) > 0
    is_input = (archs.generations == 0) & ~inner[archs.operations]
    stays = (fed & heard) | is_input | broken[archs.owners]
    kept = stays[source] & stays[target]
    return _part(archs, stays, source[kept], target[kept])


AUGMENTATIONS: dict[str, Callable[[ArchBatch, Inner, float, np.random.Generator], ArchBatch]] = {
    "edges": rewired,
    "operations": other_operations,
    "nodes": without_nodes,
    "branches": without_branches,
}
"""The augmentations by name: GraphCL's edge perturbation, attribute masking, node dropping and subgraph."""


def _part(
    archs: ArchBatch, stays: Bool[ndarray, " nodes"], source: Int[ndarray, " edges"], target: Int[ndarray, " edges"]
) -> ArchBatch:
    """The architectures with the nodes that stay and the given edges only, as node numbers of the whole batch."""
    owner, place = archs.owners, np.cumsum(stays) - 1
    node_offsets = np.concatenate([[0], place[archs.node_offsets[1:] - 1] + 1])
    order = np.argsort(owner[source], kind="stable")
    of = owner[source[order]]
    edges = np.stack([place[source[order]], place[target[order]]]) - node_offsets[of]
    edge_offsets = np.searchsorted(of, np.arange(len(archs) + 1))
    return ArchBatch(archs.operations[stays], node_offsets, edges, edge_offsets, archs.vocabulary)
