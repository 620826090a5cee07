"""Each example runs, at a reduced size, and is short enough to be read."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"
SIZES = {"digits_space.py": ["5", "1"], "onnx_folder.py": ["models", "24"]}
SAYS = {
    "digits_space.py": "best of 5: 0.",
    "onnx_folder.py": "archflow rank models/ranker.archflow --models 'models/*.onnx'",
}


@pytest.mark.parametrize("name", SIZES)
def test_an_example_runs(tmp_path, name):
    assert len((EXAMPLES / name).read_text().splitlines()) <= 60
    environment = {**os.environ, "PYTHONPATH": str(EXAMPLES.parent)}
    done = subprocess.run(
        [sys.executable, EXAMPLES / name, *SIZES[name]], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert (done.returncode, SAYS[name] in done.stdout) == (0, True), done.stderr
    if name == "onnx_folder.py":
        ranked = subprocess.run(
            [sys.executable, "-m", "archflow", "rank", "models/ranker.archflow", "--models", "models/*.onnx", "--json"],
            cwd=tmp_path, env=environment, capture_output=True, text=True,
        )  # fmt: skip
        assert '"architectures": 24' in ranked.stdout, ranked.stderr
        assert '"arch": "models/model' in ranked.stdout
