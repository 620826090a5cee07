"""What every reader of files from elsewhere promises: whatever the file is, it is read or refused in one short line.

Within a few seconds and a few hundred megabytes, and without running anything.
"""

import bz2
import contextlib
import functools
import io
import json
import os
import pickle
import signal
import struct
import tarfile
import zipfile
import zlib

import numpy as np
import polars as pl
import pytest

from archflow.benchmarks.nasbench101 import tables as nasbench101
from archflow.benchmarks.nasbench101.tfrecord import masked_crc32c
from archflow.benchmarks.nasbench201.space import NASBench201
from archflow.benchmarks.own_tables import MOST_ROWS, read_table
from archflow.benchmarks.registry import space
from archflow.benchmarks.table import Table
from archflow.benchmarks.tables import SOURCES
from archflow.studies import lines
from archflow.studies.evaluate import evaluate
from archflow.support import reading
from archflow.support.devices import resolve_device
from archflow.zero_cost.images import minibatch
from archflow.zero_cost.journal import Journal, Settings
from tests import studies
from tests.benchmarks.nasbench101.test_tables import a_training
from tests.benchmarks.official import WRITERS

SPACE = NASBench201()
CELL = SPACE.format(SPACE.sample(1))[0]
OWN = ("own.csv", "own.jsonl", "own.parquet")
ZEROS = 16 << 20
"""Bytes of a bomb."""


def own(path):
    return read_table(path, SPACE)


def cifar(path):
    return minibatch(path.parent, 4, 32, 10, 0)


def results(path):
    return lines.read(path.parent)


READERS = {
    **{name: (WRITERS[name], SOURCES[name].read) for name in WRITERS},
    **{name: (lambda folder, name=name: folder / name, own) for name in OWN},
    "cifar": (lambda folder: folder / "data_batch_1", cifar),
    "cifar, binary": (lambda folder: folder / "data_batch_1.bin", cifar),
    "results": (lambda folder: folder / lines.FILE, results),
}
"""For each reader what says where its file is, and perhaps writes one, and what reads it."""


def link_to_zeros(path):
    path.symlink_to("/dev/zero")


def pipe(path):
    os.mkfifo(path)


def sparse(path):
    with path.open("wb") as file:
        file.truncate(1 << 42)


def folder(path):
    path.mkdir()


@functools.cache
def bomb(method):
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", method) as archive:
        for name in ("results_1.json", "log_1.json", "cora0.bench", "archive/data.pkl", "000000.pickle.pbz2"):
            archive.writestr(name, bytes(ZEROS))
    return content.getvalue()


def zip_bomb(path, method=zipfile.ZIP_DEFLATED):
    path.write_bytes(bomb(method))


def zip_bomb_of_bzip2(path):
    zip_bomb(path, zipfile.ZIP_BZIP2)


@functools.cache
def packed_zeros():
    return bz2.compress(bytes(ZEROS))


def tar_with_a_bz2_bomb(path):
    content = packed_zeros()
    with tarfile.open(path, "w") as archive:
        member = tarfile.TarInfo("meta.pickle.pbz2")
        member.size = len(content)
        archive.addfile(member, io.BytesIO(content))


def lying_tar(path):
    member = tarfile.TarInfo("meta.pickle.pbz2")
    member.size = 1 << 40
    path.write_bytes(member.tobuf() + bytes(1024))


def tar_with_a_long_header(path):
    member = tarfile.TarInfo("././@LongLink")
    member.size, member.type = 1 << 32, tarfile.GNUTYPE_LONGNAME
    path.write_bytes(member.tobuf() + bytes(1024))


def sparse_tar(path):
    member = tarfile.TarInfo("meta.pickle.pbz2")
    member.pax_headers = {"GNU.sparse.map": "0,1", "GNU.sparse.size": str(1 << 40)}
    member.size = 1
    path.write_bytes(member.tobuf(tarfile.PAX_FORMAT) + b"B" + bytes(1535))


def lying_zip(path):
    """The index claims a hundred bytes, and a terabyte."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("results_1.json", bytes(10 << 20))
        archive.writestr("log_1.json", bytes(10 << 20))
        archive.writestr("cora0.bench", bytes(10 << 20))
        archive.writestr("archive/data.pkl", bytes(10 << 20))
    content = path.read_bytes()
    start = content.index(b"PK\x01\x02")
    path.write_bytes(content[:start] + content[start:].replace(struct.pack("<L", 10 << 20), struct.pack("<L", 100)))


HOSTILE = [
    *(link_to_zeros, pipe, sparse, folder, zip_bomb, zip_bomb_of_bzip2, tar_with_a_bz2_bomb),
    *(lying_tar, tar_with_a_long_header, sparse_tar, lying_zip),
]


@pytest.fixture(autouse=True)
def soon():
    """A test that hangs is ended."""
    before = signal.signal(signal.SIGALRM, lambda *_: pytest.fail("it takes longer than a minute"))
    signal.alarm(60)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@contextlib.contextmanager
def bounded(megabytes=300):
    """No more memory is asked for in the block."""
    import resource

    with open("/proc/self/statm") as file:
        now = int(file.read().split()[0]) * resource.getpagesize()
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (now + (megabytes << 20), before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


def refused(read, reason=r"\w", error=ValueError):
    with pytest.raises(error, match=reason) as caught, bounded():
        read()
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 1_000
    return str(caught.value)


@pytest.mark.parametrize("make", HOSTILE, ids=lambda make: make.__name__)
@pytest.mark.parametrize("name", READERS)
def test_a_hostile_file(tmp_path, name, make):
    place, read = READERS[name]
    path = place(tmp_path)
    path.unlink(missing_ok=True)
    make(path)
    if name == "results" and make not in (link_to_zeros, pipe, sparse, folder):
        with bounded():
            assert read(path) == []  # no line of it is whole
        return
    told = refused(lambda: read(path), error=(ValueError, OSError))
    assert str(tmp_path) in told
    if make in (link_to_zeros, pipe):
        assert "is no regular file" in told or "there is no file" in told


@pytest.mark.parametrize(
    ("name", "inside"),
    [
        ("darts/nasbench301", "results_1.json"),
        ("nasbench-nlp", "log_1.json"),
        ("nasbench-graph/full", "cora0.bench"),
        ("nasbench201/nats", "meta.pickle.pbz2"),
        ("nasbench-asr", "nb-asr-1.pickle"),
        ("transnas101-micro", "transnas-bench_v10141024.pth"),
        ("nasbench-macro", "nas-bench-macro_cifar10.json"),
    ],
)
@pytest.mark.parametrize("make", [link_to_zeros, pipe, sparse], ids=lambda make: make.__name__)
def test_a_hostile_file_in_a_folder(tmp_path, name, inside, make):
    make(tmp_path / inside)
    refused(lambda: SOURCES[name].read(tmp_path), "is no regular file|no file of its kind has more than")


def test_a_bomb_is_refused_by_its_limit(tmp_path):
    for make, name in [(zip_bomb, "darts/nasbench301"), (tar_with_a_bz2_bomb, "nasbench201/nats")]:
        make(tmp_path / name.replace("/", "_"))
        refused(
            lambda name=name: SOURCES[name].read(tmp_path / name.replace("/", "_")), r"more than [\d,]+ (bytes|times)"
        )


def test_every_budget_lets_the_real_files_through():
    """Sizes from the benchmarks' own pages."""
    assert nasbench101.BUDGET.whole >= 4 * 1_950_000_000
    assert reading.Budget(7).file == 7
    assert reading.Budget(7, 3).file == 3


# NAS-Bench-101


def test_a_cell_of_100_vertices_and_a_number_without_end(tmp_path):
    path = tmp_path / "some.tfrecord"
    many = ",".join(["input", *["maxpool3x3"] * 98, "output"])
    path.write_bytes(a_training(0, matrix="0" * 100**2, operations=many))
    refused(lambda: nasbench101.read(path), r"record 1 claims [\d,]+ bytes, and none has more than 4,096")
    few = ",".join(["input", *["maxpool3x3"] * 28, "output"])
    path.write_bytes(a_training(0, matrix="0" * 30**2, operations=few))
    refused(lambda: nasbench101.read(path), "its matrix has 900 entries, more than 7 vertices have")
    path.write_bytes(a_training(0, message=b"\x10" + b"\xff" * 1_000))
    refused(lambda: nasbench101.read(path), "a number in its protocol buffer has more than 64 bits")


def test_a_record_that_claims_more_than_there_is(tmp_path):
    head = struct.pack("<Q", 1 << 60)
    path = tmp_path / "some.tfrecord"
    path.write_bytes(head + struct.pack("<I", masked_crc32c(head)) + bytes(100))
    refused(lambda: nasbench101.read(path), "none has more than 4,096")


# Own tables


def parquet(path, arch, rows=MOST_ROWS + 1):
    column = pl.select(pl.repeat(arch, rows, dtype=pl.Null if arch is None else None).alias("arch"))
    column.write_parquet(path)
    return path


@pytest.mark.parametrize("arch", [CELL, 7, None], ids=["cell", "integer", "null"])
def test_a_parquet_of_many_equal_rows(tmp_path, arch):
    path = parquet(tmp_path / "many.parquet", arch)
    refused(lambda: own(path), f"it has {MOST_ROWS + 1:,} rows, and no table may have more than {MOST_ROWS:,}")


@pytest.mark.parametrize("arch", [7, None], ids=["integer", "null"])
def test_a_parquet_without_architectures(tmp_path, arch):
    path = parquet(tmp_path / "many.parquet", arch, MOST_ROWS)
    refused(lambda: own(path), "line 1: no architecture in column 'arch'")


def test_a_parquet_whose_texts_are_long(tmp_path, monkeypatch):
    monkeypatch.setattr("archflow.benchmarks.own_tables.BUDGET", reading.Budget(100_000))
    path = parquet(tmp_path / "long.parquet", "x" * 1_000, 1_000)
    refused(lambda: own(path), "its texts have 1,000,000 bytes, and no table may have more than 100,000")


def test_rows_that_each_have_columns_of_their_own(tmp_path):
    path = tmp_path / "wide.jsonl"
    path.write_text("".join(json.dumps({"arch": CELL, f"x{row}": 1}) + "\n" for row in range(10_000)))
    refused(lambda: own(path), "10,000 rows of 10,001 columns, more than")


def test_too_many_rows_of_text(tmp_path, monkeypatch):
    monkeypatch.setattr("archflow.benchmarks.own_tables.MOST_ROWS", 10)
    for name, content in [("many.csv", "arch\n" + f"{CELL}\n" * 11), ("many.jsonl", f'{{"arch": "{CELL}"}}\n' * 11)]:
        (tmp_path / name).write_text(content)
        refused(lambda name=name: own(tmp_path / name), "it has 11 rows, and no table may have more than 10")


@pytest.mark.parametrize("name", ["darts", "nasbench201", "nasbench101", "nasbench-nlp"])
def test_a_cell_of_60_kilobytes_is_told_in_short(name):
    for string in ("x" * 60_000, "|".join(["a~0"] * 20_000), "[" * 60_000, '{"a":' * 10_000, "x" * 200_000):
        refused(lambda string=string: space(name).parse([string]), "line 1: ")


def test_json_lines_that_nest(tmp_path):
    path = tmp_path / "deep.jsonl"
    path.write_text('{"arch": ' + "[" * 200_000 + "\n")
    refused(lambda: own(path), "line 1: it is nested too deeply")


def test_a_parquet_with_any_changed_byte(tmp_path):
    """PyO3 turns a panic of Polars into an exception that is none of Exception's."""
    path = tmp_path / "some.parquet"
    pl.DataFrame({"arch": [CELL] * 50, "x": list(range(50))}).write_parquet(path)
    whole = path.read_bytes()
    for place in np.random.default_rng(0).permutation(len(whole))[:100].tolist():
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :])
        with contextlib.suppress(ValueError), bounded(2_000):
            own(path)


# Samples, studies, devices, memory


@pytest.mark.parametrize("name", ["darts", "nasbench-nlp"])
def test_a_sample_of_a_thousand_million(name):
    refused(lambda: space(name).sample(1_000_000_000), "cannot draw 1000000000 different architectures: ")


def test_a_study_of_ten_million_seeds(tmp_path):
    archs = SPACE.sample(20)
    table = Table("some", SPACE, archs, {"a": np.arange(20.0)}, "a")
    refused(lambda: evaluate(table, seeds=10**7, out=tmp_path), r"the study would have [\d,]+0,000,000 runs")


def test_a_study_of_ten_million_seeds_by_command(tmp_path, call):
    call("reproduce", "table1", "--out", tmp_path, "--seeds", 10**7).assert_mistake("the study would have 30,000,000")


def test_a_sample_by_command(tmp_path, call):
    call(*("proxies", "--space", "darts", "--sample", 10**9, "--out", tmp_path / "a.csv")).assert_mistake("cannot draw")


def test_the_cpu_is_one_device():
    assert str(resolve_device("cpu:0")) == "cpu"
    refused(lambda: resolve_device("cpu:5"), "there is no device 'cpu:5' here")
    for name in ("mps", "x" * 100_000, "cpu:" + "9" * 5_000):
        assert len(refused(lambda name=name: resolve_device(name))) < 400


def test_no_memory_is_one_line(call, monkeypatch):
    def fail(*_, **__):
        raise np._core._exceptions._ArrayMemoryError((1 << 60,), np.dtype(float))

    monkeypatch.setattr("archflow.benchmarks.registry.space", fail)
    call("proxies", "--space", "darts", "--sample", 1, "--out", "a.csv").assert_mistake("there is not enough memory")


# Arrays in pickles


@pytest.mark.parametrize("kind", [">f8", "<f8", ">f4", ">i4", "<i2"])
def test_arrays_in_a_pickle_give_the_same_numbers(tmp_path, kind):
    from tests.benchmarks.nasbench201 import test_hw_nasbench

    content = test_hw_nasbench.official()
    entry = content["nasbench201"]["cifar10"]
    entry["edgegpu_latency"] = np.arange(len(entry["config"])).astype(kind)
    path = tmp_path / "HW-NAS-Bench-v1_0.pickle"
    path.write_bytes(pickle.dumps(content))
    found = SOURCES["nasbench201/hw"].read(path)["cifar10/edgegpu_latency"]
    assert found.dtype == np.float64
    assert found.tolist() == list(range(len(found)))


@pytest.mark.parametrize(
    "content", [np.zeros(3), np.zeros((2, 2), ">i8"), np.zeros(()), np.zeros(2, "S3"), np.array(["a"])]
)
@pytest.mark.parametrize("name", ["nasbench201/hw", "transnas101-micro", "nasbench-graph/full", "nasbench-asr"])
def test_an_array_in_place_of_a_table(tmp_path, name, content):
    path = WRITERS[name](tmp_path)
    path.write_bytes(pickle.dumps(content))
    refused(lambda: SOURCES[name].read(path))


# Results and journals


@pytest.mark.parametrize(
    "changes",
    [
        *({"key": value} for value in (None, 3, [1], {})),
        *({"space": value} for value in (None, 3, [1], {})),
        *({name: [1]} for name in ("seed", "split", "tau", "labels", "encoder", "settings")),
        *({name: ...} for name in ("key", "space", "seed", "tau", "split", "column", "encoder")),
    ],
    ids=str,
)
def test_a_result_of_another_form(tmp_path, changes):
    line = {name: value for name, value in {**studies.line(1), **changes}.items() if value is not ...}
    (tmp_path / lines.FILE).write_text(json.dumps(studies.line(0)) + "\n" + json.dumps(line) + "\n")
    refused(lambda: lines.read(tmp_path), f"line 2 of {tmp_path / lines.FILE} is not a study result")


def test_a_result_that_nests(tmp_path):
    (tmp_path / lines.FILE).write_text("[" * 200_000 + "\n" + json.dumps(studies.line(0)) + "\n")
    assert lines.read(tmp_path) == [studies.line(0)]


SETTINGS = Settings("darts", ("zen",), "white", "", 2, 0, 8, 1, 1, 10, "cpu")


@pytest.mark.parametrize(
    "line",
    [
        b"[" * 200_000,
        b"{}",
        b"3",
        b'{"network": 3, "values": {}, "failed": ""}',
        b'{"network": "a", "failed": ""}',
        b'{"network": "a", "values": {"zen": "x"}, "failed": ""}',
        b'{"network": "a", "values": {"zen": [1]}, "failed": ""}',
        b"\xff\xfe",
    ],
)
def test_a_journal_of_another_form(tmp_path, line):
    path = tmp_path / "journal"
    with Journal(path, SETTINGS, resume=False) as journal:
        journal.add("first", {"zen": 1.0}, "")
    path.write_bytes(path.read_bytes() + line + b"\n")
    with Journal(path, SETTINGS, resume=True) as journal:
        refused(lambda: list(journal.entries()), f"{path} is damaged, at line 3, ")


@pytest.mark.parametrize("make", [link_to_zeros, pipe, sparse], ids=lambda make: make.__name__)
def test_a_journal_that_is_no_file(tmp_path, make):
    make(tmp_path / "journal")
    refused(lambda: Journal(tmp_path / "journal", SETTINGS, resume=True), "no regular file|more than")


def test_a_stream_that_ends_too_early_is_told():
    packed = bz2.compress(zlib.compress(bytes(1_000)) * 100)
    refused(lambda: reading.decompress_bz2(packed[:-9], "some.bz2", 10_000), "some.bz2 is truncated or damaged")
    refused(lambda: reading.decompress_bz2(packed, "some.bz2", 100), "some.bz2 has more than 100 bytes")
