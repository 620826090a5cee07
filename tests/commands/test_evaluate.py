"""``archflow evaluate``: a table of every run, settings for the tasks that have them, and what is resumed."""

import json
import re
import shutil
from pathlib import Path

import pytest

from archflow.ranking.ranker import Ranker
from tests.commands import ONE_RUN, QUICK, words

TWO_SPLITS = "--splits 2"
PLAIN = f"evaluate {QUICK} {ONE_RUN} --out out.json --json".split()


def test_it_writes_every_run_and_prints_a_table(here, call):
    outcome = call(*words("evaluate", TWO_SPLITS))
    assert outcome.code == 0
    for text in ("none", "fgp", "±", "50%", "every run: out.json"):
        assert text in outcome.out
    found = json.loads(Path("out.json").read_text())
    assert [run["method"] for run in found["runs"]] == ["none", "none", "fgp", "fgp"]
    assert [line for line in outcome.lines if not re.match(r"(pre-training|runs): [\d,]+/[\d,]+ ", line)] == []
    assert outcome.lines[-1].startswith("runs: 4/4 ")
    again = call(*words("evaluate", f"{TWO_SPLITS} --resume --json"))
    assert again.json == json.loads(Path("out.json").read_text()) == found


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ("--task zero-cost", {"zero-cost": {"proxy_loss": "regression"}}),
        ("--task fgp --task none", {"fgp": {"proxy_loss": "regression"}}),
        (
            "--task fgp --task zero-cost --lambda1 0.25",
            {"fgp": {"lambda1": 0.25, "proxy_loss": "regression"}, "zero-cost": {"proxy_loss": "regression"}},
        ),
    ],
)
def test_settings_go_to_the_tasks_that_have_them(here, call, options, expected):
    outcome = call(*words("evaluate", f"--json --proxy-loss regression {options}"))
    assert outcome.code == 0, outcome.err
    assert outcome.json["settings"]["task_settings"] == expected


@pytest.mark.parametrize("name", ["nasbench-graph-proteins", "nasbench-graph"])
def test_it_finds_the_table_of_each_space_that_has_one(here, call, name):
    outcome = call(*PLAIN, "--task", "none", "--labels", 0.01, "--pool", 500, "--space", name)
    assert outcome.code == 0, outcome.err
    assert outcome.json["settings"]["space"] == name


def test_several_columns_and_numbers_of_labels(mine, call):
    several = ["--label-column", "score", "--label-column", "accuracy", "--labels", 6, "--labels", 0.5]
    several += ["--pool", 30, "--task", "none"]
    done = call(*PLAIN, "--table", "lab/mine", *several).json
    assert done["settings"]["table"] == "lab/mine"
    assert [(run["column"], run["labels"], run["labelled"], run["tested"]) for run in done["runs"]] == [
        *(("score", 6, 6, 20), ("score", 0.5, 15, 20)),
        *(("accuracy", 6, 6, 50), ("accuracy", 0.5, 15, 50)),
    ]
    shown = call(*PLAIN[:-1], "--table", "lab/mine", *several).out
    assert re.search(r"score\W+6\W+1\b.*score\W+50%\W+1\b.*accuracy\W+6\W+1\b.*accuracy\W+50%", shown, re.DOTALL)


def test_it_takes_the_table_of_the_space_that_was_added(mine, call):
    found = call(*PLAIN, "--labels", 4, "--task", "none", "--space", "nasbench-macro").json
    assert found["settings"]["table"] == "lab/mine"


def test_ctrl_c_is_resumed(here, call, monkeypatch):
    assert call(*words("evaluate", TWO_SPLITS)).code == 0
    expected = json.loads(Path("out.json").read_text())
    shutil.rmtree("out-encoders")
    fit, count = Ranker.fit, []

    def interrupt(self, *args, **settings):
        count.append(1)
        if len(count) == 4:
            raise KeyboardInterrupt
        return fit(self, *args, **settings)

    monkeypatch.setattr(Ranker, "fit", interrupt)
    outcome = call(*words("evaluate", TWO_SPLITS))
    assert (outcome.code, outcome.out) == (130, "")
    assert outcome.lines[-1] == "archflow: interrupted; --resume goes on from what was saved"
    assert len(json.loads(Path("out.json").read_text())["runs"]) == 3
    resumed = call(*words("evaluate", f"{TWO_SPLITS} --resume --json")).json
    assert len(count) == 5
    for name in ("tau", "p_at_1", "p_at_5", "validation_tau"):
        assert [each[name] for each in resumed["runs"]] == [each[name] for each in expected["runs"]]
