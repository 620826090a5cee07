"""``darts/nasbench301``: the DARTS networks that NAS-Bench-301 trained on CIFAR-10 (Zela, Siems et al., ICLR 2022).

The official file is figshare's data set "nasbench301_full_data", ``nb_301_v13_lc_iclr_final.zip``: about 60,000 JSON
files ``<optimiser>/results_<number>.json`` (some end in ``_ti.json``), a training run each. The zip file is read as it
is; so is the folder that it unpacks to, or any part of that.

A run's architecture is in its ``optimized_hyperparamater_config`` (so spelt), under names that begin with
``NetworkSelectorDatasetInfo:darts:``. ``inputs_node_normal_4`` is ``0_2`` where node 4 of the normal cell reads nodes 0
and 2 (node 2 always reads nodes 0 and 1), and ``edge_normal_7`` is the operation on its edge from node 2: edges 0 and 1
end in node 2, 2 to 4 in node 3, 5 to 8 in node 4, 9 to 13 in node 5, from nodes 0, 1, 2, … each time.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np

from archflow.benchmarks.darts.notation import CELLS, OPERATIONS
from archflow.benchmarks.darts.space import DARTS
from archflow.benchmarks.means import mean_of_each
from archflow.benchmarks.table import Table
from archflow.support.progress import Progress, silent
from archflow.support.reading import Budget, expecting, open_files, read_json

MEASURES = (
    *("val_accuracy", "test_accuracy", "train_accuracy", "val_cross_entropy", "train_cross_entropy", "train_loss"),
    *("runtime", "model_parameters"),
)
_OF_THE_RUN = ("test_accuracy", "runtime")
"""The measures that stand beside a run's ``info``, not in it."""
_FILES = re.compile(r"(.*/)?results_[^/]*\.json")
BUDGET = Budget(whole=30_000_000_000, each=1_000_000)
"""60,000 logs of 100 epochs, with at most a dozen numbers of 20 digits an epoch: 24 kB each, with the rest 100 kB."""
_PREFIX = "NetworkSelectorDatasetInfo:darts:"


def read(path: str | Path, progress: Progress = silent) -> Table:
    """The trained networks, each once, in the order of ``DARTS.keys``; ``val_accuracy`` is the default column.

    The columns are ``MEASURES`` and ``runs``. Accuracies are a log's final ones in percent (in training under its
    augmentation), ``runtime`` is in seconds, ``model_parameters`` counts those of the network as it was trained (see
    ``DARTS.parameters``). A network that was trained ``runs`` times has the mean of each measure over the runs that
    have it, NaN where none has. Runs of another setting than the benchmark's (32 channels, 8 layers, 100 epochs) are
    left out: they are of other networks.

    Raises:
        FileNotFoundError: there is no such file or folder.
        ValueError: it is no zip file or a damaged one, holds no run of the benchmark, or a file in it is no training
            log or names an architecture that is not of the space; the message names the file.
    """
    path, space = Path(path), DARTS()
    choices, numbers = [], []
    with open_files(path, _FILES, BUDGET) as files:
        names = files.names
        for done, name in enumerate(names):
            if done % 500 == 0:
                progress("reading", done, len(names))
            content = files.read(name)
            with expecting(f"{path}: {name} is truncated or damaged"):
                run = read_json(content)
            with expecting(f"{path}: {name} is no training log of NAS-Bench-301"):
                if _is_of_the_benchmark(run):
                    choices.append(_architecture(run["optimized_hyperparamater_config"]))
                    numbers.append(_numbers(run))
        progress("reading", len(names), len(names))
    if not choices:
        raise ValueError(
            f"{path} holds no training run of NAS-Bench-301: of {len(names):,} files results_*.json, none is of a "
            "network with 32 channels and 8 layers that was trained for 100 epochs"
        )
    keys, network = np.unique(space.keys(space.from_edges(np.array(choices))), return_inverse=True)
    measured = zip(MEASURES, np.array(numbers).T, strict=True)
    columns = {measure: mean_of_each(network, values) for measure, values in measured}
    columns["runs"] = np.bincount(network).astype(float)
    return Table("darts/nasbench301", space, space.from_keys(keys), columns, "val_accuracy")


def _is_of_the_benchmark(run: dict[str, Any]) -> bool:
    config = run["optimized_hyperparamater_config"]
    return (config[f"{_PREFIX}init_channels"], config[f"{_PREFIX}layers"], run["budget"]) == (32, 8, 100)


def _architecture(config: dict[str, Any]) -> list[list[tuple[int, int]]]:
    """The edges of both cells, as :meth:`DARTS.edges` has them."""
    cells = []
    for cell in CELLS:
        choices, first = [], 0
        for node in range(2, 6):
            reads = config[f"{_PREFIX}inputs_node_{cell}_{node}"] if node > 2 else "0_1"
            edges = {source: config.get(f"{_PREFIX}edge_{cell}_{first + source}") for source in range(node)}
            edges = {source: operation for source, operation in edges.items() if operation is not None}
            if len(edges) != 2 or "_".join(map(str, edges)) != reads:
                raise ValueError(
                    f"node {node} of its {cell} cell reads {reads}, but has edges from {', '.join(map(str, edges))}"
                )
            for source, operation in edges.items():
                if operation not in OPERATIONS:
                    raise ValueError(f"its {cell} cell has the unknown operation {operation!r}")
                choices.append((source, OPERATIONS.index(operation)))
            first += node
        cells.append(choices)
    return cells


def _numbers(run: dict[str, Any]) -> list[float]:
    info, numbers = run["info"][0], []
    for measure in MEASURES:
        value = (run if measure in _OF_THE_RUN else info).get(measure)
        if value is None and measure == "val_accuracy":
            raise KeyError(measure)
        if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
            raise TypeError(f"its {measure} is {value!r}, not a number")
        numbers.append(np.nan if value is None else float(value))
    return numbers
