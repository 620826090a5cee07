"""The command ``archflow tables``, end to end, with a small official file of every benchmark."""

import json
import re

import numpy as np
import pytest

import archflow
from archflow.tables import OFFICIAL, add, table, tables
from archflow.tables.files import write_table
from tests.tables import official

SPACE = archflow.space("nasbench201")


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """The official file of each table, small."""
    return {name: write(tmp_path_factory.mktemp("official")) for name, write in official.WRITERS.items()}


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty working directory."""
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
    again = call("tables", "add", "own.csv", "--space", OFFICIAL[name].space, "--column", found.default)
    assert again.code == 0, again.err
    own = table("own")
    assert np.array_equal(own.space.keys(own.archs), own.space.keys(found.archs))
    for column, values in found.columns.items():
        assert np.array_equal(own[column], values, equal_nan=True)


@pytest.mark.parametrize("name", OFFICIAL)
def test_the_file_of_another_benchmark_is_one_clear_line(cache, files, call, name):
    for other, path in files.items():
        if path.name != files[name].name:
            outcome = call("tables", "add", name, path)
            assert (outcome.code, outcome.out) == (2, ""), (name, other)
            assert len([line for line in outcome.lines if line.startswith("archflow: ")]) == 1, outcome.err
            assert str(path) in outcome.lines[-1], (name, other, outcome.err)
    assert not list(cache.rglob("*.archflow"))


@pytest.mark.parametrize("name", OFFICIAL)
def test_a_truncated_file_is_one_clear_line(cache, files, name, tmp_path):
    content, path = files[name].read_bytes(), tmp_path / files[name].name
    lengths = [0, len(content) // 3, *([len(content) - 1] if path.suffix != ".tar" else [])]  # a tar file ends in zeros
    for length in lengths:
        path.write_bytes(content[:length])
        with pytest.raises(ValueError, match=re.escape(path.name)) as caught:
            add(name, path)
        assert "\n" not in str(caught.value)
    assert not list(cache.rglob("*.archflow"))


def test_the_list(cache, call):
    assert {row["table"] for row in call("tables", "--json").json["tables"]} == set(tables())
    assert "nasbench101" in call("tables").out


@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet"])
def test_a_persons_own_file_is_added_and_evaluated(cache, call, here, ending):
    archs = SPACE.sample(120, seed=2)
    columns = {"cell": SPACE.format(archs), "accuracy": SPACE.parameters(archs) / 1e6, "note": ["x"] * 120}
    write_table(f"own.{ending}", columns)
    own = ("tables", "add", f"own.{ending}", "--space", "nasbench201", "--arch-column", "cell", "--column", "accuracy")
    assert call(*own).out == "own: 120 architectures of nasbench201; accuracy; left out, as they are no numbers: note\n"
    done = call(
        *("evaluate", "--table", "own", "--labels", "8", "--seeds", "1", "--permutations", "1", "--hidden", "8"),
        *("--layers", "2", "--epochs", "2", "--finetune-epochs", "2", "--device", "cpu", "--json"),
    )
    assert done.code == 0, done.err
    assert [(row["method"], row["labels"]) for row in done.json["summary"]] == [("none", 8), ("fgp", 8)]
    assert json.loads((here / "evaluate.json").read_text())["settings"]["table"] == "own"


def test_pre_training_on_a_sample_of_a_space_that_cannot_be_listed(call, here):
    sample = ("--space", "darts", "--sample", "30")
    tiny = ("--hidden", "8", "--layers", "2", "--epochs", "2", "--device", "cpu")
    assert call("pretrain", *sample, *tiny).out.startswith("pre-trained on 30 architectures")
    assert "darts is too large to be listed" in call("pretrain", "--space", "darts", *tiny).err
    assert "exclude each other" in call("pretrain", *sample, "--input", "own.csv", *tiny).err


@pytest.mark.parametrize(
    ("args", "reason"),
    [
        (["add", "own.csv"], "name the search space of your own file with --space"),
        (["add", "nasbench101"], "name the official file too"),
        (["add", "nasbench101", "absent"], "there is no file absent"),
        (["add", "absent.csv", "--space", "nasbench201"], "there is no file absent.csv"),
        (["add", "own.csv", "--space", "luck"], "unknown space 'luck'"),
        (["add", "own.csv", "--space", "darts"], "line 2: "),
        (["add", "own.csv", "--space", "nasbench201", "--column", "luck"], "has no column 'luck'; it has: accuracy"),
        (["add", "own.csv", "--space", "nasbench201", "--arch-column", "luck"], "has no column 'luck'"),
        (["add", "own.csv", "--space", "nasbench201", "--out", "../own"], "cannot be kept as"),
        (["add", "own.csv", "--space", "nasbench201", "--out", "nasbench101"], "is the name of an official table"),
        (["add", "twice.csv", "--space", "nasbench201"], "architecture 3 is the same network as architecture 1"),
        (["add", "luck", "own.csv"], "unknown official table 'luck'"),
        (["add", "nasbench101", "own.csv", "--space", "nasbench201"], "are for your own files"),
        (["add", "own.txt", "--space", "nasbench201"], "must end in .csv, .jsonl or .parquet"),
        (["write", "luck", "--out", "out.csv"], "unknown table 'luck'"),
        (["write", "nasbench101", "--out", "out.csv"], "archflow tables add nasbench101 PATH"),
        (["write", "nasbench201/analog", "--out", "out.txt"], "must end in"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_mistake_is_one_line_and_the_cache_is_left_alone(cache, call, here, args, reason):
    strings = SPACE.format(SPACE.sample(2, seed=3))
    rows = {"own": strings, "twice": [*strings, strings[0]]}
    for name, archs in rows.items():
        lines = [f'"{arch}",{number}' for number, arch in enumerate(archs)]
        (here / f"{name}.csv").write_text("\n".join(["arch,accuracy", *lines, ""]))
    (here / "own.txt").write_text("text")
    outcome = call("tables", *args)
    assert (outcome.code, outcome.out) == (2, "")
    assert len(outcome.lines) == 1, outcome.err
    assert reason in outcome.err
    assert not list(cache.rglob("*"))
    assert not list(here.glob("out.*"))
