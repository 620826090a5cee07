"""Progress in a pipe."""

from __future__ import annotations

import time

from archflow.support.progress import Display


def test_a_phase_that_starts_again_has_its_own_rate(monkeypatch, capsys):
    clock = iter([0.0, 10.0, 100.0, 110.0])
    monkeypatch.setattr(time, "monotonic", lambda: next(clock))
    show = Display()
    for done in (1, 50, 1, 50):
        show("pre-training", done, 50)
    lines = capsys.readouterr().err.splitlines()
    assert lines[1] == lines[3] == "pre-training: 50/50 5/s"
