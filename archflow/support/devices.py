"""Devices and random number generators."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch

from archflow.support.settings import short


def resolve_device(name: str) -> torch.device:
    """The device named ``name``: "cpu", "cuda", "cuda:1", "mps", or "auto" for a GPU if there is one.

    Raises:
        ValueError: this machine has no such device.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
        if device.type == "cpu" and device.index:
            raise RuntimeError("the CPU is one device")
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0][:200]
        raise ValueError(f"there is no device {short(name)} here ({reason}); use --device cpu") from None
    return torch.device("cpu") if device.type == "cpu" else device


@contextlib.contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed all of PyTorch's global generators inside the block, and restore them on exit.

    The state of unused GPUs is not read, since that would allocate memory on each of them. PyTorch seeds a GPU on first
    use with the CPU generator's seed, so that seed is what is restored for them.
    """
    used, before = torch.cuda.is_initialized(), torch.initial_seed()
    try:
        with torch.random.fork_rng(devices=range(torch.cuda.device_count()) if used else []):
            torch.manual_seed(seed)
            yield
    finally:
        if not used and torch.cuda.is_available():
            torch.cuda.manual_seed_all(before)
