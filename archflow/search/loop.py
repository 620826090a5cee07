"""The search: workers ask a strategy for architectures, train them, and keep every result in one storage.

The storage is an Optuna study, so ``optuna-dashboard`` shows it and workers on many machines may share it. A worker
knows nothing that is not there. What a killed worker was training is noticed by its missing heartbeats, and waits for
the next free worker.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import optuna
from optuna.trial import TrialState

from archflow.archs.batch import ArchBatch
from archflow.benchmarks.registry import space as make_space
from archflow.benchmarks.space import Space
from archflow.search.decisions import require_decisions, suggest
from archflow.search.objective import Objective, ObjectiveFailed
from archflow.search.results import REPEATS, SearchResult, TrialRow, counts, is_fruitless, result_of
from archflow.search.sampler import NO_ARCHITECTURE, WHY, FlowSampler, chosen_by
from archflow.search.strategies import STRATEGIES
from archflow.search.workers import in_workers

__all__ = ["SearchResult", "TrialRow", "run"]

OPTUNA_STRATEGIES = ("tpe", "gp")
"""Optuna's own samplers, to compare with."""
STUDY = "archflow"
"""The name of the study in its storage."""
_PLAN = "archflow: plan"
"""The study's user attribute that says what is searched."""
_MOST_FRUITLESS = 1_000
"""So many trials in a row that propose nothing new end a search."""
_WAIT = 0.3
"""Seconds between looks at trials that others run."""
_LOCKED = 20
"""Seconds to wait for a locked SQLite file."""


@dataclass(frozen=True)
class Plan:
    """All that a worker needs; picklable if the objective is."""

    space: Space
    objective: str | Objective
    strategy: str
    budget: int
    storage: str
    seed: int
    timeout: float | None
    stop_early: bool
    device: str
    heartbeat: int
    grace: int

    @property
    def words(self) -> dict[str, Any]:
        """What must be equal for a search to be continued."""
        named = self.objective if isinstance(self.objective, str) else _name_of(self.objective)
        return {"space": self.space.name, "objective": named, "strategy": self.strategy, "seed": self.seed}


class _Withdrawn(Exception):
    """Another worker was faster."""


def run(
    space: Space | str,
    objective: str | Objective,
    *,
    strategy: str = "flow",
    budget: int,
    workers: int = 1,
    storage: str | Path | None = None,
    resume: bool = False,
    seed: int = 0,
    timeout: float | None = None,
    stop_early: bool = False,
    device: str = "auto",
    heartbeat: int = 5,
    grace: int = 30,
    watch: Callable[[SearchResult], None] | None = None,
) -> SearchResult:
    """Search a space for the architecture with the highest score.

    An architecture is trained once: where it is proposed again, it gets the known score, which does not count.

    Args:
        space: what to search, or its name.
        objective: "table:NAME[:COLUMN]", "digits", a command, or a function of an architecture's string and ``report``,
            see :mod:`archflow.search.objectives`; with several workers a function must be picklable.
        strategy: "flow" or another of :data:`archflow.search.strategies.STRATEGIES`, or Optuna's "tpe" or "gp".
        budget: trainings in all, those that failed or were stopped early included.
        workers: processes that train at once.
        storage: an SQLite file, or the URL of a database that Optuna knows; by default nothing is kept.
        resume: whether to continue the search that the storage holds, or to join it from another process or machine.
        seed: fixes everything random, if there is one worker.
        timeout: seconds after which a command is stopped.
        stop_early: whether to stop trainings whose reports are among the worst two thirds (successive halving).
        device: where encoders compute.
        heartbeat: seconds between the signs of life of a training.
        grace: seconds without one after which another worker takes the training over.
        watch: told the state from time to time.

    Raises:
        ValueError: a budget or number of workers below 1; an unknown space, strategy or objective; a space without
            decisions or too large for the strategy; the storage holds a search already and ``resume`` is not given, or
            another one; or all trainings failed.
        OSError: the storage cannot be opened, or is locked.
    """
    known = make_space(space) if isinstance(space, str) else space
    if budget < 1 or workers < 1:
        raise ValueError(f"the budget and the workers must be at least 1, not {budget} and {workers}")
    if strategy not in (*STRATEGIES, *OPTUNA_STRATEGIES):
        raise ValueError(f"unknown strategy '{strategy}'; known: {', '.join((*STRATEGIES, *OPTUNA_STRATEGIES))}")
    if resume and storage is None:
        raise ValueError("there is nothing to resume without a storage")
    require_decisions(known)
    with TemporaryDirectory() as folder:
        url = _url(Path(folder) / "search.db" if storage is None and workers > 1 else storage)
        plan = Plan(known, objective, strategy, budget, url, seed, timeout, stop_early, device, heartbeat, grace)
        trainer = _Trainer(plan)  # a wrong objective is noticed before there is a storage
        with _readable(url), _quiet():
            study = _study(plan, resume)
            if workers == 1:
                trainer.work(study, watch)
            else:
                in_workers(work, plan, workers, lambda: watch and watch(result_of(study, known)))
            return result_of(study, known)


def work(plan: Plan) -> None:
    """Train in this process until the budget is spent."""
    with _readable(plan.storage), _quiet():
        _Trainer(plan).work(_study(plan, resume=True))


class _Trainer:
    """Trains what its sampler proposes."""

    def __init__(self, plan: Plan) -> None:
        from archflow.search.objectives import TableObjective, make_objective

        self.plan, objective = plan, plan.objective
        if isinstance(objective, str):
            objective = make_objective(objective, plan.space, timeout=plan.timeout)
        self.objective = objective
        self.candidates: ArchBatch | None = None
        if isinstance(objective, TableObjective) and len(objective.table) != plan.space.size:
            rows = np.flatnonzero(np.isfinite(objective.scores))
            self.candidates = objective.table.archs[rows]
        self.sampler = self._sampler()

    def work(self, study: optuna.Study, watch: Callable[[SearchResult], None] | None = None) -> None:
        """Train until the budget is spent and no training that another worker runs may fall to this one."""
        study.sampler, budget = self.sampler, self.plan.budget
        if self.plan.stop_early:
            study.pruner = optuna.pruners.SuccessiveHalvingPruner(min_resource=1, reduction_factor=3)
        else:
            study.pruner = optuna.pruners.NopPruner()
        size = self.plan.space.size if self.candidates is None else len(self.candidates)
        while True:
            trials = study.get_trials(deepcopy=False)
            done, running = sum(map(counts, trials)), sum(each.state is TrialState.RUNNING for each in trials)
            ended = [each for each in reversed(trials) if each.state.is_finished()]
            fruitless = next((place for place, each in enumerate(ended) if not is_fruitless(each)), len(ended))
            if done + running < min(budget, size or budget) and fruitless < _MOST_FRUITLESS:
                study.optimize(self._train, n_trials=1, catch=(ObjectiveFailed, _Withdrawn))
                if watch is not None:
                    watch(result_of(study, self.plan.space))
            elif running:
                time.sleep(_WAIT)
                optuna.storages.fail_stale_trials(study)
            else:
                return

    def _train(self, trial: optuna.Trial) -> float:
        try:
            architecture = suggest(self.plan.space, trial)
        except optuna.TrialPruned:
            trial.set_user_attr(WHY, NO_ARCHITECTURE)
            raise
        trial.set_user_attr("architecture", architecture)
        known = self._known(trial, architecture)
        if known is not None:
            return known

        def report(epoch: int, score: float) -> None:
            trial.report(score, epoch)
            if trial.should_prune():
                raise optuna.TrialPruned

        try:
            score = self.objective(architecture, report)
            if isinstance(score, tuple):
                raise ObjectiveFailed("the objective gives several scores, but a search has one")
            if not np.isfinite(score):
                raise ObjectiveFailed(f"the score is {score}")
        except ObjectiveFailed as error:
            trial.set_user_attr(WHY, " ".join(str(error).split()))
            raise
        return float(score)

    def _known(self, trial: optuna.Trial, architecture: str) -> float | None:
        """The score of an architecture that was trained before; None where it is to be trained.

        Raises:
            optuna.TrialPruned: it was trained before and has no score.
            _Withdrawn: another worker trains it, or has begun the last training of the budget.
        """
        others = [each for each in trial.study.get_trials(deepcopy=False) if each.number != trial.number]
        same = [each for each in others if each.user_attrs.get("architecture") == architecture]
        for other in filter(counts, same):
            trial.set_user_attr(REPEATS, other.number)
            if other.state is TrialState.COMPLETE:
                return float(other.values[0])
            raise optuna.TrialPruned
        earlier = [each for each in others if each.state is TrialState.RUNNING and each.number < trial.number]
        if any(each in same for each in earlier) or sum(map(counts, others)) + len(earlier) >= self.plan.budget:
            trial.set_user_attr(REPEATS, -1)
            raise _Withdrawn
        return None

    def _sampler(self) -> optuna.samplers.BaseSampler:
        plan = self.plan
        if plan.strategy == "tpe":
            return optuna.samplers.TPESampler(seed=plan.seed)
        if plan.strategy == "gp":
            return optuna.samplers.GPSampler(seed=plan.seed, deterministic_objective=False)
        batch = 5 if STRATEGIES[plan.strategy].refits_in_batches else 1
        return FlowSampler(
            plan.space,
            strategy=plan.strategy,
            candidates=self.candidates,
            batch=batch,
            seed=plan.seed,
            device=plan.device,
        )


def _study(plan: Plan, resume: bool) -> optuna.Study:
    """The study of this search in its storage, made if there is none.

    Raises:
        ValueError: it holds a search already, or another one.
    """
    storage: optuna.storages.BaseStorage = optuna.storages.InMemoryStorage()
    if plan.storage:
        waits = {"connect_args": {"timeout": _LOCKED}} if plan.storage.startswith("sqlite") else {}
        storage = optuna.storages.RDBStorage(
            plan.storage,
            engine_kwargs=waits,
            heartbeat_interval=plan.heartbeat,
            grace_period=plan.grace,
            heartbeat_stale_trial_callback=_train_again,
        )
    try:
        study = optuna.create_study(storage=storage, study_name=STUDY, direction="maximize")
        study.set_user_attr(_PLAN, plan.words)
        return study
    except optuna.exceptions.DuplicatedStudyError:
        study = optuna.load_study(storage=storage, study_name=STUDY)
    found = study.user_attrs.get(_PLAN)
    if found is None and not study.get_trials(deepcopy=False) and resume:  # its maker was killed
        study.set_user_attr(_PLAN, plan.words)
        return study
    if not isinstance(found, dict):
        raise ValueError(f"the study '{STUDY}' in {plan.storage} was not made by archflow; take another storage")
    for name, value in plan.words.items():
        if found.get(name) != value:
            raise ValueError(
                f"{plan.storage} holds a search with {name} {found.get(name)}, not {value}; take another storage"
            )
    if not resume:
        raise ValueError(f"{plan.storage} holds this search already; continue it with --resume, or take another one")
    return study


def _train_again(study: optuna.Study, trial: optuna.trial.FrozenTrial) -> None:
    """Let what a dead worker trained wait for the next free one."""
    architecture = trial.user_attrs.get("architecture")
    if architecture is not None and REPEATS not in trial.user_attrs:
        waiting = [chosen_by(each) for each in study.get_trials(deepcopy=False, states=(TrialState.WAITING,))]
        if trial.params not in waiting:
            study.enqueue_trial(trial.params)


def _url(storage: str | Path | None) -> str:
    if storage is None:
        return ""
    return str(storage) if "://" in str(storage) else f"sqlite:///{storage}"


@contextmanager
def _readable(url: str) -> Iterator[None]:
    """Say in one line what is wrong with a database."""
    from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError

    try:
        yield
    except (ArgumentError, NoSuchModuleError) as error:
        raise ValueError(f"{url} is no URL of a database: {' '.join(str(error).split())}") from None
    except (SQLAlchemyError, optuna.exceptions.StorageInternalError) as error:
        cause = getattr(error, "orig", None) or getattr(error.__cause__, "orig", None) or error
        raise OSError(
            f"the storage {url} cannot be used: {' '.join(str(cause).split())[:200]}; free it, or take another"
        ) from None


@contextmanager
def _quiet() -> Iterator[None]:
    """Without Optuna's messages about single trials and about heartbeats being experimental."""
    level = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR + 1)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            yield
    finally:
        optuna.logging.set_verbosity(level)


def _name_of(function: object) -> str:
    kind = function if hasattr(function, "__qualname__") else type(function)
    return f"{kind.__module__}.{kind.__qualname__}"
