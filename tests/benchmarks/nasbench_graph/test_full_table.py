import gc
import os
import pickle
import struct
import zipfile
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from archflow.benchmarks.nasbench_graph import tables as nasbench_graph
from archflow.benchmarks.nasbench_graph.space import NASBenchGraph
from archflow.benchmarks.nasbench_graph.tables import DATASETS, LAST, MEASURES

SPACE, PROTEINS = NASBenchGraph(), NASBenchGraph.proteins()


@cache
def cell_keys(space: NASBenchGraph) -> list[int]:
    return space.keys(space.enumerate()).tolist()


def numbers(key: int, dataset: str, seed: int) -> dict:
    """A cell's record: four measures, and for each of three epochs seven numbers."""
    one = key / 100_000 + DATASETS.index(dataset) * 10 + seed * 100
    measures = {measure: one + number for number, measure in enumerate(MEASURES)}
    return {**measures, "dur": [[one + 1000 * epoch + number for number in range(7)] for epoch in range(3)]}


@cache
def official(dataset: str, seed: int) -> bytes:
    keys = cell_keys(PROTEINS if dataset == "proteins" else SPACE)
    return pickle.dumps({key: numbers(key, dataset, seed) for key in keys})


def folder(path: Path, *files: tuple[str, int]) -> Path:
    for dataset, seed in files:
        (path / f"{dataset}{seed}.bench").write_bytes(official(dataset, seed))
    return path


def zipped(path: Path) -> Path:
    archive = path / "20070371.zip"
    with zipfile.ZipFile(archive, "w") as file:
        for one in path.glob("*.bench"):
            file.write(one, one.name)
    return archive


@pytest.mark.parametrize("as_archive", [False, True])
def test_means_over_the_seeds_that_are_there(tmp_path, as_archive):
    path = folder(tmp_path, ("proteins", 0), ("proteins", 2), ("pubmed", 1))
    (path / "cora.bench").write_bytes(b"the light table's file")
    seen = []
    table = nasbench_graph.read_full(zipped(path) if as_archive else path, lambda *progress: seen.append(progress))
    assert (table.name, table.space.name, table.default) == (
        "nasbench-graph/full",
        "nasbench-graph",
        "pubmed/valid_perf",
    )
    assert table.archs == SPACE.enumerate()
    assert list(table.columns) == [f"{one}/{name}" for one in ("pubmed", "proteins") for name in (*MEASURES, *LAST)]
    assert seen == [("reading", done, 3) for done in (0, 1, 2, 3)]
    assert gc.isenabled()
    for dataset, seeds in (("pubmed", (1,)), ("proteins", (0, 2))):
        keys = cell_keys(PROTEINS if dataset == "proteins" else SPACE)
        trained = np.isin(cell_keys(SPACE), keys)
        records = [[numbers(key, dataset, seed) for seed in seeds] for key in keys]
        for name in MEASURES:
            expected = [sum(record[name] for record in of_cell) / len(seeds) for of_cell in records]
            assert table[f"{dataset}/{name}"].dtype == np.float64
            assert table[f"{dataset}/{name}"][trained].tolist() == expected
            assert np.isnan(table[f"{dataset}/{name}"][~trained]).all()
        for place, name in enumerate(LAST):
            expected = [sum(record["dur"][-1][place] for record in of_cell) / len(seeds) for of_cell in records]
            assert table[f"{dataset}/{name}"][trained].tolist() == expected
            assert np.isnan(table[f"{dataset}/{name}"][~trained]).all()


def test_one_file(tmp_path):
    path = folder(tmp_path, ("proteins", 0)) / "proteins0.bench"
    table = nasbench_graph.read_full(path)
    assert table.default == "proteins/valid_perf"
    assert len(table) == 26_206
    assert np.isnan(table["proteins/perf"]).sum() == 26_206 - 2_021


def test_numpy_numbers(tmp_path):
    content = {
        key: {name: np.float64(number) if name != "dur" else np.array(number) for name, number in record.items()}
        for key, record in pickle.loads(official("proteins", 0)).items()
    }
    (tmp_path / "proteins0.bench").write_bytes(pickle.dumps(content))
    table = nasbench_graph.read_full(tmp_path)
    expected = nasbench_graph.read_full(folder(tmp_path, ("proteins", 0)))
    for name, column in expected.columns.items():
        assert np.array_equal(table[name], column, equal_nan=True)


# Wrong files


def test_a_truncated_or_damaged_archive(tmp_path):
    path = zipped(folder(tmp_path, ("proteins", 2)))
    content = path.read_bytes()
    path.write_bytes(content[:-100])
    with pytest.raises(ValueError, match=r"20070371\.zip is truncated or no archive"):
        nasbench_graph.read_full(path)
    for place in (
        content.index(struct.pack(">d", numbers(1111, "proteins", 2)["dur"][1][3])) + 7,  # the last digits of a number
        len(content) // 2,
        2,  # how the file begins
        content.index(b"PK\x01\x02") + 2,  # how the list of files begins
    ):
        path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        with pytest.raises(ValueError, match=r"20070371\.zip.* is (damaged|truncated)"):
            nasbench_graph.read_full(path)


class Remove:
    """Pickles as a call that removes a file."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return os.remove, (str(self.path),)


def test_a_pickle_that_calls_something(tmp_path):
    victim = tmp_path / "victim"
    victim.write_text("still here")
    (tmp_path / "cora1.bench").write_bytes(pickle.dumps({0: Remove(victim)}))
    for path in (tmp_path, tmp_path / "cora1.bench", zipped(tmp_path)):
        with pytest.raises(ValueError, match=r"cora1\.bench is refused: it asks for \w+\.remove, which is not allowed"):
            nasbench_graph.read_full(path)
    assert victim.read_text() == "still here"


def test_a_file_of_another_table(tmp_path):
    (tmp_path / "cora0.bench").write_bytes(official("proteins", 0))
    with pytest.raises(ValueError, match=r"cora0\.bench is not the nas-bench-graph table: it must hold each of 26,206"):
        nasbench_graph.read_full(tmp_path)
    for content in ({}, [1, 2], "text", {"a": 1}, 3):
        (tmp_path / "cora0.bench").write_bytes(pickle.dumps(content))
        with pytest.raises(ValueError, match="it must hold each of 26,206 cells once"):
            nasbench_graph.read_full(tmp_path)


def test_no_file_of_the_benchmark(tmp_path):
    with pytest.raises(ValueError, match=r"is no file of the full NAS-Bench-Graph and has none; they are called cora0"):
        nasbench_graph.read_full(tmp_path)
    for name in ("cora.bench", "cora3.bench", "mutag0.bench", "cora0.bench.part", "table.csv"):
        (tmp_path / name).write_bytes(official("proteins", 0))
        with pytest.raises(ValueError, match=rf"{name} is truncated or no archive"):
            nasbench_graph.read_full(tmp_path / name)
    with pytest.raises(FileNotFoundError, match="absent"):
        nasbench_graph.read_full(tmp_path / "absent0.bench")


@pytest.mark.parametrize(
    "change",
    [
        {"dur": []},
        {"dur": None},
        {"dur": [[1.0] * 5]},
        {"dur": [["a"] * 7]},
        {"dur": [3.0]},
        {"perf": None},
        {"perf": "high"},
        {"para": [1, 2]},
    ],
)
@pytest.mark.parametrize("which", [0, 7])
def test_a_cell_without_its_numbers(tmp_path, change, which):
    records = pickle.loads(official("proteins", 0))
    records[cell_keys(PROTEINS)[which]].update(change)
    (tmp_path / "proteins0.bench").write_bytes(pickle.dumps(records))
    with pytest.raises(ValueError, match=r"proteins0\.bench is not the nas-bench-graph table: a cell lacks a number"):
        nasbench_graph.read_full(tmp_path)


@pytest.mark.parametrize(("lacking", "cells"), [("dur", 1), ("dur", 2_021), ("valid_perf", 1), ("para", 2_020)])
def test_cells_without_epochs_or_measures(tmp_path, lacking, cells):
    records = pickle.loads(official("proteins", 0))
    for key in cell_keys(PROTEINS)[:cells]:
        del records[key][lacking]
    (tmp_path / "proteins0.bench").write_bytes(pickle.dumps(records))
    with pytest.raises(ValueError, match=r"proteins0\.bench is not the nas-bench-graph table: a cell lacks a number"):
        nasbench_graph.read_full(tmp_path)


def test_a_file_with_epochs_only(tmp_path):
    records = pickle.loads(official("proteins", 0))
    content = {key: {"dur": record["dur"]} for key, record in records.items()}
    (tmp_path / "proteins0.bench").write_bytes(pickle.dumps(content))
    table = nasbench_graph.read_full(tmp_path)
    assert list(table.columns) == [f"proteins/{name}" for name in LAST]
    assert table.default == "proteins/valid_perf_last"
