"""Two commands at once that write one output: the second is refused, and a dead one keeps nobody out."""

import time

import pytest

from archflow.support.files import locked
from tests.commands import begin, contents, words

OUTPUTS = {
    "demo": "below/report.html",
    "pretrain": "out.archflow",
    "finetune": "out.archflow",
    "evaluate": "studies/evaluate.md",
    "proxies": "out.csv",
}


def require_refused(outcome, out):
    assert (outcome.code, outcome.out) == (2, "")
    message = f"archflow: another command is writing {out}; wait until it ends, or write somewhere else"
    assert outcome.lines[-1] == message


@pytest.mark.parametrize("verb", OUTPUTS)
def test_an_output_that_another_command_writes(here, call, verb):
    with locked(OUTPUTS[verb]):
        before = contents(here)
        require_refused(call(*words(verb)), OUTPUTS[verb])
        assert contents(here) == before


def test_two_processes(here, call):
    lock = here / ".out.archflow.lock"
    with begin(*words("pretrain", "--pretrain-epochs 100000")) as process:
        while not lock.exists():
            assert process.poll() is None, process.communicate()
            time.sleep(0.02)
        with begin(*words("pretrain", "--seed 1")) as other:
            _, err = other.communicate(timeout=60)
        assert other.returncode == 2
        assert err.splitlines()[-1].startswith("archflow: another command is writing out.archflow; ")
        process.kill()
    assert lock.exists()
    outcome = call(*words("pretrain", "--seed 1"))
    assert outcome.code == 0, outcome.err
    assert not lock.exists()
