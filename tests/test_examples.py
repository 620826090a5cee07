"""Every script and notebook in examples/ runs at reduced size, in an empty folder."""

from __future__ import annotations

import json
import runpy
import sys
from pathlib import Path

import pytest

from archflow.commands.rank import rank

EXAMPLES = Path(__file__).parents[1] / "examples"
SCRIPTS = sorted(EXAMPLES.glob("*.py"))
NOTEBOOKS = sorted(EXAMPLES.glob("*.ipynb"))

pytestmark = pytest.mark.usefixtures("forgetful", "cache")


@pytest.fixture(autouse=True)
def empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_a_script(script, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", [str(script), "--small"])
    runpy.run_path(str(script), run_name="__main__")
    assert capsys.readouterr().out


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook(notebook):
    """Its cells run in order, with the sizes that the cell of sizes names for tests; it is kept without outputs."""
    names: dict = {}
    shrunk = 0
    for cell in json.loads(notebook.read_text(encoding="utf-8"))["cells"]:
        if cell["cell_type"] == "code":
            assert not cell["outputs"]
            exec("".join(cell["source"]), names)
            small = cell["metadata"].get("small", {})
            assert set(small) <= set(names)
            names |= small
            shrunk += len(small)
    assert shrunk


@pytest.mark.parametrize("path", [*SCRIPTS, *NOTEBOOKS], ids=lambda path: path.name)
def test_an_example_is_short_and_listed(path):
    assert f"`{path.name}`" in (EXAMPLES / "README.md").read_text(encoding="utf-8")
    if path.suffix == ".py":
        assert len(path.read_text(encoding="utf-8").splitlines()) <= 60


def test_an_onnx_folder_is_ranked_from_the_shell(capsys):
    runpy.run_path(str(EXAMPLES / "onnx_folder.py"))
    assert "archflow rank models/ranker.archflow --models 'models/*.onnx'" in capsys.readouterr().out
    rank(Path("models/ranker.archflow"), models="models/*.onnx", out=Path("ranking.csv"))
    assert "24 written to ranking.csv" in capsys.readouterr().out
    assert "models/model007.onnx" in Path("ranking.csv").read_text()
    with pytest.raises(ValueError, match=r"no file is called none/\*.onnx"):
        rank(Path("models/ranker.archflow"), models="none/*.onnx")
    with pytest.raises(ValueError, match="--models excludes"):
        rank(Path("models/ranker.archflow"), models="models/*.onnx", space="darts")
