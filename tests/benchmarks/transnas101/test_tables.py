import functools
import pickle
import zipfile
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch

from archflow.benchmarks.transnas101 import tables as transnas101
from archflow.benchmarks.transnas101.space import TransNASMacro, TransNASMicro
from archflow.benchmarks.transnas101.tables import FILE, read_macro, read_micro
from tests import shared_data

TASKS = ["class_scene", "class_object", "room_layout", "jigsaw", "segmentsemantic", "normal", "autoencoder"]
INFOS = ["inference_time", "encoder_params", "model_params", "model_FLOPs", "encoder_FLOPs"]


def _each(*names: str) -> list[str]:
    return [f"{part}_{name}" for part in ("train", "valid", "test") for name in names] + ["time_elapsed"]


METRICS = {
    **dict.fromkeys(["class_scene", "class_object", "jigsaw"], _each("top1", "top5", "loss")),
    "room_layout": _each("loss", "neg_loss"),
    "segmentsemantic": _each("loss", "acc", "mIoU"),
    **dict.fromkeys(["normal", "autoencoder"], _each("ssim", "l1_loss")),
}
EPOCHS = {"jigsaw": 10, "segmentsemantic": 30, "normal": 30, "autoencoder": 30}
"""Of the benchmark's trainings; 25 for the other tasks."""


def result(task: str, number: float) -> dict[str, object]:
    """What the file has of an architecture on a task; each number tells where it belongs."""
    epochs = EPOCHS.get(task, 25)
    metrics = {
        name: [number + 100 * place + epoch / 64 for epoch in range(1, epochs + 1)]
        for place, name in enumerate(METRICS[task])
    }
    info = {name: number + 1_000 * place for place, name in enumerate(INFOS, start=1)}
    return {"total_epochs": epochs, "model_info": info, "metrics": metrics}


def database(micro: list[str], macro: list[str]) -> dict[str, object]:
    """The dictionary that the official file holds."""
    data = {
        space: {
            name: {task: result(task, float(7 * row + place)) for place, task in enumerate(TASKS)}
            for row, name in enumerate(names)
        }
        for space, names in (("macro", macro), ("micro", micro))
    }
    return {"data": data, "metrics_dict": METRICS, "info_names": INFOS, "task_list": TASKS}


MICRO = ["64-41414-3_33_212", "64-41414-0_00_000", "64-41414-1_02_333"]
MACRO = ["64-43243-basic", "64-1234-basic"]


@pytest.fixture(params=["zip", "legacy"])
def save(request, tmp_path):
    """Writes a file as PyTorch does: since 1.6 a zip file, before that a row of pickles."""

    def write(content: object) -> Path:
        path = tmp_path / FILE
        torch.save(content, path, _use_new_zipfile_serialization=request.param == "zip")
        return path

    return write


def test_both_spaces_are_read_from_the_one_file(save):
    path = save(database(MICRO, MACRO))
    micro, macro = read_micro(path), read_macro(path)
    assert (micro.name, micro.space.name) == ("transnas101-micro", "transnas101-micro")
    assert (macro.name, macro.space.name) == ("transnas101-macro", "transnas101-macro")
    assert micro.space.format(micro.archs) == sorted(MICRO)
    assert macro.space.format(macro.archs) == sorted(MACRO)
    assert micro.default == macro.default == "class_scene/valid_top1"
    assert list(micro.columns) == list(macro.columns)


def test_the_columns_are_final_numbers_of_every_task(save):
    names = {f"{task}/{name}" for task in TASKS for name in [*METRICS[task], *INFOS] if not name.startswith("train")}
    assert {"room_layout/valid_neg_loss", "segmentsemantic/test_mIoU", "normal/valid_ssim"} < names
    table = read_micro(save(database(MICRO, MACRO)))
    assert set(table.columns) == names
    for row, arch in enumerate(table.space.format(table.archs)):
        for place, task in enumerate(TASKS):
            number = 7 * MICRO.index(arch) + place
            for name in METRICS[task]:
                if not name.startswith("train"):
                    final = number + 100 * METRICS[task].index(name) + EPOCHS.get(task, 25) / 64
                    assert table[f"{task}/{name}"][row] == final
            for at, name in enumerate(INFOS, start=1):
                assert table[f"{task}/{name}"][row] == number + 1_000 * at
    assert all(column.dtype == np.float64 for column in table.columns.values())


@functools.cache
def shared() -> dict[str, dict[str, float]]:
    """For each cell its final validation accuracy on three tasks; or a skip."""
    return {
        row["tnb_arch_str"]: {name: float(value) for name, value in row.items() if name != "tnb_arch_str"}
        for row in shared_data.rows("transnas101_micro")
    }


def test_the_whole_micro_space_comes_in_its_order_with_its_accuracies(tmp_path):
    data = {
        name: {task: {"model_info": {}, "metrics": {"valid_top1": [0.0, value]}} for task, value in row.items()}
        for name, row in shared().items()
    }
    content = {"data": {"micro": data}, "metrics_dict": METRICS, "info_names": INFOS, "task_list": TASKS}
    torch.save(content, tmp_path / FILE)
    said = []
    table = read_micro(tmp_path / FILE, lambda *what: said.append(what))
    assert table.archs == TransNASMicro().enumerate()
    for task in ("class_scene", "class_object", "jigsaw"):
        column = table[f"{task}/valid_top1"].tolist()
        assert column == [shared()[name][task] for name in table.space.format(table.archs)]
    assert np.isnan(table["normal/valid_ssim"]).all()
    assert said[0] == ("reading", 0, 4_096)
    assert said[-1] == ("reading", 4_096, 4_096)


def test_the_whole_macro_space_comes_in_its_order(tmp_path):
    space = TransNASMacro()
    names = space.format(space.enumerate())
    shuffled = [names[index] for index in np.random.default_rng(1).permutation(len(names))]
    data = {name: {"class_scene": {"metrics": {"valid_top1": [float(names.index(name))]}}} for name in shuffled}
    content = {"data": {"macro": data}, "metrics_dict": METRICS, "info_names": INFOS, "task_list": TASKS}
    torch.save(content, tmp_path / FILE)
    table = read_macro(tmp_path / FILE)
    assert table.archs == space.enumerate()
    assert table[table.default].tolist() == list(range(3_256))


def test_a_folder_stands_for_the_file_in_it(save):
    path = save(database(MICRO, MACRO))
    assert read_micro(path.parent).columns.keys() == read_micro(path).columns.keys()


def with_value(group: str, name: str, value: object) -> dict[str, object]:
    """A database whose first micro cell has another value on the task class_scene."""
    content = database(MICRO, MACRO)
    content["data"]["micro"][MICRO[0]]["class_scene"][group][name] = value
    return content


@pytest.mark.parametrize(
    ("group", "name", "value", "expected"),
    [
        ("metrics", "valid_top5", np.array([1.0, 2.5]), 2.5),
        ("metrics", "valid_top5", [np.float32(1.0), np.float32(2.5)], 2.5),
        ("metrics", "valid_top5", (1, 2), 2.0),
        ("metrics", "valid_top5", [None], np.nan),
        ("metrics", "time_elapsed", ["00:01:05", "26:01:05"], 26 * 3600 + 65.0),
        ("metrics", "time_elapsed", [61.5, 122.0], 122.0),
        ("model_info", "model_params", 41_435_727, 41_435_727.0),
        ("model_info", "model_params", "", np.nan),
        ("model_info", "model_params", None, np.nan),
        ("model_info", "inference_time", np.float64(0.25), 0.25),
    ],
)
def test_the_forms_that_a_number_may_have(save, group, name, value, expected):
    table = read_micro(save(with_value(group, name, value)))
    row = table.space.format(table.archs).index(MICRO[0])
    assert table[f"class_scene/{name}"][row] == pytest.approx(expected, nan_ok=True, rel=0)


def test_what_an_architecture_lacks_is_nan(save):
    content = database(MICRO, MACRO)
    del content["data"]["micro"][MICRO[0]]["jigsaw"]
    del content["data"]["micro"][MICRO[1]]["jigsaw"]["metrics"]["test_top1"]
    table = read_micro(save(content))
    names = table.space.format(table.archs)
    absent = np.isnan(np.stack([table["jigsaw/test_top1"], table["jigsaw/valid_top1"], table["jigsaw/model_params"]]))
    assert absent[:, names.index(MICRO[0])].tolist() == [True, True, True]
    assert absent[:, names.index(MICRO[1])].tolist() == [True, False, False]
    assert absent[:, names.index(MICRO[2])].tolist() == [False, False, False]
    assert not np.isnan(table["class_scene/valid_top1"]).any()


# Wrong files


@pytest.mark.parametrize("share", [0, 0.001, 0.1, 0.5, 0.9, 0.9999])
def test_a_truncated_file(save, share):
    path = save(database(MICRO, MACRO))
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(ValueError, match=rf"^[^\n]*{FILE} is truncated or (damaged|not a pickle|no archive)[^\n]*$"):
        read_micro(path)


def test_a_damaged_byte_in_a_zip_file_is_noticed(tmp_path):
    path = tmp_path / FILE
    torch.save(database(MICRO, MACRO), path)
    whole = path.read_bytes()
    number = whole.index(b"total_epochs") + 14  # the number of epochs, which nobody reads
    path.write_bytes(whole[:number] + b"\x07" + whole[number + 1 :])
    assert whole[number] != 7
    with pytest.raises(ValueError, match=rf"{FILE} is truncated or not a pickle"):
        read_micro(path)


@pytest.mark.parametrize(
    "name", ["64-41414-3_33_21", "64-41414-3_33_214", " 64-41414-3_33_212", "64-1234-basic", "x", 7, ("64",)]
)
def test_an_architecture_of_another_space(save, name):
    content = database(MICRO, MACRO)
    content["data"]["micro"][name] = content["data"]["micro"][MICRO[0]]
    with pytest.raises(
        ValueError, match=rf"{FILE} is not the table of .*: its architecture .* is not of transnas101-m"
    ):
        read_micro(save(content))
    assert len(read_macro(save(content))) == 2


@pytest.mark.parametrize(
    "content",
    [
        *(None, 3, "text", [1, 2], {}, {"data": {}}, {"data": {"micro": {}}}),
        {"meta_archs": ["|nor_conv_3x3~0|"], "arch2infos": {0: {"full": {}}}, "evaluated_indexes": [0]},
        OrderedDict(**{"stem.weight": 1.0}),
        {**database(MICRO, MACRO), "metrics_dict": {}},
        {**database(MICRO, MACRO), "task_list": None},
        {**database(MICRO, MACRO), "info_names": [1]},
        {**database(MICRO, MACRO), "data": {"micro": list(MICRO)}},
        {**database(MICRO, MACRO), "data": {"micro": dict.fromkeys(MICRO)}},
        {**database(MICRO, MACRO), "data": {"macro": {}}},
        with_value("metrics", "valid_top1", []),
        with_value("metrics", "valid_top1", 3.0),
        with_value("metrics", "valid_top1", ["high"]),
        with_value("model_info", "model_params", [1, 2]),
        with_value("model_info", "model_params", "1:2"),
    ],
)
def test_a_file_of_something_else(save, content):
    path = save(content)
    with pytest.raises(ValueError, match=rf"^[^\n]*{FILE} is not the table of TransNAS-Bench-101: [^\n]*$"):
        read_micro(path)


def test_a_file_without_architectures_or_without_accuracies(save):
    with pytest.raises(
        ValueError, match=rf"{FILE} is not the table of TransNAS-Bench-101: it holds nothing of transnas101-micro$"
    ):
        read_micro(save(database([], MACRO)))
    content = {**database(MICRO, MACRO), "task_list": TASKS[1:]}
    with pytest.raises(ValueError, match=r"it knows no class_scene/valid_top1$"):
        read_micro(save(content))
    content = {**database([], MACRO)}
    content["data"]["micro"] = {name: {} for name in MICRO}
    with pytest.raises(ValueError, match=r"it knows no class_scene/valid_top1$"):
        read_micro(save(content))


class Unwelcome:
    """Pickled, it asks for a call."""

    def __reduce__(self):
        return print, ("called",)


@pytest.mark.parametrize("unwelcome", [Unwelcome(), torch.zeros(3), torch.nn.Linear(1, 1), np.array([Unwelcome()])])
def test_nothing_but_numbers_is_unpickled(save, unwelcome, capsys):
    path = save(with_value("metrics", "valid_top1", unwelcome))
    with pytest.raises(
        ValueError,
        match=rf"^[^\n]*{FILE} (is refused: it (asks for|has an array of type)|is truncated or not a pickle)[^\n]*$",
    ):
        read_micro(path)
    assert capsys.readouterr().out == ""


def test_files_that_pytorch_did_not_save(tmp_path):
    path = tmp_path / FILE
    for content in (pickle.dumps(database(MICRO, MACRO)) * 3, b"".join(map(pickle.dumps, (1, 2, 3, {})))):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=rf"{FILE} is no file that PyTorch saved$"):
            read_micro(path)
    for content in (b"arch,accuracy\n1,2\n", b'{"00000000": {"mean_acc": 89.2}}', b"\x1f\x8b\x08"):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=rf"^[^\n]*{FILE} is truncated or not a pickle[^\n]*$"):
            read_micro(path)
    for names in (["results.json"], ["a/data.pkl", "b/data.pkl"]):
        with zipfile.ZipFile(path, "w") as archive:
            for name in names:
                archive.writestr(name, pickle.dumps({}))
        with pytest.raises(ValueError, match=rf"{FILE} is no file that PyTorch saved: it holds no data\.pkl$"):
            transnas101.read_macro(path)
