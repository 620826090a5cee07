"""Strategies: which architectures to train next, given what has been trained.

A strategy is a function of the history and a seed and keeps nothing but what it derives of the candidates, so that it
goes on after a restart as if nothing had happened. Of ``n`` proposals the first ones are the same for any ``n``.
"""

from __future__ import annotations

import warnings
from typing import ClassVar, NamedTuple, Protocol

import numpy as np
from jaxtyping import Float, Int, UInt64
from numpy import ndarray

from archflow.archs.batch import ArchBatch
from archflow.benchmarks.space import Space
from archflow.paths import weisfeiler_leman_features
from archflow.ranking.columns import Blocks
from archflow.ranking.gp_head import GaussianProcessHead, GaussianProcessHeadSettings
from archflow.ranking.metrics import kendall_tau
from archflow.ranking.ranker import Ranker
from archflow.ranking.sources import columns_of

MOST_RANKED = 50_000
"""Spaces of more architectures are not ranked whole but by a pool of candidates that evolves."""
MOST_EXHAUSTIVE = 1_000_000
"""Spaces of more architectures are refused by the strategy that ranks them whole."""
_DRAWN, _BRED, _PARENTS, _ROUNDS = 4_000, 1_000, 20, 3
"""An evolving pool: random candidates, mutations of a round, the trained ones that are mutated, and rounds."""
_HOPS = 2
"""Neighbourhoods of the Weisfeiler-Leman process, as in NAS-BOWL (Ru et al., ICLR 2021)."""
_POPULATION, _TOURNAMENT = 30, 10
"""Of regularised evolution, as White et al. (BANANAS, AAAI 2021) set them for budgets of 150."""
_NEAREST = 10
"""In a pool that holds only a part of a space, an architecture's neighbours are so many of the nearest."""
_MUTATIONS = 64
"""Mutations that are drawn to find a neighbour that has not been trained."""


Choices = Int[ndarray, "archs decisions"]
"""Architectures as the choices that make them, see :meth:`Space.encode`; there may be none."""


class History(NamedTuple):
    """What a search has proposed.

    Attributes:
        choices: the architectures, in the order in which they were finished.
        labels: for each its score, higher is better; NaN if it has none, because it runs or has failed.
    """

    choices: Choices
    labels: Float[ndarray, " archs"]

    def best(self, n: int | None = None) -> Int[ndarray, " best"]:
        """The rows with a score, the best first; ``n`` at most."""
        known = np.flatnonzero(np.isfinite(self.labels))
        return known[np.argsort(-self.labels[known], kind="stable")][:n]

    @property
    def says_nothing(self) -> bool:
        """Whether there are no two different scores to learn from."""
        return len(np.unique(self.labels[self.best()])) < 2


class Strategy(Protocol):
    """Proposes what to train next."""

    def propose(self, history: History, n: int, seed: int) -> Choices:
        """Up to ``n`` different architectures that are not in the history, the most promising first.

        Fewer only where no more are left, or are found.
        """


class Candidates:
    """The architectures that may be proposed: a space, or a part of it such as the rows of a table.

    Attributes:
        space: the space.
        choices: all candidates, if they are few enough to be ranked whole; else None.
        is_part: whether they are only a part of the space.
    """

    def __init__(self, space: Space, part: ArchBatch | None = None, most: int = MOST_RANKED) -> None:
        self.space, self.is_part = space, part is not None
        self.choices: Choices | None = None
        if part is not None:
            self.choices = space.encode(part)
        elif space.size is not None and space.size <= most:
            self.choices = space.encode(space.enumerate())
        self._columns: Float[ndarray, "archs columns"] | None = None
        # A linear hash: different rows get the same number with a probability of 2⁻⁶⁴.
        self._factors = np.random.default_rng(0).integers(2**64, size=len(space.decisions), dtype=np.uint64)

    def random(self, history: History, n: int, seed: int) -> Choices:
        """``n`` random ones that are not in the history, or as many as there are."""
        if self.choices is not None:
            return self.fresh(np.random.default_rng(seed).permutation(self.choices), history)[:n]
        wanted = n + len(history.choices)
        drawn = self.space.encode(self.space.sample(min(wanted, self.space.size or wanted), seed))
        return self.fresh(drawn, history)[:n]

    def fresh(self, choices: Choices, history: History) -> Choices:
        """Those that are not in the history, each network once, in their order."""
        numbers = self._numbers(choices)
        rows = np.sort(np.unique(numbers, return_index=True)[1])
        return choices[rows[~np.isin(numbers[rows], self._numbers(history.choices))]]

    def neighbours(self, row: Int[ndarray, " decisions"], history: History, seed: int) -> Choices:
        """Neighbours of one architecture that are not in the history, in random order.

        They are its mutations; in a part of a space the nearest ones, by the number of decisions that differ.
        """
        if self.is_part and self.choices is not None:
            rng, differ = np.random.default_rng(seed), (self.choices != row).sum(axis=1)
            nearest = np.lexsort((rng.random(len(differ)), np.where(differ, differ, len(row) + 1)))[:_NEAREST]
            return self.fresh(self.choices[rng.permutation(nearest)], history)
        archs = self.space.decode(np.repeat(row[None], _MUTATIONS, axis=0))
        return self.fresh(self.space.encode(self.space.mutate(archs, seed)), history)

    def columns(self, choices: Choices) -> Float[ndarray, "archs columns"]:
        """The proxies of architectures; those of candidates that are ranked whole are computed once."""
        if self.choices is None:
            return columns_of(self.space.decode(choices), self.space).values
        if self._columns is None:
            order = np.argsort(self._numbers(self.choices))
            self._sorted = self._numbers(self.choices)[order]
            self._columns = columns_of(self.space.decode(self.choices[order]), self.space).values
        numbers = self._numbers(choices)
        places = np.minimum(np.searchsorted(self._sorted, numbers), len(self._sorted) - 1)
        found, unknown = self._columns[places], np.flatnonzero(self._sorted[places] != numbers)
        if len(unknown):  # a person's own trials
            found[unknown] = columns_of(self.space.decode(choices[unknown]), self.space).values
        return found

    def _numbers(self, choices: Choices) -> UInt64[ndarray, " archs"]:
        return choices.astype(np.uint64) @ self._factors


class Random:
    """Random architectures; the parent of the others, which fall back on them.

    Attributes:
        refits_in_batches: whether proposing is so slow that a sampler asks for several at a time.
    """

    refits_in_batches: ClassVar[bool] = False

    def __init__(self, candidates: Candidates) -> None:
        self.candidates = candidates

    def propose(self, history: History, n: int, seed: int) -> Choices:
        """See :class:`Strategy`."""
        return self.candidates.random(history, n, seed)

    def _filled(self, found: list[Choices], history: History, n: int, seed: int) -> Choices:
        """What was found, then random ones."""
        more = self.candidates.random(history, n, seed)
        return self.candidates.fresh(np.concatenate([*found, more]), history)[:n]

    def _left(self, history: History, seed: int) -> Choices:
        """All candidates that are not in the history, or a sample where they are too many."""
        if self.candidates.choices is None:
            return self.candidates.random(history, _DRAWN, seed)
        return self.candidates.fresh(self.candidates.choices, history)


class Evolution(Random):
    """Regularised evolution (Real et al., AAAI 2019): mutate the best of a tournament among the youngest."""

    def propose(self, history: History, n: int, seed: int) -> Choices:
        """See :class:`Strategy`."""
        rng, young = np.random.default_rng(seed), np.sort(history.best())[-_POPULATION:]
        children: list[Choices] = []
        for _ in range(n if len(young) else 0):
            drawn = rng.permutation(young)[:_TOURNAMENT]
            parent = history.choices[drawn[np.argmax(history.labels[drawn])]]
            children.append(self.candidates.neighbours(parent, history, int(rng.integers(2**31)))[:1])
        return self._filled(children, history, n, seed)


class LocalSearch(Random):
    """The neighbours of the best architecture that still has one to be trained (White et al., UAI 2021)."""

    def propose(self, history: History, n: int, seed: int) -> Choices:
        """See :class:`Strategy`."""
        found: list[Choices] = []
        for row in history.best():
            found.append(self.candidates.neighbours(history.choices[row], history, seed))
            if sum(map(len, found)) >= n:
                break
        return self._filled(found, history, n, seed)


class Proxy(Random):
    """The zero-cost proxy that has ordered the trained ones best so far, alone."""

    def propose(self, history: History, n: int, seed: int) -> Choices:
        """See :class:`Strategy`."""
        left = self._left(history, seed)
        if history.says_nothing or not len(left):
            return self._filled([], history, n, seed)
        known = history.best()
        trained, others = (np.nan_to_num(self.candidates.columns(each)) for each in (history.choices[known], left))
        if not others.shape[1]:
            raise ValueError(f"no proxies are known for {self.candidates.space.name}; take another strategy")
        labels = history.labels[known]
        taus = [kendall_tau(labels, column) if np.ptp(column) > 0 else 0.0 for column in trained.T]
        best = int(np.argmax(np.abs(taus)))
        return left[np.argsort(-np.sign(taus[best]) * others[:, best], kind="stable")[:n]]


class Ranked(Random):
    """A ranker fitted to what has been trained; its head chooses among all candidates, or a pool that evolves."""

    refits_in_batches = True

    def __init__(self, candidates: Candidates, device: str = "auto") -> None:
        super().__init__(candidates)
        self.device = device

    def propose(self, history: History, n: int, seed: int) -> Choices:
        """See :class:`Strategy`."""
        left, space = self._left(history, seed), self.candidates.space
        if history.says_nothing or not len(left):
            return self._filled([], history, n, seed)
        known = history.best()
        # The proxies of the space are given as a person's own, so that they are not computed for every fit.
        columns = self.candidates.columns
        ranker = Ranker(None, space=None, seed=seed, device=self.device)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", ".* labels say little")
            ranker.fit(
                *(space.decode(history.choices[known]), history.labels[known]),
                proxies=columns(history.choices[known]),
                candidates=space.decode(left),
                candidate_proxies=columns(left),
            )
        if self.candidates.choices is None:
            left = self.candidates.fresh(self._evolved(ranker, left, history, seed), history)
        return left[ranker.suggest(space.decode(left), min(n, len(left)), proxies=columns(left))]

    def _evolved(self, ranker: Ranker, drawn: Choices, history: History, seed: int) -> Choices:
        """The drawn ones and, round by round, mutations of those with the highest scores or labels."""
        rng, space = np.random.default_rng(seed), self.candidates.space
        parts, trained = [drawn], history.choices[history.best(_PARENTS)]
        for _ in range(_ROUNDS):
            scores = ranker.predict(space.decode(parts[-1]), proxies=self.candidates.columns(parts[-1]))
            parents = np.concatenate([trained, parts[-1][np.argsort(-scores, kind="stable")[:_PARENTS]]])
            archs = space.decode(parents[rng.integers(len(parents), size=_BRED)])
            parts.append(space.encode(space.mutate(archs, int(rng.integers(2**31)))))
        return np.concatenate(parts)


class _ColumnsAlone(GaussianProcessHead):
    """A Gaussian process on columns of one's own, without trees."""

    def blocks(self, archs: ArchBatch, columns: Float[ndarray, "archs columns"]) -> Blocks:
        return {"columns": columns}


class WeisfeilerLeman(Random):
    """A Gaussian process on counts of Weisfeiler-Leman neighbourhoods, the idea of NAS-BOWL (Ru et al., ICLR 2021).

    It chooses by upper confidence as :class:`Ranked` does, so that the two differ in what they know of architectures.
    """

    refits_in_batches = True

    def propose(self, history: History, n: int, seed: int) -> Choices:
        """See :class:`Strategy`."""
        left, space = self._left(history, seed), self.candidates.space
        if history.says_nothing or not len(left):
            return self._filled([], history, n, seed)
        known = history.best()
        archs = space.decode(np.concatenate([history.choices[known], left]))
        counts = weisfeiler_leman_features(archs, _HOPS, directed=True)
        occurring = np.unique(counts[: len(known)].indices)
        columns = counts[:, occurring].toarray()
        trained, others = np.split(np.arange(len(archs)), [len(known)])
        ranker = Ranker(None, _ColumnsAlone(GaussianProcessHeadSettings(trees=0)), space=None, seed=seed)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", ".* labels say little")
            ranker.fit(archs[trained], history.labels[known], proxies=columns[trained])
        return left[ranker.suggest(archs[others], min(n, len(left)), proxies=columns[others])]


STRATEGIES: dict[str, type[Random]] = {
    "flow": Ranked,
    "exhaustive": Ranked,
    "random": Random,
    "evolution": Evolution,
    "local": LocalSearch,
    "weisfeiler-leman": WeisfeilerLeman,
    "proxy": Proxy,
}
"""By name; "exhaustive" is "flow" that insists on ranking the whole space."""


def make_strategy(name: str, space: Space, part: ArchBatch | None = None, device: str = "auto") -> Strategy:
    """The strategy of that name.

    Args:
        name: one of ``STRATEGIES``.
        space: what to search.
        part: the only candidates, such as the rows of a table; by default the whole space.
        device: where encoders compute.

    Raises:
        ValueError: an unknown name, or a space that is too large to be ranked whole by "exhaustive".
    """
    if name not in STRATEGIES:
        raise ValueError(f"unknown strategy '{name}'; known: {', '.join(STRATEGIES)}")
    most = MOST_EXHAUSTIVE if name == "exhaustive" else MOST_RANKED
    if name == "exhaustive" and part is None and (space.size is None or space.size > most):
        size = "an unknown number of" if space.size is None else f"{space.size:,}"
        raise ValueError(
            f"{space.name} has {size} architectures; exhaustive ranks {most:,} at most, so take the strategy flow"
        )
    candidates = Candidates(space, part, most)
    if STRATEGIES[name] is Ranked:
        return Ranked(candidates, device)
    return STRATEGIES[name](candidates)
