"""The README's example runs as it stands, and finds good cells."""

from __future__ import annotations

import re
from pathlib import Path

README = Path(__file__).parents[1] / "README.md"


def test_the_example_on_ones_own_space():
    (code,) = re.findall(r"```python\n(.*?)```", README.read_text(), flags=re.DOTALL)
    names: dict = {}
    exec(code, names)
    found = [names["cells"][index] for index in names["best"]]
    assert len(found) == 10
    assert sum(cell.count("conv") for cell in found) / len(found) > 3
