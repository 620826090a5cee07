"""``archflow reproduce`` on 640 cells, with an encoder and a task from the user's files."""

import json
import os
import signal
import time

import pytest

from archflow.benchmarks.own_tables import write_table
from archflow.benchmarks.tables import keep
from archflow.studies.lines import FILE, read
from tests.commands import begin, run
from tests.forgetting import forgetting
from tests.studies import PLUGIN, PRETEXTS, TABLE, TASK_PLUGIN, without_seconds

PATIENCE = 600
"""Time limit in seconds, generous for busy machines."""

STUDY = (
    *("reproduce", "table1", "--table", "nasbench201=tiny", "--pretrain-epochs", 1, "--finetune-epochs", 2),
    *("--seeds", 2, "--splits", 2, "--device", "cpu"),
)
PLUGGED = ("--plugin", "bag.py", "--plugin", "edges.py", *STUDY, "--add", "encoder=bag,pretext=count-edges")
GRID = (*PLUGGED, "--only", "space=nasbench201,encoder=bag")
RUNS = (len(PRETEXTS) + 1) * 2 * 2


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A working folder with the two plug-ins, and a cache with the table."""
    folder = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch, forgetting():
        patch.setenv("ARCHFLOW_DATA", str(folder / "cache"))
        patch.setenv("OMP_NUM_THREADS", "1")
        patch.chdir(folder)
        keep(TABLE)
        (folder / "bag.py").write_text(PLUGIN)
        (folder / "edges.py").write_text(TASK_PLUGIN)
        yield folder


@pytest.fixture(scope="module")
def uninterrupted(home):
    """The lines of the whole grid, from a single command."""
    outcome = run(*GRID, "--out", "alone", "--json")
    assert outcome.code == 0, outcome.err
    return read(home / "alone")


# The whole grid


def test_an_encoder_and_a_task_from_the_users_files(home, uninterrupted):
    assert len(PLUGIN.strip().splitlines()) <= 20
    assert len(uninterrupted) == RUNS
    places = {(each["encoder"], each["pretext"], each["seed"], each["split"]) for each in uninterrupted}
    pretexts = (*PRETEXTS, "count-edges")
    assert places == {("bag", pretext, seed, number) for pretext in pretexts for seed in (0, 1) for number in (0, 1)}
    names = {"table1.md", "table1.png", "table1.svg", "table1.html", FILE, f"{FILE}.lock", "encoders"}
    assert {file.name for file in (home / "alone").iterdir()} == names
    table = (home / "alone" / "table1.md").read_text()
    assert "| nasbench201 | bag | count-edges | 4 |" in table
    assert all(f"| bag | {pretext} |" in table for pretext in PRETEXTS)
    assert len(list((home / "alone" / "encoders").glob("*.archflow"))) == 2 * (len(pretexts) - 1)


def test_a_killed_command_and_then_two_at_once_one_of_them_with_two_processes(home, call, uninterrupted):
    """The first is killed at work; the others share the remaining runs, and no run is done twice."""
    first = other = begin(*GRID, "--out", "shared", "--json")
    try:
        while not read(home / "shared") and first.poll() is None:
            time.sleep(0.01)
        first.send_signal(signal.SIGKILL)
        first.communicate()
        assert first.returncode == -signal.SIGKILL
        done = len(read(home / "shared"))
        assert 0 < done < RUNS
        other = begin(*GRID, "--out", "shared", "--json")
        outcome = call(*GRID, "--out", "shared", "--processes", 2, "--json")
        out, err = other.communicate(timeout=PATIENCE)
    finally:
        first.kill()
        other.kill()
    assert (outcome.code, other.returncode) == (0, 0), outcome.err + err
    assert [line for line in outcome.lines if not line.startswith("runs: ")] == []
    for facts in (outcome.json, json.loads(out)):
        assert (facts["study"], facts["runs"], facts["done"], facts["failures"]) == ("table1", RUNS, RUNS, [])
        assert facts["files"] == [f"shared/table1.{ending}" for ending in ("md", "png", "svg", "html")]
        assert without_seconds(facts["lines"]) == without_seconds(uninterrupted)
    whole = [each for each in (home / "shared" / FILE).read_bytes().splitlines() if each.endswith(b"}")]
    keys = [json.loads(each)["key"] for each in whole]
    assert len(keys) == len(set(keys)) == RUNS
    assert len(list((home / "shared" / "encoders").glob("*.archflow"))) == 2 * len(PRETEXTS)
    assert not list((home / "shared" / "encoders").glob("*.partial"))


# Output


def test_without_a_name_the_studies_are_listed(call):
    outcome = call("reproduce")
    assert (outcome.code, outcome.err) == (0, "")
    for name in ("table1", "label-ratio", "pretrain-ratio", "pool-only", "ablation", "encoders", "domains", "draws"):
        assert f" {name} " in outcome.out
    studies = call("reproduce", "--json").json["studies"]
    assert list(studies)[-2:] == ["operation-probe", "speed"]


def test_list_shows_the_cost_and_does_nothing(home, call, uninterrupted):
    before = sorted(home.rglob("*"))
    outcome = call(*GRID, "--out", "new", "--list", "--json")
    rows = outcome.json["left"]
    assert (outcome.code, outcome.err, outcome.json["failures"]) == (0, "", [])
    assert [(row["pretext"], row["runs"], row["done"], row["pretrainings"]) for row in rows] == [
        ("none", 4, 0, 0),
        *((pretext, 4, 0, 2) for pretext in (*PRETEXTS[1:], "count-edges")),
    ]
    assert {row["hours"] for row in rows} == {None}  # the speed of the user's encoder is unknown
    done = call(*GRID, "--out", "alone", "--list", "--json").json["left"]
    assert all((row["runs"], row["done"], row["pretrainings"]) == (4, 4, 0) for row in done)
    plain = call(*STUDY, "--only", "encoder=gin", "--out", "new", "--list")
    assert (plain.code, plain.err) == (0, "")
    for text in ("hours", "pretrainings", "gin", "zero-cost"):
        assert text in plain.out
    assert "cannot be run: space=nasbench101: the table nasbench101 is made from its official files" in plain.out
    assert "cannot be run: space=darts: " in plain.out
    assert sorted(home.rglob("*")) == before


def test_failures_are_reported_and_the_command_fails(home, call):
    write_table("less.csv", {"arch": TABLE.space.format(TABLE.archs[:100]), "accuracy": TABLE["accuracy"][:100]})
    assert call("tables", "add", "less.csv", "--space", "nasbench201", "--label-column", "accuracy").code == 0
    args = ("reproduce", "label-ratio", "--only", "pretext=none", "--table", "nasbench201=less", "--splits", 1)
    args = (*args, "--seeds", 1, "--finetune-epochs", 1, "--device", "cpu", "--out", "less", "--json")
    outcome = call(*args)
    facts = outcome.json
    assert (outcome.code, facts["done"], facts["runs"], len(facts["failures"])) == (1, 2, 3, 3)
    assert [each["labels"] for each in facts["lines"]] == [0.05, 0.1]
    whats = [failure["what"] for failure in facts["failures"]]
    assert whats[:2] == ["space=nasbench101", "space=darts"]
    assert (
        whats[2]
        == "space=nasbench201,encoder=resgatedgcn,pretext=none,head=finetune,labels=0.01,share=1.0,seed=0,split=0"
    )
    failed = [line for line in outcome.lines if line.startswith("failed: ")]
    assert failed == [f"failed: {failure['what']}: {failure['why']}" for failure in facts["failures"]]


@pytest.mark.parametrize("before", [(), ("--plugin", "bag.py")], ids=["", "with a plug-in"])
def test_ctrl_c_says_how_to_resume(home, call, monkeypatch, tmp_path, before):
    def interrupt(*_, **__):
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(10)

    monkeypatch.setattr("archflow.studies.runner.perform", interrupt)
    outcome = call(*before, *STUDY, "--only", "space=nasbench201,encoder=gin,pretext=none", "--out", tmp_path / "out")
    assert (outcome.code, outcome.out) == (130, "")
    assert outcome.lines[-1] == "archflow: interrupted; the same command resumes from what was saved"
