import contextlib
import errno
import importlib.util
import json
import os
import pty
import re
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import torch

import archflow
import archflow.commands.cli
import archflow.commands.demo
import archflow.support.files
from archflow.benchmarks.nasbench201.space import NASBench201
from archflow.benchmarks.own_tables import read_table, write_table
from archflow.commands.cli import main
from archflow.encoding.registry import load_encoder
from archflow.ranking.ranker import Ranker
from tests.conftest import Outcome

SPACE = NASBench201()
VERBS = ("demo", "spaces", "pretrain", "finetune", "evaluate", "rank", "report", "reproduce")
CELLS = 60
PREVIOUS = b"the previous content"
OUTPUTS = ("out.csv", "out.archflow", "out.json", "out.html", "below/report.html")
QUICK = ("--hidden", "8", "--layers", "2", "--epochs", "2", "--device", "cpu")
PRETRAIN = ("pretrain", "--input", "cells.csv", *QUICK, "--out", "out.archflow")
FINETUNE = ("finetune", "--epochs", "2", "--device", "cpu", "--out", "out.archflow")
EVALUATE = (
    *("evaluate", *QUICK, "--finetune-epochs", "2", "--seeds", "1", "--permutations", "2", "--pool", "12"),
    *("--labels", "0.5", "--out", "out.json"),
)
EVALUATE_CELLS = (*EVALUATE, "--input", "cells.csv", "--column", "accuracy")


def run(*args, **settings):
    """Run the real command, as a user does, in a pipe."""
    command = [str(Path(sys.executable).with_name("archflow")), *map(str, args)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, **settings)
    return Outcome(done.returncode, done.stdout, done.stderr)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Small files of every kind, good ones and bad ones."""
    folder = tmp_path_factory.mktemp("made")
    archs, rng = SPACE.sample(CELLS, seed=0), np.random.default_rng(0)
    strings = SPACE.format(archs)
    accuracy = np.log(SPACE.parameters(archs)) + rng.normal(size=CELLS) / 4
    write_table(folder / "cells.csv", {"arch": strings, "accuracy": accuracy, "same": np.ones(CELLS)})
    write_table(folder / "some.jsonl", {"arch": strings[:20], "accuracy": accuracy[:20]})
    write_table(folder / "others.parquet", {"arch": strings[20:40], "accuracy": accuracy[20:40]})
    write_table(
        folder / "unknown.csv", {"arch": strings, "accuracy": np.where(np.arange(CELLS) == 7, np.nan, accuracy)}
    )
    write_table(folder / "one.csv", {"arch": strings[:1], "accuracy": accuracy[:1]})
    write_table(folder / "words.csv", {"arch": strings, "accuracy": ["good"] * CELLS})
    write_table(folder / "renamed.csv", {"cell": strings, "accuracy": accuracy})
    (folder / "empty.csv").write_text("")
    (folder / "headings.csv").write_text("arch,accuracy\n")
    (folder / "malformed.csv").write_text(f"arch,accuracy\n{strings[0]},1\n{strings[1][:-3]},2\n")
    (folder / "malformed.jsonl").write_text(f'{{"arch": "{strings[0]}"}}\n{{"arch": "|x~0|"}}\n')
    graphs = archflow.space("nasbench-graph")
    others = graphs.sample(CELLS)
    write_table(folder / "graphs.csv", {"arch": graphs.format(others), "accuracy": rng.normal(size=CELLS)})

    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        graph_encoder = "graphs-encoder.archflow"
        for args in (
            (*PRETRAIN[:-1], "encoder.archflow"),
            (*PRETRAIN[:-1], graph_encoder, "--space", "nasbench-graph", "--input", "graphs.csv", "--proxy", "none"),
            (*FINETUNE[:-1], "ranker.archflow", "--input", "some.jsonl", "--pretrained", "encoder.archflow"),
            (*FINETUNE[:-1], "graphs-ranker.archflow", "--input", "graphs.csv", "--pretrained", graph_encoder),
        ):
            patch.setattr(sys, "argv", ["archflow", *args])
            with pytest.raises(SystemExit) as caught:
                main()
            assert not caught.value.code
    for name in ("encoder", "ranker"):
        content = (folder / f"{name}.archflow").read_bytes()
        (folder / f"truncated-{name}.archflow").write_bytes(content[: len(content) // 2])
    (folder / "foreign.archflow").write_bytes(bytes(range(256)) * 4)
    archs.save(folder / "archs.archflow")
    return folder


@pytest.fixture
def here(made, tmp_path, monkeypatch):
    """A folder with these files to work in, where every output is there already."""
    folder = tmp_path / "here"
    shutil.copytree(made, folder)
    (folder / "below").mkdir()
    for name in OUTPUTS:
        (folder / name).write_bytes(PREVIOUS)
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def small_demo(monkeypatch):
    """The demonstration on 300 cells with 3 epochs of fine-tuning."""
    archs, rng = SPACE.sample(10_000, seed=1)[:500], np.random.default_rng(1)
    accuracy = np.log(SPACE.parameters(archs)) + rng.normal(size=500)
    stand_in = archflow.commands.cli.Table("nasbench201/analog", SPACE, archs, {"accuracy": accuracy}, "accuracy")
    monkeypatch.setattr(archflow.commands.demo, "table", lambda name: stand_in)
    monkeypatch.setattr(archflow.commands.demo, "Ranker", lambda *args, **settings: Ranker(*args, epochs=3, **settings))


def contents(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


# From beginning to end


def test_the_whole_path_in_a_shell(tmp_path):
    """spaces → pretrain → finetune → rank → report, each a process of its own, in every format."""
    cells = run("spaces", "nasbench201", "--sample", 40, "--seed", 3, "--out", "cells.parquet", cwd=tmp_path)
    assert (cells.code, cells.err) == (0, "")
    table = read_table(tmp_path / "cells.parquet", SPACE)
    assert table.archs == SPACE.sample(40, seed=3)
    assert np.array_equal(table["parameters"], SPACE.parameters(table.archs))
    assert np.array_equal(table["flops"], SPACE.flops(table.archs))

    pretrained = run("pretrain", "--input", "cells.parquet", *QUICK, "--out", "a/encoder", "--json", cwd=tmp_path)
    assert pretrained.code == 0
    assert pretrained.json["out"] == "a/encoder"
    assert [entry.name for entry in (tmp_path / "a").iterdir()] == ["encoder"]
    assert [line for line in pretrained.lines if not re.match(r"pre-training: \d+/80 ", line)] == []
    assert pretrained.lines[-1].startswith("pre-training: 80/80 ")

    write_table(
        tmp_path / "labels.jsonl",
        {"cell": SPACE.format(table.archs)[:20], "acc": np.log(table["flops"][:20])},
    )
    tuned = run(
        *("finetune", "--input", "labels.jsonl", "--arch-column", "cell", "--labels", "acc", "--epochs", "3"),
        *("--pretrained", "a/encoder", "--out", "ranker.archflow"),
        cwd=tmp_path,
    )
    assert (tuned.code, tuned.out) == (0, "fine-tuned on 20 labels: ranker.archflow\n")
    assert tuned.lines[-1].startswith("fine-tuning: 3/3 ")
    assert [line for line in tuned.lines if not re.match(r"fine-tuning: \d/3 ", line)] == []

    ranked = run("rank", "ranker.archflow", "--out", "ranking.csv", cwd=tmp_path)
    assert (ranked.code, ranked.err) == (0, "")
    assert len(read_table(tmp_path / "ranking.csv", SPACE)) == 15_625

    command = [sys.executable, "-m", "archflow", "report", "ranker.archflow", "--input", "cells.parquet"]
    page = subprocess.run([*command, "--column", "flops"], capture_output=True, text=True, timeout=60, cwd=tmp_path)
    assert (page.returncode, page.stdout, page.stderr) == (0, "report: report.html\n", "")
    assert SPACE.format(table.archs)[0] in (tmp_path / "report.html").read_text()


PARAMETERS = ("--proxy", "parameters")


def test_pretrain_is_the_function_of_the_same_name(here, call):
    assert (
        call(*PRETRAIN, "--seed", 5, "--lambda1", 0.25, "--batch-size", 16, "--lr", 0.01, "--k", 3, *PARAMETERS).code
        == 0
    )
    found, provenance = load_encoder("out.archflow")
    archs = read_table("cells.csv", SPACE).archs
    torch.manual_seed(5)
    model = archflow.encoder("resgatedgcn", SPACE.vocabulary, hidden=8, layers=2)
    task = archflow.FGP(archflow.FlowDraw.sample(7, k=3, std=0.1, seed=5), proxy=SPACE.parameters(archs), lambda1=0.25)
    outcome = archflow.pretrain(model, archs, task, epochs=2, batch_size=16, lr=0.01, seed=5, device="cpu")
    for name, tensor in model.state_dict().items():
        assert torch.equal(found.state_dict()[name], tensor)
    assert provenance["losses"] == outcome.losses
    assert (provenance["space"], provenance["proxy"]) == ("nasbench201", "parameters")


@pytest.mark.parametrize("task", archflow.tasks())
def test_pretraining_by_every_task(here, call, task):
    assert call(*PRETRAIN, "--task", task, "--epochs", 1).code == 0
    assert load_encoder("out.archflow")[1]["pretraining"]["task"] == task


def test_settings_go_to_the_methods_that_have_them(here, call):
    args = [*EVALUATE_CELLS, "--permutations", 1, "--json", "--proxy-loss", "regression"]
    for methods, more, expected in (
        (["zero-cost"], [], {"zero-cost": {"proxy_loss": "regression"}}),
        (["fgp", "none"], [], {"fgp": {"proxy_loss": "regression"}}),
        (
            ["fgp", "zero-cost"],
            ["--lambda1", 0.25],
            {"fgp": {"lambda1": 0.25, "proxy_loss": "regression"}, "zero-cost": {"proxy_loss": "regression"}},
        ),
    ):
        outcome = call(*args, *more, *(part for method in methods for part in ("--method", method)))
        assert outcome.code == 0, outcome.err
        assert outcome.json["settings"]["task_settings"] == expected


@pytest.mark.parametrize("precision", ["bf16-mixed", "64-true"])
def test_an_encoder_of_any_precision_can_be_fine_tuned(here, call, precision):
    assert call(*PRETRAIN, "--precision", precision).code == 0
    assert {tensor.dtype for tensor in load_encoder("out.archflow")[0].state_dict().values()} == {torch.float32}
    args = (*FINETUNE[:-1], "ranker.archflow", "--input", "some.jsonl", "--pretrained", "out.archflow")
    assert call(*args).code == 0
    assert call("rank", "ranker.archflow", "--input", "cells.csv").code == 0


@pytest.mark.skipif(
    not (torch.distributed.is_available() and torch.distributed.is_gloo_available()), reason="torch has no gloo here"
)
def test_pretraining_in_two_processes(here, call, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    outcome = call(*PRETRAIN, "--processes", 2, "--json")
    assert outcome.code == 0
    assert outcome.json["settings"]["processes"] == 2
    assert load_encoder("out.archflow")[1]["space"] == "nasbench201"
    assert not Path("out.archflow.partial").exists()


def test_finetune_and_rank_are_the_ranker(here, call):
    args = [*FINETUNE, "--input", "some.jsonl", "--pretrained", "encoder.archflow", "--validation", "others.parquet"]
    tuned = call(*args, "--seed", 2, "--json")
    table, others = read_table("some.jsonl", SPACE), read_table("others.parquet", SPACE)
    model = Ranker(load_encoder("encoder.archflow")[0], epochs=2, seed=2, device="cpu")
    model.fit(table.archs, table["accuracy"], (others.archs, others["accuracy"]))
    assert tuned.json == {
        **{"out": "out.archflow", "labels": 20},
        **{"loss": model.losses[-1], "validation_tau": max(model.validation_taus)},
    }
    ranked = call("rank", "out.archflow", "--input", "cells.csv", "--out", "out.csv", "--top", 25, "--json")
    cells = read_table("cells.csv", SPACE)
    expected = model.predict(cells.archs)
    order = np.argsort(-expected, kind="stable")[:25]
    ranking = read_table("out.csv", SPACE)
    assert ranking.archs == cells.archs[order]
    assert ranking["rank"].tolist() == list(range(1, 26))
    assert ranking["score"] == pytest.approx(expected[order])
    assert (ranked.json["architectures"], ranked.json["out"]) == (CELLS, "out.csv")
    assert [each["arch"] for each in ranked.json["best"]] == SPACE.format(cells.archs[order[:10]])


def test_a_ranker_without_pretraining(here, call):
    outcome = call(*FINETUNE, "--input", "some.jsonl")
    assert outcome.code == 0
    assert Ranker.load("out.archflow").provenance == {"space": "nasbench201"}
    assert call(*FINETUNE, "--input", "graphs.csv", "--space", "nasbench-graph").code == 0
    assert Ranker.load("out.archflow").provenance == {"space": "nasbench-graph"}


def test_rank_prints_the_best(here, call):
    outcome = call("rank", "ranker.archflow", "--input", "cells.csv", "--top", 3)
    assert (outcome.code, outcome.err) == (0, "")
    cells = read_table("cells.csv", SPACE).archs
    best = np.argsort(-Ranker.load("ranker.archflow").predict(cells), kind="stable")[:3]
    assert [line.split()[2] for line in outcome.out.splitlines()] == SPACE.format(cells[best])


def test_spaces_lists_what_there_is(call):
    outcome = call("spaces")
    assert (outcome.code, outcome.err) == (0, "")
    for text in ("nasbench201", "15,625", "nasbench-graph", "26,206", "nor_conv_3x3"):
        assert text in outcome.out
    assert call("spaces", "nasbench201").out == "nasbench201: 15,625 architectures\n"


@pytest.mark.parametrize("name", ["nasbench-graph", "nasbench-graph-proteins"])
def test_a_space_without_closed_forms_is_written_too(here, call, name):
    assert call("spaces", name, "--sample", 5, "--out", "out.csv").code == 0
    assert read_table("out.csv", archflow.space(name)).archs == archflow.space(name).sample(5)


def test_evaluate_writes_every_run_and_prints_a_table(here, call):
    outcome = call(*EVALUATE_CELLS)
    assert outcome.code == 0
    for text in ("none", "fgp", "±", "50%", "every run: out.json"):
        assert text in outcome.out
    found = json.loads(Path("out.json").read_text())
    assert [run["method"] for run in found["runs"]] == ["none", "none", "fgp", "fgp"]
    assert [line for line in outcome.lines if not re.match(r"(pre-training|runs): [\d,]+/[\d,]+ ", line)] == []
    assert outcome.lines[-1].startswith("runs: 4/4 ")
    again = call(*EVALUATE_CELLS, "--resume", "--json")
    assert again.json == json.loads(Path("out.json").read_text()) == found


@pytest.mark.parametrize("name", ["nasbench-graph-proteins", "nasbench-graph"])
def test_evaluate_finds_the_table_of_each_space_that_has_one(here, call, name):
    args = ["--method", "none", "--permutations", 1, "--labels", 0.01, "--pool", 500, "--json"]
    outcome = call(*EVALUATE, *args, "--space", name)
    assert outcome.code == 0, outcome.err
    assert outcome.json["settings"]["space"] == name


def test_report_shows_what_is_known(here, call):
    outcome = call("report", "ranker.archflow", "--input", "unknown.csv", "--column", "accuracy", "--out", "out.html")
    assert (outcome.code, outcome.out, outcome.err) == (0, "report: out.html\n", "")
    page = Path("out.html").read_text()
    assert SPACE.format(SPACE.sample(CELLS, seed=0))[0] in page
    assert "Fine-tuning loss" in page
    assert "Pre-training loss" in page


def test_demo_prints_two_rows_and_the_ten_best(here, call, small_demo):
    outcome = call("demo", "--out", "below", "--epochs", 1)
    assert outcome.code == 0
    for text in ("FGP", "no pre-training", "τ ×100", "P@1% ×100", "P@5% ×100", "true rank", "below/report.html"):
        assert text in outcome.out
    assert (here / "below" / "report.html").read_bytes() != PREVIOUS
    assert outcome.lines[-1].startswith("fine-tuning (no pre-training): 3/3 ")


# What every verb has


@pytest.mark.parametrize("verb", VERBS)
def test_help_names_what_every_verb_takes(call, verb):
    outcome = call(verb, "--help")
    assert (outcome.code, outcome.err) == (0, "")
    assert f"archflow {verb}" in outcome.out
    for option in ("--seed", "--device", "--out", "--json", "--help"):
        assert f" {option} " in outcome.out


def test_help_lists_the_verbs(call):
    outcome = call("--help")
    assert (outcome.code, outcome.err) == (0, "")
    for verb in (*VERBS, "tables"):
        assert f" {verb} " in outcome.out


@pytest.mark.parametrize(
    "args",
    [
        ["spaces"],
        ["spaces", "nasbench-graph"],
        ["spaces", "nasbench201", "--out", "out.csv", "--sample", 5],
        PRETRAIN,
        [*FINETUNE, "--input", "some.jsonl"],
        [*FINETUNE, "--input", "some.jsonl", "--validation", "others.parquet"],
        ["rank", "ranker.archflow", "--input", "cells.csv"],
        ["rank", "ranker.archflow", "--input", "cells.csv", "--out", "out.csv"],
        ["report", "ranker.archflow", "--input", "cells.csv", "--out", "out.html"],
        ["report", "ranker.archflow", "--input", "cells.csv", "--column", "accuracy", "--out", "out.html"],
        ["report", "ranker.archflow", "--input", "cells.csv", "--column", "same", "--out", "out.html"],
        EVALUATE_CELLS,
        ["demo", "--epochs", "1", "--out", "below"],
    ],
    ids=lambda args: " ".join(map(str, args))[:40],
)
def test_json_is_one_object_on_standard_output(here, call, small_demo, args):
    outcome = call(*args, "--json", "--seed", 1, "--device", "cpu")
    assert outcome.code == 0
    assert outcome.json
    assert [line for line in outcome.lines if not re.match(r"[\w() -]+: [\d,]+/[\d,]+ ", line)] == []


def test_a_seed_fixes_what_is_random(here, call):
    def weights(*args):
        assert call(*args).code == 0
        kind = load_encoder("out.archflow")[0] if args[0] == "pretrain" else Ranker.load("out.archflow")._fitted()
        return torch.cat([tensor.flatten() for tensor in kind.state_dict().values()])

    for args in (PRETRAIN, (*FINETUNE, "--input", "some.jsonl", "--pretrained", "encoder.archflow")):
        first = weights(*args, "--seed", 1)
        torch.manual_seed(77)
        assert torch.equal(weights(*args, "--seed", 1), first)
        assert not torch.equal(weights(*args, "--seed", 2), first)
    cells = [call("spaces", "nasbench201", "--sample", 9, "--seed", seed, "--out", "out.csv") for seed in (0, 1)]
    assert [outcome.code for outcome in cells] == [0, 0]
    assert read_table("out.csv", SPACE).archs == SPACE.sample(9, seed=1)


def test_a_bar_on_a_terminal(here, monkeypatch):
    """With the phase, how much is done, the rate and the time left; nothing of it on standard output."""
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
    monkeypatch.setattr(sys, "argv", ["archflow", *PRETRAIN, "--epochs", "100", "--batch-size", "10"])
    with open(slave, "w") as terminal:
        monkeypatch.setattr(sys, "stderr", terminal)
        with pytest.raises(SystemExit) as caught:
            main()
        monkeypatch.undo()
    reader.join()
    os.close(master)
    text = b"".join(shown).decode()
    assert not caught.value.code
    assert "pre-training" in text
    assert "━" in text
    assert "6000/6000" in text
    assert re.search(r"\d/s", text)
    assert re.search(r"left.*\d:\d\d:\d\d", text)


# Wrong use and bad input

BELOW_A_FILE = "cells.csv/folder/out"

BAD = [
    # Which verb, which option
    (["nope"], "No such command 'nope'"),
    (["--nope"], "No such option: --nope"),
    *(([verb, "--nope"], "No such option: --nope") for verb in VERBS),
    ([*PRETRAIN, "--epochs", "many"], "--epochs"),
    ([*PRETRAIN, "--epochs"], "--epochs"),
    ([*PRETRAIN, "extra"], "extra"),
    (["rank"], "[Rr]anker|RANKER"),
    (["report"], "[Rr]anker|RANKER"),
    (["finetune"], "--input"),
    # spaces
    (["spaces", "nope"], "unknown space 'nope'; known spaces: darts, .*nasbench-graph-proteins, .*nasbench201"),
    (["spaces", "nope", "--out", "out.csv"], "unknown space 'nope'"),
    (["spaces", "nasbench201", "--sample", 0, "--out", "out.csv"], "cannot draw 0 "),
    (["spaces", "nasbench201", "--sample", 15_626, "--out", "out.csv"], "cannot draw 15626 .* has 15,625"),
    (["spaces", "nasbench201", "--out", "out.txt"], r"out\.txt: the name must end in \.csv, \.jsonl or \.parquet"),
    (["spaces", "nasbench201", "--out", f"{BELOW_A_FILE}.csv"], r"cells\.csv"),
    (["spaces", "nasbench201", "--out", "/proc/nope/out.csv"], "/proc"),
    (["spaces", "--out", "out.csv"], "[Nn]ame|NAME|space"),
    (["spaces", "nasbench201", "--sample", 5, "--seed", -1, "--out", "out.csv"], "seed"),
    # pretrain
    ([*PRETRAIN, "--space", "nope"], "unknown space 'nope'"),
    ([*PRETRAIN, "--encoder", "nope"], "unknown encoder 'nope'; known encoders: digcn, .*resgatedgcn, transformer"),
    ([*PRETRAIN, "--task", "nope"], "unknown task 'nope'; known tasks: fgp, zero-cost, arch2vec, gmae, graphcl"),
    ([*PRETRAIN, "--task", "gmae", "--lambda1", 0.1], "the task gmae has no setting 'lambda1'; it has: "),
    ([*PRETRAIN, "--task", "zero-cost", "--k", 3], "the task zero-cost has no setting 'k'; it has: margin, proxy_loss"),
    ([*PRETRAIN, "--task", "zero-cost", "--proxy", "none"], "zero-cost learns from proxies, but there are none"),
    ([*PRETRAIN, "--draws", 0], "draws"),
    ([*PRETRAIN, "--passes", "sideways"], "sideways"),
    ([*PRETRAIN, "--rounds", 0], "rounds"),
    ([*PRETRAIN, "--proxy", "nope"], "unknown proxy 'nope'; known: closed-form, parameters, synflow"),
    ([*PRETRAIN, "--proxy", "same"], "no two different values"),
    ([*PRETRAIN, "--lambda1", 0, "--lambda2", 0], "nothing to learn"),
    ([*PRETRAIN, "--lambda1", -1], "lambda1"),
    ([*PRETRAIN, "--lambda2", -1], "lambda2"),
    ([*PRETRAIN, "--lambda1", "nan"], "lambda1"),
    ([*PRETRAIN, "--epochs", 0], "epochs"),
    ([*PRETRAIN, "--hidden", 0], "hidden"),
    ([*PRETRAIN, "--layers", 0], "layers"),
    ([*PRETRAIN, "--batch-size", 0], "batch_size"),
    ([*PRETRAIN, "--lr", 0], "lr"),
    ([*PRETRAIN, "--lr", "nan"], "lr"),
    ([*PRETRAIN, "--k", 0], "k"),
    ([*PRETRAIN, "--std", -1], "std"),
    ([*PRETRAIN, "--seed", -1], "seed"),
    ([*PRETRAIN, "--precision", "12-bits"], "12-bits"),
    ([*PRETRAIN, "--precision", "bf16-true"], "does not work in precision bf16-true; try bf16-mixed"),
    ([*PRETRAIN, "--processes", 0], "processes"),
    ([*PRETRAIN, "--device", "abacus"], "there is no device 'abacus' here"),
    ([*PRETRAIN, "--input", "nope.csv"], "there is no file nope.csv"),
    ([*PRETRAIN, "--input", "empty.csv"], r"empty\.csv"),
    ([*PRETRAIN, "--input", "headings.csv"], r"headings\.csv has no rows"),
    ([*PRETRAIN, "--input", "malformed.csv"], r"malformed\.csv, line 3: group 3 must look like"),
    ([*PRETRAIN, "--input", "malformed.jsonl"], r"malformed\.jsonl, line 2: a cell has 3 groups"),
    ([*PRETRAIN, "--input", "renamed.csv"], r"renamed\.csv has no column 'arch'; it has: cell, accuracy"),
    ([*PRETRAIN, "--input", "foreign.archflow"], "the name must end in"),
    ([*PRETRAIN, "--input", "graphs.csv"], r"graphs\.csv, line 2: "),
    ([*PRETRAIN, "--out", BELOW_A_FILE], r"cells\.csv"),
    ([*PRETRAIN, "--out", "/proc/nope/encoder"], "/proc"),
    ([*PRETRAIN, "--out", "below"], "below is a folder"),
    # finetune
    ([*FINETUNE, "--input", "nope.csv"], "there is no file nope.csv"),
    ([*FINETUNE, "--input", "empty.csv"], r"empty\.csv"),
    ([*FINETUNE, "--input", "malformed.csv"], r"malformed\.csv, line 3: "),
    ([*FINETUNE, "--input", "unknown.csv"], "labels.*NaN"),
    ([*FINETUNE, "--input", "one.csv"], "at least two labels, not 1"),
    ([*FINETUNE, "--input", "cells.csv", "--labels", "same"], "all labels are equal"),
    ([*FINETUNE, "--input", "cells.csv", "--labels", "nope"], "has no column 'nope'; it has: accuracy, same"),
    ([*FINETUNE, "--input", "cells.csv", "--epochs", 0], "epochs"),
    ([*FINETUNE, "--input", "cells.csv", "--batch-size", 1], "batch_size"),
    ([*FINETUNE, "--input", "cells.csv", "--seed", -1], "seed"),
    ([*FINETUNE, "--input", "cells.csv", "--space", "nope"], "unknown space 'nope'"),
    ([*FINETUNE, "--input", "cells.csv", "--device", "abacus"], "there is no device 'abacus' here"),
    ([*FINETUNE, "--input", "cells.csv", "--validation", "nope.csv"], "there is no file nope.csv"),
    ([*FINETUNE, "--input", "cells.csv", "--validation", "unknown.csv"], "validation labels.*NaN"),
    ([*FINETUNE, "--input", "cells.csv", "--validation", "one.csv"], "at least two validation labels"),
    ([*FINETUNE, "--input", "cells.csv", "--validation", "graphs.csv"], r"graphs\.csv, line 2: "),
    ([*FINETUNE, "--input", "cells.csv", "--pretrained", "nope"], "there is no file nope"),
    ([*FINETUNE, "--input", "cells.csv", "--pretrained", "truncated-encoder.archflow"], "truncated"),
    ([*FINETUNE, "--input", "cells.csv", "--pretrained", "foreign.archflow"], "no archflow file"),
    ([*FINETUNE, "--input", "cells.csv", "--pretrained", "archs.archflow"], "it holds 'archs'"),
    ([*FINETUNE, "--input", "cells.csv", "--pretrained", "ranker.archflow"], "it holds 'ranker'"),
    ([*FINETUNE, "--input", "cells.csv", "--pretrained", "graphs-encoder.archflow"], r"cells\.csv, line 2: "),
    (
        [*FINETUNE, "--input", "cells.csv", "--pretrained", "graphs-encoder.archflow", "--space", "nasbench201"],
        "graphs-encoder.archflow is a checkpoint of the space nasbench-graph, not of nasbench201",
    ),
    ([*FINETUNE, "--input", "cells.csv", "--out", BELOW_A_FILE], r"cells\.csv"),
    ([*FINETUNE, "--input", "cells.csv", "--out", "below"], "below is a folder"),
    # rank
    (["rank", "nope"], "there is no file nope"),
    (["rank", "truncated-ranker.archflow", "--out", "out.csv"], "truncated"),
    (["rank", "foreign.archflow", "--out", "out.csv"], "no archflow file"),
    (["rank", "cells.csv", "--out", "out.csv"], "no archflow file"),
    (["rank", "empty.csv", "--out", "out.csv"], "no archflow file"),
    (["rank", "encoder.archflow", "--out", "out.csv"], "it holds 'encoder'"),
    (["rank", "ranker.archflow", "--input", "nope.csv", "--out", "out.csv"], "there is no file nope.csv"),
    (["rank", "ranker.archflow", "--input", "empty.csv", "--out", "out.csv"], r"empty\.csv"),
    (["rank", "ranker.archflow", "--input", "malformed.jsonl", "--out", "out.csv"], r"malformed\.jsonl, line 2: "),
    (["rank", "ranker.archflow", "--input", "graphs.csv", "--out", "out.csv"], r"graphs\.csv, line 2: "),
    (["rank", "graphs-ranker.archflow", "--input", "cells.csv", "--out", "out.csv"], r"cells\.csv, line 2: "),
    (
        ["rank", "graphs-ranker.archflow", "--input", "cells.csv", "--space", "nasbench201", "--out", "out.csv"],
        "graphs-ranker.archflow is a checkpoint of the space nasbench-graph, not of nasbench201",
    ),
    (["rank", "ranker.archflow", "--space", "nope", "--out", "out.csv"], "nope"),
    (["rank", "ranker.archflow", "--input", "cells.csv", "--top", 0, "--out", "out.csv"], "top"),
    (["rank", "ranker.archflow", "--input", "cells.csv", "--top", -3, "--out", "out.csv"], "top"),
    (["rank", "ranker.archflow", "--input", "cells.csv", "--out", "out.txt"], "must end in"),
    (["rank", "ranker.archflow", "--input", "cells.csv", "--out", f"{BELOW_A_FILE}.csv"], r"cells\.csv"),
    (["rank", "ranker.archflow", "--input", "cells.csv", "--device", "abacus"], "there is no device 'abacus' here"),
    # report
    (["report", "truncated-ranker.archflow", "--out", "out.html"], "truncated"),
    (["report", "ranker.archflow", "--table", "nope", "--out", "out.html"], "unknown table 'nope'"),
    (["report", "ranker.archflow", "--table", "nasbench-graph", "--out", "out.html"], "another space"),
    (["report", "ranker.archflow", "--input", "cells.csv", "--column", "nope", "--out", "out.html"], "'nope'"),
    (["report", "ranker.archflow", "--input", "one.csv", "--column", "accuracy", "--out", "out.html"], "at least two"),
    (["report", "ranker.archflow", "--input", "cells.csv", "--out", BELOW_A_FILE], r"cells\.csv"),
    (["report", "ranker.archflow", "--input", "cells.csv", "--out", "below"], "below is a folder"),
    # evaluate
    ([*EVALUATE_CELLS, "--space", "nope"], "unknown space 'nope'"),
    ([*EVALUATE, "--space", "nope"], "unknown space 'nope'"),
    ([*EVALUATE, "--table", "nope"], "unknown table 'nope'"),
    ([*EVALUATE, "--space", "nasbench201", "--table", "nasbench-graph", "--proxy", "none"], "nasbench201"),
    ([*EVALUATE, "--input", "cells.csv"], "--column"),
    ([*EVALUATE_CELLS, "--column", "nope"], "has no column 'nope'; it has: accuracy, same"),
    ([*EVALUATE_CELLS, "--column", "same"], "equal"),
    ([*EVALUATE_CELLS, "--method", "nope"], "unknown method 'nope'; known methods: none, fgp, zero-cost"),
    ([*EVALUATE_CELLS, "--method", "none", "--lambda1", 0.1], "settings for fgp, which is not compared"),
    ([*EVALUATE_CELLS, "--proxy", "nope"], "unknown proxy 'nope'"),
    ([*EVALUATE_CELLS, "--encoder", "nope"], "unknown encoder 'nope'"),
    ([*EVALUATE_CELLS, "--labels", 0.01], "does not leave two labels or more"),
    ([*EVALUATE_CELLS, "--labels", "nan"], "does not leave two labels or more"),
    ([*EVALUATE_CELLS, "--pool", 50], "does not leave"),
    ([*EVALUATE_CELLS, "--seeds", 0], "seeds"),
    ([*EVALUATE_CELLS, "--permutations", 0], "permutations"),
    ([*EVALUATE_CELLS, "--seed", -1], "seed"),
    ([*EVALUATE_CELLS, "--device", "abacus"], "there is no device 'abacus' here"),
    ([*EVALUATE_CELLS, "--resume"], r"out\.json is no result of evaluate"),
    ([*EVALUATE_CELLS, "--out", BELOW_A_FILE], r"cells\.csv"),
    ([*EVALUATE_CELLS, "--out", "below"], "below is a folder"),
    # demo
    (["demo", "--epochs", 0, "--out", "below"], "epochs"),
    (["demo", "--seed", -1, "--out", "below"], "seed"),
    (["demo", "--device", "abacus", "--out", "below"], "there is no device 'abacus' here"),
    (["demo", "--out", "cells.csv"], r"cells\.csv"),
]


@pytest.mark.parametrize(("args", "reason"), BAD, ids=[" ".join(map(str, args[:1] + args[-4:])) for args, _ in BAD])
def test_a_mistake_is_one_line_and_nothing_is_half_written(here, call, small_demo, args, reason):
    before = contents(here)
    call(*args).assert_mistake(reason)
    assert contents(here) == before


def test_without_a_verb_the_help_is_shown_and_no_empty_line(call):
    outcome = call()
    assert outcome.code == 2
    assert "Usage:" in outcome.out + outcome.err
    assert not re.search(r"archflow:\s*(\(|$)", outcome.err, re.MULTILINE)


def test_text_in_the_place_of_labels_is_called_so(here, call):
    """The column is there, so to say that it is not would mislead."""
    outcome = call(*FINETUNE, "--input", "words.csv")
    assert outcome.code == 2
    assert len(outcome.lines) == 1
    assert re.match("archflow: .*accuracy", outcome.err)
    assert "no column 'accuracy'" not in outcome.err


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device here")
@pytest.mark.parametrize(
    "args",
    [
        PRETRAIN,
        [*FINETUNE, "--input", "some.jsonl"],
        ["rank", "ranker.archflow", "--input", "cells.csv", "--out", "out.csv"],
        ["report", "ranker.archflow", "--input", "cells.csv", "--out", "out.html"],
        EVALUATE_CELLS,
        ["demo", "--out", "below"],
    ],
    ids=lambda args: args[0],
)
def test_a_gpu_where_there_is_none(here, call, small_demo, args):
    before = contents(here)
    outcome = call(*args, "--device", "cuda")
    assert (outcome.code, outcome.out, len(outcome.lines)) == (2, "", 1)
    assert outcome.err.startswith("archflow: there is no device 'cuda' here")
    assert outcome.err.endswith("use --device cpu\n")
    assert contents(here) == before


def test_the_package_of_a_table_is_missing(here, call, monkeypatch):
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name == "analognasbench" else find_spec(name, *rest)
    )
    before = contents(here)
    for args in (
        ["demo", "--out", "below"],
        [*EVALUATE],
        ["report", "ranker.archflow", "--table", "nasbench201/analog"],
    ):
        outcome = call(*args)
        assert (outcome.code, outcome.out, len(outcome.lines)) == (2, "", 1)
        assert re.match("archflow: .*pip install analog-nasbench", outcome.err)
    assert contents(here) == before


WRITING = [
    ["spaces", "nasbench201", "--sample", 5, "--out", "out.csv"],
    PRETRAIN,
    [*PRETRAIN, "--checkpoint-seconds", 0],
    [*FINETUNE, "--input", "some.jsonl"],
    ["rank", "ranker.archflow", "--input", "cells.csv", "--out", "out.csv"],
    ["report", "ranker.archflow", "--input", "cells.csv", "--out", "out.html"],
    EVALUATE_CELLS,
    ["demo", "--epochs", "1", "--out", "below"],
]
WRITING_IDS = [*("spaces", "pretrain", "checkpoint", "finetune", "rank", "report", "evaluate", "demo")]


@pytest.mark.parametrize("args", WRITING, ids=WRITING_IDS)
def test_a_disk_that_fills_up(here, call, small_demo, monkeypatch, args):
    def fail(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(archflow.support.files.os, "fsync", fail)
    before = contents(here)
    outcome = call(*args)
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.lines[-1].startswith("archflow: No space left on device")
    assert not any(line.startswith("archflow:") for line in outcome.lines[:-1])
    assert "Traceback" not in outcome.err
    assert contents(here) == before


@pytest.fixture
def full_file_system(tmp_path):
    """A small file system of its own, without room for another byte."""
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
    for args in (
        ["spaces", "nasbench201", "--out", full_file_system / "out.csv"],
        [*PRETRAIN[:-1], full_file_system / "out.archflow"],
        [*FINETUNE[:-1], full_file_system / "out.archflow", "--input", "some.jsonl"],
    ):
        before = contents(full_file_system)
        outcome = call(*args)
        assert (outcome.code, outcome.out) == (2, "")
        assert outcome.lines[-1].startswith("archflow: No space left on device")
        assert contents(full_file_system) == before


def test_an_error_of_our_own_is_not_hidden(here, monkeypatch):
    """It is no mistake of the user's, so its traceback is shown, and Python exits with 1."""

    def fail(*_, **__):
        raise RuntimeError("a bug")

    monkeypatch.setattr(Ranker, "fit", fail)
    monkeypatch.setattr(sys, "argv", ["archflow", *FINETUNE, "--input", "some.jsonl"])
    with pytest.raises(RuntimeError, match="a bug"):
        main()
    assert (here / "out.archflow").read_bytes() == PREVIOUS


# Interrupting and resuming

LONG = ("pretrain", "--input", "cells.csv", "--hidden", 8, "--layers", 2, "--device", "cpu", "--epochs", 100)
LONG = (*map(str, LONG), "--batch-size", "4", "--out", "long.archflow")
"""1,500 steps: some seconds."""


@pytest.fixture(scope="module")
def uninterrupted(made):
    """The encoder of a run that nothing happened to."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(made)
        patch.setattr(sys, "argv", ["archflow", *LONG[:-1], "uninterrupted.archflow"])
        with pytest.raises(SystemExit) as caught:
            main()
        assert not caught.value.code
        return load_encoder("uninterrupted.archflow")


def assert_resumes(call, uninterrupted):
    """``--resume`` gives bit for bit the encoder of the uninterrupted run, and cleans up."""
    partial = Path("long.archflow.partial")
    done = archflow.support.files.load_tensors(partial, "pretraining")[1]["progress"]["step"]
    assert 0 < done < 1_500
    resumed = call(*LONG, "--resume")
    assert resumed.code == 0, resumed.err
    first = re.match(r"pre-training: ([\d,]+)/6,000 ", resumed.lines[0])
    assert int(first[1].replace(",", "")) == (done + 1) * 4
    assert not partial.exists()
    (model, provenance), (expected, expected_provenance) = load_encoder("long.archflow"), uninterrupted
    assert model.state_dict().keys() == expected.state_dict().keys()
    for name, tensor in expected.state_dict().items():
        assert torch.equal(model.state_dict()[name], tensor)
    assert provenance == expected_provenance


def test_ctrl_c_in_pretraining(here, call, uninterrupted):
    (here / "long.archflow").write_bytes(PREVIOUS)
    command = [str(Path(sys.executable).with_name("archflow")), *LONG]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        first = process.stderr.readline()
        process.send_signal(signal.SIGINT)
        rest, out = process.stderr.read(), process.stdout.read()
    assert first.startswith("pre-training: 4/6,000")
    assert (process.returncode, out) == (1, "")
    (line,) = [line for line in rest.splitlines() if not line.startswith("pre-training: ")]
    assert re.match("archflow: interrupted.*--resume", line)
    assert (here / "long.archflow").read_bytes() == PREVIOUS
    assert_resumes(call, uninterrupted)


def test_a_kill_in_pretraining(here, call, uninterrupted):
    command = [str(Path(sys.executable).with_name("archflow")), *LONG, "--checkpoint-seconds", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        first = process.stderr.readline()
        while not (here / "long.archflow.partial").exists() and process.poll() is None:
            pass
        process.kill()
        process.stderr.read()
    assert first.startswith("pre-training: 4/6,000")
    assert process.returncode == -signal.SIGKILL
    assert not (here / "long.archflow").exists()
    assert_resumes(call, uninterrupted)


def test_resuming_where_nothing_was_left_begins_anew(here, call):
    assert call(*PRETRAIN, "--resume").code == 0
    found, expected = load_encoder("out.archflow"), load_encoder("encoder.archflow")
    assert torch.equal(found[0].embed.weight, expected[0].embed.weight)


@pytest.fixture
def partial(here, call, monkeypatch):
    """An unfinished run of PRETRAIN."""

    class Interrupting(archflow.commands.cli.Display):
        def __call__(self, *told):
            super().__call__(*told)
            os.kill(os.getpid(), signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(archflow.commands.cli, "Display", Interrupting)
        outcome = call(*PRETRAIN)
    assert (outcome.code, outcome.out) == (1, "")
    assert re.match("archflow: interrupted.*--resume", outcome.lines[-1])
    assert (here / "out.archflow").read_bytes() == PREVIOUS
    return here / "out.archflow.partial"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (["--epochs", 3], "checkpoint of another run: epochs was 2, is 3"),
        (["--seed", 1], "checkpoint of another run: .*seed was 0, is 1"),
        (["--hidden", 16], "checkpoint of another run"),
        (["--proxy", "accuracy"], "checkpoint of another run"),
        (["--input", "some.jsonl"], "checkpoint of another run"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else None,
)
def test_resuming_another_run(here, call, partial, change, reason):
    before = contents(here)
    outcome = call(*PRETRAIN, *change, "--resume")
    assert (outcome.code, outcome.out, len(outcome.lines)) == (2, "", 1)
    assert re.match(f"archflow: out.archflow.partial is the {reason}", outcome.err)
    assert contents(here) == before


def test_resuming_from_a_damaged_file(here, call, partial):
    content = partial.read_bytes()
    for damaged in (b"", content[:100], content[: len(content) // 2], content[:-1], bytes(2_000)):
        partial.write_bytes(damaged)
        before = contents(here)
        outcome = call(*PRETRAIN, "--resume")
        assert (outcome.code, outcome.out, len(outcome.lines)) == (2, "", 1)
        assert re.match(r"archflow: out\.archflow\.partial is truncated or no archflow file", outcome.err)
        assert contents(here) == before
    shutil.copy("encoder.archflow", partial)
    outcome = call(*PRETRAIN, "--resume")
    assert outcome.err == ("archflow: out.archflow.partial is no archflow 'pretraining' file: it holds 'encoder'\n")


@pytest.mark.parametrize("verb", ["finetune", "rank"])
def test_ctrl_c_where_there_is_nothing_to_resume(here, call, monkeypatch, verb):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(Ranker, "fit", interrupt)
    monkeypatch.setattr(Ranker, "predict", interrupt)
    args = {
        "finetune": [*FINETUNE, "--input", "some.jsonl"],
        "rank": ["rank", "ranker.archflow", "--input", "cells.csv", "--out", "out.csv"],
    }
    before = contents(here)
    outcome = call(*args[verb])
    assert (outcome.code, outcome.out, len(outcome.lines)) == (1, "", 1)
    assert outcome.err.startswith("archflow: interrupted")
    assert "--resume" not in outcome.err  # this verb has no such option
    assert contents(here) == before


def test_ctrl_c_in_evaluate_is_resumed(here, call, monkeypatch):
    assert call(*EVALUATE_CELLS).code == 0
    expected = json.loads(Path("out.json").read_text())
    shutil.rmtree("out-encoders")
    fit, count = Ranker.fit, []

    def interrupt(self, *args, **settings):
        count.append(1)
        if len(count) == 4:
            raise KeyboardInterrupt
        return fit(self, *args, **settings)

    monkeypatch.setattr(Ranker, "fit", interrupt)
    outcome = call(*EVALUATE_CELLS)
    assert (outcome.code, outcome.out) == (1, "")
    assert re.match("archflow: interrupted.*--resume", outcome.lines[-1])
    assert len(json.loads(Path("out.json").read_text())["runs"]) == 3
    resumed = call(*EVALUATE_CELLS, "--resume", "--json").json
    assert len(count) == 5
    for name in ("tau", "p_at_1", "p_at_5", "validation_tau"):
        assert [each[name] for each in resumed["runs"]] == [each[name] for each in expected["runs"]]
