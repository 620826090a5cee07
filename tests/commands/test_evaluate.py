"""``archflow evaluate``: its lines and table, settings of tasks, and resuming."""

import re
from pathlib import Path

import pytest

from archflow.ranking.ranker import Ranker
from archflow.studies.lines import read
from tests.commands import ONE_RUN, QUICK, words

PLAIN = f"evaluate {QUICK} {ONE_RUN} --out studies --json".split()


def test_it_writes_every_run_and_prints_a_table(here, call):
    outcome = call(*words("evaluate", "--splits 2"))
    assert outcome.code == 0, outcome.err
    for text in ("none", "fgp", "±", "studies/evaluate.md"):
        assert text in outcome.out
    found = read(Path("studies"))
    assert [line["pretext"] for line in found] == ["none", "none", "fgp", "fgp"]
    phase = r"(pre-training|fine-tuning|runs): [\d,]+/[\d,]+ "
    assert [line for line in outcome.lines if not re.match(phase, line)] == []
    assert outcome.lines[-1].startswith("runs: 4/4 ")
    again = call(*words("evaluate", "--splits 2 --json")).json
    assert again["lines"] == read(Path("studies")) == found
    assert (again["table"], again["runs"], again["done"], again["failures"]) == (
        found[0]["settings"]["source"]["table"],
        4,
        4,
        [],
    )


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ("--method zero-cost", [{"proxy_loss": "regression"}]),
        ("--method fgp --method none", [{"proxy_loss": "regression"}, {}]),
        (
            "--method fgp --method zero-cost --lambda1 0.25",
            [{"lambda1": 0.25, "proxy_loss": "regression"}, {"proxy_loss": "regression"}],
        ),
    ],
)
def test_settings_go_to_the_tasks_that_accept_them(here, call, options, expected):
    outcome = call(*words("evaluate", f"--json --proxy-loss regression {options}"))
    assert outcome.code == 0, outcome.err
    assert [line["settings"]["task_settings"] for line in outcome.json["lines"]] == expected


@pytest.mark.parametrize("name", ["nasbench-graph-proteins", "nasbench-graph"])
def test_it_finds_the_table_of_each_space_that_has_one(here, call, name):
    outcome = call(*PLAIN, "--method", "none", "--labels", 0.01, "--pool", 500, "--space", name)
    assert outcome.code == 0, outcome.err
    assert [line["space"] for line in outcome.json["lines"]] == [name]


def test_several_columns_and_numbers_of_labels(mine, call):
    several = ["--label-column", "score", "--label-column", "accuracy", "--labels", 6, "--labels", 0.5]
    several += ["--pool", 30, "--method", "none", "--table", "lab/mine"]
    done = call(*PLAIN, *several).json
    assert done["table"] == "lab/mine"
    assert [(line["column"], line["labels"], line["labelled"], line["test"]) for line in done["lines"]] == [
        *(("score", 6, 6, 20), ("score", 0.5, 15, 20)),
        *(("accuracy", 6, 6, 50), ("accuracy", 0.5, 15, 50)),
    ]
    shown = call(*PLAIN[:-1], *several).out
    assert re.search(r"score\W+6\W+1\b.*score\W+50.*accuracy\W+6\W+1\b.*accuracy\W+50", shown, re.DOTALL)


def test_it_uses_an_added_table_of_the_space(mine, call):
    found = call(*PLAIN, "--labels", 4, "--method", "none", "--space", "nasbench-macro").json
    assert found["table"] == "lab/mine"


def test_ctrl_c_is_resumed_by_the_same_command(here, call, monkeypatch):
    expected = call(*words("evaluate", "--splits 2 --out whole --json")).json["lines"]
    fit, count = Ranker.fit, []

    def interrupt(self, *args, **settings):
        count.append(1)
        if len(count) == 4:
            raise KeyboardInterrupt
        return fit(self, *args, **settings)

    monkeypatch.setattr(Ranker, "fit", interrupt)
    outcome = call(*words("evaluate", "--splits 2"))
    assert (outcome.code, outcome.out) == (130, "")
    assert outcome.lines[-1] == "archflow: interrupted; the same command resumes from what was saved"
    assert len(read(Path("studies"))) == 3
    resumed = call(*words("evaluate", "--splits 2 --json")).json["lines"]
    assert len(count) == 5
    for name in ("tau", "p_at_1", "p_at_5", "validation_tau"):
        assert [each[name] for each in resumed] == [each[name] for each in expected]
