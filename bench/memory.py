"""Memory of an ArchBatch of 423,624 random 7-node DAGs, the number of cells of NAS-Bench-101."""

from __future__ import annotations

import numpy as np

from archflow import ArchBatch

ARCHS, NODES = 423_624, 7


def megabytes() -> float:
    rng = np.random.default_rng(0)
    operations = np.full((ARCHS, NODES), 4)
    operations[:, 0] = 0
    operations[:, 1:-1] = rng.integers(1, 4, (ARCHS, NODES - 2))
    adjacency = np.triu(rng.random((ARCHS, NODES, NODES)) < 0.5, 1)
    _, source, target = adjacency.nonzero()
    edge_offsets = np.concatenate([[0], np.cumsum(adjacency.sum((1, 2)))])
    batch = ArchBatch(
        operations.reshape(-1),
        np.arange(ARCHS + 1) * NODES,
        np.stack([source, target]),
        edge_offsets,
        ("input", "conv3x3", "conv1x1", "maxpool3x3", "output"),
    )
    return batch.nbytes / 1e6
