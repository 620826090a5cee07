import importlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

import archflow
from archflow.benchmarks.own_tables import read_table, write_table
from archflow.zero_cost.measures import PROXIES
from tests.commands.test_cli import contents
from tests.support.test_processes import PATIENCE, is_alive, until

bulk = importlib.import_module("archflow.zero_cost.bulk")  # as an attribute of archflow it is the function

SPACE = archflow.space("darts")
ARCHS = 24
OUT = "out.csv"
PREVIOUS = b"the previous content"
SIZES = ("--width", "4", "--depth", "1", "--size", "8", "--batch-size", "8", "--device", "cpu")
COMMON = ("proxies", *SIZES, "--out", OUT, "--processes", "1")
RUN = (*COMMON, "--space", "darts", "--input", "archs.csv")
QUICK = (*COMMON, "--space", "darts", "--input", "two.jsonl", "--proxy", "params,nwot")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Small files of every kind, good ones and bad ones."""
    folder = tmp_path_factory.mktemp("made")
    strings = SPACE.format(SPACE.sample(ARCHS, seed=0))
    write_table(folder / "archs.csv", {"arch": strings})
    write_table(folder / "two.jsonl", {"cell": strings[2:4], "arch": strings[:2]})
    (folder / "malformed.csv").write_text(f'arch\n"{strings[0]}"\n"{strings[1][:-3]}"\n')
    (folder / "empty.csv").write_text("")
    (folder / "headings.csv").write_text("arch\n")
    cells = archflow.space("nasbench201")
    write_table(folder / "cells.csv", {"arch": cells.format(cells.sample(3))})

    rng = np.random.default_rng(0)
    for name, pixels in (("cifar", 32), ("tiny", 16)):
        (folder / name).mkdir()
        records = rng.integers(256, size=(20, 1 + 3 * pixels**2), dtype=np.uint8)
        records[:, 0] %= 10
        (folder / name / "data_batch_1.bin").write_bytes(records.tobytes())
    (folder / "no-images").mkdir()
    (folder / "folder.csv").mkdir()
    (folder / "logged.csv.log").mkdir()
    return folder


@pytest.fixture
def here(made, tmp_path, monkeypatch):
    """A folder with these files to work in, where the output is there already, as a run that was never ended."""
    folder = tmp_path / "here"
    shutil.copytree(made, folder)
    for name in (OUT, f"{OUT}.log"):
        (folder / name).write_bytes(PREVIOUS)
    (folder / f"{OUT}.partial").write_text('{"archflow": "proxies", "version": 0, "settings": {}}\n')
    monkeypatch.chdir(folder)
    return folder


@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet"])
def test_it_is_the_function_of_the_same_name(here, call, ending):
    sizes = {"width": 4, "depth": 1, "size": 8, "batch_size": 8, "classes": 12}
    args = (*QUICK, "--classes", 12, "--seed", 5, "--images", "white", "--out", f"below/out.{ending}")
    outcome = call(*args, "--proxy", "nwot,params,jacov,nwot", "--arch-column", "cell", "--json")
    assert outcome.code == 0, outcome.err
    archs = read_table("two.jsonl", SPACE, "cell").archs
    names = ["nwot", "params", "jacov"]
    expected = archflow.proxies(
        "darts", archs, names, images="white", seed=5, processes=1, device="cpu", out=f"expected.{ending}", **sizes
    )
    assert Path(f"below/out.{ending}").read_bytes() == Path(f"expected.{ending}").read_bytes()
    found = read_table(f"below/out.{ending}", SPACE)
    assert found.archs == archs
    assert {name: column.tolist() for name, column in found.columns.items()} == {
        name: column.tolist() for name, column in expected.columns.items()
    }
    assert outcome.json.pop("seconds") >= 0
    assert {name: value for name, value in outcome.json.items() if name != "seconds"} == {
        **{"out": f"below/out.{ending}", "architectures": 2, "proxies": names},
    }
    assert [line for line in outcome.lines if not re.match(r"networks: \d/2 ", line)] == []
    assert outcome.lines[-1].startswith("networks: 2/2 ")


def test_all_proxies_of_a_sample(here, call):
    outcome = call(*COMMON, "--space", "nasbench101", "--sample", 3, "--seed", 2, "--width", 8)
    assert (outcome.code, outcome.out) == (0, f"{len(PROXIES)} proxies of 3 architectures: {OUT}\n")
    space = archflow.space("nasbench101")
    found = read_table(OUT, space)
    assert found.archs == space.sample(3, seed=2)
    assert tuple(found.columns) == PROXIES
    assert not Path(f"{OUT}.partial").exists()
    assert not Path(f"{OUT}.log").exists()


def test_images_of_cifar10(here, call):
    assert call(*QUICK, "--images", "cifar").code == 0
    from_folder = read_table(OUT, SPACE)
    assert call(*QUICK).code == 0
    assert (read_table(OUT, SPACE)["nwot"] != from_folder["nwot"]).all()
    assert (read_table(OUT, SPACE)["params"] == from_folder["params"]).all()


def test_networks_that_fail_are_told(here, call, caplog):
    space = archflow.space("nasbench101")
    write_table("archs.csv", {"arch": space.format(space.sample(6, seed=2))})
    outcome = call(*RUN, "--space", "nasbench101", "--proxy", "params", "--width", 1, "--json")
    failed = int(np.isnan(read_table(OUT, space)["params"]).sum())
    assert 0 < failed < 6
    assert outcome.code == 0
    assert outcome.json["architectures"] == 6
    assert f"{failed} networks failed and have NaN; the first: " in caplog.text
    assert "Traceback" not in outcome.err
    assert len(Path(f"{OUT}.log").read_text().splitlines()) == failed


def test_the_help_names_all_proxies(call, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    outcome = call("proxies", "--help")
    assert outcome.code == 0
    for name in PROXIES:
        assert re.search(rf"\b{name}\b", outcome.out), name


# Mistakes

BAD = [
    ([*QUICK, "--proxy", "nope"], f"unknown proxy 'nope'; known proxies: {', '.join(PROXIES)}$"),
    ([*QUICK, "--proxy", "nwot,nope,Params"], "unknown proxy 'nope, Params'; known proxies: params, "),
    ([*QUICK, "--proxy", ""], "unknown proxy ''; known proxies: params, "),
    ([*QUICK, "--proxy", "nwot,"], "unknown proxy ''; known proxies: params, "),
    ([*COMMON, "--space", "nope"], "unknown space 'nope'; known spaces: darts, "),
    (
        [*COMMON, "--space", "nasbench-nlp", "--sample", 2],
        "builds no networks of the space 'nasbench-nlp'; it does of: darts, ",
    ),
    ([*COMMON, "--space", "nasbench-nlp"], "builds no networks of the space 'nasbench-nlp'; it does of: darts, "),
    ([*COMMON, "--space", "nasbench-macro"], "builds no networks of the space 'nasbench-macro'; it does of: darts, "),
    ([*COMMON, "--space", "darts"], "darts is too large to be listed"),
    ([*QUICK, "--sample", 2], "--input and --sample exclude each other"),
    ([*COMMON, "--sample", 0], "0"),
    ([*QUICK, "--input", "nope.csv"], "there is no file nope.csv"),
    ([*QUICK, "--input", "empty.csv"], r"empty\.csv"),
    ([*QUICK, "--input", "headings.csv"], r"headings\.csv has no rows"),
    ([*QUICK, "--input", "malformed.csv"], r"malformed\.csv, line 3: "),
    ([*QUICK, "--input", "cells.csv"], r"cells\.csv, line 2: "),
    ([*QUICK, "--input", "cifar/data_batch_1.bin"], "the name must end in"),
    ([*QUICK, "--arch-column", "nope"], r"two\.jsonl has no column 'nope'; it has: cell, arch"),
    ([*QUICK, "--images", "nope"], "there is no folder nope"),
    ([*QUICK, "--images", "no-images"], "no-images holds no batches of CIFAR-10"),
    ([*QUICK, "--images", "tiny"], r"tiny/data_batch_1\.bin is truncated, or its images are not of 32 × 32"),
    ([*QUICK, "--images", "cifar", "--size", 33], "cannot be averaged to 33 × 33"),
    ([*QUICK, "--images", "cifar", "--batch-size", 21], "cifar holds 20 images, fewer than a minibatch of 21"),
    ([*QUICK, "--images", "cifar", "--classes", 9], "CIFAR-10 has 10 classes, but the network has 9"),
    ([*QUICK, "--size", 0], "size, width, depth and classes must be at least 1, not 0, "),
    ([*QUICK, "--size", "large"], "--size"),
    ([*QUICK, "--width", 0], "at least 1"),
    ([*QUICK, "--depth", -1], "at least 1"),
    ([*QUICK, "--classes", 0], "at least 1"),
    ([*QUICK, "--batch-size", 1], "a minibatch has 2 images or more"),
    ([*QUICK, "--batch-size", -8], "a minibatch has 2 images or more"),
    ([*QUICK, "--processes", 0], "processes must be at least 1, not 0"),
    ([*QUICK, "--seed", -1], "seed"),
    ([*QUICK, "--device", "abacus"], "there is no device 'abacus' here"),
    pytest.param(
        [*QUICK, "--device", "cuda"],
        "there is no device 'cuda' here.*use --device cpu",
        marks=pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device here"),
    ),
    ([*QUICK, "--out", "out.txt"], r"out\.txt: the name must end in \.csv"),
    ([*QUICK, "--out", "out"], "the name must end in"),
    ([*QUICK, "--out", "folder.csv"], r"folder\.csv is a folder"),
    ([*QUICK, "--out", "logged.csv"], r"logged\.csv\.log is a folder; a file is to be written there"),
    ([*QUICK, "--out", "archs.csv/out.csv"], r"archs\.csv/out\.csv cannot be written; name another place with --out"),
    ([*QUICK, "--out", "/proc/nope/out.csv"], "/proc/nope"),
    ([*QUICK, "--resume"], rf"{OUT}\.partial was begun with other settings or by another version of archflow"),
    ([*QUICK, "--nope"], "nope"),
]


@pytest.mark.parametrize(
    ("args", "reason"), BAD, ids=lambda value: "=".join(map(str, value[-2:])) if isinstance(value, list) else ""
)
def test_a_mistake_is_one_line_and_nothing_is_written(here, call, args, reason):
    before = contents(here)
    call(*args).assert_mistake(reason)
    assert contents(here) == before


@pytest.mark.parametrize(
    "wrong",
    [
        *(("--proxy", "nope"), ("--space", "nope"), ("--space", "nasbench-nlp"), ("--size", 0), ("--batch-size", 1)),
        *(("--images", "nope"), ("--device", "abacus"), ("--processes", 0), ("--input", "nope.csv")),
    ],
    ids=str,
)
def test_a_mistake_makes_no_folders(here, call, wrong):
    call(*QUICK, *wrong, "--out", "new/deep/out.csv").assert_mistake("")
    assert not Path("new").exists()


@pytest.mark.parametrize("content", [b"damaged\n", b"[]\n", bytes(50) + b"\n"], ids=repr)
def test_resuming_from_a_damaged_file(here, call, content):
    (here / f"{OUT}.partial").write_bytes(content)
    before = contents(here)
    outcome = call(*QUICK, "--resume")
    assert (outcome.code, outcome.out, len(outcome.lines)) == (2, "", 1)
    assert re.match(rf"archflow: {OUT}\.partial (is damaged|was begun with other).*leave --resume out", outcome.err)
    assert contents(here) == before


def test_a_disk_that_fills_up(here, call, full_disk):
    outcome = call(*QUICK)
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.lines[-1].startswith("archflow: No space left on device")
    assert not any(line.startswith("archflow:") for line in outcome.lines[:-1])
    assert "Traceback" not in outcome.err
    assert Path(OUT).read_bytes() == PREVIOUS


# Interrupting and resuming


@pytest.fixture(scope="module")
def uninterrupted(made, tmp_path_factory):
    """The file of a run that nothing happened to."""
    folder = tmp_path_factory.mktemp("uninterrupted")
    archs = read_table(made / "archs.csv", SPACE).archs
    sizes = {"width": 4, "depth": 1, "size": 8, "batch_size": 8}
    archflow.proxies("darts", archs, processes=1, device="cpu", out=folder / OUT, **sizes)
    return (folder / OUT).read_bytes()


def measured(partial):
    """The networks in the file of an unfinished run."""
    return [json.loads(line)["network"] for line in partial.read_bytes().split(b"\n")[1:-1]]


def assert_resumes(here, call, monkeypatch, uninterrupted):
    """``--resume`` measures what is left, and nothing else, and writes the file of the uninterrupted run."""
    partial = here / f"{OUT}.partial"
    done = measured(partial)
    assert 0 < len(done) < ARCHS
    assert len(set(done)) == len(done)
    network, built = bulk.network, []

    def counted(space, arch, **sizes):
        built.extend(map(str, SPACE.keys(arch)))
        return network(space, arch, **sizes)

    monkeypatch.setattr(bulk, "network", counted)
    resumed = call(*RUN, "--resume")
    assert resumed.code == 0, resumed.err
    assert resumed.lines[0].startswith(f"networks: {len(done)}/{ARCHS} ")
    assert len(built) == ARCHS - len(done)
    assert not {*built} & {*done}
    assert (here / OUT).read_bytes() == uninterrupted
    assert not partial.exists()


def children(pid):
    """Processes that a process began, as far as there is a /proc to look at."""
    return [
        int(stat.parent.name)
        for stat in Path("/proc").glob("[0-9]*/stat")
        if stat.exists() and stat.read_text().rpartition(")")[2].split()[1] == str(pid)
    ]


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="there is no /proc here")
def test_a_kill(here, call, monkeypatch, uninterrupted):
    """With two processes, which the killed one leaves behind."""
    partial = here / f"{OUT}.partial"
    partial.unlink()
    command = [str(Path(sys.executable).with_name("archflow")), *RUN, "--processes", "2"]
    begun, own = time.monotonic(), []
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        while process.poll() is None and time.monotonic() < begun + PATIENCE:
            if partial.exists() and partial.read_bytes().count(b"\n") > 2:
                break
        own = children(process.pid)
        process.kill()
    assert process.returncode == -signal.SIGKILL
    assert len(own) >= 2
    until(lambda: not any(map(is_alive, own)))
    assert (here / OUT).read_bytes() == PREVIOUS
    assert_resumes(here, call, monkeypatch, uninterrupted)


def test_ctrl_c(here, call, monkeypatch, uninterrupted):
    measure, count = bulk.measure, []

    def interrupt(*args):
        count.append(1)
        if len(count) == 5:
            os.kill(os.getpid(), signal.SIGINT)
        return measure(*args)

    with monkeypatch.context() as patch:
        patch.setattr(bulk, "measure", interrupt)
        outcome = call(*RUN)
    assert (outcome.code, outcome.out) == (1, "")
    assert outcome.lines[-1] == "archflow: interrupted; --resume goes on from what was saved"
    assert len(measured(here / f"{OUT}.partial")) == 4
    assert (here / OUT).read_bytes() == PREVIOUS
    assert_resumes(here, call, monkeypatch, uninterrupted)
