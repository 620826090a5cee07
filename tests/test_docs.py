"""The files that docs/extending.md shows work as they stand, from the command line, in a folder of their own."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

import archflow
from archflow.benchmarks.own_tables import read_table, write_table
from tests.commands import run

PAGE = (Path(__file__).parents[1] / "docs" / "extending.md").read_text()
FILES = {code.split("\n")[0][2:]: code for code in re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)}
QUICK = ("--pretrain-epochs", 1, "--finetune-epochs", 3, "--seeds", 1, "--splits", 1)


@pytest.fixture
def command(tmp_path):
    """Runs the command in a folder that holds the page's files; returns what it prints."""
    for name, code in FILES.items():
        (tmp_path / name).write_text(code)

    def command(plugin, *arguments):
        outcome = run("--plugin", plugin, *arguments, "--json", cwd=tmp_path)
        assert outcome.code == 0, outcome.err
        return outcome.json

    return command


@pytest.fixture
def some_cells(tmp_path):
    """120 cells of NAS-Bench-201 with made-up accuracies."""
    space = archflow.space("nasbench201")
    archs = space.sample(120)
    write_table(tmp_path / "cells.csv", {"arch": space.format(archs), "accuracy": space.parameters(archs) % 1009})
    return "cells.csv"


def test_the_page_shows_a_file_of_each():
    assert list(FILES) == ["bag_of_operations.py", "count_edges.py", "chains.py", "chain_results.py", "nearest.py"]


def test_an_encoder(command, some_cells):
    own = ("--input", some_cells, "--label-column", "accuracy", "--labels", 20, "--encoder", "bag-of-operations")
    found = command("bag_of_operations.py", "evaluate", *own, *QUICK)
    assert [(line["encoder"], line["pretext"]) for line in found["lines"]] == [
        ("bag-of-operations", "none"),
        ("bag-of-operations", "fgp"),
    ]


def test_a_pretext_task(command, some_cells):
    args = ("pretrain", "--input", some_cells, "--task", "count-edges", "--pretrain-epochs", 2, "--hidden", 8)
    found = command("count_edges.py", *args)
    assert found["settings"]["task"] == "count-edges"
    assert found["settings"]["weight"] == 1.0
    assert list(found["losses"]) == ["edges"]


def test_a_space(command, tmp_path):
    assert command("chains.py", "spaces", "chains", "--out", "chains.csv")["architectures"] == 81
    args = ("pretrain", "--space", "chains", "--pretrain-epochs", 2, "--hidden", 8)
    assert command("chains.py", *args)["losses"]
    strings = [line.split('"')[1] for line in (tmp_path / "chains.csv").read_text().splitlines()[1:]][::5]
    write_table(tmp_path / "trained.csv", {"arch": strings, "accuracy": [each.count("conv") for each in strings]})
    args = ("finetune", "--pretrained", "encoder.archflow", "--input", "trained.csv")
    command("chains.py", *args)
    best = command("chains.py", "rank", "ranker.archflow")["best"]
    assert best[0]["arch"].count("conv") >= 3


def test_a_table(command):
    names = [row["table"] for row in command("chain_results.py", "tables")["tables"]]
    assert "chains/made-up" in names
    args = ("evaluate", "--table", "chains/made-up", "--labels", 10, "--pool", 35, "--hidden", 8, *QUICK)
    found = command("chain_results.py", *args)
    assert found["table"] == "chains/made-up"
    assert {line["space"] for line in found["lines"]} == {"chains"}


def test_a_head(command, some_cells, tmp_path):
    assert command("nearest.py", "finetune", "--head", "nearest", "--input", some_cells)["labels"] == 120
    assert command("nearest.py", "rank", "ranker.archflow", "--input", some_cells, "--out", "ranking.csv")
    scores = read_table(tmp_path / "ranking.csv", archflow.space("nasbench201"))["score"]
    assert len(np.unique(scores)) > 10
