import json
import math
from dataclasses import dataclass

import pytest

from archflow.support.digests import digest
from archflow.support.documents import plain, strict_json


@dataclass(frozen=True)
class Settings:
    names: tuple[str, ...] = ("a",)
    rate: float = math.nan


def test_documents_are_strict_json():
    value = {"settings": Settings(), "values": [1, -math.inf, None, "τ"]}
    expected = {"settings": {"names": ["a"], "rate": None}, "values": [1, None, None, "τ"]}
    assert plain(value) == expected
    assert json.loads(strict_json(value)) == expected
    assert "\n" in strict_json(value, indent=1)


def test_values_without_a_json_form_are_refused():
    with pytest.raises(TypeError, match="set cannot be written as JSON"):
        strict_json({"a": set()})


def test_a_digest_does_not_depend_on_the_order_of_entries():
    assert digest({"a": 1, "b": [2]}) == digest({"b": [2], "a": 1}) != digest({"a": 1, "b": [3]})
    assert len(digest({})) == 16
