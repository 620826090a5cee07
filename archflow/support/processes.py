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
    """``work(task)`` of every task, or the exception that it raised, in the order in which they end.

    Every process computes with one thread, so results do not depend on how many there are. A task whose process dies,
    killed for its memory for instance, ends in a MemoryError; the others that were at work then are done again. Tasks
    are asked for only when they can begin.

    Args:
        work: picklable, if there are several processes.
        tasks: what to do; picklable, too, as are the results. Where one is not, that task ends in an exception.
        processes: how many; 1 is this process itself, which then nothing protects.

    Raises:
        ValueError: ``processes`` is below 1, or other processes cannot be told of ``work``.
        RuntimeError: no process can be begun.
    """
    if processes < 1:
        raise ValueError(f"processes must be at least 1, not {processes}")
    if processes == 1:
        yield from _here(work, tasks)
        return
    packed, tasks = pack(work), iter(tasks)
    while at_work := (yield from _until_one_dies(packed, tasks, processes)):
        # One by one they show whose process it is that dies.
        suspects = iter(at_work)
        while guilty := (yield from _until_one_dies(packed, suspects, 1)):
            yield guilty[0], MemoryError("its process died, as it does where memory is short")


def pack(work: Callable[[Task], Result]) -> bytes:
    """``work`` as other processes are told of it.

    Raises:
        ValueError: it cannot be pickled.
    """
    try:
        return pickle.dumps(work)
    except Exception as error:  # whatever an object of the caller's raises
        raise _unknown_there(_named(error)) from None


def _unknown_there(cause: str) -> ValueError:
    return ValueError(
        f"other processes cannot be told what to do ({cause}); define it at the top of a module that they can import, "
        "or take one process"
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
        except Exception:  # it could not be sent to the first process, which would take that for a death
            return RuntimeError(_named(error))
        return error


def _until_one_dies(
    work: bytes, tasks: Iterator[Task], processes: int
) -> Generator[tuple[Task, Result | Exception], None, list[Task]]:
    """Returns the tasks that were at work, or waited to be, when a process died; none if all ended."""
    first = list(islice(tasks, 1))
    if not first:  # for which no process need be begun
        return []
    tasks = chain(first, tasks)
    spawn = multiprocessing.get_context("spawn")  # a forked process would inherit PyTorch's threads, but not run them
    theirs, lifeline = spawn.Pipe(duplex=False)
    pool = ProcessPoolExecutor(processes, spawn, initializer=_begin, initargs=(work, theirs))
    at_work: dict[Future[bytes], Task] = {}
    try:
        try:
            with _deaf_to_ctrl_c():
                why_not = pool.submit(_why_not)  # begins all processes
            cause = why_not.result()
        except BrokenProcessPool:
            raise RuntimeError(
                "no process can be begun; in a script of yours, call this under if __name__ == '__main__', or with "
                "processes=1"
            ) from None
        if cause:
            raise _unknown_there(cause)
        while True:
            # One more than can begin at once, so that no process waits for its next.
            for task in islice(tasks, processes + (processes > 1) - len(at_work)):
                try:
                    at_work[pool.submit(_packed_end, task)] = task
                except BrokenProcessPool:
                    return [*at_work.values(), task]
            if not at_work:
                return []
            # Now and then Python looks whether there was a Ctrl-C, of which a lock alone may not tell it.
            for future in wait(at_work, timeout=1, return_when=FIRST_COMPLETED).done:
                if isinstance(future.exception(), BrokenProcessPool):
                    return list(at_work.values())
                yield at_work.pop(future), _unpacked_end(future)
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
        lifeline.close()  # else Python would wait, after Ctrl-C, for the tasks that are at work


@contextmanager
def _deaf_to_ctrl_c() -> Iterator[None]:
    """For a moment, and processes that are begun meanwhile for good: Ctrl-C is the first process's to handle."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _begin(work: bytes, lifeline: Connection) -> None:
    """In a new process, which the first process lets go by closing the lifeline, as it does if it is killed."""
    _told.append(work)
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # where it could not be blocked
    threading.Thread(target=_end_with, args=(lifeline,), daemon=True).start()


def _end_with(lifeline: Connection) -> None:
    lifeline.poll(None)  # nothing is ever sent: it returns when the other end is closed
    os._exit(1)


_told: list[bytes] = []
"""In a process that was begun here, what it is to do with every task."""


@cache
def _work() -> Callable[[Any], Any]:
    found: Callable[[Any], Any] = pickle.loads(_told[0])
    return found


def _why_not() -> str:
    """In another process: why it does not know what to do, "" if it does."""
    try:
        _work()
    except Exception as error:
        return _named(error)
    return ""


def _packed_end(task: object) -> bytes:
    """In another process: how a task ends. Packed here, so that a result that cannot be is that task's own failure."""
    try:
        return pickle.dumps(_guarded(_work(), task))
    except Exception as error:
        return pickle.dumps(RuntimeError(f"its result cannot be sent to another process ({_named(error)})"))


def _unpacked_end(future: Future[bytes]) -> Any:
    """In the first process: how a task ended there."""
    try:
        packed = future.result()
    except Exception as error:
        return RuntimeError(f"it cannot be sent to another process ({_named(error)})")
    try:
        return pickle.loads(packed)
    except Exception as error:
        return RuntimeError(f"its result came from another process and cannot be read ({_named(error)})")


def _named(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"
