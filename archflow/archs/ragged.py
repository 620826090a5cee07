"""Lists of different lengths in one array, such as each node's neighbours or each architecture's nodes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
import torch
from jaxtyping import Int
from numba import njit
from numpy import ndarray
from torch import Tensor
from torch.nn.functional import embedding_bag

Array = TypeVar("Array", ndarray, Tensor)


@dataclass(frozen=True, eq=False)
class Ragged(Generic[Array]):
    """Lists of row numbers, as NumPy arrays, or as tensors after :meth:`to`.

    Attributes:
        values: the concatenated lists; int64, (values,).
        offsets: list ``i`` is ``values[offsets[i]:offsets[i + 1]]``; int64, (lists + 1,).
    """

    values: Array
    offsets: Array

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def counts(self) -> Array:
        """The length of each list; int64, (lists,)."""
        return self.offsets[1:] - self.offsets[:-1]

    def take(
        self: Ragged[ndarray], rows: Int[ndarray, " rows"], names: Int[ndarray, " names"] | None = None
    ) -> Ragged[ndarray]:
        """The lists at ``rows``, in that order; with ``names``, each value is replaced by ``names[value]``."""
        return Ragged(*_take(self.values, self.offsets, rows, names))

    def part(self, rows: slice) -> Ragged[Array]:
        """The lists from ``rows.start`` to ``rows.stop``, without copying the values."""
        offsets = self.offsets[rows.start : rows.stop + 1]
        start, stop = int(offsets[0]), int(offsets[-1])
        return Ragged(self.values[start:stop], offsets - start)

    def reversed(self: Ragged[ndarray]) -> Ragged[ndarray]:
        """For lists that contain numbers of lists: for each number, the lists that contain it, ascending."""
        return Ragged(*_reversed(self.values, self.offsets))

    def followed_by(self: Ragged[ndarray], other: Ragged[ndarray]) -> Ragged[ndarray]:
        """Each list followed by the other's list of the same number."""
        return Ragged(*_joined(self.values, self.offsets, other.values, other.offsets))

    def with_self(self: Ragged[ndarray]) -> Ragged[ndarray]:
        """Each list with its own number prepended."""
        numbers = np.arange(len(self.offsets))
        return Ragged(np.insert(self.values, self.offsets[:-1], numbers[:-1]), self.offsets + numbers)

    def to(self: Ragged[ndarray], device: torch.device | str) -> Ragged[Tensor]:
        """The lists as tensors on a device; on the CPU they share memory with this."""
        return Ragged(torch.from_numpy(self.values).to(device), torch.from_numpy(self.offsets).to(device))

    def sum(self, x: Array) -> Array:
        """For each list the sum of the rows of ``x`` that it names; 0 for an empty one.

        Args:
            x: if the lists are tensors, a tensor (rows, width) of floats; if they are NumPy arrays, an array (rows,) of
                any dtype, which is also that of the sums.
        """
        return self._reduced(x, "sum")

    def mean(self: Ragged[Tensor], x: Tensor) -> Tensor:
        """For each list the mean of the rows of ``x`` that it names, (lists, width); 0 for an empty one."""
        return self._reduced(x, "mean")

    def _reduced(self, x: Array, mode: str) -> Array:
        if isinstance(x, ndarray):
            return _sums(x, self.values, self.offsets)
        return embedding_bag(self.values, x, self.offsets, mode=mode, include_last_offset=True)


def offsets_of(counts: Sequence[int] | Int[ndarray, " lists"]) -> Int[ndarray, " lists+1"]:
    """Where each list starts, and the last ends, from the lengths of the lists."""
    return np.concatenate([[0], np.cumsum(np.asarray(counts, dtype=np.int64))])


def owner(offsets: Int[ndarray, " lists+1"], position: int) -> int:
    """The list that a position belongs to."""
    return int(np.searchsorted(offsets, position, side="right")) - 1


def positions(
    offsets: Int[ndarray, " lists+1"], rows: Int[ndarray, " rows"]
) -> tuple[Int[ndarray, " positions"], Int[ndarray, " rows+1"]]:
    """The positions of the items in the lists at ``rows``, list by list, and the offsets of those lists."""
    return _take(None, offsets, rows, None)


def inverse(order: Int[ndarray, " n"]) -> Int[ndarray, " n"]:
    """The position of each number in a permutation."""
    positions = np.empty_like(order)
    positions[order] = np.arange(len(order))
    return positions


@njit(cache=True)
def grouped(keys: ndarray, count: int) -> tuple[ndarray, ndarray]:
    """The positions of each key from 0 to ``count - 1``, ascending, and the offsets of each key (a counting sort)."""
    offsets = np.zeros(count + 1, np.int64)
    for key in keys:
        offsets[key + 1] += 1
    offsets = np.cumsum(offsets)
    free, order = offsets[:-1].copy(), np.empty(len(keys), np.int64)
    for position, key in enumerate(keys):
        order[free[key]] = position
        free[key] += 1
    return order, offsets


@njit(cache=True)
def numbered(keys: ndarray) -> tuple[ndarray, ndarray]:
    """Numbers from 0 for the distinct keys, in the order of their first appearance, and where each first appears.

    A hash table with linear probing: a third of the time of sorting.
    """
    bits = 1
    while (1 << bits) < 2 * len(keys):
        bits += 1
    mask, shift = (1 << bits) - 1, np.uint64(64 - bits)
    slots = np.full(1 << bits, -1, np.int64)
    numbers, firsts, count = np.empty(len(keys), np.int64), np.empty(len(keys), np.int64), 0
    for position, key in enumerate(keys):
        slot = np.int64((np.uint64(key) * np.uint64(0x9E3779B97F4A7C15)) >> shift)
        while slots[slot] >= 0 and keys[slots[slot]] != key:
            slot = (slot + 1) & mask
        if slots[slot] < 0:
            slots[slot] = position
            numbers[position], firsts[count] = count, position
            count += 1
        else:
            numbers[position] = numbers[slots[slot]]
    return numbers, firsts[:count].copy()


@njit(cache=True)
def _take(values: ndarray | None, offsets: ndarray, rows: ndarray, names: ndarray | None) -> tuple[ndarray, ndarray]:
    """The chosen lists concatenated, and their offsets; without ``values``, the positions of their items."""
    new = np.zeros(len(rows) + 1, np.int64)
    for number, row in enumerate(rows):
        new[number + 1] = new[number] + offsets[row + 1] - offsets[row]
    found, free = np.empty(new[-1], np.int64), 0
    for row in rows:
        for position in range(offsets[row], offsets[row + 1]):
            value = position if values is None else values[position]
            found[free] = value if names is None else names[value]
            free += 1
    return found, new


@njit(cache=True)
def _reversed(values: ndarray, offsets: ndarray) -> tuple[ndarray, ndarray]:
    new = np.zeros(len(offsets), np.int64)
    for value in values:
        new[value + 1] += 1
    new = np.cumsum(new)
    free, numbers = new[:-1].copy(), np.empty(len(values), np.int64)
    for number in range(len(offsets) - 1):
        for value in values[offsets[number] : offsets[number + 1]]:
            numbers[free[value]] = number
            free[value] += 1
    return numbers, new


@njit(cache=True)
def _joined(
    first: ndarray, first_offsets: ndarray, second: ndarray, second_offsets: ndarray
) -> tuple[ndarray, ndarray]:
    offsets = first_offsets + second_offsets
    values, free = np.empty(offsets[-1], np.int64), 0
    for number in range(len(offsets) - 1):
        for value in first[first_offsets[number] : first_offsets[number + 1]]:
            values[free] = value
            free += 1
        for value in second[second_offsets[number] : second_offsets[number + 1]]:
            values[free] = value
            free += 1
    return values, offsets


@njit(cache=True)
def _sums(x: ndarray, values: ndarray, offsets: ndarray) -> ndarray:
    sums = np.zeros(len(offsets) - 1, x.dtype)
    for number in range(len(sums)):
        for value in values[offsets[number] : offsets[number + 1]]:
            sums[number] += x[value]
    return sums
