"""Progress in a pipe."""

from __future__ import annotations

import time

from archflow.support.progress import Display, shown, silent


def test_a_phase_that_starts_again_has_its_own_rate(monkeypatch, capsys):
    clock = iter([0.0, 10.0, 100.0, 110.0])
    monkeypatch.setattr(time, "monotonic", lambda: next(clock))
    show = Display()
    for done in (1, 50, 1, 50):
        show("pre-training", done, 50)
    lines = capsys.readouterr().err.splitlines()
    assert lines[1] == lines[3] == "pre-training: 50/50 5/s"


def test_the_default_is_a_display_only_where_somebody_watches(monkeypatch, capsys):
    with shown(None) as told:
        assert told is silent
    with shown(print) as told:
        assert told is print
    monkeypatch.setenv("FORCE_COLOR", "1")  # Rich then takes the stream for a terminal
    with shown(None) as told:
        assert isinstance(told, Display)
        with shown(None) as inner:  # of a function that this one calls: one display at a time
            assert inner is silent
        told("fitting", 1, 2)
    assert "fitting" in capsys.readouterr().err
    with shown(None) as told:
        assert isinstance(told, Display)
    assert capsys.readouterr().err == ""  # nothing was told
