"""Simple baselines without an encoder, which an encoder and its pre-training must beat.

They use the labels of both the labelled and the validation architectures. The Gaussian processes are those of the head
``gp``, restricted to one block of columns. The heads that work without an encoder, ``gp`` and ``trees``, are further
baselines.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from archflow.paths import path_features, weisfeiler_leman_features
from archflow.ranking.gp import GaussianProcess
from archflow.ranking.metrics import kendall_tau
from archflow.studies.protocol import LabelledTable, Run, Split

_AT_ONCE = 12_500
"""Number of architectures whose columns are in memory at once."""
_HOPS = 2

Columns = Callable[[Int[ndarray, " rows"]], Float[ndarray, "rows _"]]
"""Computes columns for some rows of a table."""


class Rival(Protocol):
    """Ranks architectures without an encoder."""

    def __call__(self, data: LabelledTable, part: Split, run: Run) -> Float[ndarray, " test"]:
        """Scores of the test architectures of a split; higher is better.

        Raises:
            ValueError: the columns that it reads are unknown for these architectures.
        """


def random_scores(data: LabelledTable, part: Split, run: Run) -> Float[ndarray, " test"]:
    """Random scores, the same for the same seed and split."""
    return np.random.default_rng([run.seed, run.split, 2]).random(len(part.test))


def one_proxy(data: LabelledTable, part: Split, run: Run) -> Float[ndarray, " test"]:
    """A single proxy, negated if its τ on the labels is negative; architectures without a value rank last."""
    columns = _proxies(data, part, run)
    values, known = np.full(len(data.table), np.nan), part.known
    for rows in (known, part.test):
        values[rows] = columns(rows)[:, 0]
    known = known[np.isfinite(values[known])]
    tau = kendall_tau(data.accuracy[known], values[known]) if len(known) > 1 else np.nan
    score = -values[part.test] if tau < 0 else values[part.test]
    finite = np.isfinite(score)
    return np.where(finite, score, score[finite].min() - 1 if finite.any() else 0.0)


def gaussian_process(*blocks: str) -> Rival:
    """A rival that fits a Gaussian process on these blocks of columns."""

    def rank(data: LabelledTable, part: Split, run: Run) -> Float[ndarray, " test"]:
        columns = {name: BLOCKS[name](data, part, run) for name in blocks}
        labelled = part.known
        process = GaussianProcess().fit({n: of(labelled) for n, of in columns.items()}, data.accuracy[labelled])
        parts = np.array_split(part.test, range(_AT_ONCE, len(part.test), _AT_ONCE))
        return np.concatenate([process.predict({n: of(rows) for n, of in columns.items()})[0] for rows in parts])

    return rank


def _paths(data: LabelledTable, part: Split, run: Run) -> Columns:
    return lambda rows: path_features(data.table.archs[rows]).values


def _proxies(data: LabelledTable, part: Split, run: Run) -> Columns:
    names = run.source.head_proxies

    def columns(rows: Int[ndarray, " rows"]) -> Float[ndarray, "rows _"]:
        values = data.head_columns(names, rows)
        if values is None:
            raise ValueError(f"no proxies are known for {data.table.space.name}")
        return values

    return columns


def _onehot(data: LabelledTable, part: Split, run: Run) -> Columns:
    space = data.table.space

    def columns(rows: Int[ndarray, " rows"]) -> Float[ndarray, "rows _"]:
        choices = space.encode(data.table.archs[rows])
        return np.concatenate(
            [choices[:, [place]] == np.arange(len(each.options)) for place, each in enumerate(space.decisions)], axis=1
        ).astype(float)

    return columns


def _wl(data: LabelledTable, part: Split, run: Run) -> Columns:
    """Counts of each neighbourhood of 0, 1 and 2 hops that occurs in a labelled architecture."""
    counts = weisfeiler_leman_features(data.table.archs, _HOPS, directed=True)
    occurring = np.unique(counts[part.known].indices)
    return lambda rows: counts[rows][:, occurring].toarray()


BLOCKS: Mapping[str, Callable[[LabelledTable, Split, Run], Columns]] = {
    "paths": _paths,
    "proxies": _proxies,
    "onehot": _onehot,
    "wl": _wl,
}
"""Blocks of columns by name."""

RIVALS: dict[str, Rival] = {
    "random": random_scores,
    "gp-proxies": gaussian_process("proxies"),
    "gp-paths": gaussian_process("paths"),
    "gp-onehot": gaussian_process("onehot"),
    "gp-wl": gaussian_process("wl"),
}
"""The rivals by name; a single proxy, :func:`one_proxy`, goes by "proxy:NAME"."""
