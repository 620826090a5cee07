import pickle
import re
from pathlib import Path

import numpy as np
import pytest

from archflow.benchmarks.nasbench201 import hw_nasbench
from archflow.benchmarks.nasbench201.hw_nasbench import DATASETS, MEASURES
from archflow.benchmarks.nasbench201.space import NASBench201

SPACE = NASBench201()
ARCHS = SPACE.sample(50, seed=3)
STRINGS = SPACE.format(ARCHS)
CLASSES = {"cifar10": 10, "cifar100": 100, "ImageNet16-120": 120}


def official(strings: list[str] = STRINGS) -> dict:
    """The official content, as the benchmark's code reads it."""
    rng = np.random.default_rng(0)

    def entry(dataset: str) -> dict:
        config = [
            {"name": "infer.tiny", "C": 16, "N": 5, "arch_str": string, "num_classes": CLASSES[dataset]}
            for string in strings
        ]
        return {"config": config, **{measure: rng.random(len(strings)).tolist() for measure in MEASURES}}

    fbnet = {"edgegpu_latency": {"FC_Cin1504_Cout100": 0.05}}
    return {"nasbench201": {dataset: entry(dataset) for dataset in DATASETS}, "fbnet": fbnet}


@pytest.fixture
def written(tmp_path):
    def write(content: object, protocol: int = 4) -> Path:
        path = tmp_path / "HW-NAS-Bench-v1_0.pickle"
        path.write_bytes(pickle.dumps(content, protocol))
        return path

    return write


@pytest.mark.parametrize("protocol", [2, 3, 4])
def test_every_number_of_the_file(written, protocol):
    content = official()
    seen = []
    table = hw_nasbench.read(written(content, protocol), lambda *progress: seen.append(progress))
    assert (table.name, table.space.name, table.default) == ("nasbench201/hw", "nasbench201", "")
    assert table.archs == ARCHS
    assert list(table.columns) == [f"{dataset}/{measure}" for dataset in DATASETS for measure in MEASURES]
    for dataset in DATASETS:
        for measure in MEASURES:
            assert table[f"{dataset}/{measure}"].dtype == np.float64
            assert table[f"{dataset}/{measure}"].tolist() == content["nasbench201"][dataset][measure]
    assert seen[-1] == ("reading", 50, 15_625)


def test_numpy_numbers_arrays_and_numbered_settings(written):
    content, plain = official(), official()
    for entry in content["nasbench201"].values():
        entry["config"] = dict(enumerate(entry["config"]))
        entry["fpga_energy"] = np.array(entry["fpga_energy"])
        entry["pixel3_latency"] = [np.float64(number) for number in entry["pixel3_latency"]]
    table, expected = (hw_nasbench.read(written(one)) for one in (content, plain))
    assert table.archs == expected.archs
    assert all(np.array_equal(table[name], expected[name]) for name in expected.columns)


def test_the_whole_space(written):
    """The file's first network, and the numbers that the benchmark's README prints for it."""
    first = "|avg_pool_3x3~0|+|nor_conv_1x1~0|skip_connect~1|+|nor_conv_1x1~0|skip_connect~1|skip_connect~2|"
    strings = [first, *(string for string in SPACE.format(SPACE.enumerate()) if string != first)]
    content = official(strings)
    content["nasbench201"]["cifar10"]["edgegpu_latency"][0] = 5.807418537139893
    content["nasbench201"]["cifar10"]["eyeriss_energy"][0] = 0.6872827644999999
    table = hw_nasbench.read(written(content))
    assert len(table) == 15_625
    assert SPACE.format(table.archs) == strings
    assert table["cifar10/edgegpu_latency"][0] == 5.807418537139893
    assert table["cifar10/eyeriss_energy"][0] == 0.6872827644999999


# Wrong files


@pytest.mark.parametrize("content", [{}, [], 3, {"fbnet": {}}, {"nasbench201": {}}, {"nasbench201": [1]}])
def test_another_benchmark(written, content):
    with pytest.raises(ValueError, match=r"HW-NAS-Bench-v1_0\.pickle is not the HW-NAS-Bench table: \w"):
        hw_nasbench.read(written(content))


@pytest.mark.parametrize(
    "change",
    [
        {"config": []},
        {"config": 3},
        {"config": [{"C": 16}] * 50},
        {"config": [{"arch_str": STRINGS[0]}] * 50},
        {"fpga_energy": [1.0] * 49},
        {"fpga_energy": [[1.0]] * 50},
        {"fpga_energy": ["fast"] * 50},
        {"fpga_energy": None},
    ],
)
@pytest.mark.parametrize("dataset", DATASETS)
def test_an_entry_of_another_form(written, dataset, change):
    content = official()
    content["nasbench201"][dataset].update(change)
    with pytest.raises(ValueError, match=r"HW-NAS-Bench-v1_0\.pickle is not the HW-NAS-Bench table: \w") as caught:
        hw_nasbench.read(written(content))
    assert "\n" not in str(caught.value)


def test_measures_that_are_not_there(written):
    content = official()
    del content["nasbench201"]["cifar100"]["raspi4_latency"]
    names = [f"{dataset}/{measure}" for dataset in DATASETS for measure in MEASURES]
    names.remove("cifar100/raspi4_latency")
    assert list(hw_nasbench.read(written(content)).columns) == names
    for entry in content["nasbench201"].values():
        for measure in MEASURES:
            entry.pop(measure, None)
    with pytest.raises(ValueError, match="is not the HW-NAS-Bench table: it has none of edgegpu_latency, "):
        hw_nasbench.read(written(content))


def test_a_cell_that_is_there_twice_or_is_none(written):
    with pytest.raises(ValueError, match=re.escape(f"it has the cell {STRINGS[4]} twice")):
        hw_nasbench.read(written(official([*STRINGS[:9], STRINGS[4]])))
    with pytest.raises(ValueError, match="table: line 9: unknown operation 'conv_7x7'"):
        hw_nasbench.read(written(official([*STRINGS[:9], "|conv_7x7~0|+|none~0|none~1|+|none~0|none~1|none~2|"])))
