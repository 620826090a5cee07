"""Does each run once and writes it as one line of results, with any number of processes and commands at once.

Runs that start from the same encoder form a group. One process works on a group at a time, under a file lock that is
released even if the process dies. Finished runs are in ``results.jsonl``, pre-trained encoders in
``encoders/KEY.archflow``, with unfinished pre-training beside them. So a command killed at any moment resumes when
repeated.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from functools import cache, partial
from pathlib import Path
from typing import Any, ClassVar, Protocol

from filelock import FileLock, Timeout

from archflow.benchmarks.table import Table
from archflow.benchmarks.tables import table
from archflow.encoding.base import Encoder
from archflow.encoding.files import load_encoder, save_encoder
from archflow.encoding.registry import seeded_encoder
from archflow.pretraining.loop import pretrain
from archflow.pretraining.registry import make_task
from archflow.studies.lines import append, read
from archflow.studies.methods import perform
from archflow.studies.protocol import AXES, LabelledTable, Run, RunScores, Source
from archflow.support.digests import digest
from archflow.support.files import require_writable
from archflow.support.plugins import plug_in, plugged_in
from archflow.support.processes import in_processes
from archflow.support.progress import Progress, silent
from archflow.support.versions import versions

ENCODERS = "encoders"


@dataclass(frozen=True)
class Failure:
    """Something that could not be run, and why."""

    what: str
    why: str

    @classmethod
    def of(cls, what: str, error: Exception) -> Failure:
        """The failure that an exception describes."""
        return cls(what, f"{error}" or type(error).__name__)


@dataclass(frozen=True)
class Outcome:
    """The state of a study after a call.

    Attributes:
        lines: the lines of the requested runs that are done.
        runs: number of requested runs.
        failures: runs that failed, and why.
        table: Markdown.
        files: the files written.
    """

    lines: list[dict[str, Any]]
    runs: int
    failures: list[Failure]
    table: str
    files: list[Path]


class Keyed(Protocol):
    """A run or a measurement; its line of results is identified by its key."""

    @property
    def key(self) -> str:
        """A digest of everything that the result depends on."""


class Job(Protocol):
    """A unit of work for one process."""

    @property
    def runs(self) -> Sequence[Keyed]:
        """The runs of the job."""

    @property
    def name(self) -> str:
        """How failure reports refer to it."""

    @property
    def lock(self) -> str:
        """Path of its lock file within the results folder, without the suffix."""

    def make(self, todo: Sequence[Any], folder: Path, progress: Progress) -> list[Failure]:
        """Do the runs of ``todo`` and append their lines; returns the failures, after all runs were tried."""


def make_all(jobs: Sequence[Job], folder: Path, processes: int, progress: Progress) -> list[Failure]:
    """Do the runs that are not done yet; returns the failures, which do not stop the other runs.

    Args:
        jobs: the work.
        folder: the results folder.
        processes: number of processes that share the work, each with one thread.
        progress: called as runs finish.

    Raises:
        OSError: the folder cannot be written.
    """
    require_writable(folder / "results.jsonl")
    folder.mkdir(parents=True, exist_ok=True)
    keys = {run.key for job in jobs for run in job.runs}
    total = sum(len(job.runs) for job in jobs)
    done = done_keys(folder)
    progress("runs", len(keys & done), total)
    jobs = [job for job in jobs if any(run.key not in done for run in job.runs)]
    failures: list[Failure] = []
    for wait in (False, True):  # jobs that another command is working on come last
        work = partial(
            _make, folder=folder, plugins=plugged_in(), wait=wait, progress=progress if processes == 1 else silent
        )
        now, jobs = jobs, []
        for job, ended in in_processes(work, now, processes):
            if isinstance(ended, Timeout):
                jobs.append(job)
                continue
            failures += [Failure.of(job.name, ended)] if isinstance(ended, Exception) else ended
            progress("runs", len(keys & done_keys(folder)), total)
    return failures


def _make(job: Job, folder: Path, plugins: Sequence[str], wait: bool, progress: Progress) -> list[Failure]:
    plug_in(plugins)
    lock = folder / f"{job.lock}.lock"
    lock.parent.mkdir(exist_ok=True)
    with FileLock(lock, blocking=wait):
        done = done_keys(folder)
        todo = [run for run in job.runs if run.key not in done]
        return job.make(todo, folder, progress) if todo else []


def done_keys(folder: Path) -> set[str]:
    """The keys of all lines in a folder."""
    return {line["key"] for line in read(folder)}


@dataclass(frozen=True)
class RunGroup:
    """Runs that start from the same encoder.

    Attributes:
        runs: differ only in head, labels, split and column of accuracies.
        device: "cpu", "cuda", …
        table: their table; None to look it up by the name in the runs.
    """

    runs: Sequence[Run]
    device: str
    table: Table | None = None

    @property
    def name(self) -> str:
        """The values of the axes that all its runs share."""
        return described(self.runs[0], without=("head", "labels", "split"))

    @property
    def lock(self) -> str:
        """The lock of the encoder, so that only one process pre-trains it."""
        return f"{ENCODERS}/{self.runs[0].encoder_key}"

    def make(self, todo: Sequence[Run], folder: Path, progress: Progress) -> list[Failure]:
        """Pre-train the encoder if necessary, then do the runs.

        Raises:
            ValueError: the table has changed since the runs were planned, or pre-training fails.
        """
        failures: list[Failure] = []
        ready: list[tuple[Run, LabelledTable]] = []
        tables = {source: self._data(source) for source in dict.fromkeys(run.source for run in todo)}
        for run in todo:
            try:
                tables[run.source].split(run.labels, run.split)
            except ValueError as error:  # too few labels for a split
                failures.append(Failure.of(described(run), error))
            else:
                ready.append((run, tables[run.source]))
        if not ready:
            return failures
        encoder, seconds = self._encoder(*ready[0], folder, progress)
        for number, (run, data) in enumerate(ready, start=1):
            try:
                scores = perform(run, data, encoder, self.device)
            except Exception as error:
                failures.append(Failure.of(described(run), error))
            else:
                append(folder, line_of(run, scores, encoder, seconds, self.device))
            progress("fine-tuning", number, len(ready))
        return failures

    def _data(self, source: Source) -> LabelledTable:
        place = source.column, source.pool
        found = labelled_table(source.table, *place) if self.table is None else LabelledTable(self.table, *place)
        if found.source(source.proxies, source.head_proxies) != source:
            raise ValueError(f"the table {source.table} has changed since the runs were planned; start again")
        return found

    def _encoder(self, run: Run, data: LabelledTable, folder: Path, progress: Progress) -> tuple[Encoder | None, float]:
        """The encoder of a run, and the seconds of its pre-training."""
        if run.encoder == "none":
            return None, 0.0
        model = seeded_encoder(run.encoder, data.table.archs.vocabulary, run.seed, run.encoder_settings)
        if run.task == "none":
            return model, 0.0
        file = folder / ENCODERS / f"{run.encoder_key}.archflow"
        if file.exists():
            kept, provenance = load_encoder(file)
            return kept, provenance["seconds"]
        proxies = data.proxies(run.source.proxies)
        rows = data.pretraining_rows(run.share, run.seed, run.split)
        unfinished = file.with_suffix(".partial")
        archs = data.table.archs[rows]
        proxy_rows = None if proxies is None else proxies[rows]
        task = make_task(run.task, run.space, archs, proxy_rows, run.seed, run.task_settings)
        outcome = pretrain(
            model,
            archs,
            task,
            **asdict(run.pretraining),
            device=self.device,
            checkpoint=unfinished,
            resume=True,
            progress=progress,
        )
        save_encoder(
            model,
            file,
            space=run.space,
            source=asdict(run.source),
            pretraining=outcome.settings,
            losses=outcome.losses,
            seconds=outcome.seconds,
        )
        unfinished.unlink(missing_ok=True)
        return model, outcome.seconds


@cache
def labelled_table(name: str, column: str = "", pool: int | None = None) -> LabelledTable:
    """A table by its name, read once; call ``labelled_table.cache_clear()`` when tables may have changed."""
    return LabelledTable(table(name), column, pool)


@dataclass(frozen=True)
class Measurement:
    """A job with a single run, which does not rank.

    Attributes:
        space: name of the space.
    """

    space: str
    study: ClassVar[str]

    @property
    def key(self) -> str:
        """A digest of everything that the result depends on."""
        return digest({"study": self.study, **self.settings()})

    @property
    def runs(self) -> Sequence[Measurement]:
        """The measurement itself."""
        return (self,)

    @property
    def name(self) -> str:
        """Its values of the grid's axes."""
        return described(self)

    @property
    def lock(self) -> str:
        """The key serves as the lock's name."""
        return self.key

    def settings(self) -> dict[str, Any]:
        """Everything that the result depends on."""
        raise NotImplementedError

    def measure(self) -> dict[str, Any]:
        """The result."""
        raise NotImplementedError

    def make(self, todo: Sequence[Measurement], folder: Path, progress: Progress) -> list[Failure]:
        """Measure, and append the line."""
        append(folder, {**vars(self), **self.measure(), "versions": versions(), "key": self.key})
        return []


def line_of(
    run: Run, scores: RunScores, encoder: Encoder | None, pretrain_seconds: float, device: str
) -> dict[str, Any]:
    """A line of results: the axes, the scores, and all settings including defaults."""
    settings = {each.name: getattr(run, each.name) for each in fields(run) if each.name not in AXES}
    settings["encoder_settings"] = {} if encoder is None else asdict(encoder.settings)
    return {
        **{axis: getattr(run, axis) for axis in AXES},
        "column": run.source.column,
        **vars(scores),
        "pretrain_seconds": pretrain_seconds,
        "encoder_key": "" if run.task == "none" else run.encoder_key,
        "device": device,
        "settings": settings,
        "versions": versions(),
        "key": run.key,
    }


def described(run: object, without: Sequence[str] = ()) -> str:
    """The values of a run's axes in the notation of ``--only``."""
    return ",".join(f"{axis}={getattr(run, axis)}" for axis in AXES if hasattr(run, axis) and axis not in without)
