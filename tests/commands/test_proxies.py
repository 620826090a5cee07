"""``archflow proxies``: equality with the function, every format, and interrupted or killed runs."""

import json
import os
import re
import signal
import time
from pathlib import Path

import numpy as np
import pytest

import archflow
from archflow.benchmarks.own_tables import read_table, write_table
from archflow.zero_cost import bulk
from archflow.zero_cost.measures import PROXIES
from tests.commands import PREVIOUS, begin, contents, words
from tests.support.test_processes import PATIENCE, is_alive, until

SPACE = archflow.space("darts")
ARCHS = 24
OUT = "out.csv"
SIZES = {"width": 4, "depth": 1, "size": 8, "batch_size": 8}
RUN = words("proxies", f"--input darts.csv --proxy {','.join(PROXIES)}")


@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet"])
def test_it_equals_the_function_of_the_same_name(here, call, ending):
    more = "--classes 12 --seed 5 --images white --proxy nwot,params,jacov,nwot --arch-column cell --json"
    outcome = call(*words("proxies", f"{more} --out new/out.{ending}"))
    assert outcome.code == 0, outcome.err
    archs = read_table("two.jsonl", SPACE, "cell").archs
    names = ["nwot", "params", "jacov"]
    its = {**SIZES, "classes": 12, "images": "white", "seed": 5, "processes": 1, "device": "cpu"}
    expected = archflow.proxies("darts", archs, names, out=f"expected.{ending}", **its)
    assert Path(f"new/out.{ending}").read_bytes() == Path(f"expected.{ending}").read_bytes()
    found = read_table(f"new/out.{ending}", SPACE)
    assert found.archs == archs
    assert {name: column.tolist() for name, column in found.columns.items()} == {
        name: column.tolist() for name, column in expected.columns.items()
    }
    facts = outcome.json
    assert facts.pop("seconds") >= 0
    assert facts == {"out": f"new/out.{ending}", "architectures": 2, "proxies": names}
    assert [line for line in outcome.lines if not re.match(r"networks: \d/2 ", line)] == []
    assert outcome.lines[-1].startswith("networks: 2/2 ")


def test_all_proxies_of_a_sample(here, call):
    (here / f"{OUT}.log").write_bytes(PREVIOUS)
    args = "proxies --space nasbench101 --sample 3 --seed 2 --width 8 --depth 1 --size 8 --batch-size 8 --processes 1"
    outcome = call(*args.split(), "--device", "cpu", "--overwrite", "--out", OUT)
    assert (outcome.code, outcome.out) == (0, f"{len(PROXIES)} proxies of 3 architectures: {OUT}\n")
    space = archflow.space("nasbench101")
    found = read_table(OUT, space)
    assert found.archs == space.sample(3, seed=2)
    assert tuple(found.columns) == PROXIES
    assert not Path(f"{OUT}.partial").exists()
    assert not Path(f"{OUT}.log").exists()


def test_images_of_cifar10(here, call):
    assert call(*words("proxies", "--images cifar")).code == 0
    from_folder = read_table(OUT, SPACE)
    assert call(*words("proxies")).code == 0
    assert (read_table(OUT, SPACE)["nwot"] != from_folder["nwot"]).all()
    assert (read_table(OUT, SPACE)["params"] == from_folder["params"]).all()


def test_failing_networks_are_reported(here, call, caplog):
    space = archflow.space("nasbench101")
    write_table("archs.csv", {"arch": space.format(space.sample(6, seed=2))})
    outcome = call(*words("proxies", "--space nasbench101 --input archs.csv --proxy params --width 1 --json"))
    failed = int(np.isnan(read_table(OUT, space)["params"]).sum())
    assert 0 < failed < 6
    assert outcome.code == 0
    assert outcome.json["architectures"] == 6
    assert f"{failed} networks failed and have NaN; the first: " in caplog.text
    assert "Traceback" not in outcome.err
    assert len(Path(f"{OUT}.log").read_text().splitlines()) == failed


@pytest.mark.parametrize("content", [b"damaged\n", b"[]\n", bytes(50) + b"\n"], ids=repr)
def test_resuming_from_a_damaged_file(here, call, content):
    (here / f"{OUT}.partial").write_bytes(content)
    before = contents(here)
    outcome = call(*words("proxies", "--resume"))
    outcome.assert_mistake(rf"{OUT}\.partial (is damaged|was started with other).*leave --resume out")
    assert contents(here) == before


def test_a_disk_that_is_full_from_the_start(here, call, full_disk):
    outcome = call(*words("proxies"))
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.lines[-1].startswith("archflow: No space left on device")
    assert not any(line.startswith("archflow:") for line in outcome.lines[:-1])
    assert "Traceback" not in outcome.err
    assert Path(OUT).read_bytes() == PREVIOUS


# Interrupting and resuming


@pytest.fixture(scope="module")
def uninterrupted(made, tmp_path_factory):
    """The file of an uninterrupted run."""
    folder = tmp_path_factory.mktemp("uninterrupted")
    archs = read_table(made / "darts.csv", SPACE).archs
    archflow.proxies("darts", archs, processes=1, device="cpu", out=folder / OUT, **SIZES)
    return (folder / OUT).read_bytes()


def measured(partial):
    """The networks in the file of an unfinished run."""
    return [json.loads(line)["network"] for line in partial.read_bytes().split(b"\n")[1:-1]]


def assert_resumes(here, call, monkeypatch, uninterrupted):
    """``--resume`` measures only the remaining networks, and writes the same file as the uninterrupted run."""
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
    """Child processes, found through /proc."""
    return [
        int(stat.parent.name)
        for stat in Path("/proc").glob("[0-9]*/stat")
        if stat.exists() and stat.read_text().rpartition(")")[2].split()[1] == str(pid)
    ]


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="there is no /proc here")
def test_a_kill(here, call, monkeypatch, uninterrupted):
    """The killed process had two worker processes, which must end too."""
    partial = here / f"{OUT}.partial"
    partial.unlink()
    started, own = time.monotonic(), []
    with begin(*RUN, "--processes", "2") as process:
        while process.poll() is None and time.monotonic() < started + PATIENCE:
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
    assert (outcome.code, outcome.out) == (130, "")
    assert outcome.lines[-1] == "archflow: interrupted; --resume resumes from what was saved"
    assert len(measured(here / f"{OUT}.partial")) == 4
    assert (here / OUT).read_bytes() == PREVIOUS
    assert_resumes(here, call, monkeypatch, uninterrupted)
