import itertools
import random
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch

from archflow import FGP, ArchBatch, FlowDraw, encoder, flow_surrogate
from archflow.pretraining.loop import _seed
from tests.strategies import VOCABULARY, random_graphs


def task(**settings):
    return FGP(**{"draw": DRAW, "proxy": PROXY, **settings})


@pytest.fixture(scope="module")
def uninterrupted():
    model = new()
    outcome = run(model)
    return weights_of(model), outcome


# Learning


def test_the_loss_goes_down():
    model = new()
    before = weights_of(model)
    outcome = run(model, epochs=25, lr=5e-3)
    assert outcome.losses.keys() == {"reconstruction", "proxies"}
    for losses in outcome.losses.values():
        assert len(losses) == 25
        assert losses[-1] < 0.8 * losses[0]
    assert outcome.seconds > 0
    assert any(not torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert all(tensor.device.type == "cpu" for tensor in model.state_dict().values())


@pytest.mark.parametrize(
    ("settings", "left"),
    [
        ({"lambda1": 0}, {"proxies"}),
        ({"lambda2": 0}, {"reconstruction"}),
        ({"proxy": None}, {"reconstruction"}),
        ({"lambda2": 0, "proxy": None}, {"reconstruction"}),
    ],
    ids=str,
)
def test_either_part_may_be_off(settings, left):
    outcome = run(new(), task(**settings), epochs=1)
    assert outcome.losses.keys() == left
    assert all(np.isfinite(losses[0]) for losses in outcome.losses.values())


@pytest.mark.parametrize("settings", [{"lambda1": 0, "lambda2": 0}, {"lambda1": 0, "proxy": None}], ids=str)
def test_both_parts_off(settings):
    model = new()
    before = weights_of(model)
    with pytest.raises(ValueError, match="nothing to learn"):
        run(model, task(**settings))
    assert_equal(model, before)


def test_the_weights_of_the_terms_scale_the_loss():
    once, twice = (run(new(), task(lambda1=weight, lambda2=0), lr=1e-12, epochs=1) for weight in (0.5, 1.0))
    assert twice.losses["reconstruction"][0] == pytest.approx(2 * once.losses["reconstruction"][0], rel=1e-4)


def test_the_standardised_surrogate_of_an_untrained_decoder_loses_about_one_for_each_coordinate():
    draw = FlowDraw.sample(len(SPACE.vocabulary), k=5)
    varying = int((flow_surrogate(ARCHS, draw).std(0) > 1e-6).sum())
    outcome = run(new(), task(draw=draw, lambda1=1.0, lambda2=0), lr=1e-12, epochs=1)
    assert outcome.losses["reconstruction"][0] == pytest.approx(varying / 5, rel=0.25)
    plain = run(new(), task(draw=draw, lambda1=1.0, lambda2=0, standardise=False), epochs=60, lr=1e-2)
    assert plain.losses["reconstruction"][-1] < 0.05 * varying / 5


def test_the_seed_fixes_the_run(uninterrupted):
    weights, outcome = uninterrupted
    model = new()
    assert run(model).losses == outcome.losses
    assert_equal(model, weights)
    other = new()
    run(other, seed=1)
    assert not torch.equal(other.embed.weight, weights["embed.weight"])


def test_the_order_of_a_proxy_matters_and_not_its_scale(uninterrupted):
    weights, _ = uninterrupted
    model = new()
    run(model, task(proxy=np.log(PROXY) * 1e9))
    assert_equal(model, weights)
    run(model := new(), task(proxy=-PROXY))
    assert not torch.equal(model.embed.weight, weights["embed.weight"])


def test_several_proxies(uninterrupted):
    run(model := new(), task(proxy=PROXY[:, None]))
    assert_equal(model, uninterrupted[0])
    both = np.stack([PROXY, -SPACE.flops(ARCHS).astype(float)], axis=1)
    both[::3, 1] = np.nan
    outcome = run(model := new(), task(proxy=both), epochs=10, lr=5e-3)
    assert outcome.losses["proxies"][-1] < 0.8 * outcome.losses["proxies"][0]
    assert not torch.equal(model.embed.weight, uninterrupted[0]["embed.weight"])


def test_a_proxy_may_be_unknown_for_some():
    proxy = PROXY.astype(float)
    proxy[::3] = np.nan
    outcome = run(new(), task(proxy=proxy), epochs=2)
    assert np.isfinite(outcome.losses["proxies"]).all()
    assert outcome.losses["proxies"][0] > 0


def test_any_directed_acyclic_graphs():
    graphs = random_graphs(40, seed=1, max_nodes=12)
    archs = ArchBatch.from_graphs(graphs, VOCABULARY)
    model = encoder("resgatedgcn", VOCABULARY, hidden=8, layers=2)
    outcome = run(model, FGP(FlowDraw.sample(len(VOCABULARY))), archs)
    assert np.isfinite(outcome.losses["reconstruction"]).all()


class Recording:
    """A task that notes which architectures each minibatch holds, and a weight before each step."""

    def __init__(self):
        self.minibatches, self.weights = [], []

    def build(self, model, archs):
        def note(objective, arguments):
            self.minibatches.append(list(arguments[0]))
            self.weights.append(objective.encoder.embed.weight.detach().clone())

        objective = task().build(model, archs)
        objective.register_forward_pre_hook(note)
        return objective

    def describe(self):
        return {"task": "recording"}


def test_each_epoch_goes_through_all_architectures_once_in_another_order():
    recording = Recording()
    run(new(), recording)
    assert [len(minibatch) for minibatch in recording.minibatches] == [16, 16, 16, 2] * 3
    orders = [sum(recording.minibatches[start : start + STEPS], []) for start in range(0, 3 * STEPS, STEPS)]  # noqa: RUF017
    assert [sorted(order) for order in orders] == [list(range(50))] * 3
    assert list(range(50)) not in orders
    assert orders[0] != orders[1] != orders[2] != orders[0]
    again, other = Recording(), Recording()
    run(new(), again)
    assert again.minibatches == recording.minibatches
    run(new(), other, seed=1)
    assert other.minibatches != recording.minibatches


def test_progress_counts_architectures():
    told = []
    run(new(), progress=lambda *args: told.append(args))
    assert told[-1] == ("pre-training", 150, 150)
    assert [done for _, done, _ in told[:5]] == [16, 32, 48, 50, 66]
    assert len(told) == 3 * STEPS


def test_the_learning_rate_falls_to_zero_along_a_half_cosine():
    """Adam moves the weights by about the learning rate at first, and never by much more."""
    model, recording = new(), Recording()
    run(model, recording, epochs=1, batch_size=5, lr=0.01)
    weights = [*recording.weights, model.embed.weight.detach()]
    moves = [float((after - before).abs().max()) for before, after in itertools.pairwise(weights)]
    assert len(moves) == 10
    assert moves[0] == pytest.approx(0.01, rel=0.01)
    for step, move in enumerate(moves):
        assert 0 < move < 1.5 * 0.01 * 0.5 * (1 + np.cos(np.pi * step / 10))


@pytest.mark.parametrize("batch_size", [1, 50, 1_000])
def test_any_batch_size(batch_size):
    outcome = run(new(), batch_size=batch_size, epochs=1)
    assert np.isfinite(outcome.losses["reconstruction"]).all()


def test_random_generators_of_the_caller_are_left_alone(tmp_path):
    model, fgp = new(), task()
    torch.manual_seed(5)
    np.random.seed(5)  # noqa: NPY002 - this is what must not move
    random.seed(5)
    before = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()  # noqa: NPY002
    run(model, fgp, checkpoint=tmp_path / "checkpoint")
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.array_equal(np.random.get_state()[1], before[1])  # noqa: NPY002
    assert random.getstate() == before[2]


def test_the_callers_random_state_does_not_matter(uninterrupted):
    model = new()
    torch.manual_seed(77)
    run(model)
    assert_equal(model, uninterrupted[0])


def test_half_precision():
    outcome = run(model := new(), precision="bf16-mixed", epochs=10, lr=5e-3)
    assert outcome.losses["reconstruction"][-1] < outcome.losses["reconstruction"][0]
    assert all(tensor.dtype == torch.float32 for tensor in model.state_dict().values())
    assert outcome.settings["precision"] == "bf16-mixed"


# Batch norm and dropout


def flowerformer(seed=0):
    torch.manual_seed(seed)
    return encoder("flowerformer", SPACE.vocabulary, hidden=16, layers=2)


@pytest.fixture(scope="module")
def with_dropout():
    model = flowerformer()
    outcome = run(model)
    return weights_of(model), outcome


@pytest.mark.parametrize("training", [True, False])
def test_training_is_in_training_mode_and_evaluation_mode_comes_behind(with_dropout, training):
    model = flowerformer().train(training)
    assert run(model).losses == with_dropout[1].losses
    assert_equal(model, with_dropout[0])
    assert not any(part.training for part in model.modules())


def test_running_averages_come_back():
    model = flowerformer()
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
def test_the_encoder_of_an_interrupted_run_may_be_handed_in_again(tmp_path, with_dropout, step):
    """Its running averages are no longer those that the run began with."""
    model, path = flowerformer(), tmp_path / "checkpoint"
    with pytest.raises(KeyboardInterrupt):
        run(model, checkpoint=path, checkpoint_seconds=3600, progress=InterruptAt(step))
    assert model.norm.num_batches_tracked == step
    outcome = run(model, checkpoint=path, resume=True)
    assert outcome.losses == with_dropout[1].losses
    assert_equal(model, with_dropout[0])


class Noting:
    """A task that notes the next of PyTorch's random numbers in each step."""

    def __init__(self):
        self.numbers = []

    def build(self, model, archs):
        objective = task().build(model, archs)
        objective.register_forward_pre_hook(lambda *_: self.numbers.append(float(torch.rand(()))))
        return objective

    def describe(self):
        return {"task": "noting"}


def test_the_random_numbers_of_a_step_are_a_function_of_seed_step_and_process(tmp_path):
    noting, again, other, sitting = (Noting() for _ in range(4))
    run(new(), noting)
    assert len(set(noting.numbers)) == 3 * STEPS
    torch.manual_seed(7)
    run(new(), again, progress=lambda *_: torch.rand(9))
    assert again.numbers == noting.numbers
    run(new(), other, seed=1)
    assert not set(other.numbers) & set(noting.numbers)
    with pytest.raises(KeyboardInterrupt):
        run(new(), Noting(), checkpoint=tmp_path / "checkpoint", progress=InterruptAt(5))
    run(new(), sitting, checkpoint=tmp_path / "checkpoint", resume=True)
    assert sitting.numbers == noting.numbers[5:]
    with torch.random.fork_rng(devices=[]):
        _seed(torch.device("cpu"), seed=0, step=1, rank=0)
        assert float(torch.rand(())) == noting.numbers[1]
        _seed(torch.device("cpu"), seed=0, step=1, rank=1)
        assert float(torch.rand(())) not in noting.numbers


def test_half_precision_with_batch_norm():
    outcome = run(model := flowerformer(), precision="bf16-mixed", epochs=10, lr=5e-3)
    assert outcome.losses["reconstruction"][-1] < outcome.losses["reconstruction"][0]
    assert model.norm.num_batches_tracked.dtype == torch.int64
    assert model.norm.running_mean.dtype == torch.float32


# Bad settings


@pytest.mark.parametrize(
    ("proxy", "reason"),
    [
        (PROXY[:-1], r"the proxy has shape \(49,\), but there are 50 architectures"),
        (PROXY[None], r"the proxy has shape \(1, 50\)"),
        (np.zeros((50, 2, 2)), r"the proxy has shape \(50, 2, 2\)"),
        (np.stack([PROXY, np.ones(50)], axis=1), "no two different values"),
        (np.ones(50), "no two different values"),
        (np.full(50, np.nan), "no two different values"),
        (np.where(np.arange(50) == 3, 1.0, np.nan), "no two different values"),
    ],
    ids=["short", "row", "cube", "one of two", "constant", "unknown", "one known"],
)
def test_a_proxy_that_ranks_nothing(proxy, reason):
    with pytest.raises(ValueError, match=reason):
        run(new(), task(proxy=proxy))


@pytest.mark.parametrize(
    "settings",
    [{"epochs": 0}, {"batch_size": 0}, {"processes": 0}, {"lr": 0.0}, {"lr": float("nan")}, {"weight_decay": -1.0}],
    ids=str,
)
def test_settings_that_make_no_sense(settings):
    model = new()
    with pytest.raises(ValueError, match=next(iter(settings))):
        run(model, **settings)
    assert_equal(model, weights_of(new()))


def test_an_unknown_precision():
    with pytest.raises(ValueError, match="12-bits"):
        run(new(), precision="12-bits")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device here")
def test_an_absent_gpu():
    with pytest.raises(ValueError, match="there is no device 'cuda' here"):
        run(new(), device="cuda")


def test_an_unknown_device():
    with pytest.raises(ValueError, match="there is no device 'abacus' here"):
        run(new(), device="abacus")


def test_architectures_of_another_space():
    archs = ArchBatch.from_graphs(random_graphs(50, seed=0), VOCABULARY)
    with pytest.raises(ValueError, match="the architectures are of another space than the encoder's"):
        run(new(), archs=archs)


def test_a_draw_for_another_space():
    with pytest.raises(ValueError, match="the draw has 5 operations, the architectures' vocabulary 7"):
        run(new(), task(draw=FlowDraw.sample(5)))


def test_a_loss_that_is_no_longer_finite():
    with pytest.raises(ValueError, match=r"diverged.*lr"):
        run(new(), lr=1e30)


# Interrupting and resuming


@pytest.mark.parametrize("step", [1, 3, STEPS, STEPS + 2, 3 * STEPS - 1, 3 * STEPS])
def test_ctrl_c_leaves_a_checkpoint_that_goes_on_as_if_nothing_had_happened(tmp_path, uninterrupted, step):
    path = tmp_path / "checkpoint"
    handler = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        run(new(), checkpoint=path, checkpoint_seconds=3600, progress=InterruptAt(step))
    assert signal.getsignal(signal.SIGINT) is handler
    assert [entry.name for entry in tmp_path.iterdir()] == ["checkpoint"]
    model, told = new(seed=9), []
    outcome = run(model, checkpoint=path, resume=True, progress=lambda *args: told.append(args))
    assert_equal(model, uninterrupted[0])
    assert outcome.losses == uninterrupted[1].losses
    assert len(told) == 3 * STEPS - step


def test_ctrl_c_at_random_again_and_again(tmp_path, uninterrupted):
    rng, path, sittings = random.Random(3), tmp_path / "checkpoint", 0
    while True:
        model = new(seed=sittings)
        try:
            outcome = run(
                model if sittings else new(),
                checkpoint=path,
                checkpoint_seconds=3600,
                resume=True,
                progress=InterruptAt(rng.randint(1, 4)),
            )
            break
        except KeyboardInterrupt:
            sittings += 1
    assert sittings >= 3
    assert_equal(model, uninterrupted[0])
    assert outcome.losses == uninterrupted[1].losses


def test_ctrl_c_without_a_checkpoint():
    with pytest.raises(KeyboardInterrupt):
        run(new(), progress=InterruptAt(2))


@pytest.mark.parametrize("precision", ["bf16-mixed", "32-true"])
def test_resuming_other_kinds_of_runs(tmp_path, precision):
    settings = {"precision": precision, "fgp": task(proxy=None, draw=FlowDraw.sample(7, k=3)), "seed": 8}
    run(expected := new(), **settings)
    path = tmp_path / "checkpoint"
    with pytest.raises(KeyboardInterrupt):
        run(new(), checkpoint=path, progress=InterruptAt(6), **settings)
    run(model := new(seed=3), checkpoint=path, resume=True, **settings)
    assert_equal(model, weights_of(expected))


SCRIPT = """
import sys, time
from tests.pretraining.test_loop import new, run
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
    told = []
    outcome = run(model := new(seed=4), checkpoint=path, resume=True, progress=lambda *args: told.append(args))
    assert 0 < len(told) < 3 * STEPS
    assert_equal(model, uninterrupted[0])
    assert outcome.losses == uninterrupted[1].losses


def test_seconds_add_up_over_sittings(tmp_path):
    path, interrupt = tmp_path / "checkpoint", InterruptAt(3)
    with pytest.raises(KeyboardInterrupt):
        run(new(), checkpoint=path, progress=lambda *args: (time.sleep(0.5), interrupt(*args)))
    assert run(new(), checkpoint=path, resume=True).seconds > 1


def test_a_checkpoint_is_written_now_and_then(tmp_path):
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


def test_resume_begins_where_there_is_no_checkpoint(tmp_path, uninterrupted):
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
        ("settings", {"model": {"hidden": 8}}),
        ("lambda1 was 0.05, is 0.6", {"fgp": {"lambda1": 0.6}}),
        ("lambda2", {"fgp": {"lambda2": 0.0}}),
        ("alpha", {"fgp": {"alpha": 0.4}}),
        ("standardise", {"fgp": {"standardise": False}}),
        ("decoder_width", {"fgp": {"decoder_width": 8}}),
        ("k was 7, is 6", {"fgp": {"draw": FlowDraw.sample(7, k=6)}}),
        ("data", {"fgp": {"draw": FlowDraw.sample(7, seed=1)}}),
        ("data", {"fgp": {"proxy": -PROXY}}),
        ("data", {"archs": ARCHS[np.arange(50)[::-1]]}),
        ("architectures was 50, is 49", {"archs": ARCHS[:49], "fgp": {"proxy": PROXY[:49]}}),
    ],
    ids=str,
)
def test_resuming_another_run(checkpoint, what, settings):
    content = checkpoint.read_bytes()
    settings = dict(settings)
    model, fgp = new(**settings.pop("model", {})), task(**settings.pop("fgp", {}))
    before = weights_of(model)
    with pytest.raises(ValueError, match=f"is the checkpoint of another run: .*{what}"):
        run(model, fgp, checkpoint=checkpoint, resume=True, **settings)
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
        with pytest.raises(ValueError, match=re.escape(f"{path} is truncated or no archflow file")):
            run(new(), checkpoint=path, resume=True)
    ARCHS.save(path)
    with pytest.raises(ValueError, match="no archflow 'pretraining' file: it holds 'archs'"):
        run(new(), checkpoint=path, resume=True)


def test_a_checkpoint_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("text")
    with pytest.raises(OSError, match="file"):
        run(new(), checkpoint=tmp_path / "file" / "checkpoint", checkpoint_seconds=0)
    assert (tmp_path / "file").read_text() == "text"


# Several processes


@pytest.mark.skipif(
    not (torch.distributed.is_available() and torch.distributed.is_gloo_available()), reason="torch has no gloo here"
)
def test_two_processes_learn_what_one_does(monkeypatch, tmp_path):
    """The reconstruction is a mean over architectures, so two halves of a minibatch give the gradient of the whole."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    settings = {"archs": ARCHS[:48], "fgp": task(lambda2=0, proxy=None), "lr": 1e-2}
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
    model = flowerformer()
    outcome = run(model, archs=ARCHS[:33], fgp=task(proxy=PROXY[:33]), epochs=2, processes=2)
    assert np.isfinite(outcome.losses["reconstruction"]).all()
    assert model.norm.num_batches_tracked.dtype == torch.int64
    assert model.norm.num_batches_tracked == 6
    assert model.norm.running_var.isfinite().all()
