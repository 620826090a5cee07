import bz2
import functools
import io
import os
import pickle
import re
import tarfile
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest

from archflow.benchmarks.nasbench201 import nats_bench
from archflow.benchmarks.nasbench201.space import NASBench201
from tests import shared_data

SETS = {
    "cifar10-valid": ("x-valid", "ori-test"),
    "cifar10": ("ori-test",),
    "cifar100": ("ori-test", "x-valid", "x-test"),
    "ImageNet16-120": ("ori-test", "x-valid", "x-test"),
}
SPACE = NASBench201()
STRINGS = SPACE.format(SPACE.sample(4, seed=1))
FOLDER = "NATS-tss-v1_0-3ffb9-simple"


# The official format, written plainly


def accuracy(index: int, dataset: str, name: str, seed: int, epoch: int) -> float:
    return 50 + index + len(dataset + name) / 10 + seed / 1000 + epoch / 100


def run(index: int, dataset: str, seed: int, epochs: int) -> dict:
    """What a ``ResultsCount`` of the benchmark's code gives as its state."""
    evaluations = [(f"{name}@{epoch}", name, epoch) for name in SETS[dataset] for epoch in range(epochs)]
    return {
        "name": dataset,
        "net_state_dict": None,
        "train_acc1es": dict.fromkeys(range(epochs), 99.0),
        "train_acc5es": dict.fromkeys(range(epochs), 99.9),
        "train_losses": dict.fromkeys(range(epochs), 0.1),
        "train_times": OrderedDict((epoch, 2.5 + index) for epoch in range(epochs)),
        "arch_config": {"channel": 16, "num_cells": 5, "arch_str": STRINGS[index % 4], "class_num": 10},
        "params": np.float64(1.0 + index),
        "flop": 100.0 + index,
        "seed": seed,
        "epochs": epochs,
        "latency": [0.25, 0.75],
        "eval_names": list(SETS[dataset]),
        "eval_acc1es": {key: accuracy(index, dataset, name, seed, epoch) for key, name, epoch in evaluations},
        "eval_times": {key: 0.5 for key, _, _ in evaluations},
        "eval_losses": {key: 0.5 for key, _, _ in evaluations},
    }


def cell(index: int, string: str) -> dict:
    """What two ``ArchResults`` of the benchmark's code give as their states."""
    record = OrderedDict()
    for budget, seeds in (("12", (111, 777)), ("200", (777, 888, 999)[: 1 + index % 3])):
        record[budget] = {
            "arch_index": index,
            "arch_str": string,
            "all_results": {(name, seed): run(index, name, seed, int(budget)) for name in SETS for seed in seeds},
            "dataset_seed": {name: list(seeds) for name in SETS},
            "clear_net_done": True,
        }
    return record


def meta(strings: list[str]) -> dict:
    return {"meta_archs": strings, "total_archs": len(strings), "arch2infos": None, "evaluated_indexes": set()}


def packed(content: object) -> bytes:
    return bz2.compress(pickle.dumps(content, protocol=4), 1)


RECORDS = [packed(cell(index, string)) for index, string in enumerate(STRINGS)]


def write(folder: Path, changes: dict[str, bytes | None] | None = None) -> Path:
    """The official folder, with other files beside or instead of the right ones, and none where one is None."""
    files = {"meta.pickle.pbz2": packed(meta(STRINGS))}
    files |= {f"{index:06d}.pickle.pbz2": content for index, content in enumerate(RECORDS)}
    folder.mkdir()
    for name, content in (files | (changes or {})).items():
        if content is not None:
            (folder / name).write_bytes(content)
    return folder


@pytest.fixture
def written(tmp_path):
    return functools.partial(write, tmp_path / FOLDER)


def archive(folder: Path, names: list[str] | None = None) -> Path:
    """The folder's ``.tar``."""
    path = folder.with_name(f"{folder.name}.tar")
    with tarfile.open(path, "w") as file:
        if names is None:
            file.add(folder, folder.name)
        for name in names or ():
            file.add(folder / name, f"{folder.name}/{name}")
    return path


# Right files


@pytest.mark.parametrize("as_archive", [False, True])
def test_last_accuracies_as_means_over_the_seeds(written, as_archive):
    folder = written({"._000000.pickle.pbz2": b"", "notes.txt": b"", "999999.pickle.pbz2.part": b""})
    seen = []
    table = nats_bench.read(archive(folder) if as_archive else folder, lambda *progress: seen.append(progress))
    assert (table.name, table.space.name) == ("nasbench201/nats", "nasbench201")
    assert table.default == "cifar10-valid/x-valid/200"
    assert table.space.format(table.archs) == STRINGS
    assert seen == [("reading", done, 15_625) for done in (1, 2, 3, 4)]
    expected = {}
    for budget in ("200", "12"):
        for dataset, names in SETS.items():
            for name in names:
                expected[f"{dataset}/{name}/{budget}"] = [
                    np.mean(
                        [
                            accuracy(index, dataset, name, seed, int(budget) - 1)
                            for seed in ((111, 777) if budget == "12" else (777, 888, 999)[: 1 + index % 3])
                        ]
                    )
                    for index in range(4)
                ]
            expected[f"{dataset}/training_time/{budget}"] = [int(budget) * (2.5 + index) for index in range(4)]
    for dataset in SETS:
        expected[f"{dataset}/params"] = [1.0, 2.0, 3.0, 4.0]
        expected[f"{dataset}/flops"] = [100.0, 101.0, 102.0, 103.0]
        expected[f"{dataset}/latency"] = [0.5] * 4
    assert table.columns.keys() == expected.keys()
    for name, numbers in expected.items():
        assert table[name].dtype == np.float64
        assert table[name].tolist() == numbers, name


def test_numbers_that_are_not_there_are_nan(written):
    """As of NAS-Bench-201's first trainings, which had no times, and one evaluation after the last epoch only."""
    record = cell(1, STRINGS[1])
    for (dataset, _), one in record["200"]["all_results"].items():
        one |= {"train_times": None, "latency": None, "eval_times": {}}
        if dataset == "cifar100":
            one["eval_acc1es"] = {"x-test@199": 70.0}
    del record["12"]["dataset_seed"]["cifar10"]
    table = nats_bench.read(written({"000001.pickle.pbz2": packed(record)}))
    for name in ("cifar10/training_time/200", "cifar10/latency", "cifar100/x-valid/200", "cifar10/ori-test/12"):
        assert np.flatnonzero(np.isnan(table[name])).tolist() == [1], name
    assert table["cifar100/x-test/200"][1] == 70
    assert not np.isnan(table["cifar10-valid/x-valid/200"]).any()


def test_the_shared_cells_row_for_row(written):
    shared = shared_data.nasbench201()
    names = SPACE.format(SPACE.enumerate())
    records, rows = {}, [names.index(string) for string in STRINGS]
    for index, row in enumerate(rows):
        record = cell(index, STRINGS[index])
        for (dataset, _), one in record["200"]["all_results"].items():
            if dataset == "cifar10-valid":
                one["eval_acc1es"]["x-valid@199"] = shared["cifar10_val_acc"][row]
            if dataset == "cifar10":
                one["eval_acc1es"]["ori-test@199"] = shared["cifar10_test_acc"][row]
        records[f"{index:06d}.pickle.pbz2"] = packed(record)
    table = nats_bench.read(written(records))
    assert table[table.default] == pytest.approx(shared["cifar10_val_acc"][rows], rel=1e-15)
    assert table["cifar10/ori-test/200"] == pytest.approx(shared["cifar10_test_acc"][rows], rel=1e-15)


# Wrong files


@pytest.mark.parametrize("cut", [1, 100, -1])
@pytest.mark.parametrize("name", ["000002.pickle.pbz2", "meta.pickle.pbz2"])
def test_a_truncated_file_of_the_folder(written, name, cut):
    folder = written()
    (folder / name).write_bytes((folder / name).read_bytes()[:cut])
    with pytest.raises(
        ValueError, match=rf"{FOLDER} is not the NATS-Bench table: [^\n]*{name} is truncated or damaged"
    ):
        nats_bench.read(folder)
    (folder / name).write_bytes(bz2.compress(bz2.decompress(RECORDS[0])[:cut]))
    with pytest.raises(ValueError, match=rf"{FOLDER} is not the NATS-Bench table: {name} is truncated or not a pickle"):
        nats_bench.read(folder)


def test_a_damaged_file_of_the_folder(written):
    changed = bytearray(RECORDS[2])
    changed[len(changed) // 2] ^= 1
    folder = written({"000002.pickle.pbz2": bytes(changed)})
    with pytest.raises(
        ValueError, match=rf"{FOLDER} is not the NATS-Bench table: [^\n]*000002\.pickle\.pbz2 is truncated or"
    ):
        nats_bench.read(folder)


def test_a_truncated_archive(written):
    path = archive(written())
    content = path.read_bytes()
    end_of_last = len(content.rstrip(b"\0"))
    for length in (0, 100, 512, 700, end_of_last // 2, end_of_last - 5_000):
        path.write_bytes(content[:length])
        with pytest.raises(ValueError, match=rf"{FOLDER}\.tar is not the NATS-Bench table: .") as caught:
            nats_bench.read(path)
        assert "\n" not in str(caught.value)


def test_no_file(tmp_path):
    with pytest.raises(FileNotFoundError, match="absent"):
        nats_bench.read(tmp_path / "absent")
    with pytest.raises(ValueError, match=r"is not the NATS-Bench table: it has no meta\.pickle\.pbz2"):
        nats_bench.read(tmp_path)
    (tmp_path / "NATS-tss-v1_0-3ffb9.pickle.pbz2").write_bytes(RECORDS[0])
    with pytest.raises(ValueError, match=r"3ffb9\.pickle\.pbz2 is not the NATS-Bench table: "):
        nats_bench.read(tmp_path / "NATS-tss-v1_0-3ffb9.pickle.pbz2")


class Call:
    """Pickles as the call of a function."""

    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("name", ["000001.pickle.pbz2", "meta.pickle.pbz2"])
@pytest.mark.parametrize("as_archive", [False, True])
def test_a_pickle_that_calls_something(written, tmp_path, name, as_archive):
    victim = tmp_path / "victim"
    victim.write_text("still here")
    folder = written({name: packed({"meta_archs": STRINGS, "200": Call(os.remove, str(victim))})})
    with pytest.raises(ValueError, match=rf"{FOLDER}.* is not the NATS-Bench table: {name} is refused: it asks for"):
        nats_bench.read(archive(folder) if as_archive else folder)
    assert victim.read_text() == "still here"


@pytest.mark.parametrize(
    "content",
    [{}, [], "text", {"200": {}}, {"200": {"arch_str": STRINGS[1]}}, {"200": cell(1, STRINGS[1])["200"]}, {"200": []}],
)
def test_a_cell_of_another_form(written, content):
    folder = written({"000001.pickle.pbz2": packed(content)})
    with pytest.raises(ValueError, match=r"is not the NATS-Bench table: 000001\.pickle\.pbz2 has another form: \w"):
        nats_bench.read(folder)


@pytest.mark.parametrize("content", [{}, [], {"meta_archs": 3}, 5])
def test_meta_of_another_form(written, content):
    with pytest.raises(ValueError, match=r"is not the NATS-Bench table: meta\.pickle\.pbz2 has another form: \w"):
        nats_bench.read(written({"meta.pickle.pbz2": packed(content)}))


def test_names_that_are_none(written):
    with pytest.raises(ValueError, match=r"is not the NATS-Bench table: 000000 is the cell \|.* in meta\.pickle\.pbz2"):
        nats_bench.read(written({"meta.pickle.pbz2": packed({"meta_archs": [[1], {}, None, 3]})}))


def test_the_space_of_sizes(written):
    """NATS-Bench's other folder looks the same, but its architectures are numbers of channels."""
    sizes = ["64:64:64:64:64", "8:64:64:64:64", "16:8:8:8:8", "24:8:8:8:8"]
    files = {f"{index:06d}.pickle.pbz2": packed(cell(index, string)) for index, string in enumerate(sizes)}
    folder = written({**files, "meta.pickle.pbz2": packed(meta(sizes))})
    with pytest.raises(ValueError, match="is not the NATS-Bench table: line 0: a cell has 3 groups"):
        nats_bench.read(folder)


def test_trainings_on_other_data(written):
    files = {}
    for index, string in enumerate(STRINGS):
        record = cell(index, string)
        for trained in record.values():
            trained["dataset_seed"] = {}
        files[f"{index:06d}.pickle.pbz2"] = packed(record)
    with pytest.raises(ValueError, match="is not the NATS-Bench table: it has nothing for cifar10-valid/x-valid/200"):
        nats_bench.read(written(files))


def test_a_missing_a_surplus_and_another_cell(written):
    folder = written({"000001.pickle.pbz2": None, "000003.pickle.pbz2": None})
    with pytest.raises(ValueError, match="table: it lacks 2 of 4 cells, the first is 000001"):
        nats_bench.read(folder)
    for index in (1, 3, 4):
        (folder / f"{index:06d}.pickle.pbz2").write_bytes(RECORDS[index % 4])
    with pytest.raises(ValueError, match="names 4 cells, and 000004 is there too"):
        nats_bench.read(folder)
    (folder / "000004.pickle.pbz2").unlink()
    (folder / "000003.pickle.pbz2").write_bytes(RECORDS[0])
    other = f"000003 is the cell {STRINGS[0]}, but {STRINGS[3]} in meta.pickle.pbz2"
    with pytest.raises(ValueError, match=re.escape(other)):
        nats_bench.read(folder)
    (folder / "meta.pickle.pbz2").unlink()
    with pytest.raises(ValueError, match=r"it has no meta\.pickle\.pbz2"):
        nats_bench.read(folder)


def test_a_cell_that_is_there_twice(written):
    folder = written({"meta.pickle.pbz2": packed(meta([*STRINGS[:3], STRINGS[1]]))})
    with pytest.raises(ValueError, match=re.escape(f"it has the cell {STRINGS[1]} twice")):
        nats_bench.read(folder)
    path = archive(folder, ["meta.pickle.pbz2", "000000.pickle.pbz2", "000000.pickle.pbz2"])
    with pytest.raises(ValueError, match=r"\.tar is not the NATS-Bench table: .*000000\.pickle\.pbz2 twice"):
        nats_bench.read(path)


def test_an_archive_writes_nothing(written, tmp_path, monkeypatch):
    """Names in an archive are only looked at, wherever they lead."""
    folder = written()
    path = archive(folder)
    with tarfile.open(path, "a") as file:
        info = tarfile.TarInfo("../../escaped.pickle.pbz2")
        info.size = 4
        file.addfile(info, io.BytesIO(b"evil"))
        link = tarfile.TarInfo("000009.pickle.pbz2")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        file.addfile(link)
    before = sorted(tmp_path.rglob("*"))
    assert len(nats_bench.read(path)) == 4
    assert sorted(tmp_path.rglob("*")) == before
