r"""Zero-cost proxies that were measured with archflow and ship with it.

``proxies.parquet`` was made by

    archflow proxies --space nasbench201 --size 16 --out nasbench201_proxies.parquet --proxy \
        params,flops,l2_norm,grad_norm,snip,fisher,synflow,jacov,nwot,zen,epe_nas

on one minibatch of 64 synthetic images of 16 × 16 pixels; the networks are the benchmark's own, of full width and
depth. experiments/proxies/README.md compares the values with those on images of full size, and with published ones.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path

from archflow.benchmarks.nasbench201.space import NASBench201
from archflow.benchmarks.own_tables import read_table
from archflow.benchmarks.table import Table

COLUMNS = (
    *("params", "flops", "l2_norm", "grad_norm", "snip", "fisher"),
    *("synflow", "jacov", "nwot", "zen", "epe_nas"),
)


def read() -> Table:
    """The table ``nasbench201/proxies``: one column per proxy for all 15,625 cells, and no accuracies."""
    kept = _read()  # each ranking asks for it, and parsing 15,625 cells takes longer than predicting
    return replace(kept, columns={name: values.copy() for name, values in kept.columns.items()})


@cache
def _read() -> Table:
    path = Path(__file__).with_name("proxies.parquet")
    return replace(read_table(path, NASBench201()), name="nasbench201/proxies")
