import contextlib
import os
import warnings

import numpy as np
import pytest
import torch

import archflow
from archflow.pretraining.state import State
from archflow.support import threads
from archflow.support.threads import available_cpus, threads_for

SPACE = archflow.space("nasbench201")
ARCHS = SPACE.sample(64)


@pytest.fixture(params=[1, 2])
def number(request):
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


@pytest.fixture
def quota(tmp_path, monkeypatch):
    monkeypatch.setattr(threads, "_QUOTAS", tmp_path)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    (tmp_path / "cpu").mkdir()

    def write(**files):
        for name, content in files.items():
            (tmp_path / name.replace("__", "/cpu.").replace("cpu_max", "cpu.max")).write_text(content)

    return write


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, 8),
        ({"cpu_max": "max 100000\n"}, 8),
        ({"cpu_max": "150000 100000\n"}, 2),
        ({"cpu_max": "10000 100000\n"}, 1),
        ({"cpu_max": "damaged"}, 8),
        ({"cpu_max": "1 0"}, 8),
        ({"cpu__cfs_quota_us": "-1\n", "cpu__cfs_period_us": "100000\n"}, 8),
        ({"cpu__cfs_quota_us": "300000\n", "cpu__cfs_period_us": "100000\n"}, 3),
        ({"cpu_max": "9900000 100000\n"}, 8),
    ],
)
def test_cpus_of_the_affinity_and_the_quota(quota, files, expected):
    quota(**files)
    assert available_cpus() == expected


def test_small_work_has_one_thread_and_large_work_no_more_than_are_available(number, monkeypatch):
    for cpus, products, expected in ((8, 1e3, 1), (8, 1e12, number), (1, 1e12, 1)):
        monkeypatch.setattr(threads, "available_cpus", lambda cpus=cpus: cpus)
        with contextlib.suppress(KeyboardInterrupt), threads_for(products):
            assert torch.get_num_threads() == expected
            raise KeyboardInterrupt
        assert torch.get_num_threads() == number


def seen_by(monkeypatch, encoder):
    """The numbers of threads that the encoder computes with, in a list that fills."""
    seen, forward = [], type(encoder).forward

    def watched(self, archs):
        seen.append(torch.get_num_threads())
        return forward(self, archs)

    monkeypatch.setattr(type(encoder), "forward", watched)
    return seen


def test_fine_tuning_and_small_pre_training_compute_in_one_thread(number, monkeypatch):
    encoder = archflow.encoder("resgatedgcn", ARCHS.vocabulary, hidden=8, layers=2)
    seen = seen_by(monkeypatch, encoder)
    draw = archflow.FlowDraw.sample(len(ARCHS.vocabulary))
    archflow.pretrain(encoder, ARCHS, archflow.FGP(draw), epochs=1)
    ranker = archflow.Ranker(encoder, "finetune", epochs=1).fit(ARCHS, np.arange(64.0))
    ranker.predict(ARCHS)
    assert seen
    assert set(seen) == {1}
    assert torch.get_num_threads() == number


def with_threads(number, compute):
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        return compute()
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("k", [7, 40])
def test_the_flow_surrogate_is_the_same_with_any_number_of_threads(k):
    archs, draw = SPACE.sample(4000), archflow.FlowDraw.sample(len(SPACE.vocabulary), k=k)
    one, two = (with_threads(number, lambda: archflow.flow_surrogate(archs, draw)) for number in (1, 2))
    assert torch.equal(one, two)


def test_small_training_is_the_same_with_any_number_of_threads():
    def train():
        torch.manual_seed(0)
        encoder = archflow.encoder("resgatedgcn", ARCHS.vocabulary, hidden=32, layers=2)
        archflow.pretrain(encoder, ARCHS, archflow.FGP(archflow.FlowDraw.sample(len(ARCHS.vocabulary))), epochs=1)
        return encoder.state_dict()

    one, two = (with_threads(number, train) for number in (1, 2))
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_a_run_resumed_with_another_number_of_threads_says_that_it_differs(tmp_path):
    def state():
        model = torch.nn.Linear(2, 1)
        return State(model, torch.optim.AdamW(model.parameters()), {}, 1)

    path = tmp_path / "checkpoint"
    with_threads(2, lambda: state().save(path))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with_threads(2, lambda: state().load(path))
    with pytest.warns(UserWarning, match="was computed with 2 threads, and goes on with 1: the last digits"):
        with_threads(1, lambda: state().load(path))
