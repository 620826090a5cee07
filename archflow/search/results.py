"""What a search has found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from optuna import Study
from optuna.trial import FrozenTrial, TrialState

from archflow.benchmarks.space import Space
from archflow.search.sampler import NO_ARCHITECTURE, WHY

REPEATS = "repeats"
"""The user attribute of a trial that says which other it repeats, -1 if it was withdrawn."""


@dataclass(frozen=True)
class TrialRow:
    """One training.

    Attributes:
        trial: its number in the study.
        arch: the architecture in the space's notation.
        score: what the objective gave, the last report where it was stopped early, None where it failed.
        state: "done", "stopped early" or "failed".
        best: the highest score of a training that was done up to this one, by the time at which they ended.
        seconds: how long it took.
        why: why it failed, else "".
    """

    trial: int
    arch: str
    score: float | None
    state: str
    best: float | None
    seconds: float
    why: str


@dataclass(frozen=True)
class SearchResult:
    """A search so far.

    Attributes:
        space: the space's name.
        rows: every training that has ended, in the order in which they did.
        running: how many are running.
    """

    space: str
    rows: tuple[TrialRow, ...]
    running: int

    @property
    def best(self) -> TrialRow | None:
        """The training with the highest score; None if none was done."""
        done = [row for row in self.rows if row.state == "done"]
        return max(done, key=lambda row: row.score or -np.inf) if done else None

    def columns(self) -> dict[str, list[Any]]:
        """The rows as columns for a table; an unknown number is NaN."""
        return {
            "trial": [row.trial for row in self.rows],
            "arch": [row.arch for row in self.rows],
            "score": [np.nan if row.score is None else row.score for row in self.rows],
            "best": [np.nan if row.best is None else row.best for row in self.rows],
            "state": [row.state for row in self.rows],
            "seconds": [row.seconds for row in self.rows],
            "why": [row.why for row in self.rows],
        }


def counts(trial: FrozenTrial) -> bool:
    """Whether a trial was a training that counts against the budget: it has ended, and not because its worker died."""
    if is_fruitless(trial):
        return False
    return trial.state in (TrialState.COMPLETE, TrialState.PRUNED) or (
        trial.state is TrialState.FAIL and WHY in trial.user_attrs
    )


def is_fruitless(trial: FrozenTrial) -> bool:
    """Whether a trial trained nothing, because its architecture was known, or there was none."""
    return REPEATS in trial.user_attrs or trial.user_attrs.get(WHY) == NO_ARCHITECTURE


def result_of(study: Study, space: Space) -> SearchResult:
    """What a study has found."""
    trials = study.get_trials(deepcopy=False)
    ended = sorted(filter(counts, trials), key=lambda each: (each.datetime_complete, each.number))
    rows: list[TrialRow] = []
    best: float | None = None
    for each in ended:
        score: float | None = None
        if each.state is TrialState.COMPLETE:
            score = float(each.values[0])
            best = score if best is None else max(best, score)
        elif each.intermediate_values:
            score = float(each.intermediate_values[max(each.intermediate_values)])
        state = {TrialState.COMPLETE: "done", TrialState.PRUNED: "stopped early"}.get(each.state, "failed")
        seconds = 0.0 if each.duration is None else each.duration.total_seconds()
        architecture, why = each.user_attrs.get("architecture", ""), each.user_attrs.get(WHY, "")
        rows.append(TrialRow(each.number, architecture, score, state, best, seconds, why))
    return SearchResult(space.name, tuple(rows), sum(each.state is TrialState.RUNNING for each in trials))
