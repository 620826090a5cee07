"""What tests everywhere may ask for: a data folder that is not the user's, a full disk, the command ``archflow``, …"""

import json
import os
import re
import signal
import sys

import pytest
from hypothesis import settings

import archflow.support.files
from archflow.commands.main import main
from tests.forgetting import forgetting

# The first call of a compiled loop compiles it; no test asserts a time.
settings.register_profile("archflow", deadline=None)
settings.load_profile("archflow")


@pytest.fixture(scope="session", autouse=True)
def no_cache_of_the_user(tmp_path_factory):
    """No test sees or touches the user's data folder; one that keeps a table asks for a ``cache`` of its own."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ARCHFLOW_DATA", str(folder))
        yield
    assert list(folder.rglob("*")) == []


@pytest.fixture(autouse=True)
def ctrl_c_interrupts():
    """A job in the background ignores SIGINT, and what it begins inherits that."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def forgetful():
    """What a test plugs in and registers is forgotten after it."""
    with forgetting():
        yield


@pytest.fixture
def cache(tmp_path_factory, monkeypatch):
    """A data folder for one test."""
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("ARCHFLOW_DATA", str(folder))
    return folder


@pytest.fixture
def full_disk(monkeypatch):
    """From now on each file is begun, and then there is no room for its content; the names of those begun."""
    if not os.path.exists("/dev/full"):
        pytest.skip("there is no /dev/full here")
    begun = []

    def begin(dir, **_):
        os.close(os.open(temporary := os.path.join(dir, "temporary"), os.O_CREAT))
        begun.append(temporary)
        return os.open("/dev/full", os.O_WRONLY), temporary

    monkeypatch.setattr(archflow.support.files.tempfile, "mkstemp", begin)
    return begun


@pytest.fixture
def unprivileged():
    """Root may write everywhere, so root becomes nobody for a while."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    yield
    os.seteuid(0)


class Outcome:
    """What a run of the command left behind."""

    def __init__(self, code, out, err):
        self.code, self.out, self.err = code, out, err
        self.lines = err.splitlines()

    def assert_mistake(self, reason):
        """It is told in one line that begins with such a reason, and nothing else is."""
        assert self.code == 2, self.err
        assert self.out == ""
        assert len(self.lines) == 1, self.err
        assert re.match(f"archflow: .*(?:{reason})", self.err)
        assert "Traceback" not in self.err

    @property
    def json(self):
        """The one JSON object on standard output."""
        assert self.out.count("\n") == 1, self.out
        found = json.loads(self.out, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
        assert isinstance(found, dict)
        return found


@pytest.fixture
def call(capfd, monkeypatch):
    """Run the command in this process, which takes no seconds to start."""

    def call(*args):
        monkeypatch.setattr(sys, "argv", ["archflow", *map(str, args)])
        capfd.readouterr()
        with pytest.raises(SystemExit) as caught:
            main()
        return Outcome(caught.value.code or 0, *capfd.readouterr())

    return call
