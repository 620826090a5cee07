import os
import re
import signal
import subprocess
import sys
import threading
import time
import types
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from archflow.support.processes import in_processes

PATIENCE = 600
"""Timeout for processes in seconds, ample for a busy machine."""


class OddError(Exception):
    """An exception that cannot be unpickled from its message, as in some libraries."""

    def __init__(self, one, other):
        super().__init__(f"{one} and {other}")


def work(task):
    """Do what the task says."""
    what, number = task
    if what == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if what == "raise":
        raise ValueError(f"in task {number}")
    if what == "raise oddly":
        raise OddError("this", "that")
    if what == "threads":
        return torch.get_num_threads()
    return number**2


def outcomes(ended):
    """Outcomes by task, exceptions as type and message, in the order of the tasks' numbers."""
    found = {task: (type(end), str(end)) if isinstance(end, Exception) else end for task, end in ended}
    assert len(found) == len(ended)  # no task occurs twice
    return dict(sorted(found.items(), key=lambda item: item[0][1]))


PEACEFUL = [(what, number) for number, what in enumerate(["square", "raise", "threads", *["square"] * 7])]
DEADLY = [("die", 10), ("die", 11), ("raise oddly", 12)]
LATER = [("square", number) for number in range(13, 18)]


@pytest.fixture(scope="module")
def ended():
    """Outcomes of tasks in two processes, three of which kill theirs, and how many were waiting each time."""
    drawn, found, waiting = [], [], []

    def draw():
        for task in [*PEACEFUL, *DEADLY, *LATER]:
            drawn.append(task)
            yield task

    for pair in in_processes(work, draw(), 2):
        waiting.append(len(drawn) - len(found))
        found.append(pair)
    return found, waiting


def test_one_process_gives_results_and_exceptions_in_order():
    ended = list(in_processes(work, PEACEFUL, 1))
    assert [task for task, _ in ended] == PEACEFUL
    assert outcomes(ended) == {task: task[1] ** 2 for task in PEACEFUL} | {
        ("raise", 1): (ValueError, "in task 1"),
        ("threads", 2): 1,
    }


def test_two_processes_give_the_same(ended):
    """Including the number of threads, which is one."""
    assert outcomes([pair for pair in ended[0] if pair[0] in PEACEFUL]) == outcomes(
        list(in_processes(work, PEACEFUL, 1))
    )


def test_a_task_whose_process_dies_gives_a_memory_error(ended):
    found = outcomes(ended[0])
    for task in DEADLY[:2]:
        assert found[task][0] is MemoryError
        assert "process died" in found[task][1]


def test_an_exception_that_cannot_be_sent_is_not_taken_for_a_dead_process(ended):
    assert outcomes(ended[0])["raise oddly", 12][0] is not MemoryError


def test_a_dying_process_does_not_affect_other_tasks(ended):
    found = outcomes(ended[0])
    assert list(found) == [*PEACEFUL, *DEADLY, *LATER]
    assert [found[task] for task in LATER] == [number**2 for _, number in LATER]


def test_tasks_are_drawn_only_when_they_can_start(ended):
    assert max(ended[1]) <= 2 + 1  # one per process, and the next
    drawn = []

    def draw():
        for number in range(5):
            drawn.append(number)
            yield number

    results = in_processes(str, draw(), 1)
    for number in range(5):
        assert next(results) == (number, str(number))
        assert drawn == list(range(number + 1))


@given(st.lists(st.one_of(st.none(), st.integers(), st.text())))
def test_tasks_of_any_type(tasks):
    assert list(in_processes(repr, tasks, 1)) == [(task, repr(task)) for task in tasks]


def test_none_is_a_task_in_several_processes_too():
    tasks = [None, 1, None]
    assert sorted(map(repr, in_processes(repr, tasks, 2))) == sorted(map(repr, in_processes(repr, tasks, 1)))


def test_the_number_of_threads_of_this_process_is_restored():
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        for task, end in in_processes(work, [("threads", 0), ("raise", 1), ("threads", 2)], 1):
            assert torch.get_num_threads() == 3  # the caller's between tasks
            assert isinstance(end, ValueError) if task[0] == "raise" else end == 1

        def interrupted(_):
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            next(in_processes(interrupted, [0], 1))
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)


class Unreadable:
    """An object that can be pickled but not unpickled."""

    def __reduce__(self):
        return int, ("no number",)


def make(what):
    """A result chosen by name."""
    return {"function": lambda: None, "unreadable": Unreadable(), "error": ValueError("alas")}.get(what, what)


def test_a_task_or_result_that_cannot_be_sent_fails_alone():
    locked = threading.Lock()
    tasks = ["a", "function", "b", "unreadable", locked, "error", "c"]
    ended = {str(task): end for task, end in in_processes(make, tasks, 2)}
    assert len(ended) == len(tasks)
    assert {task: ended[task] for task in "abc"} == {task: task for task in "abc"}
    for task, reason in (
        ("function", r"^its result cannot be sent to another process \(.*lambda"),
        ("unreadable", r"^its result came from another process and cannot be read \(ValueError: .*'no number'"),
        (str(locked), r"^it cannot be sent to another process \(TypeError: cannot pickle '_thread.lock' object\)$"),
    ):
        assert type(ended[task]) is RuntimeError
        assert re.search(reason, str(ended[task]))
    assert type(ended["error"]) is ValueError


def test_work_that_cannot_be_sent_to_other_processes(monkeypatch):
    with pytest.raises(ValueError, match=r"cannot run this \(.*lambda.*, or use one process$"):
        next(in_processes(lambda task: task, [1], 2))
    there_alone = types.ModuleType("there_alone")  # like functions typed into an interpreter
    exec("def double(task):\n    return 2 * task", there_alone.__dict__)
    monkeypatch.setitem(sys.modules, "there_alone", there_alone)
    assert list(in_processes(there_alone.double, [1], 1)) == [(1, 2)]
    with pytest.raises(ValueError, match=r"cannot run this \(ModuleNotFoundError: No module named 'there_alone'\)"):
        next(in_processes(there_alone.double, [1], 2))


@pytest.mark.parametrize("processes", [0, -2])
def test_too_few_processes(processes):
    with pytest.raises(ValueError, match=f"^processes must be at least 1, not {processes}$"):
        next(in_processes(work, PEACEFUL, processes))


@pytest.mark.parametrize("processes", [1, 3])
def test_no_tasks(processes):
    assert list(in_processes(work, [], processes)) == []


# Scripts

SLEEPERS = """
import os, sys, time
from archflow.support.processes import in_processes

def sleep(folder):
    open(os.path.join(folder, str(os.getpid())), "w").close()
    time.sleep(600)

if __name__ == "__main__":
    list(in_processes(sleep, [sys.argv[1]] * 2, 2))
"""


def is_alive(pid):
    """Whether the process is running; a zombie is not."""
    stat = Path(f"/proc/{pid}/stat")
    try:
        return stat.read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def until(condition):
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="there is no /proc here")
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT], ids=["killed", "interrupted"])
def test_children_die_with_their_parent(tmp_path, how):
    script, folder = tmp_path / "script.py", tmp_path / "pids"
    script.write_text(SLEEPERS)
    folder.mkdir()
    children = []
    with subprocess.Popen([sys.executable, script, folder], stderr=subprocess.DEVNULL) as process:
        try:
            until(lambda: len(list(folder.iterdir())) == 2)
            children = [int(path.name) for path in folder.iterdir()]
            assert process.pid not in children
            assert all(map(is_alive, children))
            process.send_signal(how)
            process.wait(PATIENCE / 2)  # half the time that they sleep
            until(lambda: not any(map(is_alive, children)))
        finally:
            process.kill()
            for pid in filter(is_alive, children):
                os.kill(pid, signal.SIGKILL)


INTERRUPTED_WHILE_STARTING = """
import os, signal
if __name__ != "__main__":
    os.kill(os.getpid(), signal.SIGINT)
from archflow.support.processes import in_processes

if __name__ == "__main__":
    print(list(in_processes(abs, [-1], 2)))
"""


def test_children_ignore_ctrl_c_while_starting(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(INTERRUPTED_WHILE_STARTING)
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=PATIENCE)
    assert (done.returncode, done.stdout, done.stderr) == (0, "[(-1, 1)]\n", "")


def test_a_script_without_a_main_guard(tmp_path):
    script = tmp_path / "script.py"
    script.write_text("from archflow.support.processes import in_processes\nprint(list(in_processes(abs, [-1], 2)))\n")
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=PATIENCE)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.splitlines()[-1] == (
        "RuntimeError: no process can be started; in a script of yours, call this under if __name__ == '__main__', or "
        "with processes=1"
    )
