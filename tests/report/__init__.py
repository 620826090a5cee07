"""What tests of pages share."""

import base64
import gzip
import json
import re
from pathlib import Path
from typing import Any

import pytest


def read_data(path: Path) -> dict[str, Any]:
    """The data that a page carries, which must be strict JSON."""
    found = re.findall(r'<script type="text/plain" id="data">(.*?)</script>', path.read_text("utf-8"), re.DOTALL)
    assert len(found) == 1
    text = gzip.decompress(base64.b64decode(found[0])).decode()
    data: dict[str, Any] = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    return data
