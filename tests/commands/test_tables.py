"""``archflow tables``, end to end, with a small official file of every benchmark."""

import errno
import os
import re

import numpy as np
import pytest

import archflow
from archflow.benchmarks.own_tables import read_table, write_table
from archflow.benchmarks.tables import SOURCES, add, table, tables
from tests.benchmarks import official
from tests.benchmarks.nasbench_nlp.test_tables import LOGS, write_folder
from tests.benchmarks.test_tables import assert_equal
from tests.commands import ONE_RUN, QUICK, SPACE, contents

EVALUATE = f"evaluate {QUICK} {ONE_RUN} --json".split()

OFFICIAL = {name: source for name, source in SOURCES.items() if source.files}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """The official file of each table, small."""
    return {name: write(tmp_path_factory.mktemp("official")) for name, write in official.WRITERS.items()}


@pytest.fixture
def here(cache, tmp_path, monkeypatch):
    """An empty working directory, and an empty data folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("name", OFFICIAL)
def test_an_official_file_is_added_and_written_out_again(cache, files, call, here, name):
    outcome = call("tables", "add", name, files[name], "--json")
    assert outcome.code == 0, outcome.err
    found = table(name)
    assert outcome.json["table"] == name
    assert (outcome.json["space"], outcome.json["architectures"]) == (OFFICIAL[name].space, len(found))
    assert outcome.json["columns"] == list(found.columns)
    assert call("tables", "write", name, "--out", "own.csv").out == f"{len(found):,} written to own.csv\n"
    again = call("tables", "add", "own.csv", "--space", OFFICIAL[name].space, "--label-column", found.default)
    assert again.code == 0, again.err
    own = table("own")
    assert np.array_equal(own.space.keys(own.archs), own.space.keys(found.archs))
    for column, values in found.columns.items():
        assert np.array_equal(own[column], values, equal_nan=True)


@pytest.mark.parametrize("name", [name for name in OFFICIAL if name not in ("nasbench101", "nasbench201/hw")])
def test_a_folder_stands_for_the_file_in_it(cache, files, call, here, name):
    folders = {
        "nasbench201/nats": files[name].with_suffix(""),
        "nasbench-nlp": write_folder(here / "logs", LOGS),
    }
    assert call("tables", "add", name, folders.get(name, files[name].parent)).code == 0
    from_folder = table(name)
    assert call("tables", "add", name, files[name]).code == 0
    assert_equal(table(name), from_folder)


@pytest.mark.parametrize("name", OFFICIAL)
def test_the_file_of_another_benchmark_is_refused_in_one_line(cache, files, call, name):
    for other, path in files.items():
        if path.name != files[name].name:
            outcome = call("tables", "add", name, path)
            assert (outcome.code, outcome.out) == (2, ""), (name, other)
            assert len([line for line in outcome.lines if line.startswith("archflow: ")]) == 1, outcome.err
            assert str(path) in outcome.lines[-1], (name, other, outcome.err)
    assert not list(cache.rglob("*.archflow"))


def assert_refused(outcome, path, reason):
    """Besides progress there is one line, and it names the file."""
    mistakes = [line for line in outcome.lines if not re.match(r"reading(, MB)?: [\d,]+/[\d,]+ ", line)]
    assert (outcome.code, outcome.out, len(mistakes)) == (2, "", 1), outcome.err
    assert outcome.lines[-1] == mistakes[0]
    assert re.match(rf"archflow: .*{re.escape(path.name)}.*{reason}", mistakes[0]), mistakes[0]


EVIL = b"cos\nremove\n(S'victim'\ntR."
"""A pickle that calls os.remove('victim')."""
DAMAGE = {
    "a wrong byte in a record": ("nasbench101", lambda whole: whole[:99] + b"\0" + whole[100:], "wrong checksum"),
    "a call in a pickle": ("nasbench201/hw", lambda _: EVIL, "asks for os.remove, which is not allowed"),
    "an entry twice": ("nasbench-macro", lambda whole: whole.replace(b"22222101", b"02012100"), "is given twice"),
}
"""One of each kind; the tests of the readers cover each format."""


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_file_leaves_what_was_added(cache, files, call, here, damage):
    name, damaged, reason = DAMAGE[damage]
    (here / "victim").write_text("still here")
    add(name, files[name])
    before = contents(cache)
    path = here / files[name].name
    path.write_bytes(damaged(files[name].read_bytes()))
    assert_refused(call("tables", "add", name, path), path, reason)
    assert contents(cache) == before
    assert (here / "victim").read_text() == "still here"


@pytest.mark.parametrize("name", OFFICIAL)
def test_an_unrelated_folder_or_file_is_refused(cache, call, here, name):
    (here / "folder").mkdir()
    (here / "empty").write_bytes(b"")
    (here / "zeros").write_bytes(bytes(4_096))
    (here / "notes.txt").write_text("arch,accuracy\n")
    for path in sorted(here.iterdir()):
        assert_refused(call("tables", "add", name, path), path, "")
    assert_refused(call("tables", "add", name, here / "absent"), here / "absent", "")
    assert contents(cache) == {}


def test_the_list(cache, call):
    found = call("tables", "--json").json
    assert [row["table"] for row in found["tables"]] == tables()
    assert found["folder"] == str(cache / "tables")
    assert "nasbench101" in call("tables").out


def test_the_list_says_what_is_in_a_table_and_what_is_missing(mine, call, monkeypatch):
    monkeypatch.setattr("archflow.benchmarks.tables._is_installed", lambda package: package != "nas-bench-graph")
    rows = {row.pop("table"): row for row in call("tables", "--json").json["tables"]}
    columns = ["accuracy", "score", "arch"]
    assert rows["lab/mine"] == {"space": "nasbench-macro", "architectures": 120, "columns": columns, "missing": ""}
    assert rows["nasbench201/analog"]["architectures"] == 15_625
    assert rows["nasbench201/analog"]["missing"] == ""
    assert rows["nasbench-graph"]["missing"] == "pip install nas-bench-graph"
    assert rows["nasbench101"]["missing"].startswith("archflow tables add nasbench101 PATH (nasbench_only108.tfrecord")


@pytest.mark.parametrize("verb", ["tables", "spaces"])
@pytest.mark.parametrize("width", [40, 80])
def test_a_listing_fits_the_terminal_and_breaks_no_word_that_fits(call, monkeypatch, verb, width):
    monkeypatch.setenv("COLUMNS", str(width))
    shown = call(verb).out.splitlines()[: -1 if verb == "tables" else None]
    assert max(map(len, shown)) <= width
    for word in (
        ("nasbench-graph/proteins", "15,625") if verb == "tables" else ("nor_conv_3x3", "nasbench-graph-proteins")
    ):
        assert any(word in line for line in shown)


def test_a_table_is_removed(mine, cache, call):
    file = cache / "tables" / "lab" / "mine.archflow"
    assert call("tables", "remove", "lab/mine").out == f"lab/mine is removed: {file}\n"
    assert not file.exists()
    call("tables", "remove", "lab/mine").assert_mistake("no table 'lab/mine' was added; added tables: none$")
    call("tables", "remove", "nasbench101").assert_mistake("no table 'nasbench101' was added")


@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet"])
def test_a_users_own_file_is_added_and_evaluated(cache, call, here, ending):
    archs = SPACE.sample(120, seed=2)
    columns = {"cell": SPACE.format(archs), "accuracy": SPACE.parameters(archs) / 1e6, "note": ["x"] * 120}
    write_table(f"own.{ending}", columns)
    own = ("tables", "add", f"own.{ending}", "--space", "nasbench201", "--arch-column", "cell")
    own = (*own, "--label-column", "accuracy")
    assert (
        call(*own).out == "own: 120 architectures of nasbench201; accuracy; left out, as they are not numeric: note\n"
        f"kept in {cache / 'tables' / 'own.archflow'}; 'archflow tables remove own' deletes it\n"
    )
    done = call(*EVALUATE, "--table", "own", "--labels", 8)
    assert done.code == 0, done.err
    assert [(line["pretext"], line["labels"]) for line in done.json["lines"]] == [("none", 8), ("fgp", 8)]
    assert done.json["table"] == "own"


def test_a_damaged_table_is_one_line(mine, cache, call, here):
    path = cache / "tables" / "lab" / "mine.archflow"
    path.write_bytes(path.read_bytes()[:-9])
    for args in ((*EVALUATE, "--table", "lab/mine"), ("tables", "write", "lab/mine", "--out", "out.csv")):
        call(*args).assert_mistake(r"lab/mine\.archflow is damaged .*; add the table lab/mine again")
    assert "lab/mine" not in [row["table"] for row in call("tables", "--json").json["tables"]]
    assert list(here.iterdir()) == []


@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet"])
def test_a_table_with_a_column_arch_is_written_under_another_name(mine, call, here, ending):
    outcome = call("tables", "write", "lab/mine", "--out", f"out.{ending}")
    outcome.assert_mistake("lab/mine already has a column 'arch'; choose another name with --arch-column$")
    assert list(here.iterdir()) == []
    written = call("tables", "write", "lab/mine", "--out", f"out.{ending}", "--arch-column", "cell", "--json")
    assert written.json == {"table": "lab/mine", "architectures": 120, "out": f"out.{ending}"}
    again = read_table(f"out.{ending}", mine.space, "cell")
    assert again.archs == mine.archs
    for column, values in mine.columns.items():
        assert np.array_equal(again[column], values, equal_nan=True)


def test_adding_under_the_same_name_replaces(mine, cache, call, here):
    write_table("new.csv", {"arch": SPACE.format(SPACE.sample(3)), "x": np.arange(3)})
    added = call("tables", "add", "new.csv", "--space", "nasbench201", "--name", "lab/mine", "--json").json
    assert added == {
        **{"table": "lab/mine", "space": "nasbench201", "architectures": 3},
        **{"columns": ["x"], "default": "", "left_out": []},
        "file": str(cache / "tables" / "lab" / "mine.archflow"),
    }
    assert table("lab/mine").archs == SPACE.sample(3)
    added_as = call("tables", "add", "new.csv", "--space", "nasbench201").out.splitlines()
    assert added_as[0] == "new: 3 architectures of nasbench201; x"
    assert table("new").archs == SPACE.sample(3)


def test_a_disk_that_fills_up(mine, cache, files, call, here, monkeypatch):
    def fail(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    write_table("mine.csv", {"arch": SPACE.format(SPACE.sample(3))})
    (here / "out.csv").write_text("the previous content")
    before = contents(cache), contents(here)
    monkeypatch.setattr(archflow.support.files.os, "fsync", fail)
    for args in (
        ("add", "nasbench-macro", files["nasbench-macro"]),
        ("add", "mine.csv", "--space", "nasbench201", "--name", "lab/mine"),
        ("write", "lab/mine", "--arch-column", "cell", "--out", "out.csv"),
    ):
        outcome = call("tables", *args)
        assert (outcome.code, outcome.out) == (2, "")
        assert outcome.lines[-1].startswith("archflow: No space left on device")
        assert sum(line.startswith("archflow: ") for line in outcome.lines) == 1
    assert (contents(cache), contents(here)) == before


def test_a_cache_folder_that_is_a_file(files, call, here, monkeypatch):
    (here / "cache").write_text("text")
    write_table("mine.csv", {"arch": SPACE.format(SPACE.sample(3))})
    monkeypatch.setenv("ARCHFLOW_DATA", str(here / "cache"))
    for args in (("nasbench101", files["nasbench101"]), ("mine.csv", "--space", "nasbench201")):
        call("tables", "add", *args).assert_mistake("Not a directory: .*cache")
    assert call("tables").code == 0
