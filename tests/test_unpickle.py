import builtins
import importlib
import io
import os
import pickle
import subprocess
from collections import OrderedDict
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from archflow.unpickle import restricted_load

CONTENT = {"cells": [(0, 1), (2, 3)], "accuracy": {"mean": 93.5, "name": "cora", "missing": None, "raw": b"\x00"}}


class Call:
    """Pickles as the call of a function, which is what a harmful pickle is."""

    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


@pytest.fixture
def written(tmp_path):
    def write(content: bytes):
        path = tmp_path / "table.pickle"
        path.write_bytes(content)
        return path

    return write


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_plain_values_need_no_permission(written, protocol):
    content = {**CONTENT, "accuracy": {**CONTENT["accuracy"], "raw": "x"}} if protocol < 3 else CONTENT
    assert restricted_load(written(pickle.dumps(content, protocol)), {}) == content


def test_a_named_class_is_replaced_by_what_is_given_for_it(written):
    path = written(pickle.dumps([Call(Fraction, 2, 3)]))
    assert restricted_load(path, {("fractions", "Fraction"): lambda *given: given}) == [(2, 3)]


@pytest.mark.parametrize(
    "name",
    ["os.system", "os.remove", "subprocess.Popen", "builtins.eval", "builtins.getattr", "importlib.import_module"],
)
@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_functions_that_are_not_allowed_are_never_called(written, tmp_path, name, protocol):
    modules = {"os": os, "subprocess": subprocess, "builtins": builtins, "importlib": importlib}
    function = getattr(modules[name.split(".")[0]], name.split(".")[1])
    victim = tmp_path / "victim"
    victim.write_text("still here")
    argument = str(victim) if name == "os.remove" else f"rm {victim}"
    path = written(pickle.dumps([CONTENT["cells"], Call(function, argument)], protocol))
    with pytest.raises(ValueError, match=rf"table\.pickle is refused: it asks for \w+\.{function.__name__}, which"):
        restricted_load(path, {("fractions", "Fraction"): Fraction})
    assert victim.read_text() == "still here"


@pytest.mark.parametrize(
    "content",
    [
        b"cos\nsystem\n(S'false'\ntR.",  # GLOBAL, REDUCE
        b"(S'false'\nios\nsystem\n.",  # INST
        b"(cos\nsystem\nS'false'\no.",  # OBJ
        b"\x80\x02cos\nsystem\nU\x05false\x85\x81.",  # NEWOBJ
        b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x05false\x85R.",  # STACK_GLOBAL
    ],
)
def test_no_opcode_goes_round_the_check(written, content):
    with pytest.raises(ValueError, match=r"is refused: it asks for os\.system"):
        restricted_load(written(content), {})


def test_allowing_a_class_allows_neither_its_module_nor_its_methods(written):
    allowed = {("collections", "OrderedDict"): OrderedDict}
    assert restricted_load(written(pickle.dumps(OrderedDict(a=1))), allowed) == {"a": 1}
    for method in ("OrderedDict.fromkeys", "namedtuple"):
        content = b"\x80\x04\x8c\x0bcollections\x8c" + bytes([len(method)]) + method.encode() + b"\x93."
        with pytest.raises(ValueError, match=f"is refused: it asks for collections.{method}"):
            restricted_load(written(content), allowed)


@given(st.data(), st.integers(0, pickle.HIGHEST_PROTOCOL))
def test_a_truncated_file_is_an_error_that_names_it(tmp_path_factory, data, protocol):
    buffer = io.BytesIO()
    pickle.dump(CONTENT, buffer, protocol)
    content = buffer.getvalue()
    path = tmp_path_factory.getbasetemp() / "truncated.pickle"
    path.write_bytes(content[: data.draw(st.integers(0, len(content) - 1))])
    with pytest.raises(ValueError, match=r"truncated\.pickle is "):
        restricted_load(path, {("_codecs", "encode"): str.encode})


@pytest.mark.parametrize(
    "content",
    [
        *(b"", b"arch,accuracy\na,1\n", b"PK\x03\x04", b"."),
        b"\x80\xff.",  # a protocol that there is not
        b"Ix\n.",  # an integer that is none
    ],
)
def test_what_is_no_pickle_is_an_error_that_names_it(written, content):
    with pytest.raises(ValueError, match=r"table\.pickle is "):
        restricted_load(written(content), {})


def test_a_missing_file_is_said_to_be_missing(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"absent\.pickle"):
        restricted_load(tmp_path / "absent.pickle", {})
