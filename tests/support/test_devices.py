import contextlib

import pytest
import torch

from archflow.support.devices import seeded


class Interrupted(Exception):
    pass


class Generators:
    """Stand-in for the generators of two GPUs: for each, its seed and how many numbers it has drawn since."""

    def __init__(self):
        self.states = {0: (1, 5), 1: (2, 7)}

    def seed_all(self, seed):
        self.states = dict.fromkeys(self.states, (seed, 0))

    def draw(self):
        self.states = {device: (seed, drawn + 1) for device, (seed, drawn) in self.states.items()}


def draw_inside(gpus, failing):
    """Draw inside a block with seed 3, and leave the block with or without an error."""
    with contextlib.suppress(Interrupted), seeded(3):
        assert gpus.states == {0: (3, 0), 1: (3, 0)}
        gpus.draw()
        if failing:
            raise Interrupted


@pytest.fixture
def gpus(monkeypatch):
    found = Generators()
    for name, stand_in in {
        "is_available": lambda: True,
        "is_initialized": lambda: True,
        "device_count": lambda: 2,
        "get_rng_state": lambda device: found.states[device],
        "set_rng_state": lambda state, device: found.states.update({device: state}),
        "manual_seed_all": found.seed_all,
    }.items():
        monkeypatch.setattr(torch.cuda, name, stand_in)
    return found


def test_the_block_is_seeded_and_the_generator_restored_on_exit():
    torch.manual_seed(1)
    expected = torch.rand(2)
    torch.manual_seed(3)
    inside = torch.rand(2)
    torch.manual_seed(1)
    found = [torch.rand(1)]
    with seeded(3):
        assert torch.equal(torch.rand(2), inside)
    found.append(torch.rand(1))
    assert torch.equal(torch.cat(found), expected)


@pytest.mark.parametrize("failing", [False, True])
def test_generators_of_gpus_in_use_are_restored(gpus, failing):
    before = dict(gpus.states)
    draw_inside(gpus, failing)
    assert gpus.states == before


@pytest.mark.parametrize("failing", [False, True])
def test_the_state_of_unused_gpus_is_not_read(gpus, monkeypatch, failing):
    """PyTorch seeds them with the seed of the CPU's generator, before and after."""
    torch.manual_seed(17)
    assert gpus.states == {0: (17, 0), 1: (17, 0)}
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: False)
    monkeypatch.setattr(torch.cuda, "get_rng_state", None)
    draw_inside(gpus, failing)
    assert gpus.states == {0: (17, 0), 1: (17, 0)}
    assert torch.initial_seed() == 17


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device here")
def test_the_generator_of_a_real_gpu_is_restored():
    torch.cuda.manual_seed_all(1)
    expected = torch.rand(2, device="cuda")
    torch.cuda.manual_seed_all(3)
    inside = torch.rand(2, device="cuda")
    torch.cuda.manual_seed_all(1)
    found = [torch.rand(1, device="cuda")]
    with seeded(3):
        assert torch.equal(torch.rand(2, device="cuda"), inside)
    found.append(torch.rand(1, device="cuda"))
    assert torch.equal(torch.cat(found), expected)
