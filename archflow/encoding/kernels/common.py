"""Helpers for the compiled loops."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float, Int
from numba import config, set_num_threads
from numpy import ndarray
from torch import Tensor

ANY_ORDER = {"reassoc", "contract", "nsz"}
"""For Numba's ``fastmath``: sums may be reordered, which allows the compiler to vectorise them."""


def use_torchs_threads() -> None:
    """Give Numba's loops as many threads as PyTorch's operations, or all of Numba's if it has fewer."""
    threads = torch.get_num_threads()
    set_num_threads(min(threads, config.NUMBA_NUM_THREADS))  # type: ignore[attr-defined]  # Numba sets it at run time
    if torch.get_num_threads() != threads:
        # Numba has just started its threads, which sets the number for all users of OpenMP, PyTorch included.
        torch.set_num_threads(threads)


def arrays(*tensors: Tensor) -> list[ndarray]:
    """The memory of tensors on the CPU."""
    return [tensor.detach().numpy() for tensor in tensors]


def softmax_of_groups(logits: Float[Tensor, " items *each"], group: Int[Tensor, " items"], groups: int) -> Tensor:
    """The softmax over the items of each group."""
    lowest = logits.new_full((groups, *logits.shape[1:]), -math.inf)
    places = group.view(-1, *[1] * (logits.ndim - 1)).expand_as(logits)
    top = lowest.scatter_reduce(0, places, logits.detach(), "amax")
    powers = torch.exp(logits - top[group])
    return powers / torch.zeros_like(top).index_add(0, group, powers)[group]
