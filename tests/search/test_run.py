"""Searches: nothing is trained twice or lost, and every mistake is one line."""

import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter

import numpy as np
import optuna
import pytest

import archflow
from archflow.search import run
from archflow.search.objectives import ObjectiveFailed
from archflow.search.results import counts

SPACE = archflow.space("nasbench201")


def larger(architecture, report):
    """A score that is known in closed form."""
    return float(np.log(SPACE.parameters(SPACE.parse([architecture]))[0]))


def capricious(architecture, report):
    """Fails, is no number, or has a score, by what the architecture begins with."""
    if architecture.startswith("|none"):
        raise ObjectiveFailed("no\nluck")
    if architecture.startswith("|skip"):
        return np.nan
    return larger(architecture, report)


def reporting(architecture, report):
    for epoch in range(1, 10):
        report(epoch, larger(architecture, report) * epoch / 9)
    return larger(architecture, report)


def broken(architecture, report):
    raise KeyError("a bug of one's own")


def study_of(file):
    return optuna.load_study(study_name="archflow", storage=f"sqlite:///{file}")


def architectures(file):
    return [each.user_attrs["architecture"] for each in study_of(file).get_trials() if counts(each)]


@pytest.mark.parametrize("strategy", ["random", "evolution", "local", "tpe"])
def test_nothing_is_trained_twice(strategy):
    seen = Counter()

    def count(architecture, report):
        seen[architecture] += 1
        return larger(architecture, report)

    result = run(SPACE, count, strategy=strategy, budget=30)
    assert set(seen.values()) == {1}
    assert [row.arch for row in result.rows] == list(seen)
    assert result.best.score == max(row.score for row in result.rows)
    assert [row.best for row in result.rows] == np.maximum.accumulate([row.score for row in result.rows]).tolist()


def test_every_architecture_of_a_small_space_and_then_the_end():
    space = archflow.space("nasbench-graph-proteins")
    some = space.sample(6)
    sampler = archflow.search.FlowSampler(space, candidates=some, strategy="random", n_startup=2)
    study = optuna.create_study(direction="maximize", sampler=sampler)
    found = [space.suggest(study.ask()) for _ in range(6)]
    assert sorted(found) == sorted(space.format(some))
    assert space.suggest(study.ask()) in found


@pytest.mark.parametrize("strategy", ["random", "tpe"])
def test_nasbench101_whose_choices_may_denote_no_cell(strategy):
    space = archflow.space("nasbench101")
    result = run(space, lambda arch, _: float(len(arch)), strategy=strategy, budget=15)
    assert len({row.arch for row in result.rows}) == len(result.rows) == 15
    space.parse([row.arch for row in result.rows])


def test_failures_count_and_the_search_goes_on():
    result = run(SPACE, capricious, strategy="random", budget=40)
    assert len(result.rows) == 40
    assert {row.why for row in result.rows} == {"", "no luck", "the score is nan"}
    assert all((row.state == "done") == (row.why == "") for row in result.rows)


def test_weak_ones_are_stopped_early_and_the_ranker_learns_from_them():
    result = run(SPACE, reporting, budget=14, stop_early=True)
    assert {row.state for row in result.rows} == {"done", "stopped early"}
    assert all(row.score is not None for row in result.rows)


def test_a_bug_is_not_hidden():
    with pytest.raises(KeyError, match="of one's own"):
        run(SPACE, broken, strategy="random", budget=2)


def test_two_workers_and_then_more_of_them(tmp_path):
    file = tmp_path / "search.db"
    assert len(run(SPACE, larger, strategy="random", budget=8, workers=2, storage=file).rows) == 8
    before = architectures(file)
    assert len(set(before)) == 8
    result = run(SPACE, larger, strategy="random", budget=12, storage=file, resume=True)
    assert architectures(file)[:8] == before
    assert len({row.arch for row in result.rows}) == 12
    assert len(run(SPACE, larger, strategy="random", budget=12, storage=file, resume=True).rows) == 12


def test_a_resumed_search_proposes_what_an_unbroken_one_does(tmp_path):
    def rows(file, *budgets):
        for place, budget in enumerate(budgets):
            result = run("nasbench-macro", cheap, budget=budget, storage=file, resume=place > 0)
        return [row.arch for row in result.rows]

    space = archflow.space("nasbench-macro")

    def cheap(architecture, report):
        return float(space.flops(space.parse([architecture]))[0])

    assert rows(tmp_path / "a", 12) == rows(tmp_path / "b", 11, 12)


SLOW = """
import sys, time, archflow
from archflow.search import run
space = archflow.space("nasbench201")
def slow(architecture, report):
    with open(sys.argv[2], "a") as file:
        file.write(architecture + "\\n")
    time.sleep(60 if sys.argv[3] == "hang" else 0)
    return float(len(architecture))
run(space, slow, strategy="random", budget=5, storage=sys.argv[1], resume=True, heartbeat=1, grace=2)
"""


def test_what_a_killed_worker_trained_is_trained_again_and_nothing_else(tmp_path):
    file, log = tmp_path / "search.db", tmp_path / "log"

    def start(how):
        command = [sys.executable, "-c", SLOW.replace("__main__", ""), str(file), str(log), how]
        return subprocess.Popen(command, stderr=subprocess.PIPE)

    with start("hang") as process:
        deadline = time.monotonic() + 120
        while not log.exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        os.kill(process.pid, signal.SIGKILL)
    (killed,) = log.read_text().split("\n")[:-1]
    with start("go on") as process:
        _, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    trained = Counter(log.read_text().splitlines())
    assert trained.pop(killed) == 2
    assert set(trained.values()) == {1}
    assert sorted(architectures(file)) == sorted([killed, *trained])
    assert len(trained) == 4


def test_mistakes(tmp_path):
    file = tmp_path / "search.db"

    def refused(pattern, space=SPACE, error=ValueError, **settings):
        with pytest.raises(error, match=pattern) as found:
            run(space, larger, **{"strategy": "random", "budget": 2, "storage": file, **settings})
        assert "\n" not in str(found.value)

    run(SPACE, larger, strategy="random", budget=2, storage=file)
    refused("holds this search already; continue it with --resume")
    refused("holds a search with strategy random, not local", strategy="local", resume=True)
    refused("holds a search with space nasbench201, not nasbench-macro", "nasbench-macro", resume=True)
    refused("holds a search with seed 0, not 1", seed=1, resume=True)
    refused("the budget and the workers must be at least 1, not 0 and 1", budget=0)
    refused("the budget and the workers must be at least 1, not 2 and 0", workers=0)
    refused("unknown strategy 'best'; known: flow, exhaustive, random, .*, tpe, gp", strategy="best")
    refused("nothing to resume without a storage", storage=None, resume=True)
    refused("nasbench-nlp are not made by a fixed number of decisions", "nasbench-nlp", storage=None)
    refused("exhaustive ranks 1,000,000 at most, so take the strategy flow", "darts", strategy="exhaustive")
    refused("cannot be used: unable to open database file", storage=tmp_path / "no" / "file", error=OSError)
    (tmp_path / "text").write_text("no database " * 100)
    refused("file is not a database", storage=tmp_path / "text", error=OSError)
    refused("no URL of a database", storage="nope://here")
    other = tmp_path / "other.db"
    optuna.create_study(study_name="archflow", storage=f"sqlite:///{other}")
    refused("was not made by archflow; take another storage", storage=other)


def test_a_locked_database(tmp_path, monkeypatch):
    file = tmp_path / "search.db"
    run(SPACE, larger, strategy="random", budget=1, storage=file)
    monkeypatch.setattr("archflow.search.loop._LOCKED", 0.1)
    holder = sqlite3.connect(file)
    holder.execute("BEGIN EXCLUSIVE")
    with pytest.raises(OSError, match=r"search\.db cannot be used: database is locked; free it, or take another$"):
        run(SPACE, larger, strategy="random", budget=2, storage=file, resume=True)
    holder.close()


def test_a_function_that_cannot_be_sent_to_workers():
    with pytest.raises(ValueError, match="define the objective at the top level of a module, or use one worker"):
        run(SPACE, lambda arch, report: 0.0, strategy="random", budget=2, workers=2)
