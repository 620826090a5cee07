"""An Optuna sampler that proposes what a strategy proposes.

    m        finished trials: complete ones, and pruned ones that reported a score, by the time at which they ended
    startup  while m < n_startup: random architectures
    fit      the first n_startup + ⌊(m − n_startup) / batch⌋ · batch of them: what the strategy learns from
    taken    all architectures of the study that were finished, have failed, run or wait

The next trial gets the strategy's first proposal that is not taken. The strategy chooses each proposal as if those
before it had been labelled as expected, so what runs counts as pending. All is a function of the seed and the storage:
workers that share it need not know of each other, and one that restarts goes on as before.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from optuna import Study
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, RandomSampler
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from archflow.archs.batch import ArchBatch
from archflow.benchmarks.registry import space as make_space
from archflow.benchmarks.space import Space
from archflow.search.decisions import choices_of, distributions, parameters_of
from archflow.search.strategies import Candidates, Choices, History, Random, make_strategy

_SPARE = 5
"""Proposals beyond those of a batch and those taken, so that a trial that fails asks for no new fit."""


class FlowSampler(BaseSampler):
    """Proposes architectures by a :class:`~archflow.ranking.ranker.Ranker` fitted to the finished trials.

    >>> space = archflow.space("nasbench201")
    >>> study = optuna.create_study(direction="maximize", sampler=FlowSampler(space))
    >>> study.optimize(lambda trial: train(space.suggest(trial)), n_trials=100)

    Args:
        space: what to search, or its name.
        strategy: one of :data:`archflow.search.strategies.STRATEGIES`.
        candidates: the only ones that may be proposed, such as the rows of a table; by default the whole space.
        n_startup: so many trials are random.
        batch: the ranker is fitted again after so many finished trials.
        seed: fixes everything random.
        device: where encoders compute.

    Raises:
        ValueError: an unknown space or strategy, a space without decisions, or too large for the strategy
            "exhaustive"; ``n_startup`` or ``batch`` below 1. A study whose trials are not of the space raises it when
            a trial is asked for.
    """

    def __init__(
        self,
        space: Space | str,
        *,
        strategy: str = "flow",
        candidates: ArchBatch | None = None,
        n_startup: int = 10,
        batch: int = 5,
        seed: int = 0,
        device: str = "auto",
    ) -> None:
        if n_startup < 1 or batch < 1:
            raise ValueError(f"n_startup and batch must be at least 1, not {n_startup} and {batch}")
        self.space = make_space(space) if isinstance(space, str) else space
        self._distributions = distributions(self.space)
        self._strategy = make_strategy(strategy, self.space, candidates, device)
        self._random = Random(Candidates(self.space, candidates))
        self._n_startup, self._batch, self._seed = n_startup, batch, seed
        self._independent = RandomSampler(seed)
        self._proposed: tuple[tuple[int, ...], int, Choices] | None = None

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """The space's decisions."""
        return dict(self._distributions)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """The parameters of the next architecture; those of a random one where none is left."""
        trials = study.get_trials(deepcopy=False)
        chosen = [each for each in trials if each.number != trial.number and self._is_whole(each)]
        # Earlier trials that are about to choose will take the first proposals.
        ahead = sum(
            each.number < trial.number and each.state is TrialState.RUNNING and not self._is_whole(each)
            for each in trials
        )
        taken = self._history(chosen, [np.nan] * len(chosen))
        finished = self._finished(chosen)
        fit = len(finished)
        if fit >= self._n_startup:
            fit -= (fit - self._n_startup) % self._batch
        learned = finished[:fit]
        n = len(chosen) - fit + ahead + 1
        left = self._random.candidates.fresh(self._proposals(study, learned, n), taken)
        if len(left) <= ahead:
            left = self._random.propose(taken, ahead + 1, self._drawn(len(chosen)))
        if not len(left):  # everything has been proposed
            left = self._random.propose(History(taken.choices[:0], taken.labels[:0]), 1, self._drawn(len(chosen)))
        return dict(parameters_of(self.space, left[min(ahead, len(left) - 1)]))

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """A random value for a parameter that is none of the space's decisions."""
        return self._independent.sample_independent(study, trial, param_name, param_distribution)

    def reseed_rng(self) -> None:
        """Nothing: trials that run at once are told apart by their numbers."""

    def _proposals(self, study: Study, learned: Sequence[FrozenTrial], n: int) -> Choices:
        """At least ``n`` proposals from these trials, if there are as many."""
        numbers = tuple(each.number for each in learned)
        if self._proposed is None or self._proposed[0] != numbers or self._proposed[1] < n:
            n += self._batch + _SPARE
            sign = -1.0 if study.directions[0] is StudyDirection.MINIMIZE else 1.0
            history = self._history(learned, [sign * _score(each) for each in learned])
            strategy = self._random if len(learned) < self._n_startup else self._strategy
            self._proposed = numbers, n, strategy.propose(history, n, self._drawn(len(learned)))
        return self._proposed[2]

    def _history(self, trials: Sequence[FrozenTrial], labels: Sequence[float]) -> History:
        return History(choices_of(self.space, [chosen_by(each) for each in trials]), np.array(labels, float))

    def _is_whole(self, trial: FrozenTrial) -> bool:
        """Whether the trial has chosen an architecture.

        Raises:
            ValueError: it is finished, and of another space.
        """
        chosen = chosen_by(trial)
        if self._distributions.keys() <= chosen.keys():
            return trial.user_attrs.get(WHY) != NO_ARCHITECTURE
        if trial.state is TrialState.COMPLETE:
            missing = next(name for name in self._distributions if name not in chosen)
            raise ValueError(
                f"trial {trial.number} of the study is not of the space {self.space.name}: it lacks '{missing}'; "
                "take another study name or storage"
            )
        return False

    def _finished(self, trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
        found = [each for each in trials if np.isfinite(_score(each))]
        return sorted(found, key=lambda each: (each.datetime_complete, each.number))

    def _drawn(self, stage: int) -> int:
        return int(np.random.default_rng([self._seed, stage]).integers(2**31))


WHY = "why"
"""The user attribute that says why a trial has no score."""
NO_ARCHITECTURE = "the choices denote no architecture"
"""What it says of trials that were pruned for it."""


def chosen_by(trial: FrozenTrial) -> dict[str, Any]:
    """The parameters of a trial, or of one that waits with parameters that were fixed."""
    if trial.state is TrialState.WAITING:
        return dict(trial.system_attrs.get("fixed_params", {}))
    return trial.params


def _score(trial: FrozenTrial) -> float:
    """The value of a complete trial, the last report of a pruned one, else NaN."""
    if trial.state is TrialState.COMPLETE:
        return float(trial.values[0])
    if trial.state is TrialState.PRUNED and trial.intermediate_values:
        return float(trial.intermediate_values[max(trial.intermediate_values)])
    return np.nan
