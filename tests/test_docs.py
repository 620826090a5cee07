"""The files that docs/extending.md shows work as they stand, from the command line, in a folder of their own."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

PAGE = (Path(__file__).parents[1] / "docs" / "extending.md").read_text()
FILES = {code.split("\n")[0][2:]: code for code in re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)}


@pytest.fixture
def archflow(tmp_path):
    """Runs the command in a folder that holds the page's files; returns what it prints."""
    for name, code in FILES.items():
        (tmp_path / name).write_text(code)

    def run(plugin, *arguments):
        command = [sys.executable, "-m", "archflow", "--plugin", plugin, *map(str, arguments), "--json"]
        ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
        assert ended.returncode == 0, ended.stderr
        return json.loads(ended.stdout)

    return run


@pytest.fixture
def some_cells(tmp_path):
    """120 cells of NAS-Bench-201 with made-up accuracies."""
    import archflow

    space = archflow.space("nasbench201")
    archs = space.sample(120)
    accuracies = space.parameters(archs) % 1009
    pl.DataFrame({"arch": space.format(archs), "accuracy": accuracies}).write_csv(tmp_path / "cells.csv")
    return "cells.csv"


def test_the_page_shows_three_files():
    assert sorted(FILES) == ["bag_of_operations.py", "chains.py", "count_edges.py"]


def test_an_encoder(archflow, some_cells):
    found = archflow(
        "bag_of_operations.py",
        *("evaluate", "--input", some_cells, "--column", "accuracy", "--labels", 20, "--encoder", "bag-of-operations"),
        *("--epochs", 1, "--finetune-epochs", 3, "--seeds", 1, "--permutations", 1),
    )
    assert [run["method"] for run in found["runs"]] == ["none", "fgp"]
    assert found["settings"]["encoder"] == "bag-of-operations"


def test_a_pretext_task(archflow, some_cells):
    found = archflow(
        "count_edges.py", "pretrain", "--input", some_cells, "--task", "count-edges", "--epochs", 2, "--hidden", 8
    )
    assert found["settings"]["task"] == "count-edges"
    assert list(found["losses"]) == ["edges"]


def test_a_space(archflow, tmp_path):
    assert archflow("chains.py", "spaces", "chains", "--out", "chains.csv")["architectures"] == 81
    assert archflow("chains.py", "pretrain", "--space", "chains", "--epochs", 2, "--hidden", 8)["losses"]
    chains = pl.read_csv(tmp_path / "chains.csv")
    trained = chains[::5].with_columns(accuracy=pl.col("arch").str.count_matches("C"))
    trained.write_csv(tmp_path / "trained.csv")
    archflow("chains.py", "finetune", "--pretrained", "encoder.archflow", "--input", "trained.csv", "--epochs", 40)
    best = archflow("chains.py", "rank", "ranker.archflow")["best"]
    assert best[0]["arch"].count("C") >= 3
