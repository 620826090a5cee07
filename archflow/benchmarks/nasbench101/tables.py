"""NAS-Bench-101 (Ying et al., ICML 2019): 423,624 cells, trained on CIFAR-10 three times for each of four budgets.

The official files are ``nasbench_only108.tfrecord`` (499 MB, the trainings of 108 epochs) and
``nasbench_full.tfrecord`` (1.95 GB, those of 4, 12, 36 and 108 epochs). They are TFRecord files, a record a training, a
JSON list: the hash of the cell, the epochs, the adjacency matrix row by row as 0s and 1s, the operations joined by
commas, and in base64 a protocol buffer ``ModelMetrics`` with three evaluations, at the start, halfway and at the end.
"""

from __future__ import annotations

import binascii
import struct
import sys
from array import array
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from archflow.archs.batch import ArchBatch
from archflow.benchmarks.nasbench101.space import NASBench101
from archflow.benchmarks.nasbench101.tfrecord import records
from archflow.benchmarks.table import Table
from archflow.support.progress import Progress, silent
from archflow.support.reading import Budget, expecting, read_json

BUDGETS = (108, 36, 12, 4)
"""Epochs of a training; the columns of the first bear no number."""
MEASURES = ("validation_accuracy", "test_accuracy", "training_time")
RUNS = 3

_FIELDS = (4, 5, 2)
"""The numbers of ``MEASURES`` in the protocol buffer ``EvaluationData``."""
_HASHES_CHECKED = 1_000
MOST_VERTICES = 7
BUDGET = Budget(whole=8_000_000_000, each=4_096)
"""The full file has 1.95 GB, a record of it 400 bytes on average."""


class _Training(NamedTuple):
    """A record of the file."""

    hash: str
    epochs: int
    matrix: str
    operations: str
    parameters: int
    measured: tuple[float, ...]


def read(path: Path, progress: Progress = silent) -> Table:
    """The cells of ``nasbench_only108.tfrecord`` or ``nasbench_full.tfrecord``, in the file's order.

    ``validation_accuracy`` (the default column), ``test_accuracy``, both fractions, and ``training_time``, in seconds,
    are those at the end of 108 epochs, means over a cell's runs; ``…/run1`` to ``…/run3`` are those of a single run,
    NaN where there is none. ``…/36``, ``…/12`` and ``…/4`` (only from the full file) are those of the other budgets,
    and ``…/4/run1`` those of a single run. ``trainable_parameters`` are a count.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is truncated or damaged, or of another benchmark; a cell is there twice, has another hash
            than its own, or more than three runs of a budget.
    """
    space = NASBench101()
    rows: dict[str, int] = {}
    cells: list[tuple[str, str]] = []
    parameters, row, epochs, measured = array("d"), array("i"), array("i"), array("d")
    for training in _trainings(path, progress):
        cell = rows.setdefault(training.hash, len(rows))
        if cell == space.size:
            raise ValueError(f"{path} is not the NAS-Bench-101 table: it has more than {space.size:,} cells")
        if cell == len(cells):
            cells.append((training.matrix, sys.intern(training.operations)))
            parameters.append(training.parameters)
        elif cells[cell] != (training.matrix, training.operations):
            raise ValueError(f"{path} is not the NAS-Bench-101 table: two cells have the hash {training.hash}")
        row.append(cell)
        epochs.append(training.epochs)
        measured.extend(training.measured)
    hashes = list(rows)
    if BUDGETS[0] not in epochs:
        raise ValueError(f"{path} is not the NAS-Bench-101 table: it has no training of {BUDGETS[0]} epochs")
    with expecting(f"{path} is not the NAS-Bench-101 table"):
        archs = _batch(cells, space.vocabulary)
        _check_hashes(hashes, archs, space)
        columns = _columns(hashes, np.asarray(row), np.asarray(epochs), np.asarray(measured).reshape(-1, len(MEASURES)))
    return Table(space.name, space, archs, {**columns, "trainable_parameters": np.array(parameters)}, MEASURES[0])


def _trainings(path: Path, progress: Progress) -> Iterator[_Training]:
    """The file's records, decoded."""
    total, done = path.stat().st_size, 0
    for number, record in enumerate(records(path, BUDGET), start=1):
        with expecting(f"{path} is not the NAS-Bench-101 table: record {number:,} is no training of a cell"):
            name, epochs, matrix, operations, metrics = read_json(record)
            training = _Training(name, epochs, matrix, operations, *_metrics(binascii.a2b_base64(metrics)))
            if not (
                type(name) is type(matrix) is type(operations) is str and type(epochs) is int and epochs in BUDGETS
            ):
                raise ValueError(f"its hash is {name!r}, its epochs are {epochs!r}")
            if len(matrix) > MOST_VERTICES**2:
                raise ValueError(f"its matrix has {len(matrix):,} entries, more than {MOST_VERTICES} vertices have")
        yield training
        done += len(record) + 16
        if number % 10_000 == 0 or done == total:
            progress("reading, MB", done >> 20, total >> 20)


def _metrics(message: bytes) -> tuple[int, tuple[float, ...]]:
    """The parameters, and ``MEASURES`` at the end of the training, in the protocol buffer ``ModelMetrics``."""
    fields = list(_fields(message))
    _start, _halfway, end = (content for number, content in fields if number == 1)
    last = dict(_fields(end))
    return dict(fields)[2], tuple(struct.unpack("<d", last[number])[0] for number in _FIELDS)


def _fields(message: bytes) -> Iterator[tuple[int, Any]]:
    """The numbers and contents of a protocol buffer's fields: an integer where it is a varint, else its bytes."""
    position = 0
    while position < len(message):
        key, position = _varint(message, position)
        if key & 7 == 0:
            content, position = _varint(message, position)
            yield key >> 3, content
        else:
            size, position = _varint(message, position) if key & 7 == 2 else ({1: 8, 5: 4}[key & 7], position)
            if position + size > len(message):
                raise ValueError("its protocol buffer ends within a field")
            yield key >> 3, message[position : position + size]
            position += size


def _varint(message: bytes, position: int) -> tuple[int, int]:
    """The integer that begins there, seven bits a byte, the lowest first; and where the next field begins."""
    value = shift = 0
    while shift < 64:
        byte = message[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
        shift += 7
    raise ValueError("a number in its protocol buffer has more than 64 bits")


def _batch(cells: Sequence[tuple[str, str]], vocabulary: tuple[str, ...]) -> ArchBatch:
    """The cells given by matrix and operations."""
    number = {name: index for index, name in enumerate(vocabulary)}
    coded: dict[str, list[int]] = {}
    for index, (matrix, names) in enumerate(cells):
        if names not in coded:
            unknown = [name for name in names.split(",") if name not in number]
            if unknown:
                raise ValueError(f"architecture {index} has an unknown operation '{unknown[0]}'")
            coded[names] = [number[name] for name in names.split(",")]
        if len(matrix) != len(coded[names]) ** 2 or matrix.strip("01"):
            raise ValueError(f"architecture {index} has {len(coded[names])} operations and the matrix '{matrix}'")
    sizes = np.array([len(coded[names]) for _, names in cells])
    most = int(sizes.max())
    matrices = np.zeros((len(cells), most, most), dtype=bool)
    for size in set(sizes.tolist()):
        of_it = np.flatnonzero(sizes == size)
        digits = "".join(cells[index][0] for index in of_it.tolist()).encode()
        matrices[of_it, :size, :size] = np.frombuffer(digits, np.uint8).reshape(-1, size, size) == ord("1")
    arch, source, target = np.nonzero(matrices)
    operations = np.fromiter((code for _, names in cells for code in coded[names]), np.int64, int(sizes.sum()))
    node_offsets = np.concatenate([[0], np.cumsum(sizes)])
    edge_offsets = np.searchsorted(arch, np.arange(len(cells) + 1))
    return ArchBatch(operations, node_offsets, np.stack([source, target]), edge_offsets, vocabulary)


def _check_hashes(hashes: Sequence[str], archs: ArchBatch, space: NASBench101) -> None:
    """No cell has two hashes, and in a sample each has its own."""
    keys = space.keys(archs)
    _, first, where = np.unique(keys, return_index=True, return_inverse=True)
    if (repeated := first[where] != np.arange(len(keys))).any():
        second = int(np.argmax(repeated))
        raise ValueError(f"one cell is there twice, as {hashes[first[where[second]]]} and as {hashes[second]}")
    sample = np.unique(np.linspace(0, len(hashes) - 1, _HASHES_CHECKED).astype(int))
    for index, its_own in zip(sample.tolist(), space.module_hash(archs[sample]), strict=True):
        if hashes[index] != its_own:
            raise ValueError(f"the cell of the hash {hashes[index]} has the hash {its_own}")


def _columns(
    hashes: Sequence[str],
    row: Int[ndarray, " trainings"],
    epochs: Int[ndarray, " trainings"],
    measured: Float[ndarray, "trainings measures"],
) -> dict[str, Float[ndarray, " cells"]]:
    """Means over the runs, and each run, of every measure and budget."""
    columns: dict[str, Float[ndarray, " cells"]] = {}
    for budget in BUDGETS:
        of_it = np.flatnonzero(epochs == budget)
        if not of_it.size:
            continue
        of_it = of_it[np.argsort(row[of_it], kind="stable")]
        cell = row[of_it]
        run = np.arange(len(cell)) - np.searchsorted(cell, cell)
        if (run >= RUNS).any():
            too_often = hashes[cell[np.argmax(run >= RUNS)]]
            raise ValueError(f"the cell {too_often} has more than {RUNS} runs of {budget} epochs")
        runs = np.full((len(MEASURES), RUNS, len(hashes)), np.nan)
        runs[:, run, cell] = measured[of_it].T
        counts = (~np.isnan(runs)).sum(axis=1)
        means = np.where(counts > 0, np.nansum(runs, axis=1) / np.maximum(counts, 1), np.nan)
        for measure, mean, single in zip(MEASURES, means, runs, strict=True):
            name = measure if budget == BUDGETS[0] else f"{measure}/{budget}"
            columns[name] = mean
            columns |= {f"{name}/run{number}": numbers for number, numbers in enumerate(single, start=1)}
    return columns
