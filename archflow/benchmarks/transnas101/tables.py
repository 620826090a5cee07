"""``transnas101-micro`` and ``transnas101-macro``: TransNAS-Bench-101's networks, each trained once on seven tasks.

The file is ``transnas-bench_v10141024.pth``, which PyTorch saved: a dictionary of ``task_list``, ``info_names`` (what
is known of a network), ``metrics_dict`` (what was measured, for each task) and ``data``. In there, for each of
``micro`` and ``macro``, each architecture and each task, stands ``{"total_epochs": n, "model_info": {name: number},
"metrics": {name: [a number after each epoch]}}``.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np

from archflow.benchmarks.table import Table
from archflow.benchmarks.transnas101.space import TransNASMacro, TransNASMicro
from archflow.support.progress import Progress, silent
from archflow.support.reading import Budget, expecting, open_files, open_regular
from archflow.support.settings import short
from archflow.support.unpickle import restricted_load

FILE = "transnas-bench_v10141024.pth"
_DEFAULT = "class_scene/valid_top1"
_PICKLE = re.compile(r"[^/]*/data\.pkl")
BUDGET = Budget(600_000_000)
"""7,352 networks, seven tasks, some ten measures after each of 30 epochs, nine bytes each: 140 MB."""
_BEFORE_1_6 = 0x1950A86A20F9469CFC6C
"""The number with which a file begins that PyTorch saved before version 1.6; it is a row of pickles, not a zip file."""


def read_micro(path: Path, progress: Progress = silent) -> Table:
    """The cells of the file ``path``, or of ``FILE`` in the folder ``path``, in the order of their strings.

    The columns are ``<task>/<name>``: what was measured on the validation and test images after the last epoch,
    ``time_elapsed`` until then, and ``inference_time``, ``encoder_params``, ``model_params``, ``encoder_FLOPs`` and
    ``model_FLOPs``, in the units of the file (seconds where it has a time as 01:02:03). What is not there is NaN.

    The tasks and their main measures, of which more is better: ``class_scene`` (its ``valid_top1`` is the default
    column), ``class_object`` and ``jigsaw``: ``valid_top1`` in percent; ``room_layout``: ``valid_neg_loss``;
    ``segmentsemantic``: ``valid_mIoU`` in percent; ``normal`` and ``autoencoder``: ``valid_ssim``. All are there for
    the test images too, as ``test_…``.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is damaged or another benchmark's, asks for more than numbers, or names an architecture of
            another space.
    """
    return _read(path, "micro", TransNASMicro(), progress)


def read_macro(path: Path, progress: Progress = silent) -> Table:
    """The networks of the macro space; all else as :func:`read_micro`."""
    return _read(path, "macro", TransNASMacro(), progress)


def _read(path: Path, part: str, space: TransNASMicro | TransNASMacro, progress: Progress) -> Table:
    path = path / FILE if path.is_dir() else path
    content, archs = _content(path), space.enumerate()
    with expecting(_not_the_table(path, "a part of it")):
        records = content["data"][part]
        unknown = records.keys() - set(space.format(archs))
        wanted = [
            (task, group, name)
            for task in content["task_list"]
            for group, names in (("metrics", content["metrics_dict"][task]), ("model_info", content["info_names"]))
            for name in names
            if not name.startswith("train_")
        ]
    if unknown:
        raise ValueError(
            _not_the_table(path, f"its architecture {short(min(unknown, key=str))} is not of {space.name}")
        )
    if not records:
        raise ValueError(_not_the_table(path, f"it holds nothing of {space.name}"))

    archs = archs[np.flatnonzero([name in records for name in space.format(archs)])]
    numbers = np.empty((len(wanted), len(archs)))
    for row, name in enumerate(space.format(archs)):
        if row % 256 == 0:
            progress("reading", row, len(archs))
        with expecting(_not_the_table(path, f"{name} has no number")):
            numbers[:, row] = [_final(records[name], *where) for where in wanted]
    progress("reading", len(archs), len(archs))

    columns = {f"{task}/{name}": column for (task, _, name), column in zip(wanted, numbers, strict=True)}
    if _DEFAULT not in columns or np.isnan(columns[_DEFAULT]).all():
        raise ValueError(_not_the_table(path, f"it knows no {_DEFAULT}"))
    return Table(space.name, space, archs, columns, _DEFAULT)


def _content(path: Path) -> Any:
    """What PyTorch saved in the file, in either of its formats, without running what the pickle asks for."""
    with open_regular(path, BUDGET.whole) as file:
        if file.read(2) != b"PK":
            file.seek(0)
            number, _, _ = (restricted_load(path, file) for _ in range(3))
            if number != _BEFORE_1_6:
                raise ValueError(f"{path} is no file that PyTorch saved")
            return restricted_load(path, file)
    with open_files(path, _PICKLE, BUDGET) as files:
        if len(files.names) != 1:
            raise ValueError(f"{path} is no file that PyTorch saved: it holds no data.pkl")
        with files.open(files.names[0]) as file:
            content = restricted_load(path, file)
            while file.read(1 << 20):  # to the end, where its checksum is compared
                pass
            return content


def _final(results: Any, task: str, group: str, name: str) -> float:
    """A number of an architecture, of a row of them the last; NaN where there is none, seconds for a 01:02:03."""
    value = results.get(task, {}).get(group, {}).get(name)
    if group == "metrics" and value is not None:
        value = value[-1]
    if value is None or value == "":
        return float("nan")
    if isinstance(value, str) and ":" in value:
        hours, minutes, seconds = value.split(":")
        return 3600 * float(hours) + 60 * float(minutes) + float(seconds)
    return float(value)


def _not_the_table(path: Path, reason: str) -> str:
    return f"{path} is not the table of TransNAS-Bench-101: {reason}"
