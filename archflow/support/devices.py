"""Which device to compute on, and from which random numbers."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch

from archflow.support.settings import short


def resolve_device(name: str) -> torch.device:
    """The device called ``name``: "cpu", "cuda", "cuda:1", "mps", or "auto" for a GPU where there is one.

    Raises:
        ValueError: there is no such device here.
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

    GPUs that have not been used yet are left alone, as asking for their state takes memory on each: PyTorch seeds
    them on first use from the CPU generator's seed, so that is what is restored.
    """
    used, before = torch.cuda.is_initialized(), torch.initial_seed()
    try:
        with torch.random.fork_rng(devices=range(torch.cuda.device_count()) if used else []):
            torch.manual_seed(seed)
            yield
    finally:
        if not used and torch.cuda.is_available():
            torch.cuda.manual_seed_all(before)
