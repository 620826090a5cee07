"""The paper's tables from one command: every study a grid of runs, made in any order, each once.

A folder holds the results of all studies that were run there: ``results.jsonl``, a line a run; the pre-trained
encoders, which several runs share; and for each study ``NAME.md``, ``.png``, ``.svg`` and ``.html``, made from those
lines alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from archflow.benchmarks.registry import space as make_space
from archflow.benchmarks.table import tables
from archflow.encoding.registry import encoders
from archflow.studies.evaluate import versions
from archflow.studies.grids import BUDGETS, STUDIES, Point, points
from archflow.studies.lines import append, read
from archflow.studies.probe import ProbeCell, probe_table
from archflow.studies.runs import AXES, Cell, Group, fingerprint_of, guess, known_table, run_group
from archflow.studies.speed import SpeedCell, speed_table
from archflow.studies.tables import draws_table, ranking_table, row_of
from archflow.support.devices import resolve_device
from archflow.support.files import require_writable, write_atomically
from archflow.support.plugins import plug_in, plugged_in
from archflow.support.processes import in_processes
from archflow.support.progress import Progress, silent

OTHERS = {
    "operation-probe": "whether an operation is present, told from the flow surrogate alone",
    "speed": "how long each encoder takes for a whole space",
}
"""The studies that are no grid of rankings."""


def studies() -> dict[str, str]:
    """The studies by name, and what each asks."""
    return {**{name: study.about for name, study in STUDIES.items()}, **OTHERS}


@dataclass(frozen=True)
class Failure:
    """What could not be run, and why."""

    what: str
    why: str


@dataclass(frozen=True)
class Outcome:
    """What a study holds now.

    Attributes:
        lines: those of the runs that were asked for that are done.
        runs: how many were asked for.
        failures: what could not be run.
        table: Markdown, of all that is done of the study, whichever runs were asked for.
        files: what was written.
    """

    lines: list[dict[str, Any]]
    runs: int
    failures: list[Failure]
    table: str
    files: list[Path]


def reproduce(
    name: str,
    *,
    only: Sequence[tuple[str, str]] = (),
    add: Sequence[tuple[str, str]] = (),
    budget: str = "published",
    epochs: int | None = None,
    finetune_epochs: int | None = None,
    seeds: int = 3,
    splits: int = 3,
    first_seed: int = 0,
    source: Sequence[tuple[str, str]] = (),
    processes: int = 1,
    device: str = "auto",
    out: str | Path = "reproduce",
    progress: Progress = silent,
) -> Outcome:
    """Make the runs of a study that are not done yet, then its table and its plots.

    What fails is reported, and the rest goes on. A run that was killed goes on where it was, by the same call; the same
    call twice at once shares the work.

    Args:
        name: one of :func:`studies`.
        only: pairs of an axis and a value; of each axis that is named, only the named values are run. The table and the
            plots show all that is done of the study, with what is added, in this budget and with these epochs; of each
            space the runs on one table, the one at hand or else the last that was used.
        add: pairs of an axis ("space", "encoder" or "pretext"; for studies that do not rank "space" alone) and a value
            that the study has not.
        budget: name of one of ``BUDGETS``.
        epochs: of pre-training; the budget's if None.
        finetune_epochs: of fine-tuning; the budget's if None.
        seeds: how many.
        splits: how many permutations for each.
        first_seed: seeds are counted from here.
        source: pairs of a space and the name of its table; else the first of :func:`archflow.benchmarks.table.tables`.
        processes: how many share the work; each computes with one thread.
        device: "cpu", "cuda", …, or "auto".
        out: the folder.
        progress: told how many runs are done.

    Raises:
        ValueError: an unknown study, axis, value, budget or device; the message lists the known ones.
        OSError: the folder cannot be written.
    """
    if processes < 1:
        raise ValueError(f"processes must be at least 1, not {processes}")
    folder = Path(out)
    jobs, cells, failures = plan(
        name,
        only=only,
        add=add,
        budget=budget,
        epochs=epochs,
        finetune_epochs=finetune_epochs,
        seeds=range(first_seed, first_seed + seeds),
        splits=splits,
        source=source,
        device=device,
        folder=folder,
    )
    require_writable(folder / "results.jsonl")
    folder.mkdir(parents=True, exist_ok=True)
    keys = {cell.key for cell in cells}
    done = {line["key"] for line in read(folder)}
    progress("runs", len(keys & done), len(cells))
    jobs = [job for job in jobs if any(cell.key not in done for cell in job.cells)]
    count = 1 if name == "speed" else processes
    for wait in (False, True):  # what another command is at work on comes last
        work, its, jobs = partial(_run, wait=wait, progress=progress if count == 1 else silent), jobs, []
        for job, ended in in_processes(work, its, count):
            if isinstance(ended, Timeout):
                jobs.append(job)
                continue
            failures += [_failure(job.what, ended)] if isinstance(ended, Exception) else ended
            progress("runs", _count(folder, keys), len(cells))
    shown = _lines_of(name, folder, cells, _by_axis(add), budget, epochs, finetune_epochs)
    table, files = present(name, shown, folder) if shown else ("", [])
    return Outcome([line for line in shown if line["key"] in keys], len(cells), failures, table, files)


@dataclass(frozen=True)
class Job:
    """What one process does at a time: cells that share an encoder, or one measurement."""

    what: str
    work: Group | SpeedCell | ProbeCell
    folder: Path
    plugins: Sequence[str] = ()

    @property
    def cells(self) -> Sequence[Cell | SpeedCell | ProbeCell]:
        """Its runs."""
        return self.work.cells if isinstance(self.work, Group) else [self.work]


def plan(
    name: str,
    *,
    only: Sequence[tuple[str, str]],
    add: Sequence[tuple[str, str]],
    budget: str,
    epochs: int | None,
    finetune_epochs: int | None,
    seeds: Sequence[int],
    splits: int,
    source: Sequence[tuple[str, str]],
    device: str,
    folder: Path,
) -> tuple[list[Job], list[Cell | SpeedCell | ProbeCell], list[Failure]]:
    """What a study is made of: jobs, their runs, and what cannot be run since there is no table of it."""
    if name not in studies():
        raise ValueError(f"unknown study '{name}'; known studies: {', '.join(studies())}")
    if budget not in BUDGETS:
        raise ValueError(f"unknown budget '{budget}'; known budgets: {', '.join(BUDGETS)}")
    if min(len(seeds), splits, 1 if epochs is None else epochs, 1 if finetune_epochs is None else finetune_epochs) < 1:
        raise ValueError("seeds, splits and epochs must be at least 1")
    device = str(resolve_device(device))
    added = _by_axis(add)
    growing = ("space",) if name in OTHERS else ("space", "encoder", "pretext")
    for axis in added:
        if axis not in growing:
            raise ValueError(f"nothing can be added to the axis '{axis}', only to {' or '.join(growing)}")
    if name in OTHERS and source:
        raise ValueError(f"the study {name} reads no table, so none can be named")
    for value in added.get("space", []):
        make_space(value)  # raises if it is unknown
    plugins = plugged_in()
    if name in OTHERS:
        its = _chosen(_measurements(name, added, seeds, device), only)
        return [Job(_what(vars(cell)), cell, folder, plugins) for cell in its], list(its), []
    failures: list[Failure] = []
    tables_of: dict[str, tuple[str, str]] = {}
    cells: list[Cell] = []
    groups: dict[str, list[Cell]] = {}
    chosen = _chosen(list(points(STUDIES[name], added, seeds, splits)), only)
    its_spaces = dict.fromkeys(point.space for point in chosen)
    for space, _ in source:
        if space not in its_spaces:
            raise ValueError(f"a table is named for the space '{space}', but the runs are of: {', '.join(its_spaces)}")
    known_table.cache_clear()
    for space in its_spaces:
        try:
            its_table = _source(space, source)
            tables_of[space] = its_table, fingerprint_of(its_table, space)
        except (ValueError, OSError, ModuleNotFoundError) as error:
            failures.append(_failure(f"space={space}", error))
    for point in chosen:
        if point.space in tables_of:
            cell = point.cell(*tables_of[point.space], BUDGETS[budget], epochs, finetune_epochs)
            cells.append(cell)
            groups.setdefault(cell.encoder_key, []).append(cell)
    jobs = [
        Job(_what(vars(its[0]), without=("labels", "split")), Group(its, folder, device), folder, plugins)
        for its in groups.values()
    ]
    return jobs, list(cells), failures


def present(name: str, lines: Sequence[dict[str, Any]], folder: Path) -> tuple[str, list[Path]]:
    """A study's table and its plots, from lines alone; returns the table and the files."""
    special: dict[str, Callable[[Sequence[dict[str, Any]]], str]] = {
        **{"operation-probe": probe_table, "speed": speed_table, "draws": draws_table}
    }
    table = special.get(name, ranking_table)(lines)
    stem = folder / name
    files = [stem.with_name(f"{name}.md")]
    write_atomically(files[0], table)
    try:
        from archflow.studies.plots import save, write_page
    except ModuleNotFoundError as error:
        if error.name != "matplotlib":
            raise
        return f"{table}\nFor plots: pip install 'archflow[plots]'\n", files
    files += save(name, lines, stem)
    files.append(stem.with_name(f"{name}.html"))
    write_page(files[-1], f"{name}: {studies()[name]}", table, files[-2].read_text())
    return table, files


def cost(jobs: Sequence[Job], folder: Path) -> list[dict[str, Any]]:
    """What is left to do: a dict for each space, encoder and pretext.

    Returns:
        "runs", "done" and "pretrainings" (to be made yet) are numbers; "hours" is a guess for one thread of a CPU, None
        where a speed is not known.
    """
    done = {line["key"] for line in read(folder)}
    found: dict[tuple[str, ...], dict[str, Any]] = {}
    for job in jobs:
        cells = job.cells
        place = {axis: getattr(cells[0], axis) for axis in AXES[:3] if hasattr(cells[0], axis)}
        row = found.setdefault(tuple(place.values()), {**place, "runs": 0, "done": 0, "pretrainings": 0, "hours": 0.0})
        row["runs"] += len(cells)
        row["done"] += sum(cell.key in done for cell in cells)
        if isinstance(job.work, Group) and (left := [cell for cell in job.work.cells if cell.key not in done]):
            first = left[0]
            new = first.task != "none" and not (folder / "encoders" / f"{first.encoder_key}.archflow").exists()
            row["pretrainings"] += new
            seconds = guess(left, new)
            row["hours"] = None if seconds is None or row["hours"] is None else row["hours"] + seconds / 3600
        elif cells[0].key not in done:
            row["hours"] = None
    return list(found.values())


def _run(job: Job, wait: bool, progress: Progress) -> list[Failure]:
    plug_in(job.plugins)
    if isinstance(job.work, Group):
        return [_failure(_what(vars(cell)), error) for cell, error in run_group(job.work, wait, progress)]
    with FileLock(job.folder / f"{job.work.key}.lock", blocking=wait):
        if job.work.key not in {line["key"] for line in read(job.folder)}:
            found = job.work.figures()
            append(job.folder, {**vars(job.work), **found, "versions": versions(), "key": job.work.key})
    return []


def _lines_of(
    name: str,
    folder: Path,
    cells: Sequence[Cell | SpeedCell | ProbeCell],
    added: dict[str, list[str]],
    budget: str,
    epochs: int | None,
    finetune_epochs: int | None,
) -> list[dict[str, Any]]:
    """All lines of a study with these settings, whatever their seeds and splits, in the order of its grid."""
    lines = read(folder)
    if name in OTHERS:
        kind, (device,) = type(cells[0]), {vars(cell)["device"] for cell in cells}
        axes = {axis.name for axis in fields(kind)}
        its = [line for line in lines if axes <= line.keys() and (name != "speed" or line["device"] == device)]
        its = [line for line in its if kind(**{axis: line[axis] for axis in axes}).key == line["key"]]
        return sorted(its, key=lambda line: (line["space"], line.get("encoder", ""), line["seed"]))
    its_rows = (row_of(vars(point)) for point in points(STUDIES[name], added, [0], 1))
    place_of = {row: number for number, row in enumerate(its_rows)}
    lines = [line for line in lines if line.keys() >= set(AXES) and row_of(line) in place_of]
    source = {line["space"]: (line["settings"]["table"], line["settings"]["data"]) for line in lines}
    source |= {cell.space: (cell.table, cell.data) for cell in cells if isinstance(cell, Cell)}
    found = []
    for line in lines:
        point = Point(**{axis: line[axis] for axis in AXES})
        cell = point.cell(*source[point.space], BUDGETS[budget], epochs, finetune_epochs)
        if cell.key == line["key"]:
            found.append((place_of[row_of(line)], point.seed, point.split, line))
    return [line for *_, line in sorted(found, key=lambda each: each[:3])]


def _measurements(
    name: str, added: dict[str, list[str]], seeds: Sequence[int], device: str
) -> list[SpeedCell | ProbeCell]:
    its_spaces = dict.fromkeys(("nasbench101", "nasbench201", "darts", *added.get("space", [])))
    if name == "speed":
        return [SpeedCell(space, each, seeds[0], device) for space in its_spaces for each in encoders()]
    return [ProbeCell(space, seed, device) for space in its_spaces for seed in seeds]


def _by_axis(pairs: Sequence[tuple[str, str]]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for axis, value in pairs:
        found.setdefault(axis, []).append(value)
    return found


def _chosen(places: list[Any], only: Sequence[tuple[str, str]]) -> list[Any]:
    """The places of a grid whose values are the named ones."""
    for axis, value in only:
        known = [vars(place)[axis] for place in places if axis in vars(place)]
        if not known:
            axes = [axis for axis in (*AXES, "device") if axis in vars(places[0])]
            raise ValueError(f"unknown axis '{axis}'; known: {', '.join(axes)}")
        if not any(_is(each, value) for each in known):
            raise ValueError(f"the study has no {axis} '{value}'; it has: {', '.join(sorted(set(map(str, known))))}")
    wanted = _by_axis(only).items()
    chosen = [
        place
        for place in places
        if all(any(_is(vars(place)[axis], value) for value in values) for axis, values in wanted)
    ]
    if not chosen:
        raise ValueError(f"the study has no run with {', '.join(f'{axis}={value}' for axis, value in only)}")
    return chosen


def _is(value: Any, text: str) -> bool:
    return text == str(value) or (isinstance(value, float) and text == f"{value:g}")


def _source(space: str, source: Sequence[tuple[str, str]]) -> str:
    named = dict(source).get(space)
    if named:
        return named
    known = [name for name in tables(space) if not name.endswith("/proxies")]
    if not known:
        raise ValueError(f"there is no table of the space {space}; add one with archflow tables add")
    return known[0]


def _failure(what: str, error: Exception) -> Failure:
    return Failure(what, f"{error}" or type(error).__name__)


def _what(settings: dict[str, Any], without: Sequence[str] = ()) -> str:
    return ",".join(f"{axis}={settings[axis]}" for axis in AXES if axis in settings and axis not in without)


def _count(folder: Path, keys: set[str]) -> int:
    return sum(line["key"] in keys for line in read(folder))
