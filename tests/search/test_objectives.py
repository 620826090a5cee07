import json
import os
import shlex
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import archflow
from archflow.benchmarks.table import Table
from archflow.search import command_objective
from archflow.search.command_objective import CommandObjective
from archflow.search.digits import Digits
from archflow.search.objectives import ObjectiveFailed, TableObjective, make_objective, no_report

SPACE = archflow.space("nasbench201")
ARCH = "|nor_conv_3x3~0|+|skip_connect~0|none~1|+|skip_connect~0|nor_conv_1x1~1|avg_pool_3x3~2|"


def reported(objective, architecture=ARCH):
    reports = []
    score = objective(architecture, lambda epoch, score: reports.append((epoch, score)))
    return score, reports


# Tables


def small_table(**columns):
    archs = SPACE.sample(5, seed=3)
    return Table("mine", SPACE, archs, {name: np.array(values, float) for name, values in columns.items()}, "accuracy")


def test_the_packaged_table_is_looked_up():
    objective = make_objective("table:nasbench201/analog", SPACE)
    table = objective.table
    other = TableObjective(table, SPACE, "noisy_accuracy")
    for row in (0, 4711, 15624):
        (string,) = SPACE.format(table.archs[[row]])
        assert reported(objective, string) == (table[table.default][row], [])
        assert other(string, no_report) == table["noisy_accuracy"][row]


def test_what_the_table_lacks_fails():
    table = small_table(accuracy=[1, float("nan"), 3, float("inf"), 5])
    objective = TableObjective(table, SPACE)
    strings = SPACE.format(table.archs)
    assert objective(strings[2], no_report) == 3
    with pytest.raises(ObjectiveFailed, match="mine has no 'accuracy' of this architecture: nan"):
        objective(strings[1], no_report)
    with pytest.raises(ObjectiveFailed, match="inf"):
        objective(strings[3], no_report)
    assert ARCH not in strings
    with pytest.raises(ObjectiveFailed, match="mine lacks this architecture"):
        objective(ARCH, no_report)


def test_shorter_trainings_are_reported_in_order():
    columns = {"accuracy/36": [4.0] * 5, "accuracy/4": [2.0] * 5, "accuracy/12": [3.0] * 5, "accuracy": [5.0] * 5}
    table = small_table(**columns, **{"other/4": [9.0] * 5, "accuracy/4/run1": [9.0] * 5})
    (string,) = SPACE.format(table.archs[[0]])
    assert reported(TableObjective(table, SPACE), string) == (5, [(4, 2), (12, 3), (36, 4)])
    assert reported(TableObjective(table, SPACE, "accuracy/36"), string) == (4, [(4, 2), (12, 3)])
    columns["accuracy/12"] = [float("nan")] * 5
    assert reported(TableObjective(small_table(**columns), SPACE), string) == (5, [(4, 2), (36, 4)])


def test_what_report_raises_stops_a_look_up():
    def stop(epoch, score):
        raise StopIteration

    table = small_table(**{"accuracy": [1] * 5, "accuracy/4": [1] * 5})
    with pytest.raises(StopIteration):
        TableObjective(table, SPACE)(SPACE.format(table.archs)[0], stop)


def test_tables_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="mine is of nasbench201, but the search is in darts"):
        TableObjective(small_table(accuracy=[1] * 5), archflow.space("darts"))
    with pytest.raises(ValueError, match="unknown table 'nothing'"):
        make_objective("table:nothing", SPACE)
    with pytest.raises(ValueError, match="no column 'nothing'; it has: baseline_accuracy"):
        make_objective("table:nasbench201/analog:nothing", SPACE)
    nameless = Table("mine", SPACE, SPACE.sample(2), {"a": np.zeros(2), "b": np.zeros(2)})
    with pytest.raises(ValueError, match="name one as table:mine:COLUMN: a, b"):
        TableObjective(nameless, SPACE)


# Commands


@pytest.fixture
def script(tmp_path):
    """A command that runs such Python."""

    def script(text):
        path = tmp_path / "train it.py"
        path.write_text(text)
        return f"{shlex.quote(sys.executable)} -I -S {shlex.quote(str(path))}"

    return script


def run(command, timeout=20.0):
    return reported(make_objective(command, SPACE, timeout=timeout))


def failure(command, timeout=20.0):
    with pytest.raises(ObjectiveFailed) as caught:
        run(command, timeout)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 600
    return str(caught.value)


def test_a_command_is_told_the_architecture(script, tmp_path):
    told = tmp_path / "told"
    command = script(
        "import json, os, sys\n"
        f"json.dump([sys.argv[1:], sys.stdin.read(), os.environ['ARCHFLOW_ARCHITECTURE']], open({str(told)!r}, 'w'))\n"
        "print(0.5)"
    )
    assert run(f"{command} --epochs 3 '$HOME *'") == (0.5, [])
    arguments, stdin, about = json.loads(told.read_text())
    assert arguments == ["--epochs", "3", "$HOME *", ARCH]
    assert stdin == ""
    about = json.loads(about)
    assert about["space"] == "nasbench201"
    assert about["architecture"] == ARCH
    edges = [tuple(edge) for edge in about["edges"]]
    arch = archflow.ArchBatch.from_graphs([(about["operations"], edges)], vocabulary=SPACE.vocabulary)
    assert SPACE.format(arch) == [ARCH]


def test_epochs_are_reported_and_the_last_line_is_the_score(script):
    command = script(
        "print('epoch 1: 0.25\\nEpoch 1/3 loss 0.1\\nepoch 2: high\\nepoch 2:0.5\\nepoch -1: 1\\n\\n 0.75 \\n  ')"
    )
    assert run(command) == (0.75, [(1, 0.25), (2, 0.5)])


def test_reports_arrive_while_the_command_runs(script):
    class Pruned(Exception):
        pass

    def prune(epoch, score):
        raise Pruned(score)

    command = script("import time\nprint('epoch 1: 0.25', flush=True)\ntime.sleep(600)")
    with pytest.raises(Pruned, match=r"0\.25"):
        make_objective(command, SPACE)(ARCH, prune)


def test_several_numbers_are_several_objectives(script):
    assert run(script("print('0.93 -1e4 7')")) == ((0.93, -1e4, 7.0), [])


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("print('best: 0.9')", "printed no number at last, but 'best: 0.9'"),
        ("print('0.9'); print('epoch 3: 0.9')", "printed no number at last, but 'epoch 3: 0.9'"),
        ("", "printed no score"),
        ("print('nan')", "printed the score nan"),
        ("print('0.5 -inf')", "printed the score 0.5 -inf"),
        ("print('epoch 2: nan'); print(0.9)", "reported nan after epoch 2"),
        ("print(0.9); raise SystemExit(3)", "exited with 3"),
        ("import sys; print(0.9); sys.exit('disk\\nno\\x1b room\\n\\n')", "exited with 1: no  room"),
        ("import os; print(0.9, flush=True); os.kill(os.getpid(), 9)", "was killed by signal 9"),
        ("import sys; sys.exit('x' * 10_000_000)", f"exited with 1: {'x' * 200}"),
        ("import os; os.write(1, bytes(range(256)))", "printed no number at last, but "),
    ],
)
def test_a_training_that_fails_says_why_in_one_line(script, text, why):
    told = failure(script(text))
    assert told.startswith(f"the command {why}")


def test_the_rest_of_a_long_complaint_is_cut(script):
    assert failure(script("import sys; sys.exit('x' * 300)")).count("x" * 200) == 1


def test_too_much_output_fails(script, monkeypatch):
    monkeypatch.setattr(command_objective, "MOST_OUTPUT", 100_000)
    assert run(script("print('x' * 90_000); print(0.5)"))[0] == 0.5
    assert "printed more than 100,000 bytes" in failure(script("while True: print('x' * 50)"))
    assert "printed more than 100,000 bytes" in failure(script("import os\nwhile True: os.write(1, b'x' * 5000)"))


def gone(pid):
    """Whether no such process runs any more; a killed one may be about to."""
    for _ in range(100):
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except FileNotFoundError:
            return True
        if state == "Z":
            return True
        time.sleep(0.05)
    return False


FORK = "import os, time\nif os.fork() == 0: time.sleep(600)\n"


@pytest.mark.skipif(not os.path.exists("/proc/self/stat"), reason="reads /proc")
@pytest.mark.parametrize("silent", [False, True])
def test_a_training_past_its_limit_is_killed_with_what_it_began(script, tmp_path, silent):
    pids = tmp_path / "pids"
    command = script(
        "import os, time\n"
        "child = os.fork()\n"
        f"if child: open({str(pids)!r}, 'w').write(f'{{os.getpid()}} {{child}}')\n"
        f"if {silent}: os.close(1); os.close(2)\n"
        "time.sleep(600)"
    )
    assert failure(command, timeout=1.5) == "the command did not end within 1.5 s"
    assert all(gone(pid) for pid in pids.read_text().split())


def test_a_flood_of_reports_does_not_hide_the_limit(script):
    command = script("import time\nwhile True: print('epoch 1: 0.5', flush=True); time.sleep(0.001)")
    assert "did not end within 0.7 s" in failure(command, timeout=0.7)


def test_what_a_command_leaves_running_does_not_keep_the_search_waiting(script):
    assert run(script(FORK + "else: print(0.5)"), timeout=None) == (0.5, [])


def test_a_missing_program_fails(tmp_path):
    assert failure("/no/such/program") == "/no/such/program cannot be run: No such file or directory"
    assert "Permission denied" in failure(str(tmp_path))


def test_an_architecture_of_another_space_is_refused():
    with pytest.raises(ValueError, match="line 1"):
        make_objective("true", SPACE)("conv,conv", no_report)


@pytest.mark.parametrize("command", ["", "  ", "echo 'a", "echo \0"])
def test_what_is_no_command_is_refused(command):
    with pytest.raises(ValueError, match=r"no command|cannot be split into words: No closing quotation"):
        make_objective(command, SPACE)


@pytest.mark.parametrize("timeout", [0, -1, float("nan"), float("inf")])
def test_a_time_limit_is_above_zero(timeout):
    with pytest.raises(ValueError, match="above 0, not"):
        make_objective("true", SPACE, timeout=timeout)


def test_texts_name_objectives():
    pytest.importorskip("sklearn", reason="the digits come with scikit-learn")
    assert isinstance(make_objective("digits", SPACE), Digits)
    assert isinstance(make_objective("python digits.py", SPACE), CommandObjective)
    with pytest.raises(ValueError, match="digits are for the spaces"):
        make_objective("digits", archflow.space("darts"))
