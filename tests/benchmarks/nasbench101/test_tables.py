import base64
import json
import struct
from pathlib import Path

import numpy as np
import pytest

from archflow.benchmarks.nasbench101 import tables as nasbench101
from archflow.benchmarks.nasbench101.space import NASBench101
from tests import shared_data
from tests.benchmarks.nasbench101.test_tfrecord import record

OPERATIONS = ("conv3x3-bn-relu", "conv1x1-bn-relu", "maxpool3x3")
SPACE = NASBench101()
CELLS = [
    ("0100", "input,output"),
    ("010001000", "input,maxpool3x3,output"),
    ("0110000100010000", "input,conv3x3-bn-relu,conv1x1-bn-relu,output"),
]


# The official format, written plainly


def varint(number: int) -> bytes:
    return bytes([number]) if number < 128 else bytes([number % 128 + 128]) + varint(number // 128)


def evaluation(epoch: float, time: float, train: float, validation: float, test: float, path: str = "") -> bytes:
    numbers = (epoch, time, train, validation, test)
    message = b"".join(varint(field << 3 | 1) + struct.pack("<d", number) for field, number in enumerate(numbers, 1))
    return message + (varint(6 << 3 | 2) + varint(len(path)) + path.encode() if path else b"")


def metrics(epochs: int, validation: float, test: float, time: float, parameters: int) -> bytes:
    evaluations = [
        evaluation(0, 0, 0.1, 0.1, 0.1),
        evaluation(epochs / 2, time / 2, 0.5, validation / 2, test / 2, "half/model.ckpt-1"),
        evaluation(epochs, time, 1, validation, test, "whole/model.ckpt-2" * 10),
    ]
    message = b"".join(varint(1 << 3 | 2) + varint(len(one)) + one for one in evaluations)
    return message + varint(2 << 3) + varint(parameters) + varint(3 << 3 | 1) + struct.pack("<d", 2 * time)


def training(name: str, epochs: int, matrix: str, operations: str, message: bytes) -> bytes:
    return record(json.dumps([name, epochs, matrix, operations, base64.encodebytes(message).decode()]).encode())


def cell_hash(matrix: str, operations: str) -> str:
    return SPACE.module_hash(SPACE.parse([f"{matrix}:{','.join(operations.split(',')[1:-1])}"]))[0]


def a_training(cell: int = 1, epochs: int = 108, validation: float = 0.5, **changes: object) -> bytes:
    matrix, operations = CELLS[cell]
    message = metrics(epochs, validation, validation - 0.1, 1000.0, 8_555_530)
    fields = {"name": cell_hash(matrix, operations), "epochs": epochs, "matrix": matrix, "operations": operations}
    return training(**{**fields, "message": message, **changes})


@pytest.fixture
def written(tmp_path):
    def write(*trainings: bytes) -> Path:
        path = tmp_path / "nasbench_some.tfrecord"
        path.write_bytes(b"".join(trainings))
        return path

    return write


# Right files


def test_means_over_the_runs_and_each_run(written):
    path = written(
        a_training(1, 108, 0.25),
        a_training(0, 108, 0.5),
        a_training(1, 4, 0.125),
        a_training(1, 108, 0.75),
        a_training(2, 36, 0.5),
        a_training(1, 108, 0.5),
    )
    seen = []
    table = nasbench101.read(path, lambda *progress: seen.append(progress))
    assert (table.name, table.space.name, table.default) == ("nasbench101", "nasbench101", "validation_accuracy")
    assert [table.archs.graph(index) for index in range(3)] == [
        (["input", "maxpool3x3", "output"], [(0, 1), (1, 2)]),
        (["input", "output"], [(0, 1)]),
        (["input", *OPERATIONS[:2], "output"], [(0, 1), (0, 2), (1, 3), (2, 3)]),
    ]
    nan = np.nan
    expected = {
        "validation_accuracy": [0.5, 0.5, nan],
        "validation_accuracy/run1": [0.25, 0.5, nan],
        "validation_accuracy/run2": [0.75, nan, nan],
        "validation_accuracy/run3": [0.5, nan, nan],
        "test_accuracy": [(0.25 - 0.1 + (0.75 - 0.1) + (0.5 - 0.1)) / 3, 0.4, nan],
        "test_accuracy/run2": [0.75 - 0.1, nan, nan],
        "training_time": [1000, 1000, nan],
        "validation_accuracy/36": [nan, nan, 0.5],
        "validation_accuracy/36/run1": [nan, nan, 0.5],
        "validation_accuracy/4": [0.125, nan, nan],
        "training_time/4/run1": [1000, nan, nan],
        "training_time/4/run3": [nan, nan, nan],
        "trainable_parameters": [8_555_530] * 3,
    }
    for name, numbers in expected.items():
        assert table[name].dtype == np.float64
        assert np.array_equal(table[name], numbers, equal_nan=True), name
    assert len(table.columns) == 3 * 3 * 4 + 1
    assert "validation_accuracy/12" not in table.columns
    assert seen[-1][1:] == (0, 0)


def test_the_shared_cells_row_for_row(written):
    """Some hundred of the published cells, each run of the full file with a published number or one made from it."""
    rows = shared_data.rows("nasbench101")[::50]
    trainings = []
    for row in rows:
        names = ",".join(["input", *(OPERATIONS[int(digit)] for digit in row["operations"]), "output"])
        time, parameters = float(row["training_time_108ep_s"]), int(row["trainable_parameters"])
        for epochs in (4, 12, 36, 108):
            accuracy = float(row[f"val_acc_{epochs}ep"])
            message = metrics(epochs, accuracy, accuracy / 2, time, parameters)
            trainings += [training(row["module_hash"], epochs, row["adjacency"], names, message)] * 2
    table = nasbench101.read(written(*trainings))
    assert len(table) == len(rows)
    for epochs in (4, 12, 36, 108):
        suffix = "" if epochs == 108 else f"/{epochs}"
        published = [float(row[f"val_acc_{epochs}ep"]) for row in rows]
        assert table[f"validation_accuracy{suffix}"].tolist() == published
        assert table[f"validation_accuracy{suffix}/run2"].tolist() == published
        assert table[f"test_accuracy{suffix}"].tolist() == [accuracy / 2 for accuracy in published]
    assert table["training_time"].tolist() == [float(row["training_time_108ep_s"]) for row in rows]
    assert table["trainable_parameters"].tolist() == [float(row["trainable_parameters"]) for row in rows]
    assert table["trainable_parameters"].tolist() == SPACE.parameters(table.archs).tolist()
    strings = [f"{row['adjacency']}:{','.join(OPERATIONS[int(digit)] for digit in row['operations'])}" for row in rows]
    assert SPACE.keys(table.archs).tolist() == SPACE.keys(SPACE.parse(strings)).tolist()
    for index in range(len(rows)):
        names, edges = table.archs.graph(index)
        vertices = len(names)
        assert (
            "".join(str(int((a, b) in edges)) for a in range(vertices) for b in range(vertices))
            == (rows[index]["adjacency"])
        )


# Wrong files


def test_a_truncated_or_damaged_file(written):
    first, second = a_training(0), a_training(1)
    with pytest.raises(ValueError, match=r"nasbench_some\.tfrecord is truncated: it ends in record 2"):
        nasbench101.read(written(first, second[:-1]))
    with pytest.raises(ValueError, match=r"nasbench_some\.tfrecord is damaged.*: record 2 has a wrong length checksum"):
        nasbench101.read(written(first, second[:9] + b"\x00" + second[10:]))
    with pytest.raises(ValueError, match=r"nasbench_some\.tfrecord is damaged: record 2 has a wrong checksum"):
        nasbench101.read(written(first, second[:100] + b"\x00" + second[101:]))
    with pytest.raises(ValueError, match="record 2 has a wrong checksum"):
        nasbench101.read(written(first, second[:-1] + bytes([second[-1] ^ 1])))
    with pytest.raises(FileNotFoundError, match="absent"):
        nasbench101.read(Path("absent.tfrecord"))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x0a\x0b\x0a\x09feature",
        b"[1, 2, 3]",
        b'{"module_hash": "a"}',
        b'["a", 108, "0100", "input,output", 5]',
        b'["a", 108, "0100", "input,output", "x"]',
        b'["a", 108, "0100", "input,output", ""]',
        json.dumps(["a", 7, *CELLS[0], base64.b64encode(metrics(7, 0.5, 0.5, 1, 1)).decode()]).encode(),
        json.dumps(["a", 108.0, *CELLS[0], base64.b64encode(metrics(7, 0.5, 0.5, 1, 1)).decode()]).encode(),
        json.dumps([3, 108, *CELLS[0], base64.b64encode(metrics(7, 0.5, 0.5, 1, 1)).decode()]).encode(),
        json.dumps(["a", 108, [0, 1], "", base64.b64encode(metrics(7, 0.5, 0.5, 1, 1)).decode()]).encode(),
    ],
)
def test_a_record_of_another_benchmark(written, content):
    path = written(a_training(0), record(content))
    with pytest.raises(ValueError, match=r"some\.tfrecord is not the NAS-Bench-101 table: record 2 is no training"):
        nasbench101.read(path)


def test_every_truncation_of_the_protocol_buffer_is_found(written):
    whole = metrics(108, 0.5, 0.5, 1000.0, 8_555_530)
    for length in range(len(whole) - 9):  # the last 9 bytes are the total time, which is not read
        with pytest.raises(ValueError, match="record 1 is no training"):
            nasbench101.read(written(a_training(message=whole[:length])))


@pytest.mark.parametrize("message", [b"\x0b", b"\x0a\x00" * 4, b"\x0a\x00" * 3 + b"\x10\x01", b"\xff" * 20])
def test_other_protocol_buffers(written, message):
    with pytest.raises(ValueError, match="record 1 is no training"):
        nasbench101.read(written(a_training(message=message)))


def test_fields_of_other_protocol_buffers_are_skipped(written):
    """Fields that a later version might add, of each wire type, leave the rest readable."""
    more = varint(9 << 3) + b"\x05" + varint(10 << 3 | 1) + bytes(8) + varint(11 << 3 | 2) + b"\x01x"
    more += varint(300 << 3 | 5) + bytes(4)
    table = nasbench101.read(written(a_training(message=more + metrics(108, 0.5, 0.25, 10.0, 7) + more)))
    assert [table[name].tolist() for name in nasbench101.MEASURES] == [[0.5], [0.25], [10.0]]
    assert table["trainable_parameters"].tolist() == [7]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"matrix": "01000"}, "architecture 1 has 3 operations and the matrix '01000'"),
        ({"matrix": "010001002"}, "architecture 1 has 3 operations and the matrix '010001002'"),
        ({"operations": "input,conv5x5,output"}, "architecture 1 has an unknown operation 'conv5x5'"),
        ({"operations": ""}, "architecture 1 has an unknown operation ''"),
        ({"matrix": "010000000"}, "architecture 1 is not of nasbench101: every vertex must lie on a path"),
        ({"matrix": "010001010"}, "architecture 1"),
        ({"operations": "input,output,output"}, "architecture 1 is not of nasbench101: it must have one input"),
        (
            {"matrix": "01" * 32, "operations": ",".join(["input", *["maxpool3x3"] * 6, "output"])},
            "record 2 .* 64 entr",
        ),
        ({"name": "0" * 32}, f"the cell of the hash {'0' * 32} has the hash {cell_hash(*CELLS[1])}"),
    ],
)
def test_a_cell_that_is_not_of_the_space(written, changes, reason):
    with pytest.raises(ValueError, match=rf"some\.tfrecord is not the NAS-Bench-101 table: {reason}"):
        nasbench101.read(written(a_training(0), a_training(1, **changes)))


def test_a_cell_that_is_there_twice(written):
    """The last cell with its two branches exchanged is the same network."""
    right, other = cell_hash(*CELLS[2]), "f" * 32
    names = "input,conv1x1-bn-relu,conv3x3-bn-relu,output"
    with pytest.raises(ValueError, match=f"one cell is there twice, as {right} and as {other}"):
        nasbench101.read(written(a_training(1), a_training(2), a_training(2, name=other, operations=names)))
    with pytest.raises(ValueError, match=f"two cells have the hash {right}"):
        nasbench101.read(written(a_training(2), a_training(2, operations=names)))
    with pytest.raises(ValueError, match=f"the cell {right} has more than 3 runs of 36 epochs"):
        nasbench101.read(written(a_training(1), *[a_training(2, 36)] * 4))


def test_a_file_without_the_usual_training(written):
    with pytest.raises(ValueError, match="it has no training of 108 epochs"):
        nasbench101.read(written(a_training(1, 36)))
    with pytest.raises(ValueError, match="it has no training of 108 epochs"):
        nasbench101.read(written())
