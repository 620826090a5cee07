"""How many accuracies intervals hold, of all test cells and of the best ranked: python reliability.py reliability.svg.

NAS-Bench-201 (analog), 118 labels, permutations 0 to 5, the process and trees of the head gp; prints the shares, and
draws them. "before": without :func:`archflow.ranking.columns.widened`. Needs archflow[plots].
"""

from __future__ import annotations

import sys

import baselines
import matplotlib.pyplot as plt
import numpy as np
from jaxtyping import Float
from numpy import ndarray
from scipy.stats import norm

from archflow.ranking.columns import widened
from archflow.ranking.ensemble import Ensemble
from archflow.studies.protocol import split

LEVELS = (0.2, 0.5, 0.8, 0.95)
PERMUTATIONS = 6


def main() -> None:
    """Compute, print and draw."""
    problem = next(baselines.problems(None))
    blocks = {name: problem.blocks[name] for name in ("paths", "simplified", "proxies")}
    some = np.linspace(0, len(problem.accuracy) - 1, baselines.CANDIDATES).astype(np.int64)
    found: dict[str, list[list[float]]] = {}
    for permutation in range(PERMUTATIONS):
        part = split(len(problem.accuracy), problem.pool, problem.labelled, permutation)
        accuracy = problem.accuracy[part.test]
        head = Ensemble().fit(
            baselines.rows_of(blocks, part.known), problem.accuracy[part.known], baselines.rows_of(blocks, some)
        )
        score, std = head.predict(baselines.rows_of(blocks, part.test), with_noise=True)
        order = np.argsort(-score)
        for name, deviation in (("before", std), ("now", widened(std, score, len(part.known)))):
            inside = np.array([held(head, score, deviation, accuracy, level) for level in LEVELS])
            for group, rows in (("all", order), ("top 5 %", order[: len(order) // 20]), ("top 1 %", order[:78])):
                found.setdefault(f"{group}, {name}", []).append(inside[:, rows].mean(axis=1).tolist())
    figure, axes = plt.subplots(figsize=(4.5, 4.5), layout="constrained")
    axes.plot([0, 1], [0, 1], color="0.8")
    for name, shares in found.items():
        mean = np.mean(shares, axis=0)
        print(name, *(f"{level:.0%}: {share:.2f}" for level, share in zip(LEVELS, mean, strict=True)))
        axes.plot(LEVELS, mean, marker="o", linestyle="-" if name.endswith("now") else ":", label=name)
    axes.set(xlabel="level of the interval", ylabel="share of accuracies inside", xlim=(0, 1), ylim=(0, 1))
    axes.legend()
    figure.savefig(sys.argv[1])


def held(
    head: Ensemble,
    score: Float[ndarray, " archs"],
    std: Float[ndarray, " archs"],
    y: Float[ndarray, " archs"],
    p: float,
) -> ndarray:
    """Which accuracies are in intervals of level p."""
    half = norm.ppf((1 + p) / 2) * std
    return (head.to_labels(score - half) <= y) & (y <= head.to_labels(score + half))


if __name__ == "__main__":
    main()
