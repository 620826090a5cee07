"""Worker processes of a search. They share nothing but a storage, so one that dies takes none along."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import pickle
import signal
import threading
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

import torch

_LOOK = 0.5
"""Seconds between looks at the workers."""
_DEATHS = 10
"""Deaths of workers, for each of them, after which a search is given up."""


def in_workers(work: Callable[[Any], None], plan: Any, workers: int, watch: Callable[[], object]) -> None:
    """Run ``work(plan)`` in so many processes until all return; one that is killed is started again.

    Args:
        work: a function of a module.
        plan: its argument; must be picklable.
        workers: how many.
        watch: called from time to time.

    Raises:
        ValueError: the plan cannot be sent to other processes, with the remedy.
        RuntimeError: workers die again and again.
        Exception: what a worker raised; the others are stopped.
    """
    try:
        pickle.dumps(plan)
    except Exception as error:  # a caller's object can raise anything
        raise ValueError(
            f"several workers cannot train this ({type(error).__name__}: {error}); define the objective at the top "
            "level of a module, or use one worker"
        ) from None
    context = multiprocessing.get_context("spawn")
    running: dict[multiprocessing.process.BaseProcess, Connection] = {}
    deaths = 0

    def start() -> None:
        ours, theirs = context.Pipe(duplex=False)
        process = context.Process(target=_worker, args=(work, plan, theirs), daemon=True)
        process.start()
        theirs.close()
        running[process] = ours

    try:
        for _ in range(workers):
            start()
        while running:
            multiprocessing.connection.wait([each.sentinel for each in running], timeout=_LOOK)
            for process in [each for each in running if not each.is_alive()]:
                outcome = running.pop(process)
                with contextlib.suppress(EOFError):
                    if outcome.poll():
                        raise outcome.recv()
                if process.exitcode:
                    deaths += 1
                    if deaths >= _DEATHS * workers:
                        raise RuntimeError(f"the workers died {deaths} times, probably for lack of memory")
                    start()
            watch()
    finally:
        for process in running:
            process.terminate()
        for process in running:
            process.join()


def _worker(work: Callable[[Any], None], plan: Any, outcome: Connection) -> None:
    """In a process of its own; it ends with its parent, and leaves Ctrl-C to it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None
    threading.Thread(target=_exit_after, args=(parent,), daemon=True).start()
    torch.set_num_threads(1)
    try:
        work(plan)
    except Exception as error:
        try:
            outcome.send(error)
        except Exception:  # one that cannot be pickled
            outcome.send(RuntimeError(f"{type(error).__name__}: {error}"))


def _exit_after(parent: multiprocessing.process.BaseProcess) -> None:
    parent.join()
    os._exit(1)
