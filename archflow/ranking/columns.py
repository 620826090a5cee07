"""Blocks of columns of any scale, and labels, turned into normal scores: the normal quantile at the rank of each value.

Zero-cost proxies have heavy tails and proxies of one kind differ by powers of ten, yet all that they say is in their
order. Counts are turned alike, so that there is one rule for all columns.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Self

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy import ndarray
from scipy.special import ndtr, ndtri
from torch import Tensor

from archflow.ranking.labels import require_rankable

Blocks = Mapping[str, Float[ndarray, "archs _"]]
"""Columns by the name of their block, float32 or float64; a row an architecture."""

_KNOTS = 256
"""A column's ranks are kept at so many of its values at most; between them they are interpolated."""
_ROWS = 20_000
"""Ranks are taken among so many rows of the reference at most, evenly spread."""
_AT_ONCE = 1 << 11
"""So many architectures are scaled, and then predicted, together."""


def count(blocks: Blocks) -> int:
    """How many architectures the blocks describe.

    Raises:
        ValueError: there is no block, or they are of different lengths.
    """
    if not blocks:
        raise ValueError("there is no block of columns")
    lengths = {name: len(columns) for name, columns in blocks.items()}
    if len(set(lengths.values())) != 1:
        raise ValueError(f"blocks must have the same number of rows, not {lengths}")
    return next(iter(lengths.values()))


def checked_labels(blocks: Blocks, y: Float[ndarray, " n"]) -> Float[ndarray, " n"]:
    """The labels as float64, if they can teach a ranking of the architectures.

    Raises:
        ValueError: no label, only one, all are equal or one is not finite, or the blocks are of another length.
    """
    labels = np.asarray(y, dtype=float)
    if labels.shape != (count(blocks),):
        raise ValueError(f"there are {count(blocks):,} architectures, but the labels have shape {labels.shape}")
    require_rankable(labels, "labels")
    return labels


def normal_scores(values: Float[ndarray, " n"]) -> Float[ndarray, " n"]:
    """The normal quantile at the rank of each value, 0 in the middle; equal values share their mean rank."""
    from scipy.stats import rankdata

    return ndtri((rankdata(values) - 0.5) / len(values))


def to_labels(scores: Float[ndarray, "*any"], labels: Float[ndarray, " n"]) -> Float[ndarray, "*any"]:
    """Normal scores among labels, such as mean ± 1.28 std, as values on the labels' scale; monotone.

    They are interpolated between the labels. Beyond all of them runs the straight line from the median label through
    the extreme one, so that an interval keeps growing there.
    """
    known, first = np.unique(normal_scores(labels), return_index=True)
    values, middle, far = labels[first], len(known) // 2, 100.0
    below = (values[middle] - values[0]) / (known[middle] - known[0])
    middle -= middle == len(known) - 1
    above = (values[-1] - values[middle]) / (known[-1] - known[middle])
    known = np.concatenate([[known[0] - far], known, [known[-1] + far]])
    values = np.concatenate([[values[0] - far * below], values, [values[-1] + far * above]])
    return np.interp(scores, known, values)


def widened(std: Float[ndarray, " archs"], scores: Float[ndarray, " archs"], labels: int) -> Float[ndarray, " archs"]:
    """Deviations of normal scores, with what so few labels leave open of the scale itself.

    The quantile z at probability p of n labels has the variance p (1 − p) / (n φ(z)²): π / 2n in the middle, where the
    noise that a process fits holds it already, and many times that beyond the best labels, which are few and far apart
    in scores. The excess is added. Without it, intervals of 80 % held 68 % of the top hundredth of NAS-Bench-201.
    """
    end = ndtri(1 - 0.5 / labels)
    z = np.clip(scores, -end, end)
    density = np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi)
    return np.sqrt(std**2 + (ndtr(z) * ndtr(-z) / density**2 - np.pi / 2) / labels)


@dataclass(frozen=True, eq=False)
class Scaling:
    """Turns the columns of a block into normal scores among a reference's, with mean 0 and standard deviation 1 there.

    Columns that are constant in the reference are left out.

    Attributes:
        columns: how many the block has, shape ().
        kept: those that vary.
        values: ascending values of each, the last one repeated where there are fewer than knots.
        scores: what those become.
    """

    columns: Int[ndarray, ""]
    kept: Int[ndarray, " kept"]
    values: Float[ndarray, "kept knots"]
    scores: Float[ndarray, "kept knots"]

    @classmethod
    def of(cls, reference: Float[ndarray, "rows columns"], block: str) -> Scaling:
        """From the finite values of each column; warns, by the name of the block, where others stand.

        Raises:
            ValueError: the reference is no matrix.
        """
        if reference.ndim != 2:
            raise ValueError(f"the block '{block}' must be a matrix, a row an architecture, not {reference.shape}")
        rows = np.unique(np.linspace(0, len(reference) - 1, min(len(reference), _ROWS)).astype(np.int64))
        kept, values, scores, missing = [], [], [], 0
        for number in range(reference.shape[1]):
            column = np.asarray(reference[rows, number], dtype=float)
            finite = column[np.isfinite(column)]
            missing += len(finite) < len(column)
            distinct, counts = np.unique(finite, return_counts=True)
            if len(distinct) > 1:
                score = ndtri((np.cumsum(counts) - counts / 2) / len(finite))
                mean = np.average(score, weights=counts)
                score = (score - mean) / np.sqrt(np.average((score - mean) ** 2, weights=counts))
                # Evenly spaced scores, not values, so that the tails are as fine as the middle.
                knots = np.searchsorted(score, np.linspace(score[0], score[-1], _KNOTS))
                if len(distinct) <= _KNOTS:
                    knots = np.minimum(np.arange(_KNOTS), len(distinct) - 1)
                kept.append(number)
                values.append(distinct[knots])
                scores.append(score[knots])
        if missing:
            warnings.warn(
                f"{missing} columns of the block '{block}' hold NaN or infinity: NaN counts as the column's mean, "
                f"infinity as its extreme",
                stacklevel=5,
            )
        shape = (len(kept), _KNOTS)
        return cls(
            *(np.array(reference.shape[1]), np.array(kept, dtype=np.int64)),
            *(np.reshape(values, shape).astype(float), np.reshape(scores, shape).astype(float)),
        )

    def __call__(self, columns: Float[ndarray, "rows columns"], block: str) -> Float[ndarray, "rows kept"]:
        """The columns that vary as scores, float64; NaN becomes 0, and what lies beyond the reference its extreme.

        Raises:
            ValueError: the block has another number of columns.
        """
        if columns.ndim != 2 or columns.shape[1] != self.columns:
            raise ValueError(f"the block '{block}' must have {self.columns} columns, not the shape {columns.shape}")
        scores = np.empty((len(columns), len(self.kept)))
        for place, number in enumerate(self.kept):
            scores[:, place] = np.interp(columns[:, number], self.values[place], self.scores[place])
        return np.nan_to_num(scores, copy=False)


class Columns:
    """The blocks of columns that a head was fitted on, scaled; those without a column that varies are left out."""

    def __init__(self, scalings: Mapping[str, Scaling]) -> None:
        self.scalings = {name: scalings[name] for name in sorted(scalings)}

    @classmethod
    def of(cls, blocks: Blocks, reference: Blocks | None = None) -> Self:
        """From a reference, the architectures among which the columns are scaled; ``blocks`` themselves if None.

        Raises:
            ValueError: the reference has other blocks, or no column varies.
        """
        reference = blocks if reference is None else reference
        if set(reference) != set(blocks):
            has, needs = (", ".join(sorted(names)) for names in (reference, blocks))
            raise ValueError(f"the reference has the blocks {has}, not {needs}")
        scalings = {name: Scaling.of(np.asarray(columns), name) for name, columns in reference.items()}
        scalings = {name: scaling for name, scaling in scalings.items() if len(scaling.kept)}
        if not scalings:
            raise ValueError("no column varies, so there is nothing to tell architectures apart by")
        return cls(scalings)

    def __call__(self, blocks: Blocks) -> list[Float[ndarray, "archs _"]]:
        """Each block scaled, in the order of their names, float64.

        Raises:
            ValueError: a block is missing, or has other columns than when fitted.
        """
        missing = [name for name in self.scalings if name not in blocks]
        if missing:
            raise ValueError(f"the block '{missing[0]}' is missing, by which the labelled architectures were described")
        return [scaling(np.asarray(blocks[name]), name) for name, scaling in self.scalings.items()]

    def in_parts(self, blocks: Blocks) -> Iterator[tuple[slice, list[Float[ndarray, "part _"]]]]:
        """Some architectures after the other, so that memory does not grow with their number: which, and their columns.

        Raises:
            ValueError: as a call; also the blocks are not all of one length.
        """
        for start in range(0, count(blocks), _AT_ONCE):
            rows = slice(start, start + _AT_ONCE)
            yield rows, self({name: columns[rows] for name, columns in blocks.items()})

    def state(self) -> dict[str, Tensor]:
        """Named tensors for a file, from which :meth:`from_state` restores them."""
        return {
            f"{part.name}/{name}": torch.from_numpy(getattr(scaling, part.name))
            for name, scaling in self.scalings.items()
            for part in fields(Scaling)
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Tensor]) -> Self:
        """From what :meth:`state` gave, among other tensors.

        Raises:
            ValueError: a tensor is missing, or none names a block.
        """
        names = [name.removeprefix("kept/") for name in state if name.startswith("kept/")]
        if not names:
            raise ValueError("the state holds no block of columns")
        try:
            parts = {name: [state[f"{part.name}/{name}"].numpy() for part in fields(Scaling)] for name in names}
        except KeyError as error:
            raise ValueError(f"the state lacks {error}") from None
        return cls({name: Scaling(*arrays) for name, arrays in parts.items()})
