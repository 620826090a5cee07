"""Progress of long computations: a bar on a terminal, plain lines in a pipe."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import ClassVar, Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress


class Progress(Protocol):
    """Called regularly with the name of the phase, how much of it is done, and the total."""

    def __call__(self, phase: str, done: int, total: int, /) -> None: ...


def silent(phase: str, done: int, total: int, /) -> None:
    """Show nothing."""


class Display:
    """Shows phases with their rate and time left on standard error, so that standard output stays clean.

    On a terminal, and in a notebook that has ipywidgets, there is one bar per phase; elsewhere a plain line at the
    start of a phase, about every ten seconds, and at its end. A pickled copy, as in a spawned process, prints plain
    lines.
    """

    open: ClassVar[int] = 0
    """How many are shown now; see :func:`shown`."""

    def __init__(self) -> None:
        self._console = Console(stderr=True)
        self._bars: RichProgress | None = None
        self._tasks: dict[str, TaskID] = {}
        self._starts: dict[str, float] = {}
        self._done: dict[str, int] = {}
        self._last_line = 0.0

    def __enter__(self) -> Display:
        Display.open += 1
        if self._console.is_terminal or (self._console.is_jupyter and find_spec("ipywidgets")):
            columns = (
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[rate]}"),
                TimeElapsedColumn(),
                TextColumn("left"),
                TimeRemainingColumn(),
            )
            self._bars = RichProgress(*columns, console=self._console)
        return self

    def __exit__(self, *_: object) -> None:
        Display.open -= 1
        if self._tasks and self._bars:
            self._bars.stop()

    def __reduce__(self) -> tuple[type[Display], tuple[()]]:
        return Display, ()

    def __call__(self, phase: str, done: int, total: int, /) -> None:
        now = time.monotonic()
        if done < self._done.get(phase, 0):  # the phase starts again, for example with the next seed
            del self._starts[phase]
        self._done[phase] = done
        start = self._starts.setdefault(phase, now)
        elapsed = now - start
        rate = f"{done / elapsed:,.0f}/s" if done and elapsed else ""
        if self._bars:
            if not self._tasks:
                self._bars.start()
            if phase not in self._tasks:
                self._tasks[phase] = self._bars.add_task(phase, total=total, rate="")
            self._bars.update(self._tasks[phase], completed=done, total=total, rate=rate)
        elif start == now or done >= total or now - self._last_line >= 10:
            self._last_line = now
            left = f", {elapsed / done * (total - done):.0f} s left" if done and elapsed and done < total else ""
            print(f"{phase}: {done:,}/{total:,} {rate}{left}", file=sys.stderr, flush=True)


@contextmanager
def shown(progress: Progress | None) -> Iterator[Progress]:
    """What a function tells its progress to: what the caller gave, or else a bar where somebody is watching.

    That is on a terminal or in a notebook, unless a display is shown already, as that of a function which calls this
    one; elsewhere nothing is shown.
    """
    console = Console(stderr=True)
    if progress is not None:
        yield progress
    elif Display.open or not (console.is_terminal or console.is_jupyter):
        yield silent
    else:
        with Display() as display:
            yield display
