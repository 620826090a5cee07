import pickle
import warnings

import numpy as np
import pytest

from archflow.benchmarks.nasbench_graph import tables as nasbench_graph
from archflow.benchmarks.nasbench_graph.tables import DATASETS, MEASURES
from archflow.benchmarks.table import Table
from archflow.benchmarks.tables import table as make_table
from archflow.support.packages import file_in_package


@pytest.fixture(scope="module")
def table() -> Table:
    return make_table("nasbench-graph")


@pytest.fixture(scope="module")
def proteins() -> Table:
    return make_table("nasbench-graph/proteins")


def package_file(dataset: str):
    return file_in_package("nas_bench_graph", f"light/{dataset}.bench", "nas-bench-graph")


def plain_load(dataset: str) -> dict[int, dict[str, float]]:
    """The package's file read by pickle itself, as NumPy wrote it."""
    with warnings.catch_warnings(), open(package_file(dataset), "rb") as file:
        warnings.simplefilter("ignore", DeprecationWarning)  # numpy.core has since become numpy._core
        return pickle.load(file)


def test_the_columns_are_the_measures_on_each_data_set(table, proteins):
    assert list(table.columns) == [f"{dataset}/{measure}" for dataset in DATASETS for measure in MEASURES]
    assert list(proteins.columns) == list(MEASURES)
    assert (table.default, proteins.default) == ("cora/valid_perf", "valid_perf")


@pytest.mark.parametrize("dataset", [name for name in DATASETS if name != "proteins"])
def test_every_cell_has_the_numbers_of_its_key(table, dataset):
    records = plain_load(dataset)
    keys = table.space.keys(table.archs).tolist()
    assert len(records) == 26_206
    assert sorted(records) == keys
    for measure in MEASURES:
        column = table[f"{dataset}/{measure}"]
        assert column.dtype == np.float64
        assert column.tolist() == [records[key][measure] for key in keys]


def test_proteins_has_its_cells_in_both_tables_and_nan_elsewhere(table, proteins):
    records = plain_load("proteins")
    row = {key: index for index, key in enumerate(table.space.keys(table.archs).tolist())}
    keys = proteins.space.keys(proteins.archs).tolist()
    assert len(records) == 2_021
    assert sorted(records) == keys
    rows = [row[key] for key in keys]
    for measure in MEASURES:
        expected = [records[key][measure] for key in keys]
        assert proteins[measure].tolist() == expected
        column = table[f"proteins/{measure}"]
        assert column[rows].tolist() == expected
        assert np.isnan(column).sum() == 26_206 - 2_021


def test_both_tables_name_the_same_cells(table, proteins):
    trained = np.flatnonzero(~np.isnan(table["proteins/perf"]))
    assert table.space.format(table.archs[trained]) == proteins.space.format(proteins.archs)


def test_parameters_are_in_millions(table):
    """On Cora the networks are 256 wide: a skip that becomes a GCN adds a weight matrix and a bias."""
    names = table.space.format(table.archs)
    one, four = (names.index(f"0-1-2-3:{operations}") for operations in ("skip,skip,skip,gcn", "gcn,gcn,gcn,gcn"))
    assert (table["cora/para"][four] - table["cora/para"][one]) * 1e6 == pytest.approx(3 * (256 * 256 + 256), abs=0.01)


# Wrong files


@pytest.fixture
def replaced(monkeypatch, tmp_path):
    """Puts a file of the test's own in the place of the package's for proteins."""

    def replace(content: bytes) -> None:
        path = tmp_path / "proteins.bench"
        path.write_bytes(content)
        monkeypatch.setattr(nasbench_graph, "file_in_package", lambda *_: path)

    return replace


def test_a_table_with_other_cells_is_refused(replaced):
    replaced(package_file("cora").read_bytes())
    with pytest.raises(
        ValueError, match=r"proteins\.bench is not the nas-bench-graph table: it must hold each of 2,021"
    ):
        nasbench_graph.read_proteins()
    for content in ({}, [1, 2], "text", {"a": 1}):
        replaced(pickle.dumps(content))
        with pytest.raises(ValueError, match="it must hold each of 2,021 cells once"):
            nasbench_graph.read_proteins()


@pytest.mark.parametrize(
    "record", [{"perf": 1.0}, None, 3.0, dict.fromkeys(MEASURES, "high"), {m: [1] for m in MEASURES}]
)
def test_a_cell_without_its_numbers_is_refused(replaced, proteins, record):
    records = dict.fromkeys(proteins.space.keys(proteins.archs).tolist(), dict.fromkeys(MEASURES, 0.5))
    replaced(pickle.dumps(records))
    assert nasbench_graph.read_proteins()["perf"].tolist() == [0.5] * 2_021
    replaced(pickle.dumps({**records, 1111: record}))
    with pytest.raises(ValueError, match=r"proteins\.bench is not the nas-bench-graph table: a cell lacks a number"):
        nasbench_graph.read_proteins()
