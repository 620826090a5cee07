"""A command as the objective of a search: a training script in any language."""

from __future__ import annotations

import contextlib
import json
import math
import os
import queue
import re
import shlex
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from typing import IO

from archflow.benchmarks.space import Space
from archflow.search.objective import ObjectiveFailed, Report

MOST_OUTPUT = 16 << 20
"""Bytes that a command may print on standard output."""
_LONGEST_LINE = 10_000
"""Bytes; a longer line is read as several."""
_LONGEST_TOLD = 200
"""Characters of a line that a message repeats."""
_PAUSE = 0.5
"""Seconds between looks at whether a command still runs, and after its end for what it printed to arrive."""
_PATIENCE = 10.0
"""Seconds to wait for the end of a killed command."""

_REPORT = re.compile(r"epoch ([0-9]{1,9}): *(\S+)")


class CommandObjective:
    """Runs a command for each architecture, and reads its score.

    The command is split into words as a POSIX shell would, but no shell runs it: there are no pipes, variables or
    wildcards; for these, write a script. Its last argument is the architecture in its space's notation. The environment
    variable ``ARCHFLOW_ARCHITECTURE`` describes it as a JSON object: ``space``, ``architecture`` (the same notation),
    ``operations`` (the name of each node's), ``edges`` (pairs of node numbers, from 0).

    The last line that it prints on standard output is the score: one number, or several separated by spaces for several
    objectives. A line ``epoch 3: 0.87`` reports the score after three epochs. It may be killed at any moment, with
    every process that it began and that is still of its process group.

    Args:
        command: the command.
        space: the space that is searched.
        timeout: seconds after which it is killed; None for no limit.

    Raises:
        ValueError: a command that is empty or lacks a closing quote, or a time limit that is not above zero.
    """

    def __init__(self, command: str, space: Space, timeout: float | None = None) -> None:
        try:
            self.words = shlex.split(command)
        except ValueError as error:
            raise ValueError(f"the command {command!r} cannot be split into words: {error}") from None
        if not self.words or "\0" in command:
            raise ValueError(f"{command!r} is no command; give a command, table:NAME or digits")
        if timeout is not None and not 0 < timeout < math.inf:
            raise ValueError(f"the time limit of a training must be a number of seconds above 0, not {timeout:g}")
        self.space, self.timeout = space, timeout

    def __call__(self, architecture: str, report: Report) -> float | tuple[float, ...]:
        """Run the command, pass on what it reports, and return its score or scores.

        Raises:
            ObjectiveFailed: there is no such program; it exits with another code than 0, prints no number at last, a
                NaN or an infinity, or too much; or it takes longer than the limit.
            ValueError: the string denotes no architecture of the space.
        """
        operations, edges = self.space.parse([architecture]).graph(0)
        about = {"space": self.space.name, "architecture": architecture, "operations": operations, "edges": edges}
        try:
            process = subprocess.Popen(
                [*self.words, architecture],
                env={**os.environ, "ARCHFLOW_ARCHITECTURE": json.dumps(about)},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,  # a process group, to be killed as one
            )
        except OSError as error:
            raise ObjectiveFailed(f"{self.words[0]} cannot be run: {error.strerror}") from None
        output = _Output(process, self.timeout)
        try:
            return _score(output, report)
        except _Ended as how:
            complaint = f": {output.complaint}" if output.complaint else ""
            raise ObjectiveFailed(f"the command {how}{complaint}") from None
        finally:
            _kill(process)


class _Ended(Exception):
    """A command ended without a score; the message goes on from "the command"."""


def _score(output: _Output, report: Report) -> float | tuple[float, ...]:
    """The score that a command prints at last."""
    last = ""
    for line in output.lines():
        last = line
        found = _REPORT.fullmatch(line)
        if found and (numbers := _numbers(found[2])):
            if not math.isfinite(numbers[0]):
                raise _Ended(f"reported {numbers[0]} after epoch {found[1]}")
            report(int(found[1]), numbers[0])
    code = output.exit_code()
    if code:
        raise _Ended(f"was killed by signal {-code}" if code < 0 else f"exited with {code}")
    scores = _numbers(last)
    if not scores:
        raise _Ended(f"printed no number at last, but {last!r}" if last else "printed no score")
    if not all(map(math.isfinite, scores)):
        raise _Ended(f"printed the score {last}")
    return scores[0] if len(scores) == 1 else scores


class _Output:
    """What a running command prints, read by two threads.

    Attributes:
        complaint: the last line on standard error, shortened.
    """

    def __init__(self, process: subprocess.Popen[bytes], timeout: float | None) -> None:
        self.complaint = ""
        self._process, self._timeout = process, timeout
        self._deadline = math.inf if timeout is None else time.monotonic() + timeout
        self._lines: queue.SimpleQueue[str | _Ended | None] = queue.SimpleQueue()
        self._threads = [
            threading.Thread(target=read, args=(stream,), daemon=True)
            for read, stream in ((self._read_output, process.stdout), (self._read_errors, process.stderr))
        ]
        for thread in self._threads:
            thread.start()

    def lines(self) -> Iterator[str]:
        """The lines on standard output that are not blank, as they come.

        Raises:
            _Ended: there are too many, or the time is over.
        """
        until = self._deadline
        while time.monotonic() < until:
            try:
                line = self._lines.get(timeout=_PAUSE)
            except queue.Empty:
                if self._process.poll() is not None:
                    # What it began may keep its standard output open for ever.
                    until = min(until, time.monotonic() + _PAUSE)
                continue
            if line is None:
                return
            if isinstance(line, _Ended):
                raise line
            yield line
        if self._process.poll() is None:
            raise self._too_long()

    def exit_code(self) -> int:
        """Wait for the end of the command.

        Raises:
            _Ended: the time is over.
        """
        try:
            code = self._process.wait(None if self._timeout is None else max(0.0, self._deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            raise self._too_long() from None
        self._threads[1].join(_PAUSE)
        return code

    def _too_long(self) -> _Ended:
        return _Ended(f"did not end within {self._timeout:g} s")

    def _read_output(self, stream: IO[bytes]) -> None:
        printed = 0
        with stream:
            while line := stream.readline(_LONGEST_LINE):
                printed += len(line)
                if printed > MOST_OUTPUT:
                    self._lines.put(_Ended(f"printed more than {MOST_OUTPUT:,} bytes"))
                    return
                for text in _texts(line):
                    self._lines.put(text)
        self._lines.put(None)

    def _read_errors(self, stream: IO[bytes]) -> None:
        with stream:
            while line := stream.readline(_LONGEST_LINE):
                self.complaint = [self.complaint, *_texts(line)][-1]


def _texts(line: bytes) -> list[str]:
    """The parts of a line that are not blank, each shortened; a progress bar returns to a line's beginning."""
    parts = line.decode(errors="replace").splitlines()
    shown = ("".join(sign if sign.isprintable() else " " for sign in part).strip() for part in parts)
    return [text[:_LONGEST_TOLD] for text in shown if text]


def _numbers(line: str) -> tuple[float, ...]:
    """The numbers of a line; none if there is anything else."""
    try:
        return tuple(map(float, line.split()))
    except ValueError:
        return ()


def _kill(process: subprocess.Popen[bytes]) -> None:
    """Kill a command with what it began."""
    if hasattr(os, "killpg"):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
    else:  # Windows
        process.kill()
    with contextlib.suppress(subprocess.TimeoutExpired):  # a process that waits for a broken disk or GPU outlives it
        process.wait(_PATIENCE)
