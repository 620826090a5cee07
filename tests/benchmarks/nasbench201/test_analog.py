import importlib.util
import pickle
from fractions import Fraction

import numpy as np
import pytest
from scipy.stats import kendalltau

import archflow.benchmarks.table
from archflow.benchmarks.nasbench201 import analog
from archflow.support.packages import file_in_package
from tests import shared_data


@pytest.fixture(scope="module")
def table() -> archflow.benchmarks.table.Table:
    return archflow.benchmarks.table.table("nasbench201/analog")


def test_it_holds_every_cell_in_the_order_of_the_space(table):
    assert table.name == "nasbench201/analog"
    assert len(table) == 15_625
    assert table.archs == table.space.enumerate()


def test_it_has_five_accuracies_and_eight_drifts_with_their_deviation(table):
    accuracies = [name for name in table.columns if name.endswith("_accuracy")]
    deviations = [name for name in table.columns if name.endswith("_std")]
    assert (len(table.columns), len(accuracies), len(deviations)) == (21, 5, 8)
    assert {name.removesuffix("_std") for name in deviations} < set(table.columns)
    for name, column in table.columns.items():
        assert column.shape == (15_625,)
        assert column.dtype == np.float64
        assert np.isfinite(column).all()
        assert ((column >= 0) & (column <= 100)).all(), name
    assert table[table.default] is table["baseline_accuracy"]


def test_cells_that_compute_nothing_are_at_chance(table):
    dead = table.space.parse(["|none~0|+|none~0|none~1|+|none~0|none~1|none~2|"])
    row = table.space.format(table.archs).index(table.space.format(dead)[0])
    assert table["baseline_accuracy"][row] == pytest.approx(10, abs=0.5)
    assert np.median(table["baseline_accuracy"]) > 80


def test_it_agrees_with_an_independent_training_of_the_same_cells(table):
    published = shared_data.nasbench201()
    assert kendalltau(table["baseline_accuracy"], published["cifar10_val_acc"]).statistic == pytest.approx(
        0.90, abs=0.005
    )
    assert kendalltau(table["baseline_accuracy"], published["cifar10_test_acc"]).statistic == pytest.approx(
        0.92, abs=0.005
    )


def test_an_unknown_column_and_an_unknown_table_are_named(table):
    with pytest.raises(ValueError, match=r"nasbench201/analog has no column 'acc'; it has: baseline_accuracy, ptq_acc"):
        table["acc"]
    with pytest.raises(
        ValueError, match=r"unknown table 'nasbench201'; known tables: nasbench201/analog, nasbench-graph"
    ):
        archflow.benchmarks.table.table("nasbench201")


def test_without_the_package_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError, match="pip install analog-nasbench"):
        analog.read()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ({}, "is not the analog-nasbench table"),
        ({(0,) * 6: 93.1}, "is not the analog-nasbench table"),
        ([1, 2], "is not the analog-nasbench table"),
        ("text", "is not the analog-nasbench table"),
        (np.float64(1), "is not the analog-nasbench table"),
        (Fraction(1), r"is refused: it asks for fractions\.Fraction"),
    ],
)
def test_another_file_is_refused(monkeypatch, tmp_path, content, reason):
    path = tmp_path / "data.anb"
    path.write_bytes(pickle.dumps(content))
    monkeypatch.setattr(analog, "file_in_package", lambda *_: path)
    with pytest.raises(ValueError, match=rf"data\.anb {reason}"):
        analog.read()


def test_a_truncated_file_is_refused(monkeypatch, tmp_path):
    whole = file_in_package("analognasbench", "data.anb", "analog-nasbench").read_bytes()
    path = tmp_path / "data.anb"
    path.write_bytes(whole[: len(whole) // 2])
    monkeypatch.setattr(analog, "file_in_package", lambda *_: path)
    with pytest.raises(ValueError, match=r"data\.anb is truncated"):
        analog.read()
