"""The README's examples run as they stand; the first finds good architectures, and passes a strict type checker."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
EXAMPLE, OF_MODELS = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), flags=re.DOTALL)


def test_the_example_on_ones_own_space():
    names: dict = {}
    exec(EXAMPLE, names)
    found = [names["cells"][index] for index in names["best"]]
    assert len(found) == 10
    assert sum(cell.count("conv") for cell in found) / len(found) > 3


def test_the_example_on_ones_own_models(forgetful):
    names: dict = {}
    exec(OF_MODELS, names)
    assert isinstance(names["model"], names["nn"].Module)


def checked(file):
    """What mypy says of a file of a user's."""
    options = ["--strict", "--follow-imports=silent", "--no-error-summary", "--cache-dir=.mypy_cache/readme"]
    command = [sys.executable, "-m", "mypy", *options, str(file)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True).stdout.splitlines()


def test_a_users_file_passes_a_strict_type_checker(tmp_path):
    """The lazy face has the types of what it finds; a misspelt name is an error, and so is a wrong argument."""
    (tmp_path / "mine.py").write_text(
        EXAMPLE
        + "from torch import Tensor\n"
        + "import archflow.benchmarks.darts, archflow.encoding.gin\n"
        + 'vectors: Tensor = archflow.encoder("gin", archs.vocabulary)(archs)\n'
        + "names: list[str] = archflow.spaces()\n"
        + "space: archflow.Space = archflow.space(names[0])\n"
        + "reveal_type(archflow.encoder)\n"
    )
    assert len(found := checked(tmp_path / "mine.py")) == 1, found
    assert re.search(r"def \(name: .*str, vocabulary: .*Sequence\[.*\) -> archflow\.encoding\.base\.Encoder", found[0])
    (tmp_path / "wrong.py").write_text("import archflow\narchflow.enkoder\narchflow.space(1)\n")
    assert [re.search(r":(\d): error:.*\[(.*)\]$", line).groups() for line in checked(tmp_path / "wrong.py")] == [
        ("2", "attr-defined"),
        ("3", "arg-type"),
    ]
