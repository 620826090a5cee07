"""Independent tasks in processes that may die."""

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
    """``work(task)`` of every task, or the exception that it raised, in the order in which they finish.

    Every process computes with one thread, so results do not depend on the number of processes. A task whose process
    dies, for instance because it was killed for its memory, gives a MemoryError; the other tasks that were running then
    are run again. A task is taken from ``tasks`` only when it can start.

    Args:
        work: must be picklable if there are several processes.
        tasks: must be picklable, and so must the results; one that is not gives an exception.
        processes: how many; 1 runs the tasks in this process, which a task can then bring down.

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
    while at_work := (yield from _until_one_dies(packed, tasks, processes)):
        # Run the tasks that were running one at a time, to find the one whose process dies.
        suspects = iter(at_work)
        while guilty := (yield from _until_one_dies(packed, suspects, 1)):
            yield guilty[0], MemoryError("its process died, as it does where memory is short")


def pack(work: Callable[[Task], Result]) -> bytes:
    """``work`` as it is sent to other processes.

    Raises:
        ValueError: it cannot be pickled.
    """
    try:
        return pickle.dumps(work)
    except Exception as error:  # whatever an object of the caller's raises
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
            ended = _guarded(work, task)
        finally:
            torch.set_num_threads(threads)
        yield task, ended


def _guarded(work: Callable[[Task], Result], task: Task) -> Result | Exception:
    try:
        return work(task)
    except Exception as error:
        try:
            pickle.loads(pickle.dumps(error))
        except Exception:  # it could not be sent to the parent, which would take that for a dead process
            return RuntimeError(_described(error))
        return error


def _until_one_dies(
    work: bytes, tasks: Iterator[Task], processes: int
) -> Generator[tuple[Task, Result | Exception], None, list[Task]]:
    """Returns the tasks that were running or queued when a process died; none if all finished."""
    first = list(islice(tasks, 1))
    if not first:  # no need to start a process
        return []
    tasks = chain(first, tasks)
    spawn = multiprocessing.get_context("spawn")  # a forked process would inherit PyTorch's threads, but not run them
    theirs, lifeline = spawn.Pipe(duplex=False)
    pool = ProcessPoolExecutor(processes, spawn, initializer=_initialize, initargs=(work, theirs))
    at_work: dict[Future[bytes], Task] = {}
    try:
        try:
            with _sigint_blocked():
                reason = pool.submit(_reason_against_work)  # starts all processes
            cause = reason.result()
        except BrokenProcessPool:
            raise RuntimeError(
                "no process can be started; in a script of yours, call this under if __name__ == '__main__', or with "
                "processes=1"
            ) from None
        if cause:
            raise _cannot_be_sent(cause)
        while True:
            # One more than can run at once, so that no process waits for its next task.
            for task in islice(tasks, processes + (processes > 1) - len(at_work)):
                try:
                    at_work[pool.submit(_packed_end, task)] = task
                except BrokenProcessPool:
                    return [*at_work.values(), task]
            if not at_work:
                return []
            # Wake up now and then, as waiting for a lock may hide Ctrl-C.
            for future in wait(at_work, timeout=1, return_when=FIRST_COMPLETED).done:
                if isinstance(future.exception(), BrokenProcessPool):
                    return list(at_work.values())
                yield at_work.pop(future), _unpacked_end(future)
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
        lifeline.close()  # else Python would wait for the running tasks after Ctrl-C


@contextmanager
def _sigint_blocked() -> Iterator[None]:
    """Block Ctrl-C inside the block, and for good in processes started there: the parent alone handles it."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _initialize(work: bytes, lifeline: Connection) -> None:
    """Set up a new process, which exits when the parent closes the lifeline or dies."""
    _packed_work.append(work)
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # where it could not be blocked
    threading.Thread(target=_exit_with, args=(lifeline,), daemon=True).start()


def _exit_with(lifeline: Connection) -> None:
    lifeline.poll(None)  # nothing is ever sent: it returns when the other end is closed
    os._exit(1)


_packed_work: list[bytes] = []
"""In a child process: the pickled ``work``."""


@cache
def _work() -> Callable[[Any], Any]:
    found: Callable[[Any], Any] = pickle.loads(_packed_work[0])
    return found


def _reason_against_work() -> str:
    """In a child process: why ``work`` cannot be unpickled there, "" if it can."""
    try:
        _work()
    except Exception as error:
        return _described(error)
    return ""


def _packed_end(task: object) -> bytes:
    """In a child process: the outcome of a task, pickled here so that a failure to pickle is that task's own."""
    try:
        return pickle.dumps(_guarded(_work(), task))
    except Exception as error:
        return pickle.dumps(RuntimeError(f"its result cannot be sent to another process ({_described(error)})"))


def _unpacked_end(future: Future[bytes]) -> Any:
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
