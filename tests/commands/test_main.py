"""The process around the verbs: imports, exit codes, display on a terminal, and Ctrl-C at any moment."""

import contextlib
import json
import os
import pty
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from importlib.metadata import EntryPoint
from pathlib import Path

import numpy as np
import pytest

import archflow
from archflow.benchmarks.own_tables import read_table, write_table
from archflow.commands.main import main
from archflow.ranking.ranker import Ranker
from tests.commands import PREVIOUS, QUICK, SPACE, begin, contents, run, words
from tests.report import read_data

HEAVY = ("torch", "numpy", "numba", "polars", "scipy", "matplotlib", "lightning_fabric")


def test_the_whole_path_in_a_shell(tmp_path):
    """spaces → pretrain → finetune → rank → report, each in its own process, in every format."""
    cells = run(*["spaces", "nasbench201", "--sample", "40", "--seed", "3", "--out", "cells.parquet"], cwd=tmp_path)
    assert (cells.code, cells.err) == (0, "")
    table = read_table(tmp_path / "cells.parquet", SPACE)
    assert table.archs == SPACE.sample(40, seed=3)
    assert np.array_equal(table["parameters"], SPACE.parameters(table.archs))
    assert np.array_equal(table["flops"], SPACE.flops(table.archs))

    pretrained = run(*f"pretrain --input cells.parquet {QUICK} --out a/encoder --json".split(), cwd=tmp_path)
    assert pretrained.code == 0
    assert pretrained.json["out"] == "a/encoder"
    assert [entry.name for entry in (tmp_path / "a").iterdir()] == ["encoder"]
    assert [line for line in pretrained.lines if not re.match(r"pre-training: \d+/80 ", line)] == []
    assert pretrained.lines[-1].startswith("pre-training: 80/80 ")

    labels = {"cell": SPACE.format(table.archs)[:20], "acc": np.log(table["flops"][:20])}
    write_table(tmp_path / "labels.jsonl", labels)
    finetune = "finetune --input labels.jsonl --arch-column cell --label-column acc --head finetune --finetune-epochs 3"
    tuned = run(*f"{finetune} --pretrained a/encoder --out ranker.archflow".split(), cwd=tmp_path)
    assert (tuned.code, tuned.out) == (
        0,
        "finetune on a/encoder, space nasbench201\nfitted on 20 labels: ranker.archflow\n",
    )
    assert tuned.lines[-1].startswith("fine-tuning: 3/3 ")
    assert [line for line in tuned.lines if not re.match(r"fine-tuning: \d/3 ", line)] == []

    ranked = run(*["rank", "ranker.archflow", "--out", "ranking.csv"], cwd=tmp_path)
    assert (ranked.code, ranked.err) == (0, "")
    assert len(read_table(tmp_path / "ranking.csv", SPACE)) == 15_625

    page = run(*["report", "ranker.archflow", "--input", "cells.parquet", "--label-column", "flops"], cwd=tmp_path)
    assert (page.code, page.out, page.err) == (0, "report: report.html\n", "")
    assert SPACE.format(table.archs)[0] in json.dumps(read_data(tmp_path / "report.html"))


# Imports


def imported_after(code):
    """The heavy packages that are loaded after running some code."""
    code = f"import sys\n{code}\nprint(*(name for name in {HEAVY} if name in sys.modules))"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()


@pytest.mark.parametrize(
    "code",
    [
        "import archflow; archflow.__version__; hasattr(archflow, '__wrapped__')",
        "import archflow.commands.app",
        "sys.argv = ['archflow', '--help']\nimport archflow.commands.main as m\n"
        "try: m.main()\nexcept SystemExit as end: assert not end.code",
        "sys.argv = ['archflow', 'pretrain', '--hidden', 'x']\nimport archflow.commands.main as m\n"
        "try: m.main()\nexcept SystemExit as end: assert end.code == 2",
    ],
    ids=["the face", "the verbs", "help", "wrong use"],
)
def test_nothing_heavy_is_imported_before_it_is_used(code):
    assert [name for name in imported_after(code) if name in HEAVY] == []


def test_public_names_do_not_hide_subpackages():
    code = (
        "import archflow, archflow.benchmarks.darts, archflow.encoding.gin, archflow.pretraining.loop as loop\n"
        "assert archflow.encoder and archflow.pretrain is loop.pretrain\n"
        "from archflow import *\nassert pretrain is archflow.pretrain and 'encoder' in dir(archflow)"
    )
    imported_after(code)
    assert archflow.encoding.registry.encoder is archflow.encoder
    with pytest.raises(AttributeError, match="module 'archflow' has no attribute 'nope'"):
        _ = archflow.nope
    for name in archflow.__all__:
        assert not Path(archflow.__file__).with_name(name).exists()


def test_the_installed_command_is_this_one():
    project = (Path(__file__).parents[2] / "pyproject.toml").read_text()
    (reference,) = re.findall(r'^archflow = "(.*)"$', project, re.MULTILINE)
    assert EntryPoint("archflow", reference, "console_scripts").load() is main


# How the process ends


def test_its_version(call):
    assert call("--version").out == f"archflow {archflow.__version__}\n"


def test_without_a_verb_only_the_help_is_shown(call):
    outcome = call()
    assert outcome.code == 2
    assert "Usage:" in outcome.out + outcome.err
    assert not re.search(r"archflow:\s*(\(|$)", outcome.err, re.MULTILINE)


def test_a_bug_of_archflow_is_not_hidden(here, monkeypatch):
    """It is not a user's mistake, so the traceback is shown, and Python exits with 1."""

    def fail(*_, **__):
        raise RuntimeError("a bug")

    monkeypatch.setattr(Ranker, "fit", fail)
    monkeypatch.setattr(sys, "argv", ["archflow", *words("finetune")])
    with pytest.raises(RuntimeError, match="a bug"):
        main()
    assert (here / "out.archflow").read_bytes() == PREVIOUS


def test_a_warning_is_one_line(here):
    write_table("one-more.jsonl", {"arch": SPACE.format(SPACE.sample(3)), "accuracy": [1, 2, 3]})
    done = run(*words("finetune", "--input one-more.jsonl"))
    assert done.code == 0, done.err
    (warning,) = [line for line in done.lines if not line.startswith("fine-tuning: ")]
    assert warning.startswith("archflow: warning: 3 labels say little")


@pytest.fixture
def full_file_system(tmp_path):
    """A small, completely full file system."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("a file system cannot be mounted here")
    try:
        (folder / "out.archflow").write_bytes(PREVIOUS)
        (folder / "out.csv").write_bytes(PREVIOUS)
        with open(folder / "rest", "wb", buffering=0) as file, contextlib.suppress(OSError):
            while file.write(bytes(4096)):
                pass
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def test_a_disk_that_is_really_full(here, call, full_file_system):
    before = contents(full_file_system)
    for verb, name in (("spaces", "out.csv"), ("pretrain", "out.archflow"), ("finetune", "out.archflow")):
        sample = "--sample 15000" if verb == "spaces" else ""
        outcome = call(*words(verb, f"{sample} --out {full_file_system / name}"))
        assert (outcome.code, outcome.out) == (2, "")
        assert outcome.lines[-1].startswith("archflow: No space left on device")
        assert contents(full_file_system) == before


def test_a_bar_on_a_terminal(here, monkeypatch):
    """It shows the phase, the progress, the rate and the time left, all on standard error."""
    master, slave = pty.openpty()
    shown = []

    def read():
        while True:
            try:
                shown.append(os.read(master, 4096))
            except OSError:
                return

    reader = threading.Thread(target=read)
    reader.start()
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys, "argv", ["archflow", *words("pretrain", "--pretrain-epochs 100 --batch-size 10")])
    with open(slave, "w") as terminal:
        monkeypatch.setattr(sys, "stderr", terminal)
        with pytest.raises(SystemExit) as caught:
            main()
        monkeypatch.undo()
    reader.join()
    os.close(master)
    text = b"".join(shown).decode()
    assert not caught.value.code
    for part in ("pre-training", "━", "6000/6000", r"\d/s", r"left.*\d:\d\d:\d\d"):
        assert re.search(part, text)


# Ctrl-C


@pytest.mark.parametrize("verb", ["finetune", "rank"])
def test_ctrl_c_where_there_is_nothing_to_resume(here, call, monkeypatch, verb):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(Ranker, "fit", interrupt)
    monkeypatch.setattr(Ranker, "predict", interrupt)
    before = contents(here)
    outcome = call(*words(verb))
    assert (outcome.code, outcome.out, outcome.err) == (130, "", "archflow: interrupted\n")
    assert contents(here) == before


@pytest.mark.parametrize("share", [0.15, 0.3, 0.45, 0.6, 0.75, 0.9])
def test_ctrl_c_at_any_moment_is_one_line(tmp_path, share):
    """Most of these moments fall into imports, where a traceback would be shown or the signal lost."""
    started = time.monotonic()
    assert run("spaces", "nasbench201", cwd=tmp_path).code == 0
    takes = time.monotonic() - started
    with begin("spaces", "nasbench201", cwd=tmp_path) as process:
        time.sleep(share * takes)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    if process.returncode == 0:  # it finished before the signal
        assert out == "nasbench201: 15,625 architectures\n"
    else:
        assert (process.returncode, out, err) == (130, "", "archflow: interrupted\n")


def test_ctrl_c_stays_ignored_where_it_was(tmp_path):
    """As in a background job of a shell."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        process = begin("spaces", "nasbench201", cwd=tmp_path)
    finally:
        signal.signal(signal.SIGINT, before)
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=60) == ("nasbench201: 15,625 architectures\n", "")
    assert process.returncode == 0
