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
from itertools import islice
from typing import TypeVar

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
        tasks: what to do; picklable, too.
        processes: how many; 1 is this process itself, which then nothing protects.

    Raises:
        ValueError: ``processes`` is below 1.
        RuntimeError: no process can be begun.
    """
    if processes < 1:
        raise ValueError(f"processes must be at least 1, not {processes}")
    if processes == 1:
        yield from _here(work, tasks)
        return
    tasks = iter(tasks)
    while at_work := (yield from _until_one_dies(work, tasks, processes)):
        # One by one they show whose process it is that dies.
        suspects = iter(at_work)
        while guilty := (yield from _until_one_dies(work, suspects, 1)):
            yield guilty[0], MemoryError("its process died, as it does where memory is short")


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
            return RuntimeError(f"{type(error).__name__}: {error}")
        return error


def _until_one_dies(
    work: Callable[[Task], Result], tasks: Iterator[Task], processes: int
) -> Generator[tuple[Task, Result | Exception], None, list[Task]]:
    """Returns the tasks that were at work, or waited to be, when a process died; none if all ended."""
    spawn = multiprocessing.get_context("spawn")  # a forked process would inherit PyTorch's threads, but not run them
    pool = ProcessPoolExecutor(processes, spawn, initializer=_begin)
    at_work: dict[Future[Result | Exception], Task] = {}
    try:
        try:
            pool.submit(_nothing).result()
        except BrokenProcessPool:
            raise RuntimeError(
                "no process can be begun; in a script of yours, call this under if __name__ == '__main__', or with "
                "processes=1"
            ) from None
        while True:
            # One more than can begin at once, so that no process waits for its next.
            for task in islice(tasks, processes + (processes > 1) - len(at_work)):
                try:
                    at_work[pool.submit(_guarded, work, task)] = task
                except BrokenProcessPool:
                    return [*at_work.values(), task]
            if not at_work:
                return []
            for future in wait(at_work, return_when=FIRST_COMPLETED).done:
                if isinstance(future.exception(), BrokenProcessPool):
                    return list(at_work.values())
                yield at_work.pop(future), future.result()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _begin() -> None:
    """In a new process."""
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the first process's to handle
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """A killed process cannot end those that it began."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _nothing() -> None:
    pass
