import json

import numpy as np
import pytest

from archflow.benchmarks.nasbench_macro import tables as nasbench_macro
from archflow.benchmarks.nasbench_macro.tables import FILE, read

PUBLISHED = """\
{"02012100": {"test_acc": [89.47000122070312, 88.94999694824219, 89.16999816894531], "mean_acc": 89.19666544596355, \
"std": 0.21312667374448538, "params": 890666, "flops": 47327744}, \
"22222110": {"test_acc": [92.93999481201172, 92.68000030517578, 93.0999984741211], "mean_acc": 92.9066645304362, \
"std": 0.1730756987212656, "params": 1508586, "flops": 80697856}, \
"00022000": {"test_acc": [82.41999816894531, 82.18000030517578, 82.68000030517578], "mean_acc": 82.42666625976562, \
"std": 0.20417859433412855, "params": 826154, "flops": 35336704}, \
"22222101": {"test_acc": [92.93999481201172, 92.68000030517578, 93.0999984741211], "mean_acc": 92.9066645304362, \
"std": 0.1730756987212656, "params": 1508586, "flops": 80697856}}"""
"""Four entries of the file, to the letter."""


@pytest.fixture
def written(tmp_path):
    """Writes a file of the name that it has when it is downloaded."""

    def write(content: str | bytes | object):
        path = tmp_path / FILE
        if not isinstance(content, str | bytes):
            content = json.dumps(content)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return write


def entry(**changes: object) -> dict[str, object]:
    return {**json.loads(PUBLISHED)["02012100"], **changes}


def test_published_entries(written):
    table = read(written(PUBLISHED))
    assert (table.name, table.space.name, table.default) == ("nasbench-macro", "nasbench-macro", "mean_acc")
    assert table.space.format(table.archs) == ["00022000", "02012100", "22222101", "22222110"]
    assert table["mean_acc"].tolist() == [82.42666625976562, 89.19666544596355, 92.9066645304362, 92.9066645304362]
    assert table["test_acc_1"].tolist()[:2] == [82.41999816894531, 89.47000122070312]
    assert table["test_acc_3"].tolist()[:2] == [82.68000030517578, 89.16999816894531]
    assert list(table.columns) == [f"test_acc_{run}" for run in (1, 2, 3)] + ["mean_acc", "std", "params", "flops"]
    assert all(column.dtype == np.float64 for column in table.columns.values())


def test_the_numbers_are_what_the_columns_say(written):
    table = read(written(PUBLISHED))
    runs = np.stack([table[f"test_acc_{run}"] for run in (1, 2, 3)])
    assert table["mean_acc"] == pytest.approx(runs.mean(axis=0), rel=1e-12)
    assert table["std"] == pytest.approx(runs.std(axis=0), rel=1e-9)
    assert table["params"].tolist() == table.space.parameters(table.archs).tolist()
    assert table["flops"].tolist() == table.space.flops(table.archs).tolist()


def test_the_whole_space_comes_in_its_order(written):
    space = nasbench_macro.NASBenchMacro()
    names = space.format(space.enumerate())
    shuffled = np.random.default_rng(1).permutation(len(names))
    table = read(written({names[index]: entry(mean_acc=float(index)) for index in shuffled}))
    assert table.archs == space.enumerate()
    assert table["mean_acc"].tolist() == list(range(6_561))


def test_a_folder_stands_for_the_file_in_it(written):
    path = written(PUBLISHED)
    said = []
    table = read(path.parent, lambda *what: said.append(what))
    assert table["mean_acc"].tolist() == read(path)["mean_acc"].tolist()
    assert said[-1] == ("reading", 4, 4)


# Wrong files


def test_an_architecture_that_is_given_twice(written):
    twice = PUBLISHED.replace("22222101", "02012100")
    with pytest.raises(ValueError, match=rf"{FILE} is damaged, .*: '02012100' is given twice$"):
        read(written(twice))
    with pytest.raises(ValueError, match=rf"{FILE} is damaged, .*: its architecture ' 02012100' is not of nasbench-"):
        read(written(PUBLISHED.replace("22222101", " 02012100")))


@pytest.mark.parametrize("name", ["0201210", "020121000", "02012103", "|nor_conv_3x3~0|", "", "0201210²"])
def test_an_architecture_of_another_space(written, name):
    with pytest.raises(ValueError, match=rf"{FILE} is damaged, .*: its architecture '.*' is not of nasbench-macro$"):
        read(written({"00022000": entry(), name: entry()}))


@pytest.mark.parametrize(
    "record",
    [
        *(None, [], 89.2, "high", {}, {"mean_acc": 89.2}),
        *({"acc": [1, 2, 3], "mean": 2, "std": 1, "params": 5, "flops": 6}, entry(test_acc=[89.2, 89.1])),
        *(entry(test_acc=None), entry(mean_acc="high"), entry(params=None), entry(flops=[1]), entry(std={})),
    ],
)
def test_an_entry_without_its_numbers(written, record):
    with pytest.raises(ValueError, match=rf"{FILE} is damaged, .*: 02012100 lacks a number: \w"):
        read(written({"00022000": entry(), "02012100": record}))


@pytest.mark.parametrize("content", ["{}", "[]", "[1, 2]", "3", "null", '"02012100"'])
def test_a_file_of_no_architectures(written, content):
    with pytest.raises(ValueError, match=rf"{FILE} is damaged, .*: it must hold an entry for each architecture$"):
        read(written(content))


def test_a_number_that_is_too_large(written):
    with pytest.raises(ValueError, match="02012100 lacks a number"):
        read(written(PUBLISHED.replace("890666", "9" * 400)))
