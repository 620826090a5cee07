import errno
import json
import os
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from archflow.studies import lines as module
from archflow.studies.lines import FILE, append, read
from tests.studies import line


def test_lines_are_read_as_they_were_added(tmp_path):
    assert read(tmp_path) == []
    given_lines = [line(number, tau=number / 7) for number in range(5)]
    for each in given_lines:
        append(tmp_path, each)
    assert read(tmp_path) == given_lines
    assert len((tmp_path / FILE).read_text().splitlines()) == 5


def test_nan_and_infinity_become_null(tmp_path):
    append(tmp_path, line(0, tau=float("nan"), p_at_1=float("inf")))
    (found,) = read(tmp_path)
    assert (found["tau"], found["p_at_1"]) == (None, None)
    json.loads((tmp_path / FILE).read_text(), parse_constant=pytest.fail)


@settings(max_examples=30)
@given(cut=st.integers(min_value=0))
def test_a_file_cut_off_anywhere_is_read_up_to_its_last_whole_line_and_continued(tmp_path_factory, cut):
    folder = tmp_path_factory.mktemp("cut")
    whole = [line(number, space="größer") for number in range(4)]
    text = "".join(json.dumps(each, ensure_ascii=False) + "\n" for each in whole).encode()
    ends = [number for number, byte in enumerate(text) if byte == ord("\n")]
    kept = text[: cut % len(text)]
    (folder / FILE).write_bytes(kept)
    found = read(folder)
    # A line is complete with its last brace, even without the newline.
    assert found == whole[: sum(len(kept) >= end for end in ends)]
    append(folder, line("new"))
    assert read(folder) == [*found, line("new")]
    for each in whole:
        append(folder, each)
    assert sorted(each["key"] for each in read(folder)) == ["0", "1", "2", "3", "new"]


def test_the_first_line_of_a_key_counts(tmp_path):
    append(tmp_path, line(0, tau=0.1))
    append(tmp_path, line(0, tau=0.9))
    assert [each["tau"] for each in read(tmp_path)] == [0.1]


@pytest.mark.parametrize("text", ["3", "[]", "null", '{"tau": 1}'])
def test_a_line_that_is_not_a_result(tmp_path, text):
    append(tmp_path, line(0))
    with (tmp_path / FILE).open("a") as file:
        file.write(f"{text}\n")
    with pytest.raises(ValueError, match=rf"^line 2 of .*{FILE} is not a study result"):
        read(tmp_path)


def test_blank_lines_and_zeros_after_a_crash_are_skipped(tmp_path):
    (tmp_path / FILE).write_bytes(b"\n\n" + json.dumps(line(0)).encode() + b"\n" + bytes(40))
    append(tmp_path, line(1))
    assert [each["key"] for each in read(tmp_path)] == ["0", "1"]


def test_a_full_disk_keeps_what_was_there(tmp_path, monkeypatch):
    append(tmp_path, line(0))

    def fail(_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(module.os, "fsync", fail)
        with pytest.raises(OSError, match="No space left"):
            append(tmp_path, line(1))
    assert line(0) in read(tmp_path)
    append(tmp_path, line(2))
    assert [each["key"] for each in read(tmp_path)][-1] == "2"


WRITER = """
import sys
from pathlib import Path
from archflow.studies.lines import append
for number in range(100):
    append(Path(sys.argv[1]), {"key": f"{sys.argv[2]}-{number}", "space": "s", "seed": 0, "filling": "x" * 5000})
"""


def test_concurrent_writers_do_not_mix_lines(tmp_path):
    command = [sys.executable, "-c", WRITER, tmp_path]
    writers = [subprocess.Popen([*command, str(number)]) for number in range(3)]
    assert [writer.wait() for writer in writers] == [0, 0, 0]
    found = read(tmp_path)
    assert {each["key"] for each in found} == {f"{writer}-{number}" for writer in range(3) for number in range(100)}
    assert len((tmp_path / FILE).read_bytes().splitlines()) == 300
    for writer in range(3):
        its = [each["key"] for each in found if each["key"].startswith(f"{writer}-")]
        assert its == [f"{writer}-{number}" for number in range(100)]
