"""Columns that architectures bring along: zero-cost proxies of a benchmark's space, and a person's own."""

from __future__ import annotations

import contextlib
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from archflow.archs.batch import ArchBatch
from archflow.benchmarks.registry import space as make_space
from archflow.benchmarks.registry import spaces
from archflow.benchmarks.space import Space
from archflow.benchmarks.table import Table
from archflow.benchmarks.tables import tables
from archflow.ranking.labels import numbers
from archflow.zero_cost.columns import bounded, measured_proxies


class Columns(NamedTuple):
    """Named columns for each architecture, float64; NaN where unknown."""

    names: tuple[str, ...]
    values: Float[ndarray, "archs columns"]


def space_of(archs: ArchBatch, space: str | Space | None) -> Space | None:
    """The space that architectures are from: the one that is given, or named, or none.

    For "auto" it is the known space, if any, that they are all in and whose operations are called as theirs.
    """
    if not isinstance(space, str):
        return space
    if space != "auto":
        return make_space(space)
    for name in spaces():
        known = make_space(name)
        if known.vocabulary == archs.vocabulary:
            with contextlib.suppress(ValueError):
                known.keys(archs)
                return known
    return None


def columns_of(archs: ArchBatch, space: Space | None, proxies: Any = None) -> Columns:
    """The proxies that a space knows in closed form, those of the table "SPACE/proxies", and a person's own.

    Args:
        archs: the architectures.
        space: theirs, if they have one.
        proxies: numbers of one's own, a row an architecture and a column a proxy; or one number each.

    Raises:
        ValueError: an architecture is not of the space, or there are not as many rows as architectures.
    """
    names: list[str] = []
    columns: list[Float[ndarray, " archs"]] = []
    if space is not None:
        known = space.proxies_of(archs)
        if f"{space.name}/proxies" in tables(space.name):
            known |= measured_proxies(Table("", space, archs, {}))
        names += known
        columns += [bounded(column) for column in known.values()]
    if proxies is not None:
        own = numbers(proxies, "proxies")
        if own.ndim not in (1, 2) or len(own) != len(archs):
            raise ValueError(f"there are {len(archs):,} architectures, but the proxies have shape {own.shape}")
        own = own.reshape(len(archs), -1)
        names += [f"own {number}" for number in range(1, 1 + own.shape[1])]
        columns += list(own.T)
    return Columns(tuple(names), np.stack(columns, axis=1) if columns else np.empty((len(archs), 0)))
