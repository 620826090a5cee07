"""What the compiled loops share."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float, Int
from numba import config, set_num_threads
from numpy import ndarray
from torch import Tensor

ANY_ORDER = {"reassoc", "contract", "nsz"}
"""For Numba's ``fastmath``: sums may be taken in any order, which lets the compiler take several terms at once."""


def use_torchs_threads() -> None:
    """Let Numba's loops take as many threads as PyTorch's operations, or as many as Numba has if these are fewer."""
    threads = torch.get_num_threads()
    set_num_threads(min(threads, config.NUMBA_NUM_THREADS))  # type: ignore[attr-defined]  # Numba adds its settings late
    if torch.get_num_threads() != threads:
        # Numba just started its threads, and made their number that of all that use OpenMP.
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
