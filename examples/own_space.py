"""Rank a space of your own, given as graphs: stems, bodies and heads of small networks, wired in two ways."""

import argparse
import itertools

import numpy as np

import archflow

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--small", action="store_true", help="fewer architectures")
options = parser.parse_args()

OPERATIONS = ("conv3", "conv5", "pool", "skip")
CHAIN = [(0, 1), (1, 2), (2, 3), (3, 4), (4, 5)]
RESIDUAL = [*CHAIN, (1, 3), (2, 4)]

graphs = [
    (["in", *operations, "out"], edges)
    for operations in itertools.product(OPERATIONS[: 3 if options.small else 4], repeat=4)
    for edges in (CHAIN, RESIDUAL)
]
archs = archflow.ArchBatch.from_graphs(graphs, vocabulary=["in", *OPERATIONS, "out"])


def train(row):
    """Train architecture ``row`` and return its accuracy; made up here."""
    operations, edges = graphs[row]
    return operations.count("conv3") + 1.2 * operations.count("conv5") + 0.5 * (edges is RESIDUAL)


rows = np.random.default_rng(0).choice(len(archs), 20, replace=False)
for turn in range(2):  # fit, train what is suggested, fit again
    accuracy = np.array([train(row) for row in rows])
    ranker = archflow.Ranker(None, space=None).fit(archs[rows], accuracy)
    print(f"round {turn + 1}: best of {len(rows)} trained has {accuracy.max():.2f}")
    rows = np.concatenate([rows, ranker.suggest(archs, 5)])
print("best suggestion:", *graphs[rows[-5]][0])
