"""Each example runs, at a reduced size, and is short enough to be read."""

import runpy
import sys
from pathlib import Path

import pytest

from archflow.benchmarks.networks import NETWORKS
from archflow.benchmarks.registry import SPACES
from archflow.commands.rank import rank

EXAMPLES = Path(__file__).parents[1] / "examples"
SIZES = {"digits_space.py": ["5", "1"], "onnx_folder.py": ["models", "24"]}


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    def run_at_size(name):
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", [name, *SIZES[name]])
        runpy.run_path(str(EXAMPLES / name))
        return capsys.readouterr().out

    yield run_at_size
    for registry in (SPACES, NETWORKS):
        registry.pop("digits", None)


def test_all_examples_are_tested_and_short():
    assert {file.name for file in EXAMPLES.glob("*.py")} == {*SIZES}
    for name in SIZES:
        assert len((EXAMPLES / name).read_text().splitlines()) <= 60


@pytest.mark.filterwarnings("ignore:4 labels say little")
def test_a_space_on_digits(run):
    assert "best of 5: 0." in run("digits_space.py")


def test_an_onnx_folder_is_ranked(run, capsys):
    assert "archflow rank models/ranker.archflow --models 'models/*.onnx'" in run("onnx_folder.py")
    rank(Path("models/ranker.archflow"), models="models/*.onnx", out=Path("ranking.csv"))
    assert "24 written to ranking.csv" in capsys.readouterr().out
    assert "models/model007.onnx" in Path("ranking.csv").read_text()
    with pytest.raises(ValueError, match=r"no file is called none/\*.onnx"):
        rank(Path("models/ranker.archflow"), models="none/*.onnx")
    with pytest.raises(ValueError, match="--models excludes"):
        rank(Path("models/ranker.archflow"), models="models/*.onnx", space="darts")
