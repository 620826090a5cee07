"""A short run of the fuzzer of ``make fuzz``, in a process of its own, as a reader that fails may end it."""

import subprocess
import sys


def test_damaged_files_of_every_kind_are_refused_in_one_line():
    command = [sys.executable, "-m", "tests.support.fuzz_files", "--cases", "190"]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout[-500:] + ended.stderr[-2000:]
    assert " cases, 0 wrong, " in ended.stdout
