"""The paper's tables from one command: every study is a grid of runs, done once each, in any order.

A folder holds the results of all studies run there: ``results.jsonl``, with one line for each run; the pre-trained
encoders, which runs share; and for each study ``NAME.md``, ``.png``, ``.svg`` and ``.html``, made from the lines alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from archflow.benchmarks.registry import space as make_space
from archflow.benchmarks.table import Table
from archflow.benchmarks.tables import tables
from archflow.encoding.registry import encoders
from archflow.studies.grids import BUDGETS, STUDIES, Budget, Proxies, grid, require_size, run_at
from archflow.studies.lines import FILE, read
from archflow.studies.probe import ProbeRun, probe_table
from archflow.studies.protocol import AXES, GridPoint, LabelledTable, Run, Source
from archflow.studies.runner import Failure, Job, Measurement, Outcome, RunGroup, labelled_table, make_all
from archflow.studies.speed import SpeedRun, speed_table
from archflow.studies.tables import draws_table, ranking_table, row_of
from archflow.support.devices import resolve_device
from archflow.support.files import write_atomically
from archflow.support.progress import Progress, shown
from archflow.support.reading import expecting

Pairs = Sequence[tuple[str, str]]

MEASUREMENTS: dict[str, tuple[type[Measurement], str]] = {
    "operation-probe": (ProbeRun, "whether the flow surrogate alone shows which operations are present"),
    "speed": (SpeedRun, "how fast each encoder encodes a whole space"),
}
"""The studies that are not grids of rankings."""

TABLES: dict[str, Callable[[Sequence[dict[str, Any]]], str]] = {
    "operation-probe": probe_table,
    "speed": speed_table,
    "draws": draws_table,
}
"""The table functions of studies that do not use :func:`archflow.studies.tables.ranking_table`."""


def studies() -> dict[str, str]:
    """The studies by name, with the question that each answers."""
    return {name: study.about for name, study in STUDIES.items()} | {
        name: about for name, (_, about) in MEASUREMENTS.items()
    }


@dataclass(frozen=True)
class Choice:
    """The requested runs of a study; the attributes are arguments of :func:`reproduce`."""

    only: Pairs = ()
    add: Pairs = ()
    budget: str = "published"
    pretrain_epochs: int | None = None
    finetune_epochs: int | None = None
    seeds: int = 3
    splits: int = 3
    first_seed: int = 0
    source: Pairs = ()
    device: str = "auto"

    def __post_init__(self) -> None:
        if self.budget not in BUDGETS:
            raise ValueError(f"unknown budget '{self.budget}'; known budgets: {', '.join(BUDGETS)}")
        for name in ("seeds", "splits", "pretrain_epochs", "finetune_epochs"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} must be at least 1, not {value}")
        require_size(self.seeds, self.splits)

    @property
    def full_budget(self) -> Budget:
        """The named budget with the requested epochs."""
        return BUDGETS[self.budget].with_epochs(self.pretrain_epochs, self.finetune_epochs)

    @property
    def all_seeds(self) -> range:
        """All requested seeds."""
        return range(self.first_seed, self.first_seed + self.seeds)


def reproduce(
    name: str,
    *,
    only: Pairs = (),
    add: Pairs = (),
    budget: str = "published",
    pretrain_epochs: int | None = None,
    finetune_epochs: int | None = None,
    seeds: int = 3,
    splits: int = 3,
    first_seed: int = 0,
    source: Pairs = (),
    processes: int = 1,
    device: str = "auto",
    out: str | Path = "reproduce",
    progress: Progress | None = None,
) -> Outcome:
    """Do the runs of a study that are not done yet, then make its table and plots.

    A failing run is reported, and the others continue. Repeating the call resumes interrupted work, and several such
    calls at once share it.

    The table and the plots show every finished run of the study, including added values, with this budget and these
    epochs, even if only some runs were requested. For each space they show the runs on one table: the available one, or
    else the one used last.

    Args:
        name: one of :func:`studies`.
        only: pairs of an axis and a value; restricts each axis that occurs to the given values.
        add: pairs of an axis ("space", "encoder", "pretext" or "head"; only "space" for studies that do not rank) and
            a value to add to it.
        budget: name of one of ``BUDGETS``.
        pretrain_epochs: epochs of pre-training; the budget's if None.
        finetune_epochs: epochs of fine-tuning; the budget's if None.
        seeds: number of seeds.
        splits: number of splits for each seed.
        first_seed: the first seed; the others follow it.
        source: pairs of a space and the name of its table; by default the first of :func:`archflow.tables`.
        processes: number of processes that share the work, each with one thread.
        device: "cpu", "cuda", …, or "auto".
        out: the results folder.
        progress: called as runs finish; by default there is a bar on a terminal and in a notebook.

    Raises:
        ValueError: the study, an axis, a value, the budget or the device is unknown; the message lists the known ones.
        OSError: the folder cannot be written.
    """
    if processes < 1:
        raise ValueError(f"processes must be at least 1, not {processes}")
    choice = Choice(
        only, add, budget, pretrain_epochs, finetune_epochs, seeds, splits, first_seed, source, device
    )  # fmt: skip
    planned = plan(name, choice)
    folder = Path(out)
    with shown(progress) as told:
        failed = make_all(planned.jobs, folder, 1 if name == "speed" else processes, told)
    found = lines_of(name, folder, choice, planned.jobs)
    table, files = present(name, studies()[name], found, folder) if found else ("", [])
    keys = {run.key for job in planned.jobs for run in job.runs}
    lines = [line for line in found if line["key"] in keys]
    return Outcome(lines, len(keys), planned.failures + failed, table, files)


@dataclass(frozen=True)
class Plan:
    """Attributes:
    jobs: cover all requested runs.
    failures: what cannot be run for want of a usable table.
    """

    jobs: list[Job]
    failures: list[Failure]


def plan(name: str, choice: Choice) -> Plan:
    """The jobs for the requested runs of a study.

    Raises:
        ValueError: the study, an axis, a value or the device is unknown; the message lists the known ones.
    """
    if name not in studies():
        raise ValueError(f"unknown study '{name}'; known studies: {', '.join(studies())}")
    device = str(resolve_device(choice.device))
    added = _by_axis(choice.add)
    growing = ("space",) if name in MEASUREMENTS else ("space", "encoder", "pretext", "head")
    for axis in added:
        if axis not in growing:
            raise ValueError(f"cannot add to the axis '{axis}', only to {' or '.join(growing)}")
    for value in added.get("space", []):
        make_space(value)  # raises if it is unknown
    if name in MEASUREMENTS:
        if choice.source:
            raise ValueError(f"the study {name} uses no table, so none can be given")
        return Plan(list(_chosen(_measurements(name, added, choice.all_seeds, device), choice.only)), [])
    points = _chosen(list(grid(STUDIES[name], added, choice.all_seeds, choice.splits)), choice.only)
    spaces: dict[str, LabelledTable | None] = dict.fromkeys(point.space for point in points)
    for space, _ in choice.source:
        if space not in spaces:
            raise ValueError(f"a table is given for the space '{space}', but the runs are on: {', '.join(spaces)}")
    labelled_table.cache_clear()
    failures = []
    for space in spaces:
        try:
            data = labelled_table(_table_of(space, choice.source))
            if data.table.space.name != space:
                raise ValueError(
                    f"the table {data.table.name} belongs to the space {data.table.space.name}, not to {space}"
                )
            spaces[space] = data
        except (ValueError, OSError, ModuleNotFoundError) as error:
            failures.append(Failure.of(f"space={space}", error))
    sources: dict[tuple[str, Proxies], Source | None] = {}
    for point in points:
        place = point.space, choice.full_budget.proxies_at(point)
        known = spaces[point.space]
        if known and place not in sources:
            try:
                sources[place] = known.source(*place[1])
            except ValueError as error:
                sources[place] = None
                failures.append(Failure.of(f"space={place[0]},head={point.head}", error))
    found = [(point, sources.get((point.space, choice.full_budget.proxies_at(point)))) for point in points]
    runs = [run_at(point, source, choice.full_budget) for point, source in found if source]
    return Plan(grouped(runs, device), failures)


def grouped(runs: Sequence[Run], device: str, table: Table | None = None) -> list[Job]:
    """Group runs that start from the same encoder, in order of first appearance.

    Args:
        runs: all on ``table``, or on tables that are known by name.
        device: the device for all runs.
        table: the table; None to look it up by the name that a run gives.
    """
    groups: dict[str, list[Run]] = {}
    for run in runs:
        groups.setdefault(run.encoder_key, []).append(run)
    return [RunGroup(group, device, table) for group in groups.values()]


def present(name: str, title: str, lines: Sequence[dict[str, Any]], folder: Path) -> tuple[str, list[Path]]:
    """Write a study's table and plots, from lines alone; returns the table and the files."""
    table = TABLES.get(name, ranking_table)(lines)
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
    write_page(files[-1], f"{name}: {title}", table, files[-2].read_text())
    return table, files


def lines_of(name: str, folder: Path, choice: Choice, jobs: Sequence[Job] = ()) -> list[dict[str, Any]]:
    """All lines of a study that match the settings of a choice, in grid order, for any seed and split.

    Args:
        name: one of :func:`studies`.
        folder: the results folder.
        choice: only its budget, epochs, additions and device matter.
        jobs: planned jobs; their tables take precedence over those in the lines.
    """
    lines = read(folder)
    if name in MEASUREMENTS:
        kind, device = MEASUREMENTS[name][0], str(resolve_device(choice.device))
        axes = {axis.name for axis in fields(kind)}
        lines = [line for line in lines if axes <= line.keys() and (name != "speed" or line["device"] == device)]
        lines = [line for line in lines if kind(**{axis: line[axis] for axis in axes}).key == line["key"]]
        return sorted(lines, key=lambda line: (line["space"], line.get("encoder", ""), line["seed"]))
    rows = (row_of(vars(point)) for point in grid(STUDIES[name], _by_axis(choice.add), [0], 1))
    place = {row: number for number, row in enumerate(rows)}
    lines = [line for line in lines if set(AXES) <= line.keys() and row_of(line) in place]
    with expecting(f"{folder / FILE} has a result with other settings than archflow writes; move the file away"):
        known = [(line["space"], Source(**line["settings"]["source"])) for line in lines]
    known += [(run.space, run.source) for job in jobs for run in job.runs if isinstance(run, Run)]
    last = {space: source.without_proxies() for space, source in known}
    sources = {
        (space, Proxies(each.proxies, each.head_proxies)): each
        for space, each in known
        if each.without_proxies() == last[space]
    }
    budget, found = choice.full_budget, []
    for line in lines:
        point = GridPoint(**{axis: line[axis] for axis in AXES})
        source = sources.get((point.space, budget.proxies_at(point)))
        if source and run_at(point, source, budget).key == line["key"]:
            found.append((place[row_of(line)], point.seed, point.split, line))
    return [line for *_, line in sorted(found, key=lambda each: each[:3])]


def _measurements(name: str, added: dict[str, list[str]], seeds: Sequence[int], device: str) -> list[Measurement]:
    spaces = dict.fromkeys(("nasbench101", "nasbench201", "darts", *added.get("space", [])))
    if name == "speed":
        return [SpeedRun(space, each, seeds[0], device) for space in spaces for each in encoders()]
    return [ProbeRun(space, seed, device) for space in spaces for seed in seeds]


def _by_axis(pairs: Pairs) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for axis, value in pairs:
        found.setdefault(axis, []).append(value)
    return found


def _chosen(points: list[Any], only: Pairs) -> list[Any]:
    """The points of a grid with the requested values."""
    for axis, value in only:
        known = [vars(point)[axis] for point in points if axis in vars(point)]
        if not known:
            axes = [axis for axis in (*AXES, "device") if axis in vars(points[0])]
            raise ValueError(f"unknown axis '{axis}'; known: {', '.join(axes)}")
        if not any(_is(each, value) for each in known):
            raise ValueError(f"the study has no {axis} '{value}'; it has: {', '.join(sorted(set(map(str, known))))}")
    wanted = _by_axis(only).items()
    chosen = [
        point
        for point in points
        if all(any(_is(vars(point)[axis], value) for value in values) for axis, values in wanted)
    ]
    if not chosen:
        raise ValueError(f"the study has no run with {', '.join(f'{axis}={value}' for axis, value in only)}")
    return chosen


def _is(value: Any, text: str) -> bool:
    return text == str(value) or (isinstance(value, float) and text == f"{value:g}")


def _table_of(space: str, source: Pairs) -> str:
    named = dict(source).get(space)
    if named:
        return named
    known = [name for name in tables(space) if not name.endswith("/proxies")]
    if not known:
        raise ValueError(f"there is no table of the space {space}; add one with archflow tables add")
    return known[0]
