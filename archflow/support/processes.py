"""Run independent tasks in processes that may die."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import threading
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import cache
from itertools import chain, islice
from multiprocessing.connection import Connection
from typing import Any, TypeVar

import torch

Task = TypeVar("Task")
Result = TypeVar("Result")


def in_processes(
    work: Callable[[Task], Result], tasks: Iterable[Task], processes: int
) -> Iterator[tuple[Task, Result | Exception]]:
    """``work(task)`` for every task, or the exception that it raised, in order of completion.

    Every process computes with one thread, so results do not depend on the number of processes. A task whose process
    dies, for example for lack of memory, gives a MemoryError; the other tasks running at that moment are run again.
    A task is taken from ``tasks`` only when it can start.

    Args:
        work: picklable, if there are several processes.
        tasks: picklable, as are their results; a task or result that is not gives an exception.
        processes: how many; 1 runs the tasks in this process, which a task can then crash.

    Raises:
        ValueError: ``processes`` is below 1, or ``work`` cannot be sent to other processes.
        RuntimeError: no process can be started.
    """
    if processes < 1:
        raise ValueError(f"processes must be at least 1, not {processes}")
    if processes == 1:
        yield from _here(work, tasks)
        return
    packed, tasks = pack(work), iter(tasks)
    while interrupted := (yield from _until_one_dies(packed, tasks, processes)):
        # Run the interrupted tasks one at a time to find the one that kills its process.
        suspects = iter(interrupted)
        while killed := (yield from _until_one_dies(packed, suspects, 1)):
            yield killed[0], MemoryError("its process died, probably for lack of memory")


def pack(work: Callable[[Task], Result]) -> bytes:
    """``work`` pickled for other processes.

    Raises:
        ValueError: it cannot be pickled.
    """
    try:
        return pickle.dumps(work)
    except Exception as error:  # a caller's object can raise anything
        raise _cannot_be_sent(_described(error)) from None


def _cannot_be_sent(cause: str) -> ValueError:
    return ValueError(
        f"other processes cannot run this ({cause}); define it at the top level of a module that they can import, "
        "or use one process"
    )


def _here(work: Callable[[Task], Result], tasks: Iterable[Task]) -> Iterator[tuple[Task, Result | Exception]]:
    threads = torch.get_num_threads()
    for task in tasks:
        torch.set_num_threads(1)
        try:
            outcome = _guarded(work, task)
        finally:
            torch.set_num_threads(threads)
        yield task, outcome


def _guarded(work: Callable[[Task], Result], task: Task) -> Result | Exception:
    try:
        return work(task)
    except Exception as error:
        try:
            pickle.loads(pickle.dumps(error))
        except Exception:  # the parent would take an exception that cannot be sent for a dead process
            return RuntimeError(_described(error))
        return error


def _until_one_dies(
    work: bytes, tasks: Iterator[Task], processes: int
) -> Generator[tuple[Task, Result | Exception], None, list[Task]]:
    """Returns the tasks that were running or queued when a process died; none if all tasks finished."""
    first = list(islice(tasks, 1))
    if not first:
        return []
    tasks = chain(first, tasks)
    spawn = multiprocessing.get_context("spawn")  # a forked process would inherit PyTorch's threads, but not run them
    theirs, lifeline = spawn.Pipe(duplex=False)
    pool = ProcessPoolExecutor(processes, spawn, initializer=_initialize, initargs=(work, theirs))
    running: dict[Future[bytes], Task] = {}
    try:
        try:
            with _sigint_blocked():
                unpickling = pool.submit(_unpickling_error)  # starts all processes
            cause = unpickling.result()
        except BrokenProcessPool:
            raise RuntimeError(
                "no process can be started; in a script of yours, call this under if __name__ == '__main__', or with "
                "processes=1"
            ) from None
        if cause:
            raise _cannot_be_sent(cause)
        while True:
            # Queue one more than can run at once, so that no process waits for its next task.
            for task in islice(tasks, processes + (processes > 1) - len(running)):
                try:
                    running[pool.submit(_packed_outcome, task)] = task
                except BrokenProcessPool:
                    return [*running.values(), task]
            if not running:
                return []
            # Wake up every second, since waiting for a lock may block Ctrl-C.
            for future in wait(running, timeout=1, return_when=FIRST_COMPLETED).done:
                if isinstance(future.exception(), BrokenProcessPool):
                    return list(running.values())
                yield running.pop(future), _unpacked_outcome(future)
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
        lifeline.close()  # ends the running tasks, for which Python would otherwise wait after Ctrl-C


@contextmanager
def _sigint_blocked() -> Iterator[None]:
    """Block SIGINT here, and permanently in processes started here, so that only the parent handles Ctrl-C."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _initialize(work: bytes, lifeline: Connection) -> None:
    """Set up a child process, which exits when the parent dies or closes the lifeline."""
    _packed_work.append(work)
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # where it cannot be blocked
    threading.Thread(target=_exit_with, args=(lifeline,), daemon=True).start()


def _exit_with(lifeline: Connection) -> None:
    lifeline.poll(None)  # returns when the other end is closed, as nothing is ever sent
    os._exit(1)


_packed_work: list[bytes] = []
"""In a child process: the pickled ``work``."""


@cache
def _work() -> Callable[[Any], Any]:
    found: Callable[[Any], Any] = pickle.loads(_packed_work[0])
    return found


def _unpickling_error() -> str:
    """In a child process: why ``work`` cannot be unpickled, or "" if it can."""
    try:
        _work()
    except Exception as error:
        return _described(error)
    return ""


def _packed_outcome(task: object) -> bytes:
    """In a child process: the outcome of a task, pickled here so that a failure to pickle affects that task alone."""
    try:
        return pickle.dumps(_guarded(_work(), task))
    except Exception as error:
        return pickle.dumps(RuntimeError(f"its result cannot be sent to another process ({_described(error)})"))


def _unpacked_outcome(future: Future[bytes]) -> Any:
    """In the parent: the outcome of a task."""
    try:
        packed = future.result()
    except Exception as error:
        return RuntimeError(f"it cannot be sent to another process ({_described(error)})")
    try:
        return pickle.loads(packed)
    except Exception as error:
        return RuntimeError(f"its result came from another process and cannot be read ({_described(error)})")


def _described(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"
