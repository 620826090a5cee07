import itertools
import json
import random
import re
import signal
import subprocess
import sys
import time
from dataclasses import asdict, dataclass, field
from typing import ClassVar

import numpy as np
import pytest
import safetensors.torch
import torch

from archflow import FGP, ArchBatch, FlowDraw, encoder
from archflow.pretraining.loop import PretrainSettings, _seed
from archflow.support.files import load_tensors, save_tensors
from tests.pretraining import (
    ARCHS,
    DRAW,
    PROXY,
    STEPS,
    InterruptAt,
    assert_equal,
    new,
    run,
    weights_of,
)
from tests.strategies import VOCABULARY, random_graphs


def task(**settings):
    return FGP(**{"draw": DRAW, "proxy": PROXY, **settings})


@pytest.fixture(scope="module")
def uninterrupted():
    model = new()
    outcome = run(model)
    return weights_of(model), outcome


# Learning


@dataclass(frozen=True, eq=False)
class Watched(FGP):
    """FGP that records, before each step, the minibatch, a weight, and PyTorch's next random number."""

    name: ClassVar[str] = "watched"
    arrays: ClassVar[tuple[str, ...]] = ("draw", "proxy", "minibatches", "weights", "numbers")

    draw: FlowDraw = DRAW
    minibatches: list = field(default_factory=list)
    weights: list = field(default_factory=list)
    numbers: list = field(default_factory=list)

    def build(self, model, archs):
        def note(objective, arguments):
            self.minibatches.append(list(arguments[0]))
            self.weights.append(objective.encoder.embed.weight.detach().clone())
            self.numbers.append(float(torch.rand(())))

        objective = super().build(model, archs)
        objective.register_forward_pre_hook(note)
        return objective


def test_each_epoch_goes_through_all_architectures_once_in_another_order():
    watched = Watched()
    run(new(), watched)
    assert [len(minibatch) for minibatch in watched.minibatches] == [16, 16, 16, 2] * 3
    orders = [sum(watched.minibatches[start : start + STEPS], []) for start in range(0, 3 * STEPS, STEPS)]  # noqa: RUF017
    assert [sorted(order) for order in orders] == [list(range(50))] * 3
    assert list(range(50)) not in orders
    assert orders[0] != orders[1] != orders[2] != orders[0]
    again, other = Watched(), Watched()
    run(new(), again)
    assert again.minibatches == watched.minibatches
    run(new(), other, seed=1)
    assert other.minibatches != watched.minibatches


def test_the_random_numbers_of_a_step_are_a_function_of_seed_step_and_process(tmp_path):
    watched, again, other, resumed = (Watched() for _ in range(4))
    run(new(), watched)
    assert len(set(watched.numbers)) == 3 * STEPS
    torch.manual_seed(7)
    run(new(), again, progress=lambda *_: torch.rand(9))
    assert again.numbers == watched.numbers
    run(new(), other, seed=1)
    assert not set(other.numbers) & set(watched.numbers)
    with pytest.raises(KeyboardInterrupt):
        run(new(), Watched(), checkpoint=tmp_path / "checkpoint", progress=InterruptAt(5))
    run(new(), resumed, checkpoint=tmp_path / "checkpoint", resume=True)
    assert resumed.numbers == watched.numbers[5:]
    with torch.random.fork_rng(devices=[]):
        _seed(torch.device("cpu"), seed=0, step=1, rank=0)
        assert float(torch.rand(())) == watched.numbers[1]
        _seed(torch.device("cpu"), seed=0, step=1, rank=1)
        assert float(torch.rand(())) not in watched.numbers


def test_progress_counts_architectures():
    calls = []
    run(new(), progress=lambda *args: calls.append(args))
    assert calls[-1] == ("pre-training", 150, 150)
    assert [done for _, done, _ in calls[:5]] == [16, 32, 48, 50, 66]
    assert len(calls) == 3 * STEPS


def test_the_learning_rate_falls_to_zero_along_a_half_cosine():
    """Adam's first step is about the learning rate, and no step is much larger."""
    model, watched = new(), Watched()
    run(model, watched, epochs=1, batch_size=5, lr=0.01)
    weights = [*watched.weights, model.embed.weight.detach()]
    moves = [float((after - before).abs().max()) for before, after in itertools.pairwise(weights)]
    assert len(moves) == 10
    assert moves[0] == pytest.approx(0.01, rel=0.01)
    for step, move in enumerate(moves):
        assert 0 < move < 1.5 * 0.01 * 0.5 * (1 + np.cos(np.pi * step / 10))


@pytest.mark.parametrize("batch_size", [1, 50, 1_000])
def test_any_batch_size(batch_size):
    outcome = run(new(), batch_size=batch_size, epochs=1)
    assert np.isfinite(outcome.losses["reconstruction"]).all()


def test_the_callers_random_generators_are_unchanged(tmp_path):
    model, fgp = new(), task()
    torch.manual_seed(5)
    np.random.seed(5)  # noqa: NPY002 - the legacy generator must not change either
    random.seed(5)
    before = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()  # noqa: NPY002
    run(model, fgp, checkpoint=tmp_path / "checkpoint")
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.array_equal(np.random.get_state()[1], before[1])  # noqa: NPY002
    assert random.getstate() == before[2]


# Batch norm and dropout


@pytest.fixture(scope="module")
def with_dropout():
    model = new("flowerformer")
    outcome = run(model)
    return weights_of(model), outcome


@pytest.mark.parametrize("training", [True, False])
def test_training_is_in_training_mode_and_ends_in_evaluation_mode(with_dropout, training):
    model = new("flowerformer").train(training)
    assert run(model).losses == with_dropout[1].losses
    assert_equal(model, with_dropout[0])
    assert not any(part.training for part in model.modules())


def test_running_averages_are_returned():
    model = new("flowerformer")
    before = weights_of(model)
    run(model)
    for name, tensor in model.state_dict().items():
        assert tensor.dtype == before[name].dtype
        if name.endswith("num_batches_tracked"):
            assert tensor.dtype == torch.int64
            assert tensor == 3 * STEPS
        elif "running" in name:
            assert not torch.equal(tensor, before[name])


@pytest.mark.parametrize("step", [1, STEPS + 1])
def test_the_encoder_of_an_interrupted_run_can_be_reused(tmp_path, with_dropout, step):
    """Its running averages are no longer the initial ones."""
    model, path = new("flowerformer"), tmp_path / "checkpoint"
    with pytest.raises(KeyboardInterrupt):
        run(model, checkpoint=path, checkpoint_seconds=3600, progress=InterruptAt(step))
    assert model.norm.num_batches_tracked == step
    outcome = run(model, checkpoint=path, resume=True)
    assert outcome.losses == with_dropout[1].losses
    assert_equal(model, with_dropout[0])


# Bad settings


@pytest.mark.parametrize(
    ("setting", "values"),
    [
        ("epochs", [0, 10**30, 2.5, "many"]),
        ("batch_size", [0, 10**400, None]),
        ("processes", [0, 10**9, True]),
        ("lr", [0.0, float("nan"), float("inf"), 10**400, "small"]),
        ("weight_decay", [-1.0, float("nan"), [0]]),
        ("seed", [-1, 2**63, 10**5000, 0.5]),
        ("precision", [32, "16-true", "bf16-true"]),
    ],
)
def test_invalid_settings(setting, values):
    model = new()
    for value in values:
        with pytest.raises(ValueError, match=setting) as caught:
            run(model, **{setting: value})
        assert len(str(caught.value)) < 200
        assert "\n" not in str(caught.value)
    assert_equal(model, weights_of(new()))


def test_numpy_numbers_are_accepted():
    settings = PretrainSettings(epochs=np.int64(3), lr=np.float32(0.5), seed=np.uint8(4), weight_decay=0)
    assert json.loads(json.dumps(asdict(settings))) == asdict(settings)
    assert settings == PretrainSettings(epochs=3, lr=0.5, seed=4, weight_decay=0.0)


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"precision": "12-bits"}, "12-bits"),
        ({"device": "abacus"}, "there is no device 'abacus' here"),
        ({"device": f"cuda:{torch.cuda.device_count()}"}, "there is no device 'cuda"),
        (
            {"archs": ArchBatch.from_graphs(random_graphs(50, seed=0), VOCABULARY)},
            "the architectures are of another sp",
        ),
        ({"resume": True}, "there is nothing to resume from without a checkpoint file"),
        ({"lr": 1e30}, r"diverged.*lr"),
    ],
    ids=["precision", "device", "GPU", "space", "resume", "diverged"],
)
def test_impossible_requests(settings, reason):
    with pytest.raises(ValueError, match=reason):
        run(new(), **settings)


# Interrupting and resuming


@pytest.mark.parametrize("step", [1, 3, STEPS, STEPS + 2, 3 * STEPS - 1, 3 * STEPS])
def test_ctrl_c_leaves_a_checkpoint_that_resumes_bit_for_bit(tmp_path, uninterrupted, step):
    path = tmp_path / "checkpoint"
    handler = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        run(new(), checkpoint=path, checkpoint_seconds=3600, progress=InterruptAt(step))
    assert signal.getsignal(signal.SIGINT) is handler
    assert [entry.name for entry in tmp_path.iterdir()] == ["checkpoint"]
    model, calls = new(seed=9), []
    outcome = run(model, checkpoint=path, resume=True, progress=lambda *args: calls.append(args))
    assert_equal(model, uninterrupted[0])
    assert outcome.losses == uninterrupted[1].losses
    assert len(calls) == 3 * STEPS - step


def test_repeated_ctrl_c_at_random_times(tmp_path, uninterrupted):
    rng, path, attempts = random.Random(3), tmp_path / "checkpoint", 0
    while True:
        model = new(seed=attempts)
        try:
            outcome = run(
                model if attempts else new(),
                checkpoint=path,
                checkpoint_seconds=3600,
                resume=True,
                progress=InterruptAt(rng.randint(1, 4)),
            )
            break
        except KeyboardInterrupt:
            attempts += 1
    assert attempts >= 3
    assert_equal(model, uninterrupted[0])
    assert outcome.losses == uninterrupted[1].losses


def test_ctrl_c_without_a_checkpoint():
    with pytest.raises(KeyboardInterrupt):
        run(new(), progress=InterruptAt(2))


def test_resuming_in_half_precision(tmp_path):
    settings = {"precision": "bf16-mixed", "task": task(proxy=None, draw=FlowDraw.sample(7, k=3)), "seed": 8}
    run(expected := new(), **settings)
    path = tmp_path / "checkpoint"
    with pytest.raises(KeyboardInterrupt):
        run(new(), checkpoint=path, progress=InterruptAt(6), **settings)
    run(model := new(seed=3), checkpoint=path, resume=True, **settings)
    assert_equal(model, weights_of(expected))


SCRIPT = """
import sys, time
from tests.pretraining import new, run
run(new(), checkpoint=sys.argv[1], checkpoint_seconds=0, progress=lambda *_: time.sleep(0.25))
"""


def test_a_killed_process_is_resumed_bit_for_bit(tmp_path, uninterrupted):
    path = tmp_path / "checkpoint"
    command = [sys.executable, "-c", SCRIPT, str(path)]
    with subprocess.Popen(command, stderr=subprocess.PIPE) as process:
        while not path.exists() and process.poll() is None:
            time.sleep(0.05)
        time.sleep(random.random())
        process.kill()
        errors = process.stderr.read().decode()
    assert process.returncode == -signal.SIGKILL, errors
    calls = []
    outcome = run(model := new(seed=4), checkpoint=path, resume=True, progress=lambda *args: calls.append(args))
    assert 0 < len(calls) < 3 * STEPS
    assert_equal(model, uninterrupted[0])
    assert outcome.losses == uninterrupted[1].losses


def test_seconds_add_up_over_resumptions(tmp_path):
    path, interrupt = tmp_path / "checkpoint", InterruptAt(3)
    with pytest.raises(KeyboardInterrupt):
        run(new(), checkpoint=path, progress=lambda *args: (time.sleep(0.5), interrupt(*args)))
    assert run(new(), checkpoint=path, resume=True).seconds > 1


def test_checkpoints_are_written_periodically(tmp_path):
    path, seen = tmp_path / "checkpoint", []
    run(new(), checkpoint=path, checkpoint_seconds=0, progress=lambda *_: seen.append(path.exists()))
    assert seen == [False] + [True] * (3 * STEPS - 1)


def test_without_resume_a_checkpoint_is_overwritten(tmp_path, uninterrupted):
    path = tmp_path / "checkpoint"
    path.write_bytes(b"something else")
    run(model := new(), checkpoint=path, checkpoint_seconds=0)
    assert_equal(model, uninterrupted[0])
    run(model := new(seed=2), checkpoint=path, resume=True)
    assert_equal(model, uninterrupted[0])


def test_resume_without_a_checkpoint_starts_a_new_run(tmp_path, uninterrupted):
    run(model := new(), checkpoint=tmp_path / "checkpoint", resume=True)
    assert_equal(model, uninterrupted[0])


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    path = tmp_path_factory.mktemp("pretraining") / "checkpoint"
    with pytest.raises(KeyboardInterrupt):
        run(new(), checkpoint=path, progress=InterruptAt(5))
    return path


@pytest.mark.parametrize(
    ("what", "settings"),
    [
        ("epochs was 3, is 4", {"epochs": 4}),
        ("batch_size was 16, is 8", {"batch_size": 8}),
        ("lr was 0.001, is 0.01", {"lr": 0.01}),
        ("weight_decay", {"weight_decay": 0.0}),
        ("seed was 0, is 1", {"seed": 1}),
        ("precision", {"precision": "bf16-mixed"}),
        ("encoder was 'resgatedgcn', is 'gin'", {"model": {"name": "gin"}}),
        ("data", {"task": {"draw": FlowDraw.sample(7, seed=1)}}),
        ("data", {"task": {"proxy": -PROXY}}),
        ("data", {"archs": ARCHS[np.arange(50)[::-1]]}),
        ("architectures was 50, is 49", {"archs": ARCHS[:49], "task": {"proxy": PROXY[:49]}}),
    ],
    ids=str,
)
def test_resuming_another_run(checkpoint, what, settings):
    content = checkpoint.read_bytes()
    settings = dict(settings)
    model, other = new(**settings.pop("model", {})), task(**settings.pop("task", {}))
    before = weights_of(model)
    with pytest.raises(ValueError, match=f"is the checkpoint of another run: .*{what}"):
        run(model, other, checkpoint=checkpoint, resume=True, **settings)
    assert_equal(model, before)
    assert checkpoint.read_bytes() == content


def test_resuming_in_another_space(checkpoint):
    archs = ArchBatch.from_graphs(random_graphs(50, seed=0, max_nodes=12), VOCABULARY)
    model = encoder("resgatedgcn", VOCABULARY, hidden=16, layers=2)
    with pytest.raises(ValueError, match=r"is the checkpoint of another run: .*vocabulary"):
        run(model, task(draw=FlowDraw.sample(len(VOCABULARY))), archs, checkpoint=checkpoint, resume=True)


def test_resuming_from_a_damaged_file(checkpoint, tmp_path):
    path, content = tmp_path / "checkpoint", checkpoint.read_bytes()
    for length in (0, 8, 300, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:length])
        with pytest.raises(ValueError, match=re.escape(f"{path} is truncated or not an archflow file")):
            run(new(), checkpoint=path, resume=True)
    ARCHS.save(path)
    with pytest.raises(ValueError, match="not an archflow 'pretraining' file: it holds 'archs'"):
        run(new(), checkpoint=path, resume=True)


def assert_refused(path, reason):
    """The message is one short line that names the file, and the encoder is unchanged."""
    model = new(seed=3)
    with pytest.raises(ValueError, match=reason) as caught:
        run(model, checkpoint=path, resume=True)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 2_000
    assert_equal(model, weights_of(new(seed=3)))


def test_a_checkpoint_whose_settings_are_wrong(checkpoint, tmp_path):
    path = tmp_path / "checkpoint"
    tensors, found = load_tensors(checkpoint, "pretraining")

    def write(text):
        path.write_bytes(safetensors.torch.save(tensors, {"archflow": "pretraining", "settings": text}))

    for text in ("", "{", "null", "[1]", "7", "{}", '{"run": 1}', "[" * 100_000, '{"run":' * 50_000):
        write(text)
        assert_refused(path, "is damaged: ")
    path.write_bytes(safetensors.torch.save(tensors, {"archflow": "pretraining"}))
    assert_refused(path, "is damaged: its settings cannot be read")
    path.write_bytes(safetensors.torch.save(tensors, {"archflow": "a" * 10**6, "settings": "{}"}))
    assert_refused(path, "is not an archflow 'pretraining' file")
    wrong = [None, [], {}, "x" * 10**6, -1, 10**30, True, float("inf"), float("nan"), [[[[]]]], {"a": {"b": 1}}]
    for part, reason in (("progress", "is damaged: "), ("run", "is the checkpoint of another run: ")):
        for name in found[part]:
            write(json.dumps(found | {part: {key: value for key, value in found[part].items() if key != name}}))
            assert_refused(path, reason)
            for value in wrong:
                if value != found[part][name]:
                    write(json.dumps(found | {part: found[part] | {name: value}}))
                    assert_refused(path, reason)
        write(json.dumps({key: value for key, value in found.items() if key != part}))
        assert_refused(path, "is damaged: ")
    for progress in ({"odd": 1}, {"step": 6}, {"step": 3}, {"losses": {"proxies": ["x"]}}, {"losses": {"proxies": 1}}):
        write(json.dumps(found | {"progress": found["progress"] | progress}))
        assert_refused(path, "is damaged: ") if progress != {"step": 6} else run(new(), checkpoint=path, resume=True)


def test_a_checkpoint_whose_tensors_are_wrong(checkpoint, tmp_path):
    path = tmp_path / "checkpoint"
    tensors, found = load_tensors(checkpoint, "pretraining")
    for name, tensor in random.Random(0).sample(sorted(tensors.items()), 8):
        others = {key: other for key, other in tensors.items() if key != name}
        if not name.startswith("sums."):
            save_tensors(path, "pretraining", others, found)
            assert_refused(path, "is damaged: .*is missing")
        for odd in (tensor.double(), tensor.to(torch.int64), tensor[None], tensor.new_zeros(3, 3, 3)):
            save_tensors(path, "pretraining", {**others, name: odd}, found)
            assert_refused(path, "is damaged: ")
        for odd in (f"{name}.more", f"x{name}", name * 10_000, "optimizer.x.step", "optimizer.99999.step"):
            if not odd.startswith("sums."):
                save_tensors(path, "pretraining", {**others, odd: tensor}, found)
                assert_refused(path, "is damaged: ")


def test_a_flipped_byte_in_the_header_is_refused_or_does_no_harm(checkpoint, tmp_path):
    rng, path, content = random.Random(1), tmp_path / "checkpoint", checkpoint.read_bytes()
    header = 8 + int.from_bytes(content[:8], "little")
    for _ in range(150):
        flipped = bytearray(content)
        flipped[rng.randrange(header)] ^= 1 << rng.randrange(8)
        path.write_bytes(flipped)
        try:
            run(new(), checkpoint=path, resume=True)
        except ValueError as error:
            assert "\n" not in str(error)  # noqa: PT017 - some flips change nothing that matters
            assert len(str(error)) < 2_000  # noqa: PT017


def test_a_checkpoint_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("text")
    with pytest.raises(OSError, match="file"):
        run(new(), checkpoint=tmp_path / "file" / "checkpoint", checkpoint_seconds=0)
    assert (tmp_path / "file").read_text() == "text"


# Several processes


@pytest.mark.skipif(
    not (torch.distributed.is_available() and torch.distributed.is_gloo_available()), reason="torch has no gloo here"
)
def test_two_processes_learn_the_same_as_one(monkeypatch, tmp_path):
    """The reconstruction is a mean over architectures, so two halves of a minibatch give the gradient of the whole."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    settings = {"archs": ARCHS[:48], "task": task(lambda2=0, proxy=None), "lr": 1e-2}
    alone = run(expected := new(), **settings)
    together = run(model := new(), **settings, processes=2, checkpoint=tmp_path / "checkpoint", checkpoint_seconds=0)
    for name, tensor in model.state_dict().items():
        torch.testing.assert_close(tensor, expected.state_dict()[name], rtol=1e-4, atol=1e-5)
    assert np.isfinite(together.losses["reconstruction"]).all()
    assert together.losses["reconstruction"] == pytest.approx(alone.losses["reconstruction"], rel=1e-3)
    assert (tmp_path / "checkpoint").exists()


@pytest.mark.skipif(
    not (torch.distributed.is_available() and torch.distributed.is_gloo_available()), reason="torch has no gloo here"
)
def test_two_processes_and_a_last_minibatch_of_one(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    model = new("flowerformer")
    outcome = run(model, archs=ARCHS[:33], task=task(proxy=PROXY[:33]), epochs=2, processes=2)
    assert np.isfinite(outcome.losses["reconstruction"]).all()
    assert model.norm.num_batches_tracked.dtype == torch.int64
    assert model.norm.num_batches_tracked == 6
    assert model.norm.running_var.isfinite().all()
