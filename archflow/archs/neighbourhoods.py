"""Classes of nodes with equal neighbourhoods: Weisfeiler-Leman refinement with 64-bit sums of random numbers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from jaxtyping import Integer, UInt64
from numpy import ndarray

from archflow.archs.ragged import Ragged, numbered


def refined(
    operations: Integer[ndarray, " nodes"], around: Sequence[Ragged[ndarray]], hops: int
) -> Iterator[Integer[ndarray, " nodes"]]:
    """For 0, 1, …, ``hops``, a class number for each node.

    Two nodes are in the same class of h + 1 hops if they are in the same class of h hops and, in each of the lists
    ``around``, the multisets of their neighbours' classes of h hops are equal.
    """
    classes = operations
    for hop in range(hops + 1):
        if hop:
            sums = [lists.sum(scramble(classes, 2 * side + 1)) for side, lists in enumerate(around)]
            classes, _ = numbered(sum(sums, scramble(classes, 2)))
        yield classes.astype(np.min_scalar_type(int(classes.max())))


def scramble(numbers: Integer[ndarray, " n"], salt: int) -> UInt64[ndarray, " n"]:
    """A fixed pseudo-random 64-bit number for each small number (the finaliser of SplitMix64)."""
    x = (numbers.astype(np.uint64) + np.uint64(salt << 60)) * np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))
