"""The command ``archflow tables``, end to end, with a small official file of every benchmark."""

import bz2
import errno
import io
import json
import os
import pickle
import re
import shutil
import tarfile
import zipfile

import numpy as np
import pytest

import archflow
from archflow.benchmarks.own_tables import read_table, write_table
from archflow.benchmarks.table import OFFICIAL, Table, add, keep, table, tables
from tests.benchmarks import official
from tests.benchmarks.nasbench101.test_tables import CELLS, a_training
from tests.benchmarks.nasbench_asr.test_tables import GOOD, training
from tests.benchmarks.nasbench_nlp.test_tables import LOGS, write_folder
from tests.benchmarks.test_table import assert_equal
from tests.commands.test_cli import contents

SPACE = archflow.space("nasbench201")
QUICK = ("--hidden", "8", "--layers", "2", "--epochs", "2", "--device", "cpu")
EVALUATE = ("evaluate", *QUICK, "--finetune-epochs", "2", "--seeds", "1", "--permutations", "1", "--json")


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


def assert_refused(outcome, path, reason):
    """One line beside those that say how much was read; it names the file."""
    mistakes = [line for line in outcome.lines if not re.match(r"reading(, MB)?: [\d,]+/[\d,]+ ", line)]
    assert (outcome.code, outcome.out, len(mistakes)) == (2, "", 1), outcome.err
    assert outcome.lines[-1] == mistakes[0]
    assert re.match(rf"archflow: .*{re.escape(path.name)}.*{reason}", mistakes[0]), mistakes[0]


def zipped(content):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("a/data.pkl", content)
    return buffer.getvalue()


def in_tar(content):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        member = tarfile.TarInfo("NATS/000000.pickle.pbz2")
        member.size = len(packed := bz2.compress(content))
        archive.addfile(member, io.BytesIO(packed))
    return buffer.getvalue()


EVIL = b"cos\nremove\n(S'victim'\ntR."
"""A pickle that calls os.remove('victim')."""
ASR = pickle.dumps(training())
DAMAGE = {
    "a wrong byte in a record": ("nasbench101", lambda whole: whole[:99] + b"\0" + whole[100:], "wrong checksum"),
    "a wrong byte in a zip": ("darts/nasbench301", lambda whole: whole[:200] + b"~~~" + whole[203:], "is truncated or"),
    "a wrong byte in a log": ("nasbench-nlp", lambda whole: whole[:200] + b"~~~" + whole[203:], "is truncated or no"),
    "a wrong byte in a tar": ("nasbench201/nats", lambda whole: whole.replace(b"BZh", b"BZ~", 1), "is truncated or"),
    "a zip with a gap": ("transnas101-macro", lambda whole: whole[:400] + whole[450:], "is truncated or damaged"),
    "a call in a pickle": ("nasbench201/hw", lambda _: EVIL, "asks for os.remove, which is not allowed"),
    "a call in a tar": ("nasbench201/nats", lambda _: in_tar(EVIL), "asks for os.remove, which is not allowed"),
    "a call in a .pth": ("transnas101-micro", lambda _: zipped(EVIL), "asks for os.remove, which is not allowed"),
    "a call in a .bench": ("nasbench-graph/full", lambda _: EVIL, "asks for os.remove, which is not allowed"),
    "a call in the header": ("nasbench-asr", lambda _: EVIL, "asks for os.remove, which is not allowed"),
    "a call in the rows": ("nasbench-asr", lambda _: ASR + EVIL, "asks for os.remove, which is not allowed"),
    "a row twice": ("nasbench-asr", lambda _: ASR + pickle.dumps([GOOD, GOOD]), "has the model '.*' twice"),
    "an unknown row": ("nasbench-asr", lambda _: ASR + pickle.dumps([("0", [0.5], 0.5)]), "'0' is not of the space"),
    "an entry twice": (
        "nasbench-macro",
        lambda whole: whole.replace(b"22222101", b"02012100"),
        "is given twice",
    ),
    "an unknown entry": (
        "nasbench-macro",
        lambda whole: whole.replace(b"22222101", b"22222103"),
        "'22222103' is not",
    ),
    "a cell twice": (
        "nasbench101",
        lambda whole: whole + a_training(2, name="f" * 32, operations="input,conv1x1-bn-relu,conv3x3-bn-relu,output"),
        "one cell is there twice, as .* and as ffff",
    ),
    "an unknown cell": (
        "nasbench101",
        lambda whole: whole + a_training(name="f" * 32, operations=CELLS[1][1].replace("max", "min")),
        "architecture 3 has an unknown operation 'minpool3x3'",
    ),
}


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
def test_a_folder_or_a_file_of_nothing_of_the_kind(cache, call, here, name):
    (here / "folder").mkdir()
    (here / "empty").write_bytes(b"")
    (here / "zeros").write_bytes(bytes(4_096))
    (here / "notes.txt").write_text("arch,accuracy\n")
    for path in sorted(here.iterdir()):
        assert_refused(call("tables", "add", name, path), path, "")
    assert_refused(call("tables", "add", name, here / "absent"), here / "absent", "")
    assert contents(cache) == {}


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
    done = call(*EVALUATE, "--table", "own", "--labels", 8)
    assert done.code == 0, done.err
    assert [(row["method"], row["labels"]) for row in done.json["summary"]] == [("none", 8), ("fgp", 8)]
    assert json.loads((here / "evaluate.json").read_text())["settings"]["table"] == "own"


@pytest.fixture
def mine(cache):
    """A table of a person's own: 120 macro networks, of which every fourth was not trained to the end."""
    space = archflow.space("nasbench-macro")
    archs, rng = space.sample(120, seed=1), np.random.default_rng(1)
    accuracy, loss = np.log(space.parameters(archs)), rng.normal(size=120)
    known = np.arange(120) % 4 > 0
    columns = {"accuracy": accuracy, "score": np.where(known, -loss, np.nan), "arch": np.arange(120.0)}
    return keep(Table("lab/mine", space, archs, columns, "accuracy"))


def test_evaluate_on_several_columns_and_numbers_of_labels(mine, call, here):
    columns, labels = ("--column", "score", "--column", "accuracy"), ("--labels", 6, "--labels", 0.5)
    done = call(*EVALUATE, "--table", "lab/mine", *columns, *labels, "--pool", 30, "--method", "none").json
    assert done["settings"]["table"] == "lab/mine"
    assert [(run["column"], run["labels"], run["labelled"], run["tested"]) for run in done["runs"]] == [
        *(("score", 6, 6, 20), ("score", 0.5, 15, 20)),
        *(("accuracy", 6, 6, 50), ("accuracy", 0.5, 15, 50)),
    ]
    shown = call(*EVALUATE[:-1], "--table", "lab/mine", *columns, *labels, "--pool", 30, "--method", "none").out
    assert re.search(r"score\W+6\W+1\b.*score\W+50%\W+1\b.*accuracy\W+6\W+1\b.*accuracy\W+50%", shown, re.DOTALL)


def test_evaluate_takes_the_table_of_the_space_that_was_added(mine, call, here, files):
    few = ("--labels", 4, "--method", "none")
    assert call(*EVALUATE, *few, "--space", "nasbench-macro").json["settings"]["table"] == "lab/mine"
    outcome = call(*EVALUATE, *few, "--space", "nasbench101")
    assert (outcome.code, outcome.out) == (2, "")
    assert re.match(r"archflow: the table nasbench101 is made .*: archflow tables add nasbench101 PATH$", outcome.err)
    for column, reason in (("luck", "has no column 'luck'; it has: accuracy, score, arch"), ("", "")):
        outcome = call(*EVALUATE, *few, "--table", "lab/mine", "--column", column)
        assert (outcome.code, outcome.out, len(outcome.lines)) == (2, "", 1)
        assert reason in outcome.err
    outcome = call(*EVALUATE, "--space", "darts", "--table", "lab/mine")
    assert outcome.err == "archflow: the table lab/mine is of the space nasbench-macro, not of darts\n"


def test_a_damaged_table_is_one_line(mine, cache, call, here):
    path = cache / "tables" / "lab" / "mine.archflow"
    path.write_bytes(path.read_bytes()[:-9])
    for args in ((*EVALUATE, "--table", "lab/mine"), ("tables", "write", "lab/mine", "--out", "out.csv")):
        outcome = call(*args)
        assert (outcome.code, outcome.out, len(outcome.lines)) == (2, "", 1)
        assert re.match(r"archflow: .*lab/mine\.archflow is damaged .*; add the table lab/mine again", outcome.err)
    assert "lab/mine" not in [row["table"] for row in call("tables", "--json").json["tables"]]
    assert list(here.iterdir()) == []


@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet"])
def test_a_table_with_a_column_arch_is_written_under_another_name(mine, call, here, ending):
    outcome = call("tables", "write", "lab/mine", "--out", f"out.{ending}")
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.err == ("archflow: lab/mine has numbers in its column 'arch'; name another one with --arch-column\n")
    assert list(here.iterdir()) == []
    written = call("tables", "write", "lab/mine", "--out", f"out.{ending}", "--arch-column", "cell", "--json")
    assert written.json == {"table": "lab/mine", "architectures": 120, "out": f"out.{ending}"}
    again = read_table(f"out.{ending}", mine.space, "cell")
    assert again.archs == mine.archs
    for column, values in mine.columns.items():
        assert np.array_equal(again[column], values, equal_nan=True)


def test_the_same_name_again_replaces(mine, call, here):
    write_table("new.csv", {"arch": SPACE.format(SPACE.sample(3)), "x": np.arange(3)})
    added = call("tables", "add", "new.csv", "--space", "nasbench201", "--out", "lab/mine", "--json").json
    assert added == {
        **{"table": "lab/mine", "space": "nasbench201", "architectures": 3},
        **{"columns": ["x"], "default": "", "left_out": []},
    }
    assert table("lab/mine").archs == SPACE.sample(3)
    assert call("tables", "add", "new.csv", "--space", "nasbench201").out == "new: 3 architectures of nasbench201; x\n"
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
        ("add", "mine.csv", "--space", "nasbench201", "--out", "lab/mine"),
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
    monkeypatch.setenv("ARCHFLOW_CACHE", str(here / "cache"))
    for args in (("nasbench101", files["nasbench101"]), ("mine.csv", "--space", "nasbench201")):
        outcome = call("tables", "add", *args)
        assert (outcome.code, outcome.out, len(outcome.lines)) == (2, "", 1)
        assert re.match("archflow: Not a directory: .*cache", outcome.err)
    assert call("tables").code == 0


# Samples of a space


def test_pre_training_and_ranking_a_sample_of_a_space_that_cannot_be_listed(call, here):
    sample = ("--space", "darts", "--sample", 30, "--seed", 4)
    assert call("pretrain", *sample, *QUICK).out.startswith("pre-trained on 30 architectures")
    shutil.move("encoder.archflow", "sampled")
    archs = archflow.space("darts").sample(30, seed=4)
    strings = archflow.space("darts").format(archs)
    write_table("own.csv", {"arch": strings, "accuracy": np.arange(30)})
    assert call("pretrain", "--space", "darts", "--input", "own.csv", "--seed", 4, *QUICK).code == 0
    found, expected = (archflow.support.files.load_tensors(name, "encoder") for name in ("sampled", "encoder.archflow"))
    assert all(np.array_equal(found[0][name], tensor) for name, tensor in expected[0].items())

    assert call("finetune", "--input", "own.csv", "--pretrained", "sampled", "--epochs", 2, "--device", "cpu").code == 0
    ranked = call("rank", "ranker.archflow", "--sample", 30, "--seed", 4, "--out", "ranking.csv", "--json").json
    assert ranked["architectures"] == 30
    ranking = read_table("ranking.csv", archflow.space("darts"))
    assert sorted(archflow.space("darts").format(ranking.archs)) == sorted(strings)
    assert (np.diff(ranking["score"]) <= 0).all()

    for args, reason in (
        (("pretrain", "--space", "darts", *QUICK), "darts is too large to be listed"),
        (("rank", "ranker.archflow"), "darts is too large to be listed"),
        (("pretrain", *sample, "--input", "own.csv", *QUICK), "--input and --sample exclude each other"),
        (("rank", "ranker.archflow", "--sample", 3, "--input", "own.csv"), "--input and --sample exclude each other"),
        (("pretrain", "--space", "darts", "--sample", 0, *QUICK), "cannot draw 0 different architectures"),
        (("rank", "ranker.archflow", "--sample", -1), "cannot draw -1 different architectures"),
        (("pretrain", "--sample", 15_626, *QUICK), "cannot draw 15626 different architectures: nasbench201 has 15,625"),
    ):
        outcome = call(*args)
        assert (outcome.code, outcome.out, len(outcome.lines)) == (2, "", 1), outcome.err
        assert outcome.err.startswith(f"archflow: {reason}")


# Wrong use


@pytest.mark.parametrize("verb", [[], ["add"], ["write"]])
def test_help(call, verb):
    outcome = call("tables", *verb, "--help")
    assert (outcome.code, outcome.err) == (0, "")
    options = {"add": ("--space", "--arch-column", "--column", "--out"), "write": ("--arch-column", "--out")}
    for option in (*options.get("".join(verb), ("add", "write")), "--seed", "--device", "--json", "--help"):
        assert f" {option} " in outcome.out


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
        (["add", "folder.csv", "--space", "nasbench201"], "there is no file folder.csv"),
        (["add", "own.csv", "--space", "nasbench201", "--out", "nasbench201/analog"], "cannot be kept as"),
        (["add", "own.csv", "--space", "nasbench201", "--out", "/own"], "cannot be kept as '/own'"),
        (["add", "two words.csv", "--space", "nasbench201"], "cannot be kept as 'two words'"),
        (
            ["add", "own.csv", "--space", "nasbench201", "--column", "arch"],
            "the column 'arch' of own.csv is not all",
        ),
        (["add", "nasbench101", "--space", "nasbench101"], "must end in .csv, .jsonl or .parquet"),
        (["add"], "Missing argument 'name'"),
        (["luck"], "No such command 'luck'"),
        (["write", "nasbench201/analog"], "--out"),
        (["write", "luck", "--out", "out.csv"], "unknown table 'luck'"),
        (["write", "nasbench101", "--out", "out.csv"], "archflow tables add nasbench101 PATH"),
        (["write", "nasbench201/analog", "--out", "out.txt"], "must end in"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_mistake_is_one_line_and_the_cache_is_left_alone(cache, call, here, args, reason):
    strings = SPACE.format(SPACE.sample(2, seed=3))
    rows = {"own": strings, "twice": [*strings, strings[0]], "two words": strings}
    (here / "folder.csv").mkdir()
    for name, archs in rows.items():
        lines = [f'"{arch}",{number}' for number, arch in enumerate(archs)]
        (here / f"{name}.csv").write_text("\n".join(["arch,accuracy", *lines, ""]))
    (here / "own.txt").write_text("text")
    outcome = call("tables", *args)
    assert (outcome.code, outcome.out) == (2, "")
    assert len(outcome.lines) == 1, outcome.err
    assert reason in outcome.err
    assert contents(cache) == {}
    assert not list(here.glob("out.*"))
