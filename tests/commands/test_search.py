"""The verb ``search``: what it prints and writes, and where no training gives a score."""

import archflow
from archflow.benchmarks.own_tables import read_table
from tests.commands import SPACE

RANDOM = ("search", "--strategy", "random", "--budget", "5", "--device", "cpu")


def test_the_best_and_all_trainings(here, call):
    outcome = call(*RANDOM, "--objective", "table:tiny", "--out", "found.csv", "--json")
    assert outcome.code == 0, outcome.err
    found, table = outcome.json, archflow.table("tiny")
    rows = read_table(here / "found.csv", SPACE)
    assert found["trainings"] == len(rows) == 5
    assert found["best"]["score"] == rows["score"].max() == rows["best"][-1]
    known = dict(zip(SPACE.format(table.archs), table["accuracy"], strict=True))
    assert [known[arch] for arch in SPACE.format(rows.archs)] == rows["score"].tolist()
    assert [line.split()[1] for line in outcome.lines] == [f"{number}/5" for number in range(1, 6)]


def test_no_training_gives_a_score(here, call):
    outcome = call(*RANDOM, "--objective", "false")
    assert (outcome.code, outcome.out) == (1, "")
    assert outcome.lines[-1].startswith("archflow: none of 5 trainings gave a score: ")
    assert all("failed: " in line for line in outcome.lines[:-1])
