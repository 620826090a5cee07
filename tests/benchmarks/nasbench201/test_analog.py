import pickle
from fractions import Fraction

import numpy as np
import pytest
from scipy.stats import kendalltau

from archflow.benchmarks.nasbench201 import analog
from archflow.benchmarks.table import Table
from archflow.benchmarks.tables import table as make_table
from tests import shared_data


@pytest.fixture(scope="module")
def table() -> Table:
    return make_table("nasbench201/analog")


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
