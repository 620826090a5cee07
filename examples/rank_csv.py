"""Rank a space from a CSV of trained architectures: ``python rank_csv.py trained.csv --space nasbench201``.

The file needs a column ``arch`` in the space's notation and a column ``accuracy``. Without a file, one is made up.
"""

import argparse
from pathlib import Path

import archflow
from archflow.benchmarks.own_tables import read_table, write_table

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("csv", nargs="?", type=Path)
parser.add_argument("--space", default="nasbench201")
parser.add_argument("--out", type=Path, default=Path("ranking.csv"))
parser.add_argument("--small", action="store_true", help="rank only 200 architectures")
options = parser.parse_args()

space = archflow.space(options.space)
if options.csv is None:
    options.csv = Path("trained.csv")
    archs = space.sample(50, seed=0)
    write_table(options.csv, {"arch": space.format(archs), "accuracy": space.parameters(archs) / 1e6})
trained = read_table(options.csv, space)

ranker = archflow.Ranker(None, space=space).fit(trained.archs, trained["accuracy"])
candidates = space.sample(200, seed=1) if options.small else space.enumerate()
mean, std = ranker.predict(candidates, return_std=True)
order = (-mean).argsort()
write_table(options.out, {"arch": space.format(candidates[order]), "score": mean[order], "std": std[order]})
print(f"{len(candidates):,} architectures ranked in {options.out}; train these next:")
print("\n".join(space.format(candidates[ranker.suggest(candidates, 5)])))
