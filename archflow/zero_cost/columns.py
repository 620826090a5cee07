"""Columns of zero-cost proxy values by name, for the architectures of a table."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from archflow.benchmarks.table import Table
from archflow.benchmarks.tables import table as make_table
from archflow.benchmarks.tables import tables

_EXTREME = 1e300
"""Stands for an infinite value, such as the logarithm of a synflow of 0: that network is the worst of all."""


def bounded(values: Float[ndarray, "*shape"]) -> Float[ndarray, "*shape"]:
    """Proxy values with a finite number of the same sign in place of each infinity; NaN stays."""
    return np.nan_to_num(values, nan=np.nan, posinf=_EXTREME, neginf=-_EXTREME)


def proxy_values(table: Table, names: str) -> Float[ndarray, "archs proxies"] | None:
    """The values of the zero-cost proxies in a comma-separated list of names; None if the list selects none.

    A name is a column of the table, or "parameters", "flops" or another proxy that the space has in closed form, or
    "closed-form" for all of those. "measured/NAME" is a column of the table "SPACE/proxies", which ``archflow proxies``
    makes, NaN for architectures that it lacks; "measured" stands for all of its columns, "none" for no proxy.

    Raises:
        ValueError: a name is unknown; the message lists the known ones.
    """
    space = table.space
    not_columns = [name for name in names.split(",") if name not in table.columns]
    measured = measured_proxies(table) if any(name.partition("/")[0] == "measured" for name in not_columns) else {}
    groups = {"closed-form": space.proxies, "measured": tuple(measured)}
    columns = []
    for name in (each for part in names.split(",") for each in groups.get(part, (part,))):
        if name in table.columns:
            columns.append(table[name])
        elif name in measured:
            columns.append(measured[name])
        elif name in space.proxies:
            columns.append(space.proxy(name, table.archs))
        elif name == "parameters":
            columns.append(space.parameters(table.archs).astype(float))
        elif name == "flops":
            columns.append(space.flops(table.archs).astype(float))
        elif name != "none":
            known = dict.fromkeys(["closed-form", *space.proxies, "parameters", "flops", "none", *table.columns])
            raise ValueError(f"unknown proxy '{name}'; known: {', '.join([*known, 'measured', *measured])}")
    return np.stack(columns, axis=1) if columns else None


def measured_proxies(table: Table) -> dict[str, Float[ndarray, " archs"]]:
    """The measured proxies of a table's architectures, under the names "measured/…"; NaN where one was not measured.

    Raises:
        ValueError: no proxies of the space were measured; the message says how to measure them.
    """
    name = f"{table.space.name}/proxies"
    if name not in tables(table.space.name):
        raise ValueError(
            f"there are no measured proxies of {table.space.name}: make them with archflow proxies, and keep them with "
            f"archflow tables add FILE --space {table.space.name} --name {name}"
        )
    found = make_table(name)
    rows = {key: row for row, key in enumerate(found.space.keys(found.archs).tolist())}
    place = np.array([rows.get(key, -1) for key in table.space.keys(table.archs).tolist()])
    return {
        f"measured/{column}": np.where(place >= 0, values[place], np.nan) for column, values in found.columns.items()
    }
