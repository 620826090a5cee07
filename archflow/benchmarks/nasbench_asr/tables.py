"""``nasbench-asr``: every NAS-Bench-ASR cell trained on TIMIT, from the files that the benchmark publishes.

The releases of the repository SamsungLabs/nb-asr have these files:

* ``nb-asr-e40-1234.pickle``, ``…-1235``, ``…-1236``: trainings of 40 epochs from three seeds; also ``nb-asr-e10-…`` and
  ``nb-asr-e5-…``, of 10 and of 5 epochs. For each cell the phoneme error rate (a fraction) on the validation set
  after each epoch, and on the test set in the epoch that was best on the validation set;
* ``nb-asr-bench-gtx-1080ti-fp32.pickle``, ``nb-asr-bench-jetson-nano-fp32.pickle``: latencies (no unit is
  stated, the values look like seconds);
* ``nb-asr-info.pickle``: parameters and, from version 2 on, flops.

Each is two pickles, one after the other: a header (a dictionary) and a list of rows, which begin with ``model_hash``,
the benchmark's name for a network. This is how the benchmark's own loader reads them; the files were not at hand.
"""

from __future__ import annotations

import re
from collections import defaultdict
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from archflow.archs.batch import Graph
from archflow.benchmarks.module_hash import module_hash
from archflow.benchmarks.nasbench_asr.space import OPERATIONS, NASBenchASR
from archflow.benchmarks.table import Table
from archflow.support.progress import Progress, silent
from archflow.support.reading import Budget, expecting, open_regular
from archflow.support.unpickle import restricted_load

BUDGET = Budget(20_000_000)
"""8,242 rows with a hash and 41 numbers of nine bytes each are 4 MB."""


def read(path: Path, progress: Progress = silent) -> Table:
    """The cells that the files have, in the order of ``NASBenchASR.enumerate()``.

    Trainings of 40 epochs give ``e40/valid_per/1234`` (the lowest error rate of all epochs) and ``e40/test_per/1234``
    for each seed, ``e40/valid_per`` and ``e40/test_per``, the means over the seeds, and ``e40/valid_score``, which is 1
    minus ``e40/valid_per``. The score after the most epochs is the default column. Further columns are
    ``latency/<device>``, ``params`` and ``flops``. A number that no file has is NaN.

    Args:
        path: one of the files, or a folder with several.
        progress: called with how many of the files have been read.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a file is damaged or another table, or has a cell that is not of the space, or one twice; or there
            is no file in the folder. The message names the file.
    """
    path = Path(path)
    files = sorted(path.glob("nb-asr-*.pickle")) if path.is_dir() else [path]
    if not files:
        raise ValueError(f"{path} is not the NAS-Bench-ASR table: it has no file nb-asr-….pickle")
    space = NASBenchASR()
    found: dict[str, Float[ndarray, " archs"]] = {}
    for done, file in enumerate(files):
        progress("reading", done, len(files))
        for name, column in _read_file(file).items():
            if name in found:
                raise ValueError(f"{file} has the numbers of {name} again, which another file has, too")
            found[name] = column
    progress("reading", len(files), len(files))

    seeds: dict[tuple[int, str], list[Float[ndarray, " archs"]]] = defaultdict(list)
    for name, column in found.items():
        if match := re.fullmatch(r"e(\d+)/(\w+)/\d+", name):
            seeds[-int(match[1]), match[2]].append(column)
    means = {f"e{-epochs}/{measure}": _mean(seeds[epochs, measure]) for epochs, measure in sorted(seeds)}
    scores = {
        name.replace("valid_per", "valid_score"): 1 - mean
        for name, mean in means.items()
        if name.endswith("/valid_per")
    }
    columns = {**scores, **means, **found}
    there = np.flatnonzero(~np.isnan(list(columns.values())).all(axis=0))
    if not len(there):
        raise ValueError(f"{path} is not the NAS-Bench-ASR table: it has no cells")
    columns = {name: column[there] for name, column in columns.items()}
    return Table("nasbench-asr", space, space.enumerate()[there], columns, next(iter(scores), ""))


def _read_file(file: Path) -> dict[str, Float[ndarray, " archs"]]:
    """The columns of one file, for all cells of the space."""
    with open_regular(file, BUDGET.file) as opened:
        header = restricted_load(file, opened)
        with expecting(f"{file} is not a file of NAS-Bench-ASR: its header"):
            names = _names(header)
        records = restricted_load(file, opened)
    row = _rows()
    read = np.zeros(len(row), dtype=bool)
    with expecting(f"{file} is not a file of NAS-Bench-ASR"):
        numbers = np.full((len(names), len(row)), np.nan)
        for model_hash, *values in records:
            if model_hash not in row:
                raise ValueError(f"its model {model_hash!r} is not of the space")
            index = row[model_hash]
            if read[index]:
                raise ValueError(f"it has the model {model_hash!r} twice")
            read[index] = True
            for column, value in zip(numbers, values[: len(names)], strict=True):
                column[index] = np.fmin.reduce(np.atleast_1d(np.asarray(value, dtype=float)))
    return dict(zip(names, numbers, strict=True))


def _names(header: Any) -> list[str]:
    """What the columns after the first are called here.

    Raises:
        Exception: it is no header of this benchmark.
    """
    space, kind, columns = header["search_space"], header["dataset_type"], list(header["columns"])
    if (list(space["ops"]), space["nodes"]) != (list(OPERATIONS), 3):
        raise ValueError(f"cells have {space['nodes']!r} nodes and the operations {space['ops']!r}")
    if kind == "training" and columns[:3] == ["model_hash", "val_per", "test_per"]:
        epochs, seed = int(header["epochs"]), int(header["seed"])
        return [f"e{epochs}/valid_per/{seed}", f"e{epochs}/test_per/{seed}"]
    if kind == "benchmarking" and columns[:2] == ["model_hash", "latency"]:
        return [f"latency/{header['device']}"]
    if kind == "static" and columns[:2] == ["model_hash", "params"]:
        return ["params", "flops"] if columns[2:3] == ["flops"] else ["params"]
    raise ValueError(f"it is of the type {kind!r} and has the columns {columns!r}")


@cache
def _rows() -> dict[str, int]:
    """For each of the benchmark's names the position in ``NASBenchASR.enumerate()``."""
    archs = NASBenchASR().enumerate()
    return {_model_hash(archs.graph(index)): index for index in range(len(archs))}


def _model_hash(graph: Graph) -> str:
    """The benchmark's name for the network of a cell of the space: a hash of the graph that is left without ``zero``.

    It is NAS-Bench-101's, see :func:`.module_hash`; a node is labelled with its degrees and operation. If nothing leads
    from the input to the output, no node is left.
    """
    names, edges = graph
    left = [node for node, name in enumerate(names) if name != "zero"]
    place = {node: index for index, node in enumerate(left)}
    kept = [(place[source], place[target]) for source, target in edges if source in place and target in place]
    if not kept:
        left = []
    numbers = {"input": -1, "output": -2, **{name: number for number, name in enumerate(OPERATIONS)}}
    reads = [[source for source, target in kept if target == node] for node in range(len(left))]
    readers = [[target for source, target in kept if source == node] for node in range(len(left))]
    degrees = zip(readers, reads, left, strict=True)
    labels = [f"({len(after)}.0, {len(before)}.0, {numbers[names[node]]})" for after, before, node in degrees]
    return module_hash(labels, reads, readers)


def _mean(columns: list[Float[ndarray, " archs"]]) -> Float[ndarray, " archs"]:
    """The mean of the numbers that are there."""
    counts = (~np.isnan(columns)).sum(axis=0)
    return np.divide(np.nansum(columns, axis=0), counts, out=np.full(len(counts), np.nan), where=counts > 0)
