import functools
import json
import math
import os
import random
import resource
import tempfile
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import archflow
from archflow.archs.batch import ArchBatch
from archflow.benchmarks.nasbench201 import network as nasbench201
from archflow.benchmarks.nasbench201.space import NASBench201
from archflow.benchmarks.networks import family, network
from archflow.benchmarks.own_tables import read_table
from archflow.benchmarks.record import NetworkFamily
from archflow.support.registry import register
from archflow.zero_cost import bulk
from archflow.zero_cost.images import minibatch
from archflow.zero_cost.journal import Settings
from archflow.zero_cost.measures import PROXIES, measure
from tests import strategies

CELLS = NASBench201()
SMALL = {"width": 4, "depth": 1, "size": 8, "batch_size": 8, "processes": 1, "device": "cpu"}
WHOLE = ("params", "flops")
PREVIOUS = b"the previous content"
FORMATS = ("csv", "jsonl", "parquet")


def small(space, archs, names=("params", "nwot"), **settings):
    return archflow.proxies(space, archs, names, **{**SMALL, **settings})


def of(*cells):
    return CELLS.decode(np.array(cells))


CUT, CONVS = [0] * 6, [3, 2, 3, 0, 2, 3]
SAME = [[0, 0, 0, 3, 0, 0], [2, 0, 0, 3, 0, 0], [3, 4, 0, 3, 0, 0], [0, 0, 3, 3, 0, 0]]
"""All compute the same as the first one: the others also have dead ends."""
SEVERAL = of(CONVS, CUT, *SAME, [1, 3, 2, 0, 4, 2], [0, 1, 0, 4, 0, 3])


def renumbered(archs):
    """The same, with nodes in other orders."""
    rng = np.random.default_rng(0)
    return ArchBatch.from_graphs(
        [strategies.renumber(archs.graph(row), rng) for row in range(len(archs))], archs.vocabulary
    )


@functools.cache
def some(space):
    """Several architectures of a space, some of which are the same network, and how to measure them quickly."""
    if space == "nasbench201":
        return SEVERAL, {}
    archs = archflow.space(space).sample(4, seed=0)
    if space == "nasbench101":
        archs = ArchBatch.concatenate([archs, renumbered(archs), renumbered(archs[[2, 1]])])
    return archs, {"width": 8}


@functools.cache
def whole(space):
    archs, its_settings = some(space)
    return small(space, archs, **its_settings)


def equal(one, other):
    """Whether columns are equal to the last bit, NaN where the other is."""
    return one.keys() == other.keys() and all(np.array_equal(one[name], other[name], equal_nan=True) for name in one)


def files(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.is_file()}


@pytest.fixture
def unprivileged_place(request):
    """A file, a folder named like a file, and a folder without write permission, for a user who is not root."""
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        (place / "file").write_bytes(PREVIOUS)
        (place / "folder.csv").mkdir()
        (place / "sealed").mkdir(mode=0o555)
        place.chmod(0o777)
        request.getfixturevalue("unprivileged")
        yield place
        os.seteuid(os.getuid())


# Values


@pytest.fixture
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def test_values_are_those_of_each_network_measured_alone(one_thread):
    found = small("nasbench201", SEVERAL, PROXIES, seed=3)
    assert found.archs == SEVERAL
    assert tuple(found.columns) == PROXIES
    images, labels = minibatch("natural", 8, 8, 10, 3)
    for row, stand_in in enumerate(
        family("nasbench201").representatives(SEVERAL)[[row]] for row in range(len(SEVERAL))
    ):
        for arch, names in (
            (SEVERAL[[row]], WHOLE),
            (stand_in, [name for name in PROXIES if name not in WHOLE]),
        ):
            torch.manual_seed(3)
            expected = measure(network("nasbench201", arch, width=4, depth=1), images, labels, names, 3)
            assert {name: found[name][row] for name in names} == expected


def test_as_many_processes_as_you_like(tmp_path):
    archs = SEVERAL[[0, 1, 2, 3]]
    tables = [small("nasbench201", archs, PROXIES, processes=n, out=tmp_path / f"{n}.parquet") for n in (1, 2)]
    assert equal(tables[0].columns, tables[1].columns)
    assert (tmp_path / "1.parquet").read_bytes() == (tmp_path / "2.parquet").read_bytes()


@pytest.mark.parametrize("space", ["nasbench201", "nasbench101", "darts", "transnas101-micro"])
def test_order_and_repetition_do_not_matter(space):
    archs, its_settings = some(space)

    @settings(max_examples=6)
    @given(st.lists(st.integers(0, len(archs) - 1), min_size=1, max_size=len(archs)))
    def rows_are_those_of_the_whole(rows):
        found = small(space, archs[rows], **its_settings)
        assert found.archs == archs[rows]
        assert equal(found.columns, {name: column[rows] for name, column in whole(space).columns.items()})

    rows_are_those_of_the_whole()


def test_a_renumbered_network_is_the_same():
    columns = whole("nasbench101").columns
    for column in columns.values():
        assert np.array_equal(column[:4], column[4:8])
        assert np.array_equal(column[[2, 1]], column[8:])
        assert len(np.unique(column)) > 1


def test_the_whole_space_where_none_is_given(quick, monkeypatch):
    monkeypatch.setattr(type(archflow.space("darts")), "enumerate", lambda _: DARTS)
    assert small("darts", None).archs == DARTS


def test_what_computes_the_same_is_measured_once(monkeypatch):
    calls = []

    def counted(model, images, labels, names, seed):
        calls.extend(names)
        return measure(model, images, labels, names, seed)

    monkeypatch.setattr(bulk, "measure", counted)
    names = ("params", "jacov", "flops", "synflow")
    found = small("nasbench201", of(*SAME, CONVS, *SAME), names)
    for name in ("jacov", "synflow"):
        assert calls.count(name) == 2  # of SAME, and of CONVS
        assert len(set(found[name][:4])) == 1
        assert found[name][0] != found[name][4]
    for name in WHOLE:
        assert calls.count(name) == len(SAME) + 1
        assert len(set(found[name][:4])) > 1
        for each, cell in zip(found[name], [*SAME, CONVS, *SAME], strict=True):
            assert each == small("nasbench201", of(cell), [name])[name][0]
    assert np.array_equal(
        small("nasbench201", SEVERAL, ["params"], width=16, depth=5)["params"], CELLS.parameters(SEVERAL)
    )


def test_names_may_repeat():
    assert list(small("nasbench201", SEVERAL[[0]], ["nwot", "params", "nwot"]).columns) == ["nwot", "params"]


def test_random_numbers_and_threads_of_the_caller_are_untouched():
    def state():
        numpy = repr(np.random.get_state())  # noqa: NPY002 - it is the caller's global one
        return torch.get_rng_state().tolist(), numpy, random.getstate(), torch.get_num_threads()

    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        torch.manual_seed(17)
        expected = state()
        found = small("nasbench101", some("nasbench101")[0], PROXIES, width=2)
        assert np.isnan(found["nwot"]).any()  # of a network that failed
        assert state() == expected
    finally:
        torch.set_num_threads(before)


def cifar(seed):
    """Random images in the format of CIFAR-10's binary version."""
    records = np.random.default_rng(seed).integers(256, size=(20, 3073), dtype=np.uint8)
    records[:, 0] %= 10
    return records.tobytes()


def test_images_are_those_that_are_in_the_folder_now(tmp_path, monkeypatch):
    """Two folders with the same relative path."""
    found = []
    for seed, name in enumerate(("one", "other")):
        (tmp_path / name / "images").mkdir(parents=True)
        (tmp_path / name / "images" / "data_batch_1.bin").write_bytes(cifar(seed))
        monkeypatch.chdir(tmp_path / name)
        found.append(small("nasbench201", SEVERAL[[0]], images="images")["nwot"][0])
    assert found[0] != found[1]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"names": ["nope", "nwot"]}, "unknown proxy 'nope'; known proxies: params, "),
        ({"names": []}, "no proxy is named"),
        ({"names": "nwot"}, "unknown proxy"),
        (
            {"space": "nasbench-nlp"},
            "has no networks for the space 'nasbench-nlp'; it has networks for: darts, nasbench101",
        ),
        ({"space": "nope"}, "'nope'"),
        ({"size": 0}, "size, width, depth and classes must be at least 1, not 0, 4, 1, 10"),
        ({"width": 0}, "at least 1"),
        ({"depth": -1}, "at least 1"),
        ({"classes": 0}, "at least 1"),
        ({"batch_size": 1}, "2 images or more"),
        ({"processes": 0}, "processes must be at least 1, not 0"),
        ({"device": "abacus"}, "there is no device 'abacus' here"),
        ({"archs": archflow.space("darts").sample(2)}, "another space"),
    ],
    ids=str,
)
def test_mistakes_are_reported_before_anything_is_written(tmp_path, change, reason):
    unfinished = tmp_path / "out.csv.partial"
    unfinished.write_bytes(PREVIOUS)
    for out in ("out.csv", "new/deep/out.csv"):
        given = {"space": "nasbench201", "archs": SEVERAL, "out": tmp_path / out, **change}
        with pytest.raises(ValueError, match=reason):
            small(**given)
        assert files(tmp_path) == {unfinished.name: PREVIOUS}
        assert list(tmp_path.iterdir()) == [unfinished]


# The caller's own spaces and networks


class Mine(NASBench201):
    """A space that archflow does not know."""

    name = "mine"


def build_mine(arch, width, depth, classes):
    return nasbench201.build(archflow.space("mine").mutate(arch), width, depth, classes)


def stand_for_themselves(archs):
    return archs


def register_mine(build):
    """Make known a space called "mine" whose networks are built that way."""
    register("space", "mine", Mine)
    register("networks", "mine", NetworkFamily(build, stand_for_themselves, 4, 1, 10, 8))


@pytest.mark.usefixtures("forgetful")
def test_other_processes_know_what_was_registered_in_this_one():
    """This module, which they import, registers nothing on import."""
    register_mine(build_mine)
    its = {"batch_size": 8, "device": "cpu"}
    one, two = (archflow.proxies("mine", SEVERAL[:2], ("params", "nwot"), processes=n, **its) for n in (1, 2))
    assert equal(one.columns, two.columns)
    assert np.isfinite(two["params"]).all()
    mutated = ArchBatch.concatenate([CELLS.mutate(SEVERAL[[row]]) for row in range(2)])
    assert np.array_equal(two["params"], small("nasbench201", mutated)["params"])


@pytest.mark.usefixtures("forgetful")
def test_networks_that_cannot_be_sent_to_other_processes(tmp_path):
    register_mine(lambda *given: build_mine(*given))
    (tmp_path / "out.csv.partial").write_bytes(PREVIOUS)
    for processes in (2, None):
        with pytest.raises(ValueError, match=r"other processes cannot run this \(.*lambda.*one process$"):
            small("mine", SEVERAL, processes=processes, out=tmp_path / "out.csv")
        assert files(tmp_path) == {"out.csv.partial": PREVIOUS}
    assert np.isfinite(small("mine", SEVERAL)["params"]).all()


# Networks that cost nothing

DARTS = archflow.space("darts").sample(4, seed=0)


class Quick:
    """Stands for networks and measures: values are a function of the architecture alone.

    Attributes:
        measured: the architectures that were, each by its key.
        fails: for some keys an exception, or the value that their "nwot" has.
        stop_at: the number of the measurement that the user interrupts.
    """

    def __init__(self):
        self.measured, self.fails, self.stop_at = [], {}, None

    def network(self, space, arch, **_):
        (self.key,) = archflow.space(space).keys(arch).tolist()
        return torch.nn.Identity()

    def measure(self, _, images, labels, names, seed):
        if len(self.measured) == self.stop_at:
            raise KeyboardInterrupt
        self.measured.append(self.key)
        failure = self.fails.get(self.key)
        if isinstance(failure, Exception):
            raise failure
        rng = np.random.default_rng(self.key)
        values = {name: int(rng.integers(10**9)) if name in WHOLE else float(rng.normal()) for name in names}
        return values if failure is None else values | {"nwot": failure}


@pytest.fixture
def quick(monkeypatch):
    stand_in = Quick()
    monkeypatch.setattr(bulk, "network", stand_in.network)
    monkeypatch.setattr(bulk, "measure", stand_in.measure)
    return stand_in


def keys(archs=DARTS):
    return archflow.space("darts").keys(archs).tolist()


def test_progress_is_reported(quick, tmp_path):
    reported = []
    small("darts", DARTS[[0, 1, 0, 2]], progress=lambda *each: reported.append(each))
    assert reported == [("networks", done, 3) for done in range(4)]
    quick.stop_at = 3 + 2
    out = tmp_path / "out.csv"
    with pytest.raises(KeyboardInterrupt):
        small("darts", DARTS, out=out)
    quick.stop_at, reported = None, []
    small("darts", DARTS, out=out, resume=True, progress=lambda *each: reported.append(each))
    assert reported == [("networks", done, 4) for done in range(2, 5)]


def test_tasks_are_made_one_by_one(quick, monkeypatch):
    """So their memory does not grow with the space."""
    waiting = []

    def in_processes(work, tasks, processes):
        assert iter(tasks) is tasks
        for task in tasks:
            waiting.append(task)
            assert len(task[1]) == 1
            yield task, work(task)
            assert waiting.pop() is task
            assert not waiting

    monkeypatch.setattr(bulk, "in_processes", in_processes)
    small("darts", DARTS)
    assert sorted(quick.measured) == sorted(keys())


# Failures


@pytest.mark.parametrize("processes", [1, 2])
def test_a_network_that_cannot_be_built(tmp_path, caplog, processes):
    """Where the output joins more vertices than there are channels."""
    space, archs = archflow.space("nasbench101"), archflow.space("nasbench101").sample(6, seed=2)
    found = small("nasbench101", archs, ("params", "nwot"), width=1, processes=processes, out=tmp_path / "out.csv")
    failed = np.isnan(found["nwot"])
    assert 0 < failed.sum() < len(archs)
    assert np.array_equal(failed, np.isnan(found["params"]))
    for row in np.flatnonzero(~failed):
        assert equal(
            small("nasbench101", archs[[row]], width=1).columns, {k: v[[row]] for k, v in found.columns.items()}
        )
    strings = space.format(family("nasbench101").representatives(archs))
    log = (tmp_path / "out.csv.log").read_text().splitlines()
    assert len(log) == failed.sum()
    for row in np.flatnonzero(failed):
        (line,) = [line for line in log if strings[row] in line]
        assert "ValueError: 1 channels are too few for a cell whose output joins" in line
    (warning,) = caplog.records
    assert warning.getMessage() == f"{failed.sum()} networks failed and have NaN; the first: {log[0]}"
    assert equal(read_table(tmp_path / "out.csv", space).columns, found.columns)


@pytest.mark.parametrize(
    ("failure", "cause"),
    [
        (RuntimeError("it is\n  too large"), "RuntimeError: it is too large"),
        (MemoryError("its process died"), "MemoryError: its process died"),
        (math.inf, "nwot overflowed"),
        (math.nan, "nwot overflowed"),
    ],
    ids=repr,
)
def test_a_failure_harms_no_other(quick, tmp_path, failure, cause):
    expected = small("darts", DARTS).columns
    quick.fails = {keys()[2]: failure}
    found = small("darts", DARTS[[0, 2, 1, 2, 3]], out=tmp_path / "out.parquet").columns
    for name, column in found.items():
        lost = name == "nwot" or isinstance(failure, Exception)
        assert np.array_equal(column, np.where([0, lost, 0, lost, 0], np.nan, expected[name][[0, 2, 1, 2, 3]]), True)
    log = (tmp_path / "out.parquet.log").read_text()
    assert log == f"{archflow.space('darts').format(DARTS[[2]])[0]}: {cause}\n"


def test_a_failure_is_remembered_and_a_success_is_forgotten(quick, tmp_path):
    out = tmp_path / "out.csv"
    quick.fails, quick.stop_at = {key: RuntimeError("alas") for key in keys()}, 3
    with pytest.raises(KeyboardInterrupt):
        small("darts", DARTS, out=out)
    quick.fails, quick.stop_at = {}, None
    found = small("darts", DARTS, out=out, resume=True)
    assert len(quick.measured) == 4
    assert np.isnan(found["nwot"]).sum() == 3
    assert (tmp_path / "out.csv.log").read_text().count(": RuntimeError: alas\n") == 3
    small("darts", DARTS, out=out)
    assert sorted(files(tmp_path)) == ["out.csv"]


@pytest.mark.parametrize(("ending", "written"), [("csv", "-inf"), ("jsonl", '"nwot":null'), ("parquet", "")])
def test_minus_infinity_is_a_value(tmp_path, ending, written):
    """Except in JSONL, as JSON has no infinity."""
    out = tmp_path / f"out.{ending}"
    found = small("nasbench201", of(CUT), ("nwot", "synflow", "zen"), out=out)
    assert [column.tolist() for column in found.columns.values()] == [[-math.inf]] * 3
    assert written.encode() in out.read_bytes()
    again = read_table(out, CELLS).columns
    assert equal(again, {name: np.full(1, np.nan) for name in again} if ending == "jsonl" else found.columns)


# Files


@pytest.mark.parametrize("ending", FORMATS)
def test_the_table_is_the_file_read_again(tmp_path, ending):
    out = tmp_path / "below" / f"out.{ending}"
    found = small("nasbench201", SEVERAL, PROXIES, out=out)
    again = read_table(out, CELLS)
    assert again.archs == found.archs == SEVERAL
    assert found.name == again.name
    assert -math.inf in found["nwot"]
    if ending == "jsonl":  # JSON knows no infinity
        expected = {name: np.where(np.isinf(column), np.nan, column) for name, column in found.columns.items()}
    else:
        expected = found.columns
    assert equal(again.columns, expected)
    assert sorted(files(out.parent)) == [out.name]


@pytest.mark.parametrize("out", ["/proc/nope/out.csv", "file/out.csv", "folder.csv", "sealed/out.csv"])
def test_a_file_that_cannot_be_written(quick, tmp_path, monkeypatch, unprivileged_place, out):
    monkeypatch.chdir(unprivileged_place)
    before = files(unprivileged_place)
    with pytest.raises(OSError, match=r"Permission denied|No such|Not a directory|Read-only|is a folder|File exists"):
        small("darts", DARTS, out=out)
    assert not quick.measured
    assert files(unprivileged_place) == before


@pytest.mark.parametrize("ending", ["partial", "log"])
def test_a_folder_where_a_file_beside_it_is_to_be_written(quick, tmp_path, ending):
    (tmp_path / f"out.csv.{ending}").mkdir()
    with pytest.raises(IsADirectoryError, match=rf"out\.csv\.{ending} is a folder, but a file is to be written there$"):
        small("darts", DARTS, out=tmp_path / "out.csv")
    assert not quick.measured
    assert list(tmp_path.iterdir()) == [tmp_path / f"out.csv.{ending}"]


@pytest.mark.parametrize("name", ["out.txt", "out", ".csv"])
def test_an_unknown_format(quick, tmp_path, name):
    with pytest.raises(ValueError, match="must end in"):
        small("darts", DARTS, out=tmp_path / name)
    assert not quick.measured
    assert files(tmp_path) == {}


def test_a_full_disk_at_the_end(quick, tmp_path, request, monkeypatch):
    """Nothing measured is lost."""
    expected, out = tmp_path / "expected.csv", tmp_path / "out.csv"
    small("darts", DARTS, out=expected)
    out.write_bytes(PREVIOUS)
    full = request.getfixturevalue("full_disk")
    with pytest.raises(OSError, match="No space left"):
        small("darts", DARTS, out=out)
    assert full
    assert out.read_bytes() == PREVIOUS
    monkeypatch.undo()
    monkeypatch.setattr(bulk, "measure", None)  # not needed any more
    found = small("darts", DARTS, out=out, resume=True)
    assert equal(found.columns, read_table(expected, archflow.space("darts")).columns)
    assert out.read_bytes() == expected.read_bytes()
    assert sorted(files(tmp_path)) == ["expected.csv", "out.csv"]


def test_a_full_disk_on_the_way(quick, tmp_path):
    """The journal cannot grow beyond a limit."""
    expected, out = tmp_path / "expected.csv", tmp_path / "out.csv"
    small("darts", DARTS, out=expected)
    size = len(journal(quick, tmp_path))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size - 100, hard))
        with pytest.raises(OSError, match="File too large"):
            small("darts", DARTS, out=out)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    quick.measured.clear()
    small("darts", DARTS, out=out, resume=True)
    assert 0 < len(quick.measured) < 4
    assert out.read_bytes() == expected.read_bytes()


# Resuming


def interrupted(quick, out, after=4, **settings):
    """The file of a run that was interrupted after so many networks, or at its very end; its networks are forgotten."""
    with pytest.MonkeyPatch.context() as patch:
        if after == 4:
            patch.setattr(bulk, "write_table", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        quick.measured.clear()
        quick.stop_at = after
        with pytest.raises(KeyboardInterrupt):
            small("darts", DARTS, out=out, **settings)
    quick.stop_at = None
    quick.measured.clear()
    return out.with_name(f"{out.name}.partial")


def journal(quick, folder, **settings):
    path = interrupted(quick, folder / "journal.csv", **settings)
    content = path.read_bytes()
    path.unlink()
    (folder / "journal.csv.log").unlink(missing_ok=True)
    return content


def test_what_is_done_is_in_the_file_at_once(quick, tmp_path):
    """So a kill loses only the networks in progress."""
    lines = []
    partial = tmp_path / "out.csv.partial"
    small("darts", DARTS, out=tmp_path / "out.csv", progress=lambda *_: lines.append(partial.read_bytes().count(b"\n")))
    assert lines == [1 + done for done in range(5)]


def test_a_run_that_was_cut_off_at_any_byte_ends_in_the_same_file(quick, tmp_path):
    quick.fails = {keys()[0]: RuntimeError("alas"), keys()[1]: -math.inf, keys()[2]: math.inf}
    out, partial = tmp_path / "out.csv", tmp_path / "out.csv.partial"
    small("darts", DARTS, out=out)
    expected = files(tmp_path)
    assert sorted(expected) == ["out.csv", "out.csv.log"]
    content = journal(quick, tmp_path)
    complete = [end for end in range(len(content) + 1) if content[:end].endswith(b"\n")]
    assert len(complete) == 5
    for end in range(len(content) + 1):
        out.unlink()
        partial.write_bytes(content[:end])
        quick.measured.clear()
        small("darts", DARTS, out=out, resume=True)
        assert files(tmp_path) == expected
        done = [json.loads(line)["network"] for line in content[:end].split(b"\n")[1:-1]]
        assert sorted(map(str, quick.measured)) == sorted(set(map(str, keys())) - set(done))


def test_a_journal_of_more_or_fewer_architectures_serves(quick, tmp_path):
    out = tmp_path / "out.csv"
    interrupted(quick, out)
    found = small("darts", DARTS[[3, 1, 3]], out=out, resume=True)
    assert quick.measured == []
    assert equal(found.columns, small("darts", DARTS[[3, 1, 3]]).columns)
    interrupted(quick, out, after=2)
    others = ArchBatch.concatenate([archflow.space("darts").sample(3, seed=1), DARTS])
    found = small("darts", others, out=out, resume=True)
    assert len(quick.measured) == 7 - 2
    assert equal(found.columns, small("darts", others).columns)


def test_without_resume_it_starts_anew(quick, tmp_path):
    for content in (journal(quick, tmp_path), b"damaged\n", b""):
        (tmp_path / "out.csv.partial").write_bytes(content)
        quick.measured.clear()
        small("darts", DARTS, out=tmp_path / "out.csv")
        assert len(quick.measured) == 4
        assert sorted(files(tmp_path)) == ["out.csv"]


def test_resuming_without_a_journal(quick, tmp_path):
    small("darts", DARTS, out=tmp_path / "out.csv", resume=True)
    assert len(quick.measured) == 4
    assert sorted(files(tmp_path)) == ["out.csv"]


OTHERS = {
    **{"names": ("nwot", "params"), "images": "white", "batch_size": 9, "seed": 1},
    **{"size": 9, "width": 5, "depth": 2, "classes": 11, "device": "meta"},
}


def test_all_settings_are_tried():
    assert {*OTHERS, "space", "digest"} == set(Settings.__dataclass_fields__)


def refused(quick, tmp_path, reason, **settings):
    """The message is one line that names the file, which does not change."""
    before = files(tmp_path)
    with pytest.raises(ValueError, match=reason) as caught:
        small("darts", DARTS, out=tmp_path / "out.csv", resume=True, **settings)
    assert str(tmp_path / "out.csv.partial") in str(caught.value)
    assert "leave --resume out" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert quick.measured == []
    assert files(tmp_path) == before


@pytest.mark.parametrize("name", OTHERS)
def test_a_journal_of_other_settings(quick, tmp_path, name):
    interrupted(quick, tmp_path / "out.csv", after=2)
    refused(quick, tmp_path, "was started with other settings", **{name: OTHERS[name]})


def test_a_journal_of_other_images_in_the_folder(quick, tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    records = cifar(0)
    (folder / "data_batch_1.bin").write_bytes(records)
    interrupted(quick, tmp_path / "out.csv", after=2, images=folder)
    (folder / "data_batch_1.bin").write_bytes(cifar(1))
    refused(quick, tmp_path, "was started with other settings", images=folder)
    (folder / "data_batch_1.bin").write_bytes(records)
    small("darts", DARTS, out=tmp_path / "out.csv", resume=True, images=folder)
    assert len(quick.measured) == 2


def test_a_journal_of_another_space_or_version(quick, tmp_path):
    partial = interrupted(quick, tmp_path / "out.csv", after=2)
    first, rest = partial.read_bytes().split(b"\n", 1)
    header = json.loads(first)
    assert header["settings"] == {
        **asdict(Settings("darts", ("params", "nwot"), "natural", "", 8, 0, 8, 4, 1, 10, "cpu"))
    } | {"names": ["params", "nwot"]}
    for change in (
        {"version": header["version"] + 1},
        {"archflow": "pretraining"},
        {"settings": header["settings"] | {"space": "nasbench101"}},
        {"more": 1},
    ):
        partial.write_bytes(json.dumps(header | change).encode() + b"\n" + rest)
        refused(quick, tmp_path, "was started with other settings or by another version of archflow")


@pytest.mark.parametrize(
    "content",
    [b"arch,params\nx,1\n", b"\n", b"\x89PNG\r\n\x1a\n\0", b"[]\n", b"PK\3\4 no line ends here", b"arch,params\nx,1"],
    ids=repr,
)
def test_a_file_that_is_no_journal_is_not_overwritten(quick, tmp_path, content):
    (tmp_path / "out.csv.partial").write_bytes(content)
    refused(quick, tmp_path, "damaged|was started with")


DAMAGED = {
    "no JSON": b"nonsense",
    "no text": b"\xff\xfe",
    "zeros": bytes(100),
    "empty": b"",
    "a number": b"7",
    "a list": b"[1]",
    "lacks all": b"{}",
    "lacks values": b'{"network": "1", "failed": ""}',
    "lacks failed": b'{"network": "1", "values": {}}',
    "values are a number": b'{"network": "1", "values": 3, "failed": ""}',
    "a value is text": b'{"network": "KEY", "values": {"params": "many", "nwot": 1.0}, "failed": ""}',
    "a value is a list": b'{"network": "KEY", "values": {"params": [1, 2], "nwot": 1.0}, "failed": ""}',
    "the network is a list": b'{"network": [1], "values": {}, "failed": ""}',
    "cut in the middle": b'{"network": "KEY", "val',
}


@pytest.mark.parametrize("damage", DAMAGED)
def test_a_journal_that_is_damaged_in_the_middle(quick, tmp_path, damage):
    partial = interrupted(quick, tmp_path / "out.csv")
    lines = partial.read_bytes().splitlines()
    lines[2] = DAMAGED[damage].replace(b"KEY", json.loads(lines[2])["network"].encode())
    partial.write_bytes(b"\n".join(lines) + b"\n")
    refused(quick, tmp_path, "is damaged, at ")


def test_any_changed_byte_of_a_journal_is_found_or_harms_one_network(quick, tmp_path):
    expected, content = small("darts", DARTS).columns, journal(quick, tmp_path)

    @settings(max_examples=200)
    @given(st.integers(0, len(content) - 1), st.integers(1, 255))
    def turn(place, by):
        turned = bytearray(content)
        turned[place] ^= by
        (tmp_path / "out.csv.partial").write_bytes(turned)
        refusal = ""
        try:
            found = small("darts", DARTS, out=tmp_path / "out.csv", resume=True).columns
        except ValueError as error:
            refusal = str(error)
        if refusal:
            assert str(tmp_path / "out.csv.partial") in refusal
            assert "\n" not in refusal
        else:
            assert sum(any(found[name][row] != expected[name][row] for name in expected) for row in range(4)) <= 1

    turn()


# The table that ships with archflow


@pytest.fixture(scope="module")
def shipped():
    return archflow.table("nasbench201/proxies")


def test_the_shipped_table_is_whole_and_small(shipped):
    path = Path(bulk.__file__).parents[1] / "benchmarks" / "nasbench201" / "proxies.parquet"
    assert path.stat().st_size < 2e6
    assert tuple(shipped.columns) == tuple(name for name in PROXIES if name not in ("grasp", "plain"))
    assert shipped.default == ""
    assert np.array_equal(shipped["params"], CELLS.parameters(shipped.archs))
    assert not any(np.isnan(column).any() for column in shipped.columns.values())


def test_networks_that_compute_the_same_have_the_same_values_in_the_shipped_table(shipped):
    representatives = CELLS.keys(family("nasbench201").representatives(shipped.archs))
    for name, column in shipped.columns.items():
        if name not in WHOLE:
            assert np.array_equal(column, column[representatives])


@pytest.mark.parametrize("row", [1_234, 9_876])
def test_the_shipped_table_is_what_is_measured(shipped, row):
    """With the settings of its command; on other processors the last digits may differ."""
    found = archflow.proxies(
        "nasbench201", shipped.archs[[row]], list(shipped.columns), size=16, device="cpu", processes=1
    )
    for name, column in found.columns.items():
        assert column[0] == pytest.approx(shipped[name][row], rel=1e-4), name
