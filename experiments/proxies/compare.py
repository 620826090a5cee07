"""Two files of proxies of the same architectures, by rank: python compare.py SPACE OURS THEIRS [ACCURACIES].

Prints a Markdown row for each proxy that both have: how many architectures, Spearman's correlation of ours with theirs,
and Kendall's τ of either with the column "accuracy" of ACCURACIES (THEIRS, if it is not named).
"""

import sys

import numpy as np
from scipy.stats import kendalltau, spearmanr

import archflow
from archflow.benchmarks.own_tables import read_table


def main(space_name: str, ours_file: str, theirs_file: str, accuracies: str = "") -> None:
    """Print the table."""
    space = archflow.space(space_name)
    ours, theirs = read_table(ours_file, space), read_table(theirs_file, space)
    labelled = read_table(accuracies or theirs_file, space)
    rows = {key: row for row, key in enumerate(space.keys(ours.archs).tolist())}
    labels = dict(zip(space.keys(labelled.archs).tolist(), labelled["accuracy"], strict=True))
    keys = space.keys(theirs.archs).tolist()
    known = np.array([key in rows and key in labels for key in keys])
    place = np.array([rows[key] for key, is_known in zip(keys, known, strict=True) if is_known])
    accuracy = np.array([labels[key] for key, is_known in zip(keys, known, strict=True) if is_known])
    print("| proxy | architectures | Spearman | τ of ours | τ of theirs |\n| --- | --- | --- | --- | --- |")
    for name in ours.columns:
        if name in theirs.columns:
            mine, other = ours[name][place], theirs[name][known]
            both = ~np.isnan(mine) & ~np.isnan(other)
            correlation = spearmanr(mine[both], other[both])[0]
            taus = [kendalltau(values[both], accuracy[both])[0] for values in (mine, other)]
            print(f"| {name} | {both.sum():,} | {correlation:.3f} | {taus[0]:.3f} | {taus[1]:.3f} |")


if __name__ == "__main__":
    main(*sys.argv[1:])
