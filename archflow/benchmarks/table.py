"""A table of trained results: columns of numbers aligned with architectures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Shaped
from numpy import ndarray

from archflow.archs.batch import ArchBatch
from archflow.benchmarks.space import Space


@dataclass(frozen=True, eq=False)
class Table:
    """Architectures of a space with columns of numbers.

    Attributes:
        name: where it comes from, e.g. "nasbench201/analog".
        space: the search space of the architectures.
        archs: the architectures.
        columns: an array for each name, with one entry per architecture; NaN where a number is missing.
        default: the column of accuracies to use where none is named; "" if there is none.
        left_out: further columns, which are not all numbers, with where that shows first, e.g. "line 3 has 'x'".

    Raises:
        ValueError: a column does not have one entry per architecture.
    """

    name: str
    space: Space
    archs: ArchBatch
    columns: dict[str, Shaped[ndarray, " archs"]]
    default: str = ""
    left_out: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, column in self.columns.items():
            if column.shape != (len(self.archs),):
                raise ValueError(
                    f"the column '{name}' of {self.name} has {column.size:,} entries, not one for each of "
                    f"{len(self.archs):,} architectures"
                )

    def __getitem__(self, column: str) -> Shaped[ndarray, " archs"]:
        """One column.

        Raises:
            ValueError: there is no such column of numbers; the message lists the columns of numbers.
        """
        if column in self.columns:
            return self.columns[column]
        if column in self.left_out:
            raise ValueError(f"the column '{column}' of {self.name} is not all numbers: {self.left_out[column]}")
        raise ValueError(f"{self.name} has no column '{column}'; it has: {', '.join(self.columns) or 'none'}")

    def __len__(self) -> int:
        return len(self.archs)

    def require_distinct(self) -> None:
        """Raise ValueError if two architectures are the same network; the message names both rows, from 1."""
        keys = self.space.keys(self.archs)
        _, first, number = np.unique(keys, return_index=True, return_inverse=True)
        repeated = first[number] != np.arange(len(keys))
        if repeated.any():
            row = int(np.argmax(repeated))
            arch = self.space.format(self.archs[[row]])[0]
            raise ValueError(
                f"{self.name}: architecture {row + 1} is the same network as architecture {first[number[row]] + 1}: "
                f"{arch}"
            )
