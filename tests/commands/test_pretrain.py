"""``archflow pretrain``: equality with the function, every task, and interrupted or killed runs."""

import os
import re
import shutil
import signal
from pathlib import Path

import pytest
import torch

import archflow
import archflow.support.files
import archflow.support.progress
from archflow.benchmarks.own_tables import read_table, write_table
from archflow.encoding.files import load_encoder
from tests.commands import PREVIOUS, QUICK, SPACE, begin, contents, words


def weights(file):
    return torch.cat([tensor.flatten() for tensor in load_encoder(file)[0].state_dict().values()])


def test_it_equals_the_function_of_the_same_name(here, call):
    more = "--seed 5 --lambda1 0.25 --batch-size 16 --lr 0.01 --k 3 --proxy parameters"
    assert call(*words("pretrain", more)).code == 0
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


@pytest.mark.parametrize("encoder", archflow.encoders())
def test_an_encoder_has_its_own_default_size(here, call, encoder):
    args = f"pretrain --input one.csv --encoder {encoder} --proxy none --pretrain-epochs 1 --device cpu --out one"
    assert call(*args.split()).code == 0
    own = archflow.encoder(encoder, SPACE.vocabulary)
    assert load_encoder("one")[0].settings == own.settings


@pytest.mark.parametrize("task", archflow.tasks())
def test_pretraining_by_every_task(here, call, task):
    assert call(*words("pretrain", f"--task {task} --pretrain-epochs 1")).code == 0
    assert load_encoder("out.archflow")[1]["pretraining"]["task"] == task


@pytest.mark.parametrize("precision", ["bf16-mixed", "64-true"])
def test_an_encoder_of_any_precision_can_be_fine_tuned(here, call, precision):
    assert call(*words("pretrain", f"--precision {precision}")).code == 0
    assert {tensor.dtype for tensor in load_encoder("out.archflow")[0].state_dict().values()} == {torch.float32}
    assert call(*words("finetune", "--pretrained out.archflow --out ranker.archflow")).code == 0
    assert call(*words("rank")).code == 0


@pytest.mark.skipif(
    not (torch.distributed.is_available() and torch.distributed.is_gloo_available()), reason="torch has no gloo here"
)
def test_pretraining_in_two_processes(here, call, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    outcome = call(*words("pretrain", "--processes 2 --json"))
    assert outcome.code == 0
    assert outcome.json["settings"]["processes"] == 2
    assert load_encoder("out.archflow")[1]["space"] == "nasbench201"
    assert not Path("out.archflow.partial").exists()


def test_a_seed_fixes_the_weights(here, call):
    found = []
    for seed in (1, 1, 2):
        torch.manual_seed(77 + len(found))
        assert call(*words("pretrain", f"--seed {seed}")).code == 0
        found.append(weights("out.archflow"))
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])


def test_a_sample_of_a_space_that_cannot_be_listed(here, call):
    darts = archflow.space("darts")
    options = ("pretrain", "--space", "darts", "--seed", 4, *QUICK.split())
    assert call(*options, "--sample", 30, "--out", "sampled").out.startswith("pre-trained on 30 architectures")
    write_table("own.csv", {"arch": darts.format(darts.sample(30, seed=4))})
    assert call(*options, "--input", "own.csv", "--out", "listed").code == 0
    assert torch.equal(weights("sampled"), weights("listed"))


# Interrupting and resuming

LONG = "pretrain --input cells.csv --hidden 8 --layers 2 --device cpu --pretrain-epochs 100 --batch-size 4"
LONG = [*LONG.split(), "--out", "long.archflow"]
"""1,500 steps: some seconds."""


@pytest.fixture(scope="module")
def uninterrupted(made, tmp_path_factory):
    """The encoder of an uninterrupted run."""
    path = tmp_path_factory.mktemp("uninterrupted") / "encoder"
    with begin(*LONG[:-1], path, cwd=made) as process:
        assert process.wait() == 0
    return load_encoder(path)


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
    assert torch.equal(
        weights("long.archflow"), torch.cat([t.flatten() for t in uninterrupted[0].state_dict().values()])
    )
    assert load_encoder("long.archflow")[1] == uninterrupted[1]


def test_ctrl_c(here, call, uninterrupted):
    (here / "long.archflow").write_bytes(PREVIOUS)
    with begin(*LONG, "--overwrite") as process:
        first = process.stderr.readline()
        process.send_signal(signal.SIGINT)
        rest, out = process.stderr.read(), process.stdout.read()
    assert first.startswith("pre-training: 4/6,000")
    assert (process.returncode, out) == (130, "")
    lines = [line for line in rest.splitlines() if not line.startswith("pre-training: ")]
    assert lines == ["archflow: interrupted; --resume resumes from what was saved"]
    assert (here / "long.archflow").read_bytes() == PREVIOUS
    assert_resumes(call, uninterrupted)


def test_a_kill(here, call, uninterrupted):
    with begin(*LONG, "--checkpoint-seconds", "0") as process:
        first = process.stderr.readline()
        while not (here / "long.archflow.partial").exists() and process.poll() is None:
            pass
        process.kill()
        process.stderr.read()
    assert first.startswith("pre-training: 4/6,000")
    assert process.returncode == -signal.SIGKILL
    assert not (here / "long.archflow").exists()
    assert_resumes(call, uninterrupted)


def test_resuming_without_a_checkpoint_starts_from_scratch(here, call):
    assert call(*words("pretrain", "--resume")).code == 0
    assert torch.equal(weights("out.archflow"), weights("encoder.archflow"))


@pytest.fixture
def partial(here, call, monkeypatch):
    """An unfinished run of the working command."""

    class Interrupting(archflow.support.progress.Display):
        def __call__(self, *told):
            super().__call__(*told)
            os.kill(os.getpid(), signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(archflow.support.progress, "Display", Interrupting)
        outcome = call(*words("pretrain"))
    assert (outcome.code, outcome.out) == (130, "")
    assert (here / "out.archflow").read_bytes() == PREVIOUS
    return here / "out.archflow.partial"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ("--pretrain-epochs 3", "epochs was 2, is 3"),
        ("--seed 1", ".*seed was 0, is 1"),
        ("--hidden 16", ""),
        ("--proxy accuracy", ""),
        ("--input some.jsonl", ""),
    ],
)
def test_resuming_another_run(here, call, partial, change, reason):
    before = contents(here)
    outcome = call(*words("pretrain", f"{change} --resume"))
    outcome.assert_mistake(f"out.archflow.partial is the checkpoint of another run: {reason}")
    assert contents(here) == before


def test_resuming_from_a_damaged_file(here, call, partial):
    content = partial.read_bytes()
    for damaged in (b"", content[:100], content[: len(content) // 2], content[:-1], bytes(2_000)):
        partial.write_bytes(damaged)
        before = contents(here)
        outcome = call(*words("pretrain", "--resume"))
        outcome.assert_mistake(r"out\.archflow\.partial is truncated or not an archflow file")
        assert contents(here) == before
    shutil.copy("encoder.archflow", partial)
    outcome = call(*words("pretrain", "--resume"))
    assert outcome.err == ("archflow: out.archflow.partial is not an archflow 'pretraining' file: it holds 'encoder'\n")
