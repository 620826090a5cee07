"""``nasbench-nlp``: recurrent cells trained on Penn Treebank, from the logs that NAS-Bench-NLP publishes.

The repository fmsnew/nas-bench-nlp-release has its logs in archives: ``train_logs_single_run/logs.zip`` (some 14,000
trainings), ``train_logs_multi_runs/logs.zip`` (more trainings of some cells) and ``train_logs_wikitext-2/logs.zip``
(trainings on WikiText-2). Such an archive, or a folder that it was unpacked to, has a JSON file for each training,
``log_stats_model_<recepie_id>_<init_time>_<experiment_id>.json``. It holds the recipe (a string, ``recepie``), these
three, ``data``, ``num_params``, ``status`` ("OK", or how the training failed), and for each epoch its ``wall_times`` in
seconds and its ``train_losses``, ``val_losses`` and ``test_losses``. So says the script that wrote the logs; the
archives themselves were not at hand, so any folders in them are accepted.

A loss is the cross-entropy in nats a word, so its exponential is the perplexity. The archives hold many networks more
than once, under several ids, and often with other names for their nodes; here a network has one row.
"""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np

from archflow.archs.batch import ArchBatch, Graph
from archflow.benchmarks.means import mean_of_each
from archflow.benchmarks.nasbench_nlp.space import NASBenchNLP
from archflow.benchmarks.table import Table
from archflow.support.progress import Progress, silent
from archflow.support.reading import Budget, expecting, open_files, read_json
from archflow.support.settings import short

_MEANS = (
    *("valid_score", "best_valid_loss", "test_loss", "last_valid_loss", "last_test_loss", "last_train_loss"),
    *("wall_time", "epochs"),
)

_FILES = re.compile(r"(.*/)?(?!\._)[^/]*\.json")
"""The logs; macOS adds a file ``._name`` to each."""
BUDGET = Budget(whole=1_000_000_000, each=200_000)
"""14,000 logs: a recipe of 21 nodes, 3 kB, and 50 epochs of four numbers of 20 digits; in all some 15 kB each."""


class _Training(NamedTuple):
    recipe_id: int
    graph: Graph
    num_params: float
    means: list[float]


def read(path: Path, progress: Progress = silent) -> Table:
    """The networks of one of the archives, in the order of their lowest ids; ``valid_score`` is the default column.

    ``best_valid_loss`` is the lowest of all epochs, ``valid_score`` minus that, ``test_loss`` the test loss in that
    epoch; ``last_valid_loss``, ``last_test_loss`` and ``last_train_loss`` are those of the last epoch; ``wall_time`` is
    the seconds of all ``epochs``. Each is the mean over the ``trainings`` that ended well, NaN where none did.
    ``num_params`` counts the parameters, ``recepie_id`` is the lowest id.

    Args:
        path: the archive, or a folder of its files.
        progress: called with how many of the files have been read.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the archive is damaged, a log is damaged or given twice or has another data set than the others, or
            its recipe is not of the space; the message names the file.
    """
    path = Path(path)
    trainings: list[_Training] = []
    names: dict[tuple[Any, ...], str] = {}
    data = ""
    with open_files(path, _FILES, BUDGET) as files:
        for done, name in enumerate(files.names):
            progress("reading", done, len(files.names))
            content = files.read(name)
            with expecting(f"{path} is not the NAS-Bench-NLP table: {name} is damaged"):
                log = read_json(content)
                training = _training(log)
                its_data = PurePosixPath(log["data"]).name
                run = (training.recipe_id, str(log["init_time"]), str(log["experiment_id"]))
            if run in names:
                raise ValueError(
                    f"{path}: {name} is a training of recipe {run[0]} that is given twice, see {names[run]}"
                )
            if data and its_data != data:
                raise ValueError(f"{path}: {name} is a training on {short(its_data)}, the others are on {short(data)}")
            names[run], data = name, its_data
            trainings.append(training)
        progress("reading", len(files.names), len(files.names))
    if not trainings:
        raise ValueError(f"{path} is not the NAS-Bench-NLP table: it has no file that ends in .json")

    space = NASBenchNLP()
    trainings.sort(key=lambda training: training.recipe_id)
    archs = ArchBatch.from_graphs([training.graph for training in trainings], space.vocabulary)
    _, first, network = np.unique(space.keys(archs), return_index=True, return_inverse=True)
    order = np.argsort(first)
    first, network = first[order], np.argsort(order)[network]
    means = np.array([training.means for training in trainings])
    columns = {name: mean_of_each(network, column) for name, column in zip(_MEANS, means.T, strict=True)}
    columns["trainings"] = np.bincount(network, weights=~np.isnan(means[:, 0]))
    columns["num_params"] = np.array([trainings[row].num_params for row in first])
    columns["recepie_id"] = np.array([trainings[row].recipe_id for row in first], dtype=float)
    return Table("nasbench-nlp", space, archs[first], columns, "valid_score")


def _training(log: Any) -> _Training:
    """What a log says.

    Raises:
        KeyError, OverflowError, TypeError, ValueError: it is no log, or its recipe is not of the space.
    """
    if not isinstance(log["recepie"], str):
        raise TypeError("its recipe is no string")
    times, train, valid, test = (
        np.array(log[name], dtype=float).reshape(len(log[name]))
        for name in ("wall_times", "train_losses", "val_losses", "test_losses")
    )
    if not len(times) == len(train) == len(valid) == len(test):
        raise ValueError("its losses are of different numbers of epochs")
    means = [np.nan] * len(_MEANS)
    if log["status"] == "OK" and not np.isnan(valid).all():
        best = np.nanargmin(valid)
        means = [-valid[best], valid[best], test[best], valid[-1], test[-1], train[-1], times.sum(), len(valid)]
    recipe_id = int(np.int64(log["recepie_id"]))
    return _Training(recipe_id, NASBenchNLP().parse_one(log["recepie"]), float(log["num_params"]), means)
