import json
import os
import re
import struct
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import archflow
from archflow.benchmarks.darts.space import DARTS
from archflow.benchmarks.nasbench101.space import NASBench101
from archflow.benchmarks.nasbench201.space import NASBench201
from archflow.benchmarks.nasbench_nlp.space import NASBenchNLP
from archflow.benchmarks.registry import SPACES
from archflow.benchmarks.table import Table
from archflow.benchmarks.tables import SOURCES, add, keep, official_files, remove, table, tables
from archflow.support.files import data_folder, load_tensors, save_tensors
from tests.benchmarks.nasbench_nlp.test_space import RNN
from tests.benchmarks.official import WRITERS

SPACE = NASBench201()
ARCHS = SPACE.sample(6, seed=0)
PACKAGED = ["nasbench201/analog", "nasbench201/proxies", "nasbench-graph", "nasbench-graph/proteins"]
OFFICIAL = [name for name in SOURCES if official_files(name)]
MINE = Table(
    "mine",
    SPACE,
    ARCHS,
    {"accuracy": np.arange(6) / 7, "time": np.full(6, np.nan)},
    "accuracy",
    {"note": "line 2 has 'x'"},
)


def assert_equal(found: Table, expected: Table) -> None:
    """Equal in everything, and bit for bit in numbers."""
    assert (found.name, found.space.name) == (expected.name, expected.space.name)
    assert (found.default, found.left_out) == (expected.default, expected.left_out)
    assert found.archs == expected.archs
    assert list(found.columns) == list(expected.columns)
    for name, column in expected.columns.items():
        assert found[name].dtype == column.dtype == np.float64
        assert found[name].tobytes() == column.tobytes()


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# What is kept comes back


@pytest.mark.parametrize("name", archflow.spaces())
def test_a_table_of_every_space_comes_back(cache, name):
    space = archflow.space(name)
    archs = space.sample(7, seed=2)[[5, 1, 3]]
    kept = Table("a/b", space, archs, {"x": np.array([0.1, np.nan, -3.0])}, "x", {"note": "", "date": ""})
    assert_equal(keep(kept), kept)
    assert_equal(table("a/b"), kept)
    assert tables(name)[-1 - sum(SOURCES[official].space == name for official in OFFICIAL)] == "a/b"


ODD_NUMBERS = [np.nan, -0.0, np.inf, -np.inf, 5e-324, 1.7976931348623157e308]
ODD_NAMES = (
    *("", " ", "a/b", "../x", "τ → λ", "two\nlines", '"quoted", with comma', "tab\t", "nul\0", "\ud800", "a" * 5_000),
    *("__metadata__", "column 0", "column 1", "arch", "operations", "node_offsets", "edges", "edge_offsets", "default"),
)


def test_odd_numbers_and_odd_names_of_columns_come_back(cache):
    quiet = struct.unpack("<d", struct.pack("<Q", 0x7FF8_0000_DEAD_BEEF))[0]  # NaN, with bits of its own
    columns = {name: np.array([*ODD_NUMBERS[1:], quiet]) + 0 * number for number, name in enumerate(ODD_NAMES)}
    columns["accuracy"] = np.array(ODD_NUMBERS)
    kept = replace(MINE, columns=columns, default="τ → λ", left_out={"nul\0\0": "line 2 has 'x'", "": ""})
    keep(kept)
    assert_equal(table("mine"), kept)


@settings(max_examples=25)
@given(
    st.dictionaries(st.text(), st.lists(st.floats(), min_size=6, max_size=6), max_size=5),
    st.dictionaries(st.text(), st.text()),
)
def test_any_columns_come_back(columns, left_out):
    kept = Table("mine", SPACE, ARCHS, {name: np.array(numbers) for name, numbers in columns.items()}, "", left_out)
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setenv("ARCHFLOW_DATA", folder)
        keep(kept)
        assert_equal(table("mine"), kept)


@pytest.mark.parametrize("kind", ["bool", "i1", "u1", "i4", "i8", "u8", "f2", "f4", "f8", ">f8", ">i4"])
def test_numbers_of_every_kind_are_kept_as_float64(cache, kind):
    column = np.array([0, 1, 1, 0, 1, 0]).astype(kind)
    kept = replace(MINE, columns={"x": column})
    expected = replace(MINE, columns={"x": np.array([0.0, 1.0, 1.0, 0.0, 1.0, 0.0])})
    assert_equal(keep(kept), expected)
    assert_equal(table("mine"), expected)
    assert kept["x"] is column


def test_arrays_may_be_views_read_only_and_the_same(cache, recwarn):
    numbers = np.arange(24.0).reshape(6, 4)
    fixed = np.arange(6.0)
    fixed.flags.writeable = False
    columns = {"view": numbers[:, 1], "backwards": fixed[::-1], "fixed": fixed, "again": fixed}
    columns["broadcast"] = np.broadcast_to(1.5, 6)
    kept = replace(MINE, columns=columns)
    keep(kept)
    assert_equal(table("mine"), kept)
    assert not recwarn.list


@pytest.mark.parametrize(
    "column",
    [
        np.array(list("abcdef")),
        np.array(["1.5"] * 6),
        np.array([b"1"] * 6),
        np.array([1.5, None, 2, 3, 4, 5], dtype=object),
        np.array(["2024-01-01"] * 6, dtype="datetime64[D]"),
        np.full(6, 1 + 2j),
    ],
    ids=lambda column: column.dtype.str,
)
def test_anything_but_numbers_is_not_kept(cache, column):
    with pytest.raises(ValueError, match=r"^the column 'x\ny' of mine is not all numbers$"):
        keep(replace(MINE, columns={"accuracy": np.arange(6.0), "x\ny": column}))
    assert files(cache) == {}


def test_a_table_without_columns_comes_back(cache):
    keep(Table("mine", SPACE, ARCHS, {}))
    assert_equal(table("mine"), Table("mine", SPACE, ARCHS, {}))


def test_a_column_has_one_entry_an_architecture():
    with pytest.raises(ValueError, match=r"the column 'x' of mine has 5 entries, not one for each of 6 architectures"):
        Table("mine", SPACE, ARCHS, {"x": np.arange(5)})


def test_keeping_again_replaces(cache):
    keep(MINE)
    other = Table("mine", DARTS(), DARTS().sample(3), {"other": np.arange(3.0)})
    keep(other)
    assert_equal(table("mine"), other)
    assert [*files(cache)] == ["tables/mine.archflow"]


def test_a_space_that_nobody_knows_is_not_kept(cache, monkeypatch):
    class Other(NASBench201):
        name = "other"

    kept = replace(MINE, space=Other())
    with pytest.raises(ValueError, match=r"^unknown space 'other'; known spaces: darts, "):
        keep(kept)
    assert files(cache) == {}
    monkeypatch.setitem(SPACES, "other", Other)
    keep(kept)
    assert_equal(table("mine"), kept)
    assert "mine" in tables("other")
    monkeypatch.undo()
    monkeypatch.setenv("ARCHFLOW_DATA", str(cache))
    assert "mine" not in tables()
    with pytest.raises(ValueError, match=r"mine\.archflow is .* of another version; .* unknown space 'other'"):
        table("mine")


# Names


@pytest.mark.parametrize("name", ["mine", "_", "a/b/c", "2024-01-01_x.y", "a..b", "archflow.archflow", "nasbench101"])
def test_names_that_are_allowed(cache, name):
    kept = replace(MINE, name=name)
    keep(kept)
    assert [*files(cache)] == [f"tables/{name}.archflow"]
    assert_equal(table(name), kept)
    assert name in tables("nasbench201")


def test_a_name_may_be_the_beginning_of_another(cache):
    names = ["a", "a.b", "a.b.c", "a/b", "a/b/c", "a-b"]
    for number, name in enumerate(names):
        keep(replace(MINE, name=name, columns={"x": np.full(6, float(number))}))
    for number, name in enumerate(names):
        assert table(name)["x"][0] == number
    assert sorted(tables()[4:10]) == sorted(names)


@pytest.mark.parametrize(
    "name",
    [
        *PACKAGED,
        *("", ".", "..", "../mine", "a/../../mine", "a/..", "/tmp/mine", "/", "a//b", "a/", ".hidden", "a/.hidden"),
        *("-a", "a b", "a\\b", "a\n", "a\0", "τ", "c:a", "~/a", "$HOME", "*"),
    ],
)
def test_names_that_are_not_allowed(cache, name):
    before = sorted(cache.parent.rglob("*"))
    with pytest.raises(ValueError, match=f"^a table cannot be kept as '{re.escape(name)}'; name it otherwise$"):
        keep(replace(MINE, name=name))
    assert sorted(cache.parent.rglob("*")) == before


def test_the_tables_of_packages_then_official_ones_then_ones_own_then_those_that_can_be_added(cache):
    assert tables() == [*PACKAGED, *OFFICIAL]
    assert tables("nasbench-nlp") == ["nasbench-nlp"]
    assert tables("nasbench201") == ["nasbench201/analog", "nasbench201/proxies", "nasbench201/nats", "nasbench201/hw"]
    assert tables("nope") == []
    for name in ("z", "a/b", "nasbench201/hw"):
        keep(replace(MINE, name=name))
    rest = [name for name in OFFICIAL if name != "nasbench201/hw"]
    assert tables() == [*PACKAGED, "nasbench201/hw", "a/b", "z", *rest]
    ours = ["nasbench201/analog", "nasbench201/proxies"]
    assert tables("nasbench201") == [*ours, "nasbench201/hw", "a/b", "z", "nasbench201/nats"]
    assert tables("darts") == ["darts/nasbench301"]


def test_names_that_table_does_not_know(cache):
    keep(MINE)
    known = ", ".join([*PACKAGED, "mine", *OFFICIAL])
    for name in ("nope", "", "Mine", "mine/", "mine.archflow", "min", "nul\0", ".."):
        with pytest.raises(ValueError, match=f"^unknown table '{re.escape(name)}'; known tables: {re.escape(known)}$"):
            table(name)


@pytest.mark.parametrize("name", OFFICIAL)
def test_an_official_table_that_was_not_added(cache, name):
    with pytest.raises(
        ValueError, match=rf"^the table {name} is made from .* \(.+\), once: archflow tables add {name} "
    ):
        table(name)


def test_a_table_that_was_added_is_removed(cache):
    for name in ("mine", "a/b", "nasbench201/hw"):
        keep(replace(MINE, name=name))
    (cache / "tables" / "mine.archflow").write_bytes(b"damaged")
    for name in ("mine", "nasbench201/hw"):
        remove(name)
    assert [*files(cache)] == ["tables/a/b.archflow"]
    assert tables() == [*PACKAGED, "a/b", *OFFICIAL]
    (cache / "secret.archflow").write_text("not a table")
    for name in ("mine", "nope", "", "../secret", "nasbench201/hw", "nasbench201/analog", "a"):
        with pytest.raises(ValueError, match=f"^no table '{re.escape(name)}' was added; added tables: a/b$"):
            remove(name)
    remove("a/b")
    with pytest.raises(ValueError, match=r"added tables: none$"):
        remove("a/b")
    assert [*files(cache)] == ["secret.archflow"]


# One network, one row


def matrix_of(*edges):
    return "".join(str(int((source, target) in edges)) for source in range(4) for target in range(4))


NB101 = [
    f"{matrix_of((0, 1), (0, 2), (1, 3), (2, 3))}:maxpool3x3,conv3x3-bn-relu",
    "0100:",
    f"{matrix_of((0, 1), (0, 2), (1, 3), (2, 3))}:conv3x3-bn-relu,maxpool3x3",
]
"""The last is the first with its two branches exchanged."""
GENOTYPE = DARTS().format(DARTS().sample(1, seed=1))[0]
SWAPPED = re.sub(r"(\('\w+', 0\)), (\('\w+', 1\))", r"\2, \1", GENOTYPE, count=1)


@pytest.mark.parametrize(
    ("space", "strings", "first", "second"),
    [
        (SPACE, [*SPACE.format(ARCHS), SPACE.format(ARCHS)[2]], 3, 7),
        (NASBench101(), NB101, 1, 3),
        (DARTS(), [*DARTS().format(DARTS().sample(2, seed=5)), GENOTYPE, SWAPPED], 3, 4),
        (NASBenchNLP(), [RNN, RNN.replace('"f"', '"other"')], 1, 2),
    ],
    ids=["nasbench201", "nasbench101", "darts", "nasbench-nlp"],
)
def test_two_rows_of_one_network_are_named(cache, space, strings, first, second):
    keep(MINE)
    before = files(cache)
    twice = Table("mine", space, space.parse(strings), {})
    again = re.escape(space.format(twice.archs)[second - 1])
    message = f"^mine: architecture {second} is the same network as architecture {first}: {again}$"
    with pytest.raises(ValueError, match=message):
        twice.require_distinct()
    with pytest.raises(ValueError, match=message):
        keep(twice)
    assert files(cache) == before
    replace(twice, archs=twice.archs[: second - 1]).require_distinct()


def test_the_first_row_that_repeats_is_named_and_the_first_that_it_repeats():
    order = [4, 3, 5, 3, 4, 3]
    with pytest.raises(ValueError, match=r"^mine: architecture 4 is the same network as architecture 2: "):
        replace(MINE, archs=ARCHS[order]).require_distinct()


def test_the_swapped_edges_are_another_string():
    assert SWAPPED != GENOTYPE


# The data folder


def test_where_the_data_folder_is(cache, monkeypatch, tmp_path):
    assert data_folder() == cache
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "share"))
    for unset in (lambda: monkeypatch.setenv("ARCHFLOW_DATA", ""), lambda: monkeypatch.delenv("ARCHFLOW_DATA")):
        unset()
        assert data_folder() == tmp_path / "share" / "archflow"
    keep(MINE)
    assert [*files(tmp_path)] == ["share/archflow/tables/mine.archflow"]


def header(path: Path, **changes) -> None:
    """Write the kept table anew with other settings; None leaves one out."""
    tensors, about = load_tensors(path, "table")
    about = {name: value for name, value in {**about, **changes}.items() if value is not None}
    save_tensors(path, "table", tensors, about)


def rename(path: Path, old: str, new: str) -> None:
    """The same file, with other words of the same length in its header."""
    content = path.read_bytes()
    assert content.count(old.encode()) == 1
    path.write_bytes(content.replace(old.encode(), new.encode()))


def with_tensors(path: Path, **changes) -> None:
    tensors, about = load_tensors(path, "table")
    save_tensors(path, "table", {**tensors, **changes}, about)


UNREADABLE = {
    "empty": lambda path: path.write_bytes(b""),
    "text": lambda path: path.write_text("arch,accuracy\n"),
    "bytes": lambda path: path.write_bytes(bytes(range(256)) * 9),
    "cut in its header": lambda path: path.write_bytes(path.read_bytes()[:50]),
    "cut in its middle": lambda path: path.write_bytes(path.read_bytes()[:-400]),
    "cut at its end": lambda path: path.write_bytes(path.read_bytes()[:-1]),
    "architectures": lambda path: ARCHS.save(path),
    "another program's": lambda path: safetensors.torch.save_file({"a": torch.ones(1)}, path),
    "no settings": lambda path: rename(path, '"settings":', '"sittings":'),
    "settings that are no JSON": lambda path: rename(path, r'"settings":"{', r'"settings":"]'),
    "settings that are a list": lambda path: save_tensors(path, "table", {}, [1, 2]),
    "no space": lambda path: header(path, space=None),
    "a space of no name": lambda path: header(path, space=["nasbench201"]),
    "a later space": lambda path: header(path, space="nasbench401"),
    "no vocabulary": lambda path: header(path, vocabulary=None),
    "no columns": lambda path: header(path, columns=None),
    "operations of an earlier version": lambda path: header(path, vocabulary=["input", "conv", "output"]),
}
"""Files that are seen to be no table when tables are listed."""
BEYOND_ITS_HEADER = {
    "no default": lambda path: header(path, default=None),
    "more columns": lambda path: header(path, columns=["accuracy", "time", "more"]),
    "nothing left out": lambda path: header(path, left_out=None),
    "a column of another length": lambda path: with_tensors(path, **{"column 1": torch.ones(5)}),
    "no architectures": lambda path: save_tensors(path, "table", {}, load_tensors(path, "table")[1]),
    "an unknown operation": lambda path: with_tensors(path, operations=torch.full((48,), 9)),
    "a cut batch": lambda path: with_tensors(path, operations=torch.zeros(40, dtype=torch.int64)),
}


@pytest.mark.parametrize("damage", [*UNREADABLE, *BEYOND_ITS_HEADER])
def test_a_file_that_is_no_table(cache, damage):
    keep(replace(MINE, name="yours"))
    keep(MINE)
    {**UNREADABLE, **BEYOND_ITS_HEADER}[damage](path := cache / "tables" / "mine.archflow")
    with pytest.raises(ValueError, match=r"mine\.archflow is damaged or of another version; add the table") as caught:
        table("mine")
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)
    assert_equal(table("yours"), replace(MINE, name="yours"))
    assert tables() == [*PACKAGED, *["mine"] * (damage in BEYOND_ITS_HEADER), "yours", *OFFICIAL]
    assert_equal(keep(MINE), MINE)
    assert_equal(table("mine"), MINE)


def test_a_damaged_official_table_is_listed_still(cache):
    keep(replace(MINE, name="nasbench201/hw"))
    (cache / "tables" / "nasbench201" / "hw.archflow").write_bytes(b"")
    assert tables() == [*PACKAGED, *OFFICIAL]
    with pytest.raises(ValueError, match=r"hw\.archflow is damaged .*; add the table nasbench201/hw again"):
        table("nasbench201/hw")


def test_other_things_in_the_data_folder(cache):
    keep(MINE)
    (cache / "tables" / "folder.archflow").mkdir()
    (cache / "tables" / ".mine.archflow.x1.tmp").write_bytes(b"of a run that was killed")
    (cache / "tables" / "absent.archflow").symlink_to("nowhere")
    (cache / "other.archflow").write_bytes((cache / "tables" / "mine.archflow").read_bytes())
    assert tables() == [*PACKAGED, "mine", *OFFICIAL]
    for name in ("folder", "absent", "other"):
        with pytest.raises(ValueError, match=f"^unknown table '{name}'"):
            table(name)


def test_a_full_disk_leaves_the_previous_table(cache, request):
    keep(MINE)
    before = files(cache)
    begun = request.getfixturevalue("full_disk")
    with pytest.raises(OSError, match="No space left on device"):
        keep(replace(MINE, columns={}))
    assert begun
    assert files(cache) == before
    assert_equal(table("mine"), MINE)


def test_a_data_folder_that_cannot_be_written(monkeypatch, unprivileged):
    """Which is found out before a large file is read."""
    read = []
    for name in ("nasbench-macro", "nasbench-nlp"):
        monkeypatch.setitem(SOURCES, name, replace(SOURCES[name], read=read.append))
    with tempfile.TemporaryDirectory() as folder:
        cache = Path(folder) / "cache"
        monkeypatch.setenv("ARCHFLOW_DATA", str(cache))
        keep(MINE)
        before = files(cache)
        (cache / "tables").chmod(0o500)
        try:
            for write in (
                lambda: keep(MINE),
                lambda: add("nasbench-macro", folder),
                lambda: add("nasbench-nlp", folder),
            ):
                with pytest.raises(PermissionError):
                    write()
            assert_equal(table("mine"), MINE)
            assert files(cache) == before
            assert read == []
        finally:
            (cache / "tables").chmod(0o700)


def test_a_data_folder_that_is_a_file(tmp_path, monkeypatch):
    path = tmp_path / "cache"
    path.write_text("text")
    monkeypatch.setenv("ARCHFLOW_DATA", str(path))
    for write in (lambda: keep(MINE), lambda: add("nasbench-macro", tmp_path)):
        with pytest.raises(OSError, match="cache"):
            write()
    assert tables() == [*PACKAGED, *OFFICIAL]
    with pytest.raises(ValueError, match="unknown table 'mine'"):
        table("mine")
    assert path.read_text() == "text"


# Official files


@pytest.mark.parametrize("name", OFFICIAL)
def test_an_official_file_is_added_once(cache, tmp_path, name):
    path = WRITERS[name](tmp_path)
    said = []
    found = add(name, str(path), lambda *step: said.append(step))
    assert said
    if path.is_file():
        path.unlink()
    assert_equal(table(name), found)
    assert name in tables(SOURCES[name].space)


def test_adding_again_replaces_and_a_failure_does_not(cache, tmp_path):
    path = WRITERS["nasbench-macro"](tmp_path)
    assert len(add("nasbench-macro", path)) == 4
    records = json.loads(path.read_text())
    del records["02012100"]
    path.write_text(json.dumps(records))
    assert len(add("nasbench-macro", path)) == len(table("nasbench-macro")) == 3
    before = files(cache)
    path.write_text("{}")
    with pytest.raises(ValueError, match="is damaged, or not the table of NAS-Bench-Macro"):
        add("nasbench-macro", path)
    assert files(cache) == before


def test_what_cannot_be_added(cache, tmp_path):
    known = re.escape(", ".join(OFFICIAL))
    for name in ("nope", "", "nasbench-graph", "nasbench201/analog"):
        with pytest.raises(ValueError, match=f"^unknown official table '{name}'; known: {known}; or name a file and "):
            add(name, tmp_path)
    for path in (tmp_path / "absent", str(tmp_path / "absent" / "below")):
        with pytest.raises(FileNotFoundError, match=f"^there is no file {path}$"):
            add("nasbench101", path)
    assert files(cache) == {}


def test_a_reader_that_gives_one_network_twice_is_not_trusted(cache, tmp_path, monkeypatch):
    twice = replace(MINE, archs=ARCHS[[0, 1] * 3])
    monkeypatch.setitem(SOURCES, "nasbench201/hw", replace(SOURCES["nasbench201/hw"], read=lambda *_: twice))
    with pytest.raises(ValueError, match=r"^nasbench201/hw: architecture 3 is the same network as architecture 1: "):
        add("nasbench201/hw", tmp_path)
    assert files(cache) == {}
    assert os.listdir(cache) == []
