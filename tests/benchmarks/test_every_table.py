"""What every table's source promises: it is read whole, or refused in one line, whatever the file holds."""

import importlib.util
import os
import pickle
import sys
from pathlib import Path

import numpy as np
import pytest

from archflow.benchmarks import BENCHMARKS
from archflow.benchmarks.tables import SOURCES, table
from tests.benchmarks.official import WRITERS

OFFICIAL = [name for name, source in SOURCES.items() if source.files]
PACKAGED = [name for name, source in SOURCES.items() if not source.files]
every_official = pytest.mark.parametrize("name", OFFICIAL)
every_packaged = pytest.mark.parametrize("name", PACKAGED)
every_foreign_package = pytest.mark.parametrize("name", [n for n in PACKAGED if SOURCES[n].package != "archflow"])
PICKLED = ("nasbench201/hw", "transnas101-micro", "transnas101-macro", "nasbench-graph/full", "nasbench-asr")
"""Tables whose official file is a pickle, or may be."""
GARBAGE = {
    "nothing": b"",
    "text": b"arch,accuracy\n1,2\n",
    "bytes": bytes(range(256)) * 9,
    "the beginning of a pickle": b"\x80\x04\x95",
    "the beginning of a zip file": b"PK\x03\x04",
    "brackets": b"[" * 100_000,
    "an empty list": b"[]",
    "an empty dictionary": pickle.dumps({}),
    "a number": pickle.dumps(3),
    "a list": pickle.dumps([1, 2]),
    "a text": pickle.dumps("text"),
}


class Remove:
    """Pickles as a call that removes a file."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return os.remove, (str(self.path),)


def assert_refused(read, path: Path) -> None:
    with pytest.raises(ValueError, match=r"\w") as caught:
        read()
    assert "\n" not in str(caught.value)
    assert path.name in str(caught.value)


def assert_is_the_table(found, name: str) -> None:
    assert (found.name, found.space.name) == (name, SOURCES[name].space)
    assert found.default in ("", *found.columns)
    assert found.columns
    assert all(column.dtype == np.float64 and column.shape == (len(found),) for column in found.columns.values())
    found.require_distinct()


def test_the_sources_are_those_of_the_records():
    assert {name: source for benchmark in BENCHMARKS for name, source in benchmark.tables.items()} == dict(SOURCES)
    assert all(bool(source.files) != bool(source.package) for source in SOURCES.values())
    assert set(WRITERS) == set(OFFICIAL)


@pytest.mark.parametrize("name", PACKAGED)
def test_what_is_told_of_a_packaged_table_is_true(name):
    found = table(name)
    assert (SOURCES[name].architectures, SOURCES[name].columns) == (len(found), tuple(found.columns))


# Official files


@every_official
def test_an_official_file_is_read(tmp_path, name):
    said = []
    found = SOURCES[name].read(WRITERS[name](tmp_path), lambda *step: said.append(step))
    assert_is_the_table(found, name)
    assert said
    assert {(type(what), type(done), type(total)) for what, done, total in said} == {(str, int, int)}


@every_official
@pytest.mark.parametrize("share", [0, 0.01, 0.3, 0.5, 0.9])
def test_a_truncated_official_file_is_refused(tmp_path, name, share):
    path = WRITERS[name](tmp_path)
    content = path.read_bytes().rstrip(b"\0")
    path.write_bytes(content[: int(share * len(content))])
    assert_refused(lambda: SOURCES[name].read(path), path)


@every_official
@pytest.mark.parametrize("what", GARBAGE)
def test_a_file_of_something_else_is_refused(tmp_path, name, what):
    path = WRITERS[name](tmp_path)
    path.write_bytes(GARBAGE[what])
    assert_refused(lambda: SOURCES[name].read(path), path)


@pytest.mark.parametrize(
    ("name", "other"), [(name, other) for name in OFFICIAL for other in OFFICIAL if WRITERS[name] is not WRITERS[other]]
)
def test_the_file_of_another_benchmark_is_refused(tmp_path, name, other):
    path = WRITERS[name](tmp_path)
    (tmp_path / "other").mkdir()
    path.write_bytes(WRITERS[other](tmp_path / "other").read_bytes())
    assert_refused(lambda: SOURCES[name].read(path), path)


@every_official
def test_a_pickle_that_calls_something_is_refused(tmp_path, name):
    victim = tmp_path / "victim"
    victim.write_text("still here")
    path = WRITERS[name](tmp_path)
    path.write_bytes(pickle.dumps({"data": Remove(victim)}))
    assert_refused(lambda: SOURCES[name].read(path), path)
    if name in PICKLED:
        with pytest.raises(ValueError, match=r"is refused: it asks for \w+\.remove, which is not allowed"):
            SOURCES[name].read(path)
    assert victim.read_text() == "still here"


@every_official
def test_a_missing_official_file(tmp_path, name):
    with pytest.raises(FileNotFoundError, match="absent"):
        SOURCES[name].read(tmp_path / WRITERS[name](tmp_path).name.replace(".", "_absent.", 1))


# Tables that packages bring


@every_packaged
def test_a_packaged_table_is_read_in_the_order_of_its_space(name):
    found = table(name)
    assert_is_the_table(found, name)
    assert found.archs == found.space.enumerate()
    assert not [module for module in sys.modules if module.split(".")[0] in ("nas_bench_graph", "analognasbench")]


@every_foreign_package
def test_without_its_package_the_error_says_what_to_install(monkeypatch, name):
    monkeypatch.setattr(importlib.util, "find_spec", lambda package: None)
    with pytest.raises(ModuleNotFoundError, match=f"pip install {SOURCES[name].package}$"):
        table(name)


@every_foreign_package
@pytest.mark.parametrize("what", [*GARBAGE, "a call"])
def test_a_package_with_another_file_is_refused(monkeypatch, tmp_path, name, what):
    path, victim = tmp_path / "data.bench", tmp_path / "victim"
    victim.write_text("still here")
    path.write_bytes(GARBAGE.get(what) if what in GARBAGE else pickle.dumps({0: Remove(victim)}))
    monkeypatch.setattr(sys.modules[SOURCES[name].read.__module__], "file_in_package", lambda *_: path)
    assert_refused(lambda: table(name), path)
    assert victim.read_text() == "still here"


@every_foreign_package
@pytest.mark.parametrize("share", [0.001, 0.5, 0.999])
def test_a_truncated_file_in_a_package_is_refused(monkeypatch, tmp_path, name, share):
    module, path = sys.modules[SOURCES[name].read.__module__], tmp_path / "data.bench"
    find = module.file_in_package

    def truncated(*where):
        content = find(*where).read_bytes()
        path.write_bytes(content[: int(share * len(content))])
        return path

    monkeypatch.setattr(module, "file_in_package", truncated)
    with pytest.raises(ValueError, match=r"^[^\n]*data\.bench is truncated[^\n]*$"):
        table(name)
