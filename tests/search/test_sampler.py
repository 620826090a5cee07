"""The Optuna sampler: any study, any order of workers, and the same after a restart."""

import numpy as np
import optuna
import pytest

import archflow
from archflow.search.decisions import architecture, choices_of, distributions, parameters_of
from archflow.search.sampler import FlowSampler
from archflow.search.strategies import MOST_RANKED, STRATEGIES, Candidates, History, make_strategy

optuna.logging.set_verbosity(optuna.logging.ERROR)
SPACE = archflow.space("nasbench201")
SOME = SPACE.sample(300, seed=1)


def value(string):
    return float(np.log(SPACE.parameters(SPACE.parse([string]))[0]))


def study_with(direction="maximize", **settings):
    sampler = FlowSampler(SPACE, **{"candidates": SOME, "n_startup": 4, "batch": 3, **settings})
    return optuna.create_study(direction=direction, sampler=sampler)


@pytest.mark.parametrize("name", [name for name in archflow.spaces() if archflow.space(name).decisions])
def test_parameters_and_back(name):
    space = archflow.space(name)
    archs = space.sample(5)
    for place, row in enumerate(space.encode(archs)):
        trial = optuna.trial.FixedTrial(parameters_of(space, row))
        assert space.suggest(trial) == space.format(archs[[place]])[0]
        assert space.keys(architecture(space, trial.params)) == space.keys(archs[[place]])
    assert list(distributions(space)) == [each.name for each in space.decisions]


def test_parameters_of_another_space():
    with pytest.raises(ValueError, match=r"trial 0 is not of the space nasbench201: its 'edge.*' is None"):
        choices_of(SPACE, [{"x": 1}])


@pytest.mark.parametrize("direction", ["maximize", "minimize"])
def test_the_sampler_finds_what_is_sought(direction):
    study = study_with(direction)
    sign = 1 if direction == "maximize" else -1
    study.optimize(lambda trial: value(SPACE.suggest(trial)), n_trials=16)
    best = (sign * np.array([value(string) for string in SPACE.format(SOME)])).max()
    assert sign * study.best_value == best
    assert len({tuple(each.params.values()) for each in study.trials}) == 16


def test_running_and_failed_trials_are_not_proposed_again():
    study = study_with(strategy="random")
    asked = [study.ask() for _ in range(8)]
    strings = [SPACE.suggest(trial) for trial in asked]
    assert len(set(strings)) == 8
    for trial in asked[:4]:
        study.tell(trial, state=optuna.trial.TrialState.FAIL)
    study.enqueue_trial(parameters_of(SPACE, SPACE.encode(SOME)[0]))
    strings += [SPACE.suggest(study.ask()) for _ in range(6)]
    assert len(set(strings)) == len(strings)


def test_trials_that_choose_at_once_choose_differently():
    study = study_with(strategy="random")
    storage, number = study._storage, study._study_id
    ids = [storage.create_new_trial(number) for _ in range(3)]  # three workers have begun, none has chosen
    trials = [optuna.Trial(study, each) for each in ids]
    assert len({SPACE.suggest(trial) for trial in trials}) == 3


def test_a_new_sampler_goes_on_as_the_old_one_would():
    old = study_with()
    old.optimize(lambda trial: value(SPACE.suggest(trial)), n_trials=9)
    new = study_with()
    new.add_trials(old.trials)
    assert SPACE.suggest(new.ask()) == SPACE.suggest(old.ask())


def test_it_learns_from_pruned_trials():
    study = study_with(n_startup=2)

    def pruned(trial):
        trial.report(value(SPACE.suggest(trial)), 1)
        raise optuna.TrialPruned

    study.optimize(pruned, n_trials=14)
    last = [each.intermediate_values[1] for each in study.trials]
    assert max(last) == max(value(string) for string in SPACE.format(SOME))


def test_a_study_of_another_space_and_wrong_settings():
    study = optuna.create_study(direction="maximize")
    study.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=1)
    study.sampler = FlowSampler(SPACE, strategy="random")
    with pytest.raises(ValueError, match="trial 0 of the study is not of the space nasbench201: it lacks 'edge"):
        SPACE.suggest(study.ask())
    with pytest.raises(ValueError, match="n_startup and batch must be at least 1"):
        FlowSampler(SPACE, batch=0)
    with pytest.raises(ValueError, match="unknown strategy 'nope'"):
        FlowSampler(SPACE, strategy="nope")


def history_of(space, archs, n=12, failed=2):
    choices = space.encode(archs[:n])
    labels = np.random.default_rng(0).normal(size=n)
    labels[:failed] = np.nan
    return History(choices, labels)


@pytest.mark.parametrize("name", STRATEGIES)
def test_every_strategy_proposes_new_ones_and_depends_on_the_seed_alone(name):
    strategy, history = make_strategy(name, SPACE, SOME), history_of(SPACE, SOME)
    found = strategy.propose(history, 7, 3)
    rows = set(map(tuple, found.tolist()))
    assert len(rows) == 7
    assert not rows & set(map(tuple, history.choices.tolist()))
    assert rows <= set(map(tuple, SPACE.encode(SOME).tolist()))
    again = make_strategy(name, SPACE, SOME).propose(history, 4, 3)
    assert again.tolist() == found[:4].tolist()
    nothing = History(history.choices[:0], history.labels[:0])
    assert len(strategy.propose(nothing, 3, 0)) == 3
    everything = History(SPACE.encode(SOME), np.zeros(len(SOME)))
    assert len(strategy.propose(everything, 3, 0)) == 0


@pytest.mark.parametrize("name", ["evolution", "local"])
def test_children_are_neighbours_of_good_ones(name):
    history = History(SPACE.encode(SOME[:1]), np.ones(1))
    (child,) = make_strategy(name, SPACE).propose(history, 1, 0)
    assert (child != history.choices[0]).sum() == 1


def test_a_large_space_is_searched_by_a_pool_that_evolves(monkeypatch):
    monkeypatch.setattr("archflow.search.strategies._DRAWN", 100)
    monkeypatch.setattr("archflow.search.strategies._BRED", 30)
    space = archflow.space("nasbench101")
    assert space.size > MOST_RANKED
    assert Candidates(space).choices is None
    archs = space.sample(20)
    history = History(space.encode(archs), space.parameters(archs).astype(float))
    found = make_strategy("flow", space).propose(history, 5, 0)
    assert len(found) == 5
    assert space.parameters(space.decode(found)).min() > np.median(history.labels)
