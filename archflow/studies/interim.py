"""Until the rooms that own these are merged: what the contract names, made of what stands there today."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from archflow.benchmarks.table import Table
from archflow.benchmarks.tables import table as make_table
from archflow.benchmarks.tables import tables
from archflow.ranking.metrics import kendall_tau, precision_at


@dataclass(frozen=True)
class PretrainSettings:
    epochs: int = 200
    batch_size: int = 256
    lr: float = 1e-3
    weight_decay: float = 1e-6
    seed: int = 0
    precision: str = "32-true"
    processes: int = 1


@dataclass(frozen=True)
class FinetuneSettings:
    epochs: int = 500
    batch_size: int = 16
    lr: float = 1e-3
    margin: float = 0.1
    max_pairs: int | None = None
    clip: float = 1.0


@dataclass(frozen=True)
class RankScores:
    tau: float
    p_at_1: float
    p_at_5: float


def scores_of(accuracy: ndarray, predicted: ndarray) -> RankScores:
    return RankScores(
        kendall_tau(accuracy, predicted), precision_at(accuracy, predicted, 1), precision_at(accuracy, predicted, 5)
    )


def proxy_values(table: Table, names: str) -> Float[ndarray, "archs proxies"] | None:
    """Zero-cost proxies by their names, joined by commas.

    A name is a column of the table, or "parameters", "flops" or another proxy that the space knows in closed form, or
    "closed-form" for all of those. "measured/NAME" is a column of the table "SPACE/proxies", which ``archflow proxies``
    makes, NaN for architectures that it lacks; "measured" is all of its columns. "none" is none.

    Raises:
        ValueError: a name is unknown; the message lists the known ones.
    """
    space = table.space
    its_own = (name for name in names.split(",") if name not in table.columns)
    measured = _measured(table) if any(name.partition("/")[0] == "measured" for name in its_own) else {}
    groups = {"closed-form": space.proxies, "measured": tuple(measured)}
    columns = []
    for name in (each for part in names.split(",") for each in groups.get(part, (part,))):
        if name in table.columns:
            columns.append(table[name])
        elif name in measured:
            columns.append(measured[name])
        elif name in space.proxies:
            columns.append(space.proxy(name, table.archs))
        elif name in ("parameters", "flops"):
            columns.append(np.asarray(getattr(space, name)(table.archs), dtype=float))
        elif name != "none":
            known = dict.fromkeys(["closed-form", *space.proxies, "parameters", "flops", "none", *table.columns])
            raise ValueError(f"unknown proxy '{name}'; known: {', '.join([*known, 'measured', *measured])}")
    return np.stack(columns, axis=1) if columns else None


def _measured(table: Table) -> dict[str, Float[ndarray, " archs"]]:
    """The measured proxies of a table's architectures, under the names "measured/…"."""
    name = f"{table.space.name}/proxies"
    if name not in tables(table.space.name):
        raise ValueError(
            f"there are no measured proxies of {table.space.name}: make them with archflow proxies, and keep them with "
            f"archflow tables add FILE --space {table.space.name} --out {name}"
        )
    found = make_table(name)
    rows = {key: row for row, key in enumerate(found.space.keys(found.archs).tolist())}
    place = np.array([rows.get(key, -1) for key in table.space.keys(table.archs).tolist()])
    return {
        f"measured/{column}": np.where(place >= 0, values[place], np.nan) for column, values in found.columns.items()
    }
