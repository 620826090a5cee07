"""The promises of every verb: help, one JSON object, one line per mistake, and outputs that are whole or untouched."""

import errno
import importlib.util
import os
import re
import shlex

import pytest
import torch

import archflow
import archflow.support.files
from archflow.search.loop import OPTUNA_STRATEGIES
from archflow.search.strategies import STRATEGIES
from archflow.zero_cost.measures import PROXIES
from tests.commands import COMPUTING, PREVIOUS, WORKING, WRITING, contents, words

ALL_TAKE = ("--seed", "--device", "--json", "--help")


@pytest.mark.parametrize("verb", WORKING)
def test_help_names_the_common_options(call, verb):
    outcome = call(*verb.split(), "--help")
    assert (outcome.code, outcome.err) == (0, "")
    assert f"archflow {verb}" in outcome.out
    for option in (*ALL_TAKE, *(["--out"] if verb not in ("tables", "tables add", "tables remove") else [])):
        assert f" {option} " in outcome.out


def test_help_lists_the_verbs(call):
    outcome = call("--help")
    assert (outcome.code, outcome.err) == (0, "")
    for verb in WORKING:
        assert f" {verb.split()[0]} " in outcome.out


@pytest.mark.parametrize(
    ("verb", "names"),
    [
        ("proxies", PROXIES),
        ("pretrain", [*archflow.tasks(), *archflow.encoders()]),
        ("finetune", archflow.heads()),
        ("search", [*STRATEGIES, *OPTUNA_STRATEGIES]),
        ("evaluate", ["none", *archflow.tasks(), *archflow.encoders()]),
    ],
)
def test_help_names_all_choices(call, monkeypatch, verb, names):
    """The help spells them out, because importing the registries takes seconds."""
    monkeypatch.setenv("COLUMNS", "400")
    shown = call(verb, "--help").out
    assert [name for name in names if not re.search(rf"(?<![\w-]){name}(?![\w-])", shown)] == []


@pytest.mark.parametrize("verb", WORKING)
def test_json_is_one_object_on_standard_output(here, call, small_demo, verb):
    outcome = call(*words(verb, "--json --seed 1 --device cpu"))
    assert outcome.code == 0, outcome.err
    assert outcome.json
    assert [line for line in outcome.lines if not re.match(r"[\w() -]+: [\d,]+/[\d,]+ ", line)] == []


# Wrong use

BAD = {
    "pretrain": [
        ("--pretrain-epochs many | --pretrain-epochs", "--pretrain-epochs"),
        ("extra", "extra"),
        ("--encoder nope", "unknown encoder 'nope'; known encoders: digcn, .*resgatedgcn, transformer"),
        ("--task nope", "unknown task 'nope'; known tasks: "),
        ("--task gmae --lambda1 0.1", "the task gmae has no setting 'lambda1'; it has: "),
        ("--task zero-cost --k 3", "the task zero-cost has no setting 'k'; it has: margin, proxy_loss"),
        ("--task zero-cost --proxy none", "zero-cost learns from proxies, but there are none"),
        ("--draws 0", "draws"),
        ("--passes sideways", "sideways"),
        ("--rounds 0", "rounds"),
        ("--proxy nope", "unknown proxy 'nope'; known: closed-form, parameters, synflow"),
        ("--proxy same", "no two different values"),
        ("--lambda1 0 --lambda2 0", "nothing to learn"),
        ("--lambda1 -1 | --lambda1 nan", "lambda1"),
        ("--lambda2 -1", "lambda2"),
        ("--pretrain-epochs 0", "epochs"),
        ("--hidden 0", "hidden"),
        ("--layers 0", "layers"),
        ("--batch-size 0", "batch_size"),
        ("--lr 0 | --lr nan", "lr"),
        ("--k 0", "k"),
        ("--std -1", "std"),
        ("--precision 12-bits", "12-bits"),
        ("--precision bf16-true", "does not work in precision bf16-true; try bf16-mixed"),
        ("--processes 0", "processes"),
        ("--input foreign.archflow", "the name must end in"),
        ("--space darts --sample 30", "--input and --sample exclude each other"),
    ],
    "finetune": [
        ("--input unknown.csv", "labels.*NaN"),
        ("--input one.csv", "at least two labels, not 1"),
        ("--input words.csv", r"the column 'accuracy' of words\.csv is not all numbers: line 2 has 'good'$"),
        ("--input cells.csv --label-column same", "all labels are equal"),
        ("--input cells.csv --label-column nope", "has no column 'nope'; it has: accuracy, same"),
        ("--finetune-epochs 0", "epochs"),
        ("--batch-size 1", "batch_size"),
        ("--validation nope.csv", "there is no file nope.csv"),
        ("--validation unknown.csv", "validation labels.*NaN"),
        ("--validation one.csv", "at least two validation labels"),
        ("--validation graphs.csv", r"graphs\.csv, line 2: "),
        ("--pretrained nope", "there is no file nope"),
        ("--pretrained truncated-encoder.archflow", "truncated"),
        ("--pretrained foreign.archflow", "not an archflow file"),
        ("--pretrained archs.archflow", "it holds 'archs'"),
        ("--pretrained ranker.archflow", "it holds 'ranker'"),
        ("--pretrained graphs-encoder.archflow", r"some\.jsonl, line 1: "),
        (
            "--pretrained graphs-encoder.archflow --space nasbench201",
            "graphs-encoder.archflow is a checkpoint for the space nasbench-graph, not for nasbench201",
        ),
    ],
    "rank": [
        ("--top 0 | --top -3", "top"),
        ("--out out.txt", "must end in"),
        ("--sample 3", "--input and --sample exclude each other"),
    ],
    "suggest": [
        ("--top 0 | --top -3", "top"),
        ("--top 41", "41 architectures cannot be suggested out of 40"),
        ("--out out.txt", "must end in"),
    ],
    "search": [
        ("--budget 0 | --budget -1", "the budget and the workers must be at least 1"),
        ("--workers 0", "the budget and the workers must be at least 1"),
        ("--strategy nope", "unknown strategy 'nope'; known: flow, exhaustive, random, .*, tpe, gp"),
        ("--objective table:nope", "unknown table 'nope'"),
        ("--objective table:tiny:nope", "has no column 'nope'"),
        ("--space darts", "the table tiny is of nasbench201, but the search is in darts"),
        ("--space nope", "unknown space 'nope'"),
        ("--resume", "nothing to resume without a storage"),
        ("--storage nowhere/search.db", "unable to open database file"),
        ("--storage cells.csv", "file is not a database"),
        ("--objective 'false' --timeout 0", "time"),
        ("--out out.txt", "must end in"),
    ],
    "report": [
        ("--table nope", "unknown table 'nope'"),
        ("--table nasbench-graph --label-column ''", "another space"),
        ("--label-column nope", "'nope'"),
        ("--input one.csv", "at least two"),
    ],
    "evaluate": [
        ("--label-column nope", "has no column 'nope'; it has: accuracy, same"),
        ("--label-column same", "equal"),
        ("--method nope", "unknown method 'nope'; known methods: none, "),
        ("--method none --lambda1 0.1", "settings are given for fgp, but no method uses it"),
        ("--proxy nope", "unknown proxy 'nope'"),
        ("--encoder nope", "unknown encoder 'nope'"),
        ("--labels 0.01 | --labels nan | --pool 50", "does not leave two labels or more"),
        ("--seeds 0", "seeds"),
        ("--splits 0", "splits"),
        ("--out cells.csv", r"cells\.csv"),
    ],
    "demo": [("--pretrain-epochs 0", "epochs"), ("--out cells.csv", r"cells\.csv")],
    "spaces": [
        ("--sample 0", "cannot draw 0 "),
        ("--sample 15626", "cannot draw 15626 .* has 15,625"),
        ("--out out.txt", r"out\.txt: the name must end in \.csv, \.jsonl or \.parquet"),
    ],
    "proxies": [
        ("--proxy nope", f"unknown proxy 'nope'; known proxies: {', '.join(PROXIES)}$"),
        ("--proxy nwot,nope,Params", "unknown proxy 'nope, Params'; known proxies: params, "),
        ("--proxy '' | --proxy nwot,", "unknown proxy ''; known proxies: params, "),
        ("--sample 2", "--input and --sample exclude each other"),
        ("--input cells.csv", r"cells\.csv, line 2: "),
        ("--input cifar/data_batch_1.bin", "the name must end in"),
        ("--arch-column nope", r"two\.jsonl has no column 'nope'; it has: cell, arch"),
        ("--images nope", "there is no folder nope"),
        ("--images no-images", "no-images holds no batches of CIFAR-10"),
        ("--images tiny", r"tiny/data_batch_1\.bin is truncated, or its images are not of 32 × 32"),
        ("--images cifar --size 33", "cannot be averaged to 33 × 33"),
        ("--images cifar --batch-size 21", "cifar holds 20 images, fewer than a minibatch of 21"),
        ("--images cifar --classes 9", "CIFAR-10 has 10 classes, but the network has 9"),
        ("--size 0", "size, width, depth and classes must be at least 1, not 0, "),
        ("--size large", "--size"),
        ("--width 0 | --depth -1 | --classes 0", "at least 1"),
        ("--batch-size 1 | --batch-size -8", "a minibatch has 2 images or more"),
        ("--processes 0", "processes must be at least 1, not 0"),
        ("--out out.txt", r"out\.txt: the name must end in \.csv"),
        ("--out out", "the name must end in"),
        ("--out logged.csv", r"logged\.csv\.log is a folder, but a file is to be written there"),
        ("--resume", r"out\.csv\.partial was started with other settings or by another version of archflow"),
    ],
    "reproduce": [
        ("--only encoder", "--only takes AXIS=VALUE, joined by commas, not 'encoder'"),
        ("--only encoder= | --only =gin", "--only takes AXIS=VALUE"),
        ("--only encoder=gin,", "--only takes AXIS=VALUE, joined by commas, not ''"),
        ("--only encoder=nope", "the study has no encoder 'nope'; it has: flowerformer, gin"),
        ("--only nope=gin", "unknown axis 'nope'; known: space, encoder, pretext"),
        ("--add encoder=nope", "unknown encoder 'nope'; known: .*digcn"),
        ("--add pretext=nope", "unknown pretext 'nope'; known: none, graphcl"),
        ("--add labels=0.2", "cannot add to the axis 'labels'"),
        ("--table tiny", "--table takes AXIS=VALUE"),
        ("--table nope=tiny", "a table is given for the space 'nope'"),
        ("--budget nope", "unknown budget 'nope'; known budgets: published, paper, two-cores"),
        ("--pretrain-epochs 0 | --finetune-epochs 0", "epochs"),
        ("--seeds 0", "seeds"),
        ("--splits 0", "splits"),
        ("--processes 0", "processes must be at least 1, not 0"),
    ],
    "tables add": [
        ("--space luck", "unknown space 'luck'"),
        ("--space darts", r"cells\.csv, line 2: "),
        ("--label-column luck", "has no column 'luck'; it has: accuracy"),
        ("--arch-column luck", "has no column 'luck'"),
        ("--label-column arch", "the column 'arch' of cells.csv is not all"),
        ("--name ../own | --name /own | --name nasbench201/analog", "cannot be kept as '"),
        ("--name nasbench101", "is the name of an official table"),
        ("--label-column accuracy --name '' ''", "are for your own files"),
    ],
    "tables write": [
        ("--out out.txt", "must end in"),
        ("--arch-column accuracy", "choose another name with --arch-column"),
    ],
    "": [
        ("nope", "No such command 'nope'"),
        ("--nope", "No such option: --nope"),
        ("--plugin nope.py spaces | --plugin cache spaces", "there is no file (nope.py|cache)"),
        ("finetune", r"Missing option '--input'.* \(see archflow finetune --help\)"),
        ("rank | report", "[Rr]anker|RANKER"),
        ("rank nope | report nope", "there is no file nope"),
        ("rank truncated-ranker.archflow | report truncated-ranker.archflow", "truncated"),
        ("rank foreign.archflow | rank cells.csv | rank empty.csv", "not an archflow file"),
        ("rank encoder.archflow", "it holds 'encoder'"),
        ("rank ranker.archflow --sample -1", "cannot draw -1 different architectures"),
        ("rank graphs-ranker.archflow --input cells.csv", r"cells\.csv, line 2: "),
        (
            "rank graphs-ranker.archflow --input cells.csv --space nasbench201",
            "graphs-ranker.archflow is a checkpoint for the space nasbench-graph, not for nasbench201",
        ),
        ("spaces nope", "unknown space 'nope'; known spaces: darts, .*nasbench-graph-proteins, .*nasbench201"),
        ("spaces --out out.csv", "[Nn]ame|NAME|space"),
        ("pretrain --space darts --overwrite | proxies --space darts", "darts is too large to be listed"),
        ("pretrain --space darts --sample 0 --overwrite", "cannot draw 0 different architectures"),
        ("pretrain --sample 15626 --overwrite", "cannot draw 15626 different architectures: nasbench201 has 15,625"),
        ("proxies --sample 0", "0"),
        ("proxies --space nasbench-nlp | proxies --space nasbench-macro", "has no networks for the space 'nasbench-"),
        (
            "proxies --space nasbench-nlp --sample 2",
            "has no networks for the space 'nasbench-nlp'; it has networks for: darts, ",
        ),
        ("evaluate --space nope", "unknown space 'nope'"),
        ("evaluate --table nope", "unknown table 'nope'"),
        ("evaluate --space nasbench201 --table nasbench-graph --proxy none", "nasbench201"),
        ("evaluate --space nasbench101", r"the table nasbench101 is made .*: archflow tables add nasbench101 PATH$"),
        ("evaluate --space darts --table tiny", "the table tiny belongs to the space nasbench201, not to darts$"),
        ("evaluate --table tiny --label-column luck", "has no column 'luck'; it has: accuracy"),
        ("evaluate --input cells.csv", "column"),
        ("reproduce nope", "unknown study 'nope'; known studies: table1, .*speed"),
        ("tables luck", "No such command 'luck'"),
        ("tables add", r"Missing argument 'TABLE'.* \(see archflow tables add --help\)"),
        ("tables add cells.csv", "give the search space of your own file with --space"),
        ("tables add nasbench101", "the path of the official file is missing"),
        ("tables add nasbench101 --space nasbench101", "must end in .csv, .jsonl or .parquet"),
        ("tables add nasbench101 absent", "there is no file absent"),
        ("tables add nasbench101 cells.csv --space nasbench201", "are for your own files"),
        ("tables add luck cells.csv", "unknown official table 'luck'"),
        ("tables add absent.csv --space nasbench201", "there is no file absent.csv"),
        ("tables add twice.csv --space nasbench201", "architecture 3 is the same network as architecture 1"),
        ("tables add cells.txt --space nasbench201", "must end in .csv, .jsonl or .parquet"),
        ("tables add folder.csv --space nasbench201", "there is no file folder.csv"),
        ("tables add 'two words.csv' --space nasbench201", "cannot be kept as 'two words'"),
        ("tables write tiny", "--out"),
        ("tables write luck --out out.csv", "unknown table 'luck'"),
        ("tables write nasbench101 --out out.csv", "archflow tables add nasbench101 PATH"),
    ],
}
"""For each verb, options added to its working command (alternatives joined by |), and a pattern of the message."""

READING = ("pretrain", "finetune", "rank", "suggest", "report", "evaluate", "proxies")
OUTPUT = {verb: os.path.splitext(words(verb)[-1])[1] for verb in WRITING if verb != "tables add"}
ALIKE = [
    (WORKING, "--nope", "No such option: --nope"),
    (WORKING, "--seed -1", "seed"),
    (COMPUTING, "--device abacus", "there is no device 'abacus' here"),
    (READING, "--space nope", "nope"),
    *(
        (READING, f"--input {file}", reason)
        for file, reason in (
            ("nope.csv", r"there is no file nope\.csv"),
            ("empty.csv", r"empty\.csv"),
            ("headings.csv", r"headings\.csv has no rows"),
            ("malformed.csv", r"malformed\.csv, line [23]: "),
            ("malformed.jsonl", r"malformed\.jsonl, line [12]: "),
            ("renamed.csv", r"renamed\.csv has no column 'arch'; it has: cell, accuracy"),
            ("graphs.csv", r"graphs\.csv, line 2: "),
        )
    ),
    *(([verb], f"--out cells.csv/folder/out{ending}", r"cells\.csv") for verb, ending in OUTPUT.items()),
    *(([verb], f"--out /proc/nope/out{ending}", "/proc") for verb, ending in OUTPUT.items()),
    (["pretrain", "finetune", "report"], "--out below", "below is a folder"),
    (
        ["spaces", "tables write", "rank", "suggest", "search", "proxies"],
        "--out folder.csv",
        r"folder\.csv is a folder",
    ),
]
"""Mistakes that several verbs have in common."""

MISTAKES = [(verb, more, reason) for verb, its in BAD.items() for each, reason in its for more in each.split(" | ")]
MISTAKES += [(verb, more, reason) for verbs, more, reason in ALIKE for verb in verbs]
LATE = {
    **{"demo": "--pretrain-epochs 0", "spaces": "--sample 0", "tables write": "--arch-column accuracy"},
    **{
        "proxies": "--size 0",
        "pretrain": "--hidden 0",
        "finetune": "--batch-size 1",
        "rank": "--device abacus",
        "suggest": "--top 99",
        "search": "--objective table:tiny:nope",
    },
    **{"report": "--label-column nope", "evaluate": "--label-column nope", "reproduce": "--seeds 0"},
}
"""Mistakes that are noticed only after all files are read."""


@pytest.mark.parametrize(("verb", "more", "reason"), MISTAKES, ids=[f"{verb} {more}" for verb, more, _ in MISTAKES])
def test_a_mistake_is_one_line_and_nothing_is_half_written(here, call, small_demo, verb, more, reason):
    before = contents(here), sorted(here.rglob("*"))
    call(*(words(verb, more) if verb else shlex.split(more))).assert_mistake(reason)
    assert (contents(here), sorted(here.rglob("*"))) == before


@pytest.mark.parametrize("verb", LATE)
def test_a_mistake_makes_no_folders(here, call, small_demo, verb):
    call(*words(verb, f"{LATE[verb]} --out new/deep/out{OUTPUT[verb]}")).assert_mistake("")
    assert not (here / "new").exists()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device here")
@pytest.mark.parametrize("verb", COMPUTING)
def test_a_missing_gpu(here, call, small_demo, verb):
    before = contents(here)
    call(*words(verb, "--device cuda")).assert_mistake("there is no device 'cuda' here.*use --device cpu$")
    assert contents(here) == before


@pytest.mark.parametrize("args", ["demo --out below", "evaluate", "report ranker.archflow --table nasbench201/analog"])
def test_a_missing_package_of_a_table(here, call, monkeypatch, args):
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name == "analognasbench" else find_spec(name, *rest)
    )
    before = contents(here)
    call(*args.split()).assert_mistake(".*pip install analog-nasbench")
    assert contents(here) == before


@pytest.mark.parametrize("verb", [*WRITING, "pretrain --checkpoint-seconds 0"])
def test_a_disk_that_fills_up(here, call, small_demo, monkeypatch, verb):
    def fail(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    name, _, more = verb.partition(" --")
    (here / "out.csv.partial").unlink()
    monkeypatch.setattr(archflow.support.files.os, "fsync", fail)
    before = contents(here)
    outcome = call(*words(name, f"--{more}" if more else ""))
    assert outcome.code == 2
    assert outcome.out == "" or name == "demo"  # which shows its results as they come
    assert outcome.lines[-1].startswith("archflow: No space left on device")
    assert not any(line.startswith("archflow:") for line in outcome.lines[:-1])
    assert "Traceback" not in outcome.err
    after = contents(here)
    assert {name: after.get(name) for name in before} == before
    assert PREVIOUS in after.values()
