import pickle
import re

import numpy as np
import pytest

from archflow.benchmarks.nasbench_asr import tables as nasbench_asr
from archflow.benchmarks.nasbench_asr.space import OPERATIONS, NASBenchASR
from tests.benchmarks.nasbench_asr.test_space import model_hash

SPACE = NASBenchASR()
PUBLISHED = "36855332a5778e0df5114305bc3ce238"
"""The benchmark's name for ``[[1, 0], [1, 0, 0], [1, 0, 0, 0]]``."""


def header(kind: str, columns: list[str], **more) -> dict:
    space = {"shape": [[6, 2], [6, 2, 2], [6, 2, 2, 2]], "ops": list(OPERATIONS), "nodes": 3}
    return {"dataset_type": kind, "version": 1, "search_space": space, "columns": columns, **more}


def training(epochs: int = 40, seed: int = 1234) -> dict:
    columns = ["model_hash", "val_per", "test_per", "arch_vec"]
    return header("training", columns, epochs=epochs, seed=seed)


def write(path, head, rows):
    """A file as the benchmark writes them: two pickles, one after the other."""
    path.write_bytes(pickle.dumps(head, protocol=4) + pickle.dumps(rows, protocol=4))
    return path


def row(cell, valid, test) -> tuple:
    """A row of a training file; NumPy made its validation error rates."""
    return model_hash(cell), [np.float32(per) for per in valid], test, [tuple(node) for node in cell]


SOME = [[[1, 0], [1, 0, 0], [1, 0, 0, 0]], [[0, 1], [2, 0, 1], [3, 1, 1, 0]], [[5, 1], [2, 0, 0], [3, 0, 0, 0]]]


def test_a_training_file_has_its_cells_in_the_order_of_the_space(tmp_path):
    rng = np.random.default_rng(0)
    archs = SPACE.enumerate()[::7]
    valid, test = rng.random((len(archs), 5), dtype=np.float32), rng.random(len(archs))
    rows = [row(eval(text), valid[i], float(test[i])) for i, text in enumerate(SPACE.format(archs))]
    path = write(
        tmp_path / "nb-asr-e40-1235.pickle", training(seed=1235), [rows[i] for i in rng.permutation(len(rows))]
    )
    calls = []
    table = nasbench_asr.read(path, progress=lambda *call: calls.append(call))
    assert calls == [("reading", 0, 1), ("reading", 1, 1)]
    assert (table.name, table.space.name, table.default) == ("nasbench-asr", "nasbench-asr", "e40/valid_score")
    assert table.archs == archs
    lowest = valid.min(axis=1).astype(float)
    for name, expected in {
        "e40/valid_per/1235": lowest,
        "e40/test_per/1235": test,
        "e40/valid_per": lowest,
        "e40/test_per": test,
        "e40/valid_score": 1 - lowest,
    }.items():
        assert table[name].dtype == np.float64
        assert table[name].tolist() == expected.tolist()
    assert len(table.columns) == 5


def test_a_folder_is_one_table(tmp_path):
    """Three cells, of which one was not trained from the second seed, and one has no latency."""
    a, b, c = SOME
    write(
        tmp_path / "nb-asr-e40-1234.pickle", training(), [row(c, [0.5], 0.5), row(a, [0.5, 0.25], 0.5), row(b, [1], 1)]
    )
    write(tmp_path / "nb-asr-e40-1236.pickle", training(seed=1236), [row(a, [0.75, 0.875], 1), row(b, [0.5], 0.25)])
    write(tmp_path / "nb-asr-e5-1234.pickle", training(5), [row(a, [np.nan, 0.5], np.nan)])
    device = header("benchmarking", ["model_hash", "latency"], device="jetson-nano-fp32")
    write(tmp_path / "nb-asr-bench-jetson-nano-fp32.pickle", device, [(model_hash(a), 0.5), (model_hash(b), 0.25)])
    info = header("static", ["model_hash", "params", "flops"])
    write(tmp_path / "nb-asr-info.pickle", info, [[model_hash(cell), n, 3 * n] for n, cell in enumerate(SOME, 7)])
    (tmp_path / "README.md").write_text("not a table")
    table = nasbench_asr.read(tmp_path)

    assert SPACE.format(table.archs) == [SPACE.format(SPACE.parse([str(cell)]))[0] for cell in (b, a, c)]
    nan = np.nan
    expected = {
        "e40/valid_score": [0.25, 0.5, 0.5],
        "e5/valid_score": [nan, 0.5, nan],
        "e40/valid_per": [0.75, 0.5, 0.5],
        "e40/test_per": [0.625, 0.75, 0.5],
        "e5/valid_per": [nan, 0.5, nan],
        "e5/test_per": [nan, nan, nan],
        "e40/valid_per/1234": [1, 0.25, 0.5],
        "e40/test_per/1234": [1, 0.5, 0.5],
        "e40/valid_per/1236": [0.5, 0.75, nan],
        "e40/test_per/1236": [0.25, 1, nan],
        "e5/valid_per/1234": [nan, 0.5, nan],
        "e5/test_per/1234": [nan, nan, nan],
        "latency/jetson-nano-fp32": [0.25, 0.5, nan],
        "params": [8, 7, 9],
        "flops": [24, 21, 27],
    }
    assert table.columns.keys() == expected.keys()
    for name, numbers in expected.items():
        np.testing.assert_array_equal(table[name], numbers, err_msg=name)
    assert table.default == "e40/valid_score"


def test_a_file_without_trainings_has_no_default_and_its_parameters_are_ours(tmp_path):
    path = write(tmp_path / "nb-asr-info.pickle", header("static", ["model_hash", "params"]), [(PUBLISHED, 26_338_848)])
    table = nasbench_asr.read(path)
    assert (table.default, list(table.columns)) == ("", ["params"])
    assert table["params"].tolist() == SPACE.parameters(table.archs).tolist() == [26_338_848]


# Wrong files


def test_a_folder_without_files_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"is not the NAS-Bench-ASR table: it has no file nb-asr-….pickle$"):
        nasbench_asr.read(tmp_path)


def test_a_second_pickle_that_asks_for_more_is_refused(tmp_path):
    path = tmp_path / "a.pickle"
    path.write_bytes(pickle.dumps(training()) + b"cposix\nsystem\n(S'true'\ntR.")
    with pytest.raises(ValueError, match=r"a\.pickle is refused: it asks for posix\.system"):
        nasbench_asr.read(path)


GOOD = row(SOME[0], [0.5], 0.5)


@pytest.mark.parametrize(
    ("head", "rows", "reason"),
    [
        (
            {**training(), "search_space": {"ops": ["linear"], "nodes": 3}},
            [],
            "cells have 3 nodes and the operations ['linear']",
        ),
        ({**training(), "search_space": {"ops": list(OPERATIONS), "nodes": 4}}, [], "cells have 4 nodes"),
        (
            {**training(), "columns": ["model_hash", "val_acc"]},
            [],
            "type 'training' and has the columns ['model_hash', 'val_acc']",
        ),
        ({**training(), "dataset_type": "images"}, [], "it is of the type 'images'"),
        ({"dataset_type": "training"}, [], "its header: it lacks 'search_space'"),
        ({key: value for key, value in training().items() if key != "seed"}, [GOOD], "its header: it lacks 'seed'"),
        ([1, 2], [], ""),
        (training(), [("0" * 32, [0.5], 0.5)], f"its model '{'0' * 32}' is not of the space"),
        (training(), [GOOD, GOOD], f"it has the model '{PUBLISHED}' twice"),
        (training(), [(PUBLISHED, [0.5])], ""),
        (training(), [(PUBLISHED, [], 0.5)], ""),
        (training(), [(PUBLISHED, ["low"], 0.5)], "could not convert"),
        (training(), [(PUBLISHED, None, {})], ""),
        (training(), [([], [0.5], 0.5)], ""),
        (training(), 3, ""),
    ],
)
def test_other_files_are_refused(tmp_path, head, rows, reason):
    path = write(tmp_path / "a.pickle", head, rows)
    with pytest.raises(ValueError, match=r"a\.pickle is not a file of NAS-Bench-ASR: .*" + re.escape(reason)) as caught:
        nasbench_asr.read(path)
    assert "\n" not in str(caught.value)


def test_files_without_rows_and_files_of_the_same_seed_are_refused(tmp_path):
    write(tmp_path / "nb-asr-e40-1.pickle", training(seed=1), [])
    with pytest.raises(ValueError, match="it has no cells"):
        nasbench_asr.read(tmp_path)
    write(tmp_path / "nb-asr-e40-2.pickle", training(seed=1), [GOOD])
    with pytest.raises(ValueError, match=r"nb-asr-e40-2\.pickle has the numbers of e40/valid_per/1 again"):
        nasbench_asr.read(tmp_path)
