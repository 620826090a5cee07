import builtins
import importlib
import io
import os
import pickle
import subprocess
import sys
import tracemalloc
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from archflow.support.unpickle import restricted_load

CONTENT = {"cells": [(0, 1), (2, 3)], "accuracy": {"mean": 93.5, "name": "cora", "missing": None, "raw": b"\x00"}}


class Call:
    """Pickles as a call of a function, as harmful pickles do."""

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
    assert restricted_load(written(pickle.dumps(content, protocol))) == content


@dataclass
class Trained:
    accuracy: float
    drift: tuple[int, int]


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_an_object_of_a_named_class_is_read_as_its_attributes(written, protocol):
    path = written(pickle.dumps([Trained(93.5, (1, 2))], protocol))
    assert restricted_load(path, records=[(__name__, "Trained")]) == [{"accuracy": 93.5, "drift": (1, 2)}]
    with pytest.raises(ValueError, match=r"is refused: it asks for tests\.support\.test_unpickle\.Trained"):
        restricted_load(path)


ARRAYS = [
    *(np.arange(6, dtype=code).reshape(2, 3) for code in ("i1", "u2", ">i4", "<i8", "f2", ">f4", "f8")),
    np.array([True, False]),
    np.array([["skip", "none"]]),
    np.array([b"a", b"bc"]),
    np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    np.zeros((0, 3)),
    np.array(7.5),
]


@pytest.mark.parametrize("array", ARRAYS, ids=lambda array: f"{array.dtype.str}{array.shape}")
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_arrays_and_scalars_of_numpy(written, array, protocol):
    content = (
        {"array": array, "again": [array, (array,)], "number": array.reshape(-1)[:1].copy()[..., 0:1].sum()}
        if (array.dtype.kind not in "SU")
        else {"array": array, "again": [array, (array,)], "number": array.reshape(-1)[0]}
    )
    found = restricted_load(written(pickle.dumps(content, protocol)))
    for each in (found["array"], found["again"][0], found["again"][1][0]):
        assert each.dtype == array.dtype
        np.testing.assert_array_equal(each, array)
        assert each.flags.writeable
    np.testing.assert_array_equal(found["number"], content["number"])
    assert not isinstance(found["number"], np.generic)


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
        restricted_load(path, records=[("fractions", "Fraction")])
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
def test_no_opcode_bypasses_the_check(written, content):
    with pytest.raises(ValueError, match=r"is refused: it (asks for os\.system|has an instruction)"):
        restricted_load(written(content))


def test_allowing_a_class_allows_neither_its_module_nor_its_methods(written):
    assert restricted_load(written(pickle.dumps(OrderedDict(a=1)))) == {"a": 1}
    for method in ("OrderedDict.fromkeys", "namedtuple"):
        content = b"\x80\x04\x8c\x0bcollections\x8c" + bytes([len(method)]) + method.encode() + b"\x93."
        with pytest.raises(ValueError, match=f"is refused: it asks for collections.{method}"):
            restricted_load(written(content))


# Misuse of permitted names

DTYPE = b"\x80\x02cnumpy\ndtype\n"
F8 = DTYPE + b"X\x02\x00\x00\x00f8K\x00K\x01\x87R"
STATE = b"(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00t"
RECONSTRUCT = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\nK\x00\x85U\x01btR"
DEEP_KEY = b"\x80\x02})" + 200_000 * b"\x85" + b"K\x01s."
LAUGHS = (
    b"\x80\x02]q\x00" + b"".join(b"](" + 40 * (b"h" + bytes([n])) + b"eq" + bytes([n + 1]) for n in range(30)) + b"."
)
SHARED_KEY = b"\x80\x02(" + 50_000 * b"K\x01" + b"tq\x000}" + 50_000 * b"h\x00Ns" + b"."


@pytest.mark.parametrize(
    "content",
    {
        "a record type, of which only the first letter is checked": DTYPE + b"X\x05\x00\x00\x00i8,i8K\x00K\x01\x87R.",
        "Python objects": DTYPE + b"X\x01\x00\x00\x00OK\x00K\x01\x87R.",
        "a type whose state has fields": F8 + b"(K\x03U\x01<N(U\x01at}U\x01aNsK\x08K\x01K\x1btb.",
        "a type whose state has a shape": F8 + b"(K\x03U\x01<NK\x02\x85NK\x10K\x01K\x00tb.",
        "a type with the flags of objects": F8 + b"(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK?tb.",
        "an array longer than its content": RECONSTRUCT
        + b"(K\x01K\x09\x85"
        + F8[2:]
        + b"\x89U\x08"
        + bytes(8)
        + b"tb.",
        "an array of negative length": RECONSTRUCT + b"(K\x01J\xff\xff\xff\xff\x85" + F8[2:] + b"\x89U\x00tb.",
        "an array without content": b"\x80\x02" + RECONSTRUCT + b".",
        "the state of a name": b"\x80\x02cnumpy\nndarray\n}U\x01aK\x01sb.",
        "the state of a list": b"\x80\x02]}b.",
        "the attributes of a function": b"\x80\x02ccollections\nOrderedDict\nN}U\x0c__defaults__Ns\x86b.",
        "an object of a class that is not named": b"\x80\x02ccollections\nOrderedDict\n)\x81.",
        "a call of what is no name": b"\x80\x02U\x01a)R.",
        "a call of what was called": F8 + b")R.",
        "an extension": b"\x80\x02\x82\x01.",
        "a persistent id": b"Pos.system\n.",
        "a frozen set": b"\x80\x04(\x91.",
        "a set of lists": b"\x80\x04\x8f(]\x90.",
        "a buffer from elsewhere": b"\x80\x05\x97.",
        "a key of 200,000 nested tuples": DEEP_KEY,
        "a long key, again and again": SHARED_KEY,
        "40^30 values": LAUGHS,
        "a list in itself": b"\x80\x02]q\x00h\x00a.",
        "lists nested 100,000 deep": b"\x80\x02" + 100_000 * b"]" + 99_999 * b"a" + b".",
        "a terabyte of text": b"\x80\x04\x8d" + (1 << 40).to_bytes(8, "little") + b"x.",
        "a terabyte of bytes": b"\x80\x05\x96" + (1 << 40).to_bytes(8, "little") + b"x.",
        "a frame of a terabyte": b"\x80\x04\x95" + (1 << 40).to_bytes(8, "little") + b"N.",
    }.items(),
    ids=lambda item: item[0],
)
def test_instructions_that_no_table_needs_are_refused(written, content):
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=r"table\.pickle is (refused|truncated)") as caught:
            restricted_load(written(content[1]))
        assert tracemalloc.get_traced_memory()[1] < 100e6
    finally:
        tracemalloc.stop()
    assert len(str(caught.value)) < 600


def number(code: bytes, order: bytes, content: bytes) -> bytes:
    """A pickled scalar of NumPy, of any type and content."""
    dtype = b"cnumpy\ndtype\nX" + len(code).to_bytes(4, "little") + code + b"K\x00K\x01\x87R"
    state = b"(K\x03X\x01\x00\x00\x00" + order + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    return (
        b"\x80\x03cnumpy.core.multiarray\nscalar\n" + dtype + state + b"C" + bytes([len(content)]) + content + b"\x86R."
    )


def test_the_content_of_a_scalar_must_fit_its_type(written):
    assert restricted_load(written(number(b"f8", b"<", np.float64(0.25).tobytes()))) == 0.25
    assert restricted_load(written(number(b"f8", b">", np.array(0.25, ">f8").tobytes()))) == 0.25
    for wrong in [(b"f8", b"<", b"1234"), (b"i16", b"<", b"1" * 16), (b"O8", b"|", b"1" * 8), (b"f8", b"?", b"1" * 8)]:
        with pytest.raises(ValueError, match=r"table\.pickle is refused"):
            restricted_load(written(number(*wrong)))
    with pytest.raises(ValueError, match="a number without a proper type"):
        restricted_load(written(b"\x80\x03cnumpy.core.multiarray\nscalar\nNC\x0812345678\x86R."))


def test_a_large_memo_index_takes_no_memory(written):
    assert restricted_load(written(b"\x80\x02Nr\xff\xff\xff\x7f.")) is None


def test_shared_numpy_types_are_not_modified(written):
    big = F8 + STATE.replace(b"<", b">") + b"b0" + RECONSTRUCT + b"(K\x01K\x01\x85" + F8[2:]
    big += STATE.replace(b"<", b">") + b"b\x89U\x08?\xf0" + bytes(6) + b"tb."
    np.testing.assert_array_equal(restricted_load(written(big), encoding="latin1"), [1.0])
    assert np.dtype("f8").str == np.array([1.0]).dtype.str == np.float64(1).dtype.str == "<f8"


def test_mutated_and_generated_pickles_do_no_harm():
    fuzz = Path(__file__).with_name("fuzz_unpickle.py")
    ended = subprocess.run([sys.executable, fuzz, "--cases", "4000"], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr[-2000:]
    assert "4000 cases, 0 wrong" in ended.stdout


@given(st.data(), st.integers(0, pickle.HIGHEST_PROTOCOL))
def test_the_error_for_a_truncated_file_names_it(tmp_path_factory, data, protocol):
    buffer = io.BytesIO()
    pickle.dump(CONTENT, buffer, protocol)
    content = buffer.getvalue()
    path = tmp_path_factory.getbasetemp() / "truncated.pickle"
    path.write_bytes(content[: data.draw(st.integers(0, len(content) - 1))])
    with pytest.raises(ValueError, match=r"truncated\.pickle is "):
        restricted_load(path)


@pytest.mark.parametrize(
    "content",
    [
        *(b"", b"arch,accuracy\na,1\n", b"PK\x03\x04", b"."),
        b"\x80\xff.",  # an unknown protocol
        b"Ix\n.",  # not an integer
    ],
)
def test_the_error_for_a_file_that_is_not_a_pickle_names_it(written, content):
    with pytest.raises(ValueError, match=r"table\.pickle is "):
        restricted_load(written(content))


def test_a_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"absent\.pickle"):
        restricted_load(tmp_path / "absent.pickle")
