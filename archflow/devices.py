"""Which device to compute on."""

from __future__ import annotations

import torch


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
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"there is no device '{name}' here ({reason}); use --device cpu") from None
    return device
