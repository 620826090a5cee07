import contextlib
import errno
import os
import stat
import tempfile
from pathlib import Path

import pytest
import torch

import archflow.support.files
from archflow.support.files import load_tensors, locked, require_writable, save_tensors, write_atomically


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "folder" / "some.file"
    write_atomically(path, "the previous content")
    return path


def names(path):
    return sorted(entry.name for entry in path.parent.iterdir())


@pytest.mark.parametrize("content", ["τ → λ", b"\x00\xff bytes", "", b"", "x" * 1_000_000])
def test_writes_text_and_bytes(path, content):
    write_atomically(path, content)
    assert path.read_bytes() == (content.encode() if isinstance(content, str) else content)
    assert names(path) == ["some.file"]


def test_makes_the_folder(tmp_path):
    write_atomically(str(tmp_path / "a" / "b" / "c"), "text")
    assert (tmp_path / "a" / "b" / "c").read_text() == "text"


@pytest.mark.parametrize("failing", ["replace", "fsync", "chmod", "fdopen"])
@pytest.mark.parametrize(
    "error", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()], ids=["disk full", "Ctrl-C"]
)
def test_a_failing_write_leaves_the_previous_file(path, monkeypatch, failing, error):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr(archflow.support.files.os, failing, fail)
    with pytest.raises(type(error)):
        write_atomically(path, "the new content")
    monkeypatch.undo()
    assert path.read_text() == "the previous content"
    assert names(path) == ["some.file"]


def test_temporary_files_of_killed_writers_are_removed_and_those_of_live_ones_kept(path):
    leftover, young, other = (path.with_name(name) for name in (".some.file.x.tmp", ".some.file.y.tmp", ".other.x.tmp"))
    for each in (leftover, young, other):
        each.write_text("half")
    for each in (leftover, other):
        os.utime(each, (0, 0))
    with path.with_name(".some.file.z.tmp").open("wb") as living:
        archflow.support.files._lock(living)
        os.utime(living.name, (0, 0))
        write_atomically(path, "new")
        assert names(path) == sorted([young.name, other.name, ".some.file.z.tmp", "some.file"])


def test_a_link_is_kept_and_its_target_replaced(path):
    link, dangling = path.with_name("link"), path.with_name("dangling")
    link.symlink_to("some.file")
    dangling.symlink_to("not there yet")
    for each in (link, dangling):
        require_writable(each)
        write_atomically(each, "new")
        assert each.is_symlink()
        assert each.read_text() == "new"
    assert names(path) == ["dangling", "link", "not there yet", "some.file"]


def test_a_pipe_is_refused_and_kept(path):
    pipe = path.with_name("pipe")
    os.mkfifo(pipe)
    for write in (require_writable, lambda at: write_atomically(at, "new")):
        with pytest.raises(OSError, match="pipe is not a regular file"):
            write(pipe)
    assert stat.S_ISFIFO(pipe.stat().st_mode)
    assert names(path) == ["pipe", "some.file"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes device nodes")
def test_a_device_is_written_to_directly(path):
    device = path.with_name("null")
    os.mknod(device, 0o666 | stat.S_IFCHR, os.makedev(1, 3))
    require_writable(device)
    write_atomically(device, "new")
    assert stat.S_ISCHR(device.stat().st_mode)
    assert names(path) == ["null", "some.file"]


def test_a_full_disk_leaves_the_previous_file(path, full_disk):
    with pytest.raises(OSError, match="No space left on device"):
        write_atomically(path, "the new content")
    assert full_disk
    assert path.read_text() == "the previous content"
    assert names(path) == ["some.file"]


def test_the_old_file_remains_until_the_new_one_is_complete(path, monkeypatch):
    seen = []
    replace = os.replace

    def look(temporary, target):
        assert os.path.dirname(temporary) == os.path.dirname(target)
        seen.append((path.read_text(), open(temporary).read()))  # noqa: SIM115
        replace(temporary, target)

    monkeypatch.setattr(archflow.support.files.os, "replace", look)
    write_atomically(path, "the new content")
    assert seen == [("the previous content", "the new content")]
    assert path.read_text() == "the new content"


@pytest.mark.parametrize(("umask", "expected"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_permissions_are_those_of_any_new_file(tmp_path, umask, expected):
    before = os.umask(umask)
    try:
        write_atomically(tmp_path / "file", "text")
        assert os.umask(umask) == umask
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == expected


def test_an_unwritable_folder(unprivileged):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "file"
        path.write_text("the previous content")
        path.parent.chmod(0o500)
        try:
            with pytest.raises(PermissionError):
                write_atomically(path, "the new content")
            with pytest.raises(PermissionError):
                write_atomically(path.parent / "below" / "file", "the new content")
            assert path.read_text() == "the previous content"
            assert names(path) == ["file"]
        finally:
            path.parent.chmod(0o700)


def test_a_folder_that_is_a_file(path):
    with pytest.raises(OSError, match=r"some\.file"):
        write_atomically(path / "below", "text")
    assert path.read_text() == "the previous content"


def test_a_target_that_is_a_folder(path):
    with pytest.raises(OSError, match="folder"):
        write_atomically(path.parent, "text")
    assert names(path.parent) == ["folder"]
    assert path.read_text() == "the previous content"


def test_tensors_and_settings_round_trip(tmp_path):
    tensors = {
        "bytes": torch.arange(5, dtype=torch.uint8),
        "view": torch.arange(12.0, dtype=torch.float64).reshape(3, 4).t(),
        "scalar": torch.tensor(2.5),
        "none": torch.zeros(0, 3, dtype=torch.int64),
        "bf16": torch.ones(2, dtype=torch.bfloat16, requires_grad=True),
    }
    settings = {"text": "τ", "numbers": [1, 2.5], "nothing": None, "nested": {"a": True}}
    save_tensors(tmp_path / "file", "some kind", tensors, settings)
    found, found_settings = load_tensors(tmp_path / "file", "some kind")
    assert found_settings == settings
    assert found.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert found[name].dtype == tensor.dtype
        assert torch.equal(found[name], tensor.detach())


def test_a_failing_save_of_tensors_leaves_the_previous_file(path, monkeypatch):
    monkeypatch.setattr(
        archflow.support.files.os, "replace", lambda *_: (_ for _ in ()).throw(OSError(errno.ENOSPC, "full"))
    )
    with pytest.raises(OSError, match="full"):
        save_tensors(path, "some kind", {"x": torch.zeros(3)}, {})
    assert path.read_text() == "the previous content"
    assert names(path) == ["some.file"]


def test_settings_that_are_not_json_leave_the_previous_file(path):
    with pytest.raises(TypeError):
        save_tensors(path, "some kind", {"x": torch.zeros(3)}, {"bad": object()})
    assert path.read_text() == "the previous content"
    assert names(path) == ["some.file"]


def test_a_lock_is_held_by_one_and_leaves_nothing(tmp_path):
    path = tmp_path / "not yet" / "there" / "out"
    with locked(path):
        assert names(path) == [".out.lock"]
        with pytest.raises(OSError, match=r"another command is writing .*/out; wait until it ends"), locked(path):
            pytest.fail("it was locked twice")
        with locked(path.with_name("other")):
            pass
    assert list(tmp_path.iterdir()) == []
    with contextlib.suppress(KeyboardInterrupt), locked(path):
        write_atomically(path, "result")
        raise KeyboardInterrupt
    assert names(path) == ["out"]
    path.with_name(".out.lock").touch()  # its owner died
    with locked(path):
        pass
    assert names(path) == ["out"]


def test_a_link_and_its_target_have_one_lock_and_a_device_has_none(path):
    link = path.with_name("link")
    link.symlink_to(path)
    with locked(link), pytest.raises(OSError, match="another command is writing"), locked(path):
        pytest.fail("it was locked twice")
    with locked("/dev/null"), locked("/dev/null"):
        pass
