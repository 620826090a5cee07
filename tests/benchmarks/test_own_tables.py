import json

import numpy as np
import polars as pl
import pytest

from archflow.benchmarks.nasbench201.space import NASBench201
from archflow.benchmarks.own_tables import read_table, write_table
from archflow.benchmarks.registry import space

SPACE = NASBench201()
STRINGS = SPACE.format(SPACE.sample(6, seed=0))
ENDINGS = (".csv", ".jsonl", ".parquet")
BAD_CELL = "|none~0|+|none~0|conv_9x9~1|+|none~0|none~1|none~2|"

every_format = pytest.mark.parametrize("ending", ENDINGS)


def write(path, columns):
    """Columns with None where nothing is known, written by each format's plainest means and not by archflow."""
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    if path.suffix == ".csv":
        lines = [",".join("" if value is None else str(value) for value in row.values()) for row in rows]
        path.write_text("\n".join([",".join(columns), *lines]) + "\n")
    elif path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        pl.DataFrame(columns, strict=False).write_parquet(path)
    return path


def first_line(path):
    """The number of the line that holds the first architecture."""
    return 2 if path.suffix == ".csv" else 1


# What is written comes back


@every_format
def test_every_cell_and_every_number_comes_back(tmp_path, ending):
    path, archs, rng = tmp_path / f"all{ending}", SPACE.enumerate(), np.random.default_rng(0)
    columns = {"accuracy": rng.normal(size=len(archs)) * 1e-7, "parameters": SPACE.parameters(archs)}
    write_table(path, {"arch": SPACE.format(archs), **columns})
    table = read_table(path, SPACE)
    assert len(table) == 15_625
    assert table.archs == archs
    assert list(table.columns) == ["accuracy", "parameters"]
    for name, column in columns.items():
        assert table[name].dtype == np.float64
        assert np.array_equal(table[name], column)
    assert (table.name, table.space, table.default) == (str(path), SPACE, "")


@every_format
def test_not_a_number_is_written_and_read(tmp_path, ending):
    values = np.array([1.5, np.nan, -2, np.nan, 0, 1e300])
    small = np.array([0.5, np.nan, 0.25, 1, 2, 3], dtype=np.float32)
    write_table(tmp_path / f"file{ending}", {"arch": STRINGS, "x": values, "small": small})
    table = read_table(tmp_path / f"file{ending}", SPACE)
    assert np.array_equal(table["x"], values, equal_nan=True)
    assert np.array_equal(table["small"], small, equal_nan=True)


# Other people's files


@every_format
def test_missing_numbers_are_nan_and_text_is_left_out(tmp_path, ending):
    columns = {
        "note": ["a", "b", None, "d", "e", "f"],
        "accuracy": [91.5, None, 90, None, 89.25, 88],
        "arch": STRINGS,
        "count": [None, 2, 3, 4, 5, 6],
        "whole": [1, 2, 3, 4, 5, 6],
        "dates": ["2024-01-01"] * 6,
    }
    table = read_table(write(tmp_path / f"file{ending}", columns), SPACE)
    assert list(table.columns) == ["accuracy", "count", "whole"]
    nan = np.nan
    assert np.array_equal(table["accuracy"], [91.5, nan, 90, nan, 89.25, 88], equal_nan=True)
    assert np.array_equal(table["count"], [nan, 2, 3, 4, 5, 6], equal_nan=True)
    assert np.array_equal(table["whole"], [1, 2, 3, 4, 5, 6])
    assert {column.dtype for column in table.columns.values()} == {np.dtype(np.float64)}
    assert SPACE.format(table.archs) == STRINGS


@every_format
def test_a_number_that_is_first_known_late(tmp_path, ending):
    """Types are inferred from the whole file, not from its beginning."""
    count = 3_000
    values = [None] * (count - 2) + [7, 7.5]
    strings = SPACE.format(SPACE.sample(count))
    table = read_table(write(tmp_path / f"file{ending}", {"arch": strings, "x": values}), SPACE)
    assert np.isnan(table["x"][:-2]).all()
    assert table["x"][-2:].tolist() == [7, 7.5]


A, B, C, D, *_ = STRINGS


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("bom.csv", f'\ufeffarch,x\r\n"{A}",1\r\n {B} ,2\r\n', [1, 2]),
        ("nan.csv", f"arch,x\n{A},1.5\n{B},NaN\n{C},nan\n{D},\n", [1.5, np.nan, np.nan, np.nan]),
        ("twice.csv", f"arch,x\n{A},1\n{A},2\n", [1, 2]),
        ("few.jsonl", f'{{"arch": "{A}"}}\n{{"x": 2, "arch": "{B}", "more": {{"a": [1]}}}}\n', [np.nan, 2]),
        ("nan.jsonl", f'{{"arch": "{A}", "x": 1.5}}\n{{"arch": "{B}", "x": NaN}}\n', [1.5, np.nan]),
    ],
)
def test_other_ways_to_write_a_file(tmp_path, name, content, expected):
    (tmp_path / name).write_bytes(content.encode())
    table = read_table(tmp_path / name, SPACE)
    assert SPACE.format(table.archs) == [A, A] if "twice" in name else STRINGS[: len(expected)]
    assert list(table.columns) == ["x"]
    assert np.array_equal(table["x"], expected, equal_nan=True)


def test_strings_of_digits_in_a_column_of_another_name(tmp_path):
    path = write(tmp_path / "file.csv", {"score": [1, 2], "cell": ["00022000", "22222222"]})
    table = read_table(str(path), space("nasbench-macro"), "cell")
    assert table.space.format(table.archs) == ["00022000", "22222222"]
    assert table["score"].tolist() == [1, 2]


# Files that cannot be read


@pytest.mark.parametrize("name", ["none.csv", "none.jsonl", "none.parquet", "folder/none.csv", "folder.csv"])
def test_a_missing_file(tmp_path, name):
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(FileNotFoundError, match=f"there is no file .*{name}"):
        read_table(tmp_path / name, SPACE)


@pytest.mark.parametrize("name", ["file.txt", "file", "file.csv.gz", "file.json", ".csv"])
def test_an_unknown_ending(tmp_path, name):
    path = tmp_path / name
    path.write_text(f"arch\n{STRINGS[0]}\n")
    with pytest.raises(ValueError, match=rf"{name}: the name must end in .csv, .jsonl or .parquet"):
        read_table(path, SPACE)
    with pytest.raises(ValueError, match=rf"{name}: the name must end in .csv, .jsonl or .parquet"):
        write_table(path, {"arch": STRINGS})
    assert path.read_text() == f"arch\n{STRINGS[0]}\n"


@every_format
def test_a_missing_column(tmp_path, ending):
    path = write(tmp_path / f"file{ending}", {"cell": STRINGS, "x": range(6)})
    with pytest.raises(ValueError, match=rf"file{ending} has no column 'arch'; it has: cell, x"):
        read_table(path, SPACE)
    with pytest.raises(ValueError, match=rf"file{ending} has no column 'Cell'; it has: cell, x"):
        read_table(path, SPACE, "Cell")
    with pytest.raises(ValueError, match=rf"file{ending} has no column 'acc'; it has: x"):
        read_table(path, SPACE, "cell")["acc"]


@every_format
def test_an_empty_file(tmp_path, ending):
    path = tmp_path / f"file{ending}"
    path.write_text("")
    with pytest.raises(ValueError, match=rf"file{ending}"):
        read_table(path, SPACE)


@pytest.mark.parametrize("ending", [".csv", ".parquet"])
def test_a_file_without_rows(tmp_path, ending):
    path = tmp_path / f"file{ending}"
    frame = pl.DataFrame({"arch": pl.Series([], dtype=pl.String), "x": pl.Series([], dtype=pl.Float64)})
    frame.write_csv(path) if ending == ".csv" else frame.write_parquet(path)
    with pytest.raises(ValueError, match=rf"file{ending} has no rows"):
        read_table(path, SPACE)


@every_format
@pytest.mark.parametrize("row", [0, 1, 5])
def test_a_malformed_architecture_is_named_with_its_line(tmp_path, ending, row):
    strings = [BAD_CELL if number == row else string for number, string in enumerate(STRINGS)]
    path = write(tmp_path / f"file{ending}", {"x": range(6), "arch": strings})
    with pytest.raises(ValueError, match=rf"file{ending}, line {row + first_line(path)}: unknown operation 'conv_9x9'"):
        read_table(path, SPACE)


@every_format
def test_an_architecture_of_another_space_is_named_with_its_line(tmp_path, ending):
    path = write(tmp_path / f"file{ending}", {"arch": STRINGS})
    with pytest.raises(ValueError, match=rf"file{ending}, line {first_line(path)}: .*nor_conv"):
        read_table(path, space("nasbench-graph"))


@every_format
@pytest.mark.parametrize("row", [0, 3])
def test_a_missing_architecture_is_named_with_its_line(tmp_path, ending, row):
    strings = [None if number == row else string for number, string in enumerate(STRINGS)]
    path = write(tmp_path / f"file{ending}", {"x": range(6), "arch": strings})
    with pytest.raises(ValueError, match=rf"file{ending}, line {row + first_line(path)}: no architecture in column"):
        read_table(path, SPACE)


@every_format
@pytest.mark.parametrize("strings", [[None, None], [1, 2], [1.5, 2.5]], ids=str)
def test_a_column_of_something_else_holds_no_architectures(tmp_path, ending, strings):
    path = write(tmp_path / f"file{ending}", {"arch": strings, "x": [1, 2]})
    reason = "no architecture in column 'arch'" if ending != ".csv" or strings[0] is None else "a cell has 3 groups"
    with pytest.raises(ValueError, match=rf"file{ending}, line {first_line(path)}: {reason}"):
        read_table(path, SPACE)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("file.csv", f"arch,x\n{STRINGS[0]},1,2,3\n".encode()),
        ("file.csv", f"arch,x\n{STRINGS[0]},caf\xe9\n".encode("latin-1")),
        ("file.csv", bytes(range(256)) * 8),
        ("file.jsonl", f"arch,x\n{STRINGS[0]},1\n".encode()),
        ("file.jsonl", f'{{"arch": "{STRINGS[0]}"}}\n{{"arch": '.encode()),
        ("file.jsonl", json.dumps([{"arch": STRINGS[0]}]).encode()),
        ("file.jsonl", b"3\n4\n"),
        ("file.jsonl", bytes(range(256)) * 8),
        ("file.parquet", f"arch,x\n{STRINGS[0]},1\n".encode()),
        ("file.parquet", bytes(range(256)) * 8),
    ],
    ids=["too many fields", "latin-1", "bytes", "csv", "cut off", "array", "numbers", "bytes", "csv", "bytes"],
)
def test_a_file_that_is_not_of_its_format(tmp_path, name, content):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(ValueError, match=name) as caught:
        read_table(path, SPACE)
    assert "\n" not in str(caught.value).strip()


def test_a_truncated_parquet_file(tmp_path):
    path = tmp_path / "file.parquet"
    write_table(path, {"arch": STRINGS, "x": np.arange(6)})
    content = path.read_bytes()
    for length in (1, 12, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:length])
        with pytest.raises(ValueError, match=r"file\.parquet cannot be read as parquet"):
            read_table(path, SPACE)


@pytest.mark.parametrize(
    ("name", "content", "line"),
    [
        ("file.jsonl", f'{{"arch": "{A}"}}\n\n{{"arch": "{BAD_CELL}"}}\n', 3),
        ("file.csv", f'note,arch\n"two\nlines",{A}\nshort,{BAD_CELL}\n', 4),
    ],
)
def test_blank_lines_and_those_of_a_field_of_several_lines_count(tmp_path, name, content, line):
    (tmp_path / name).write_text(content)
    with pytest.raises(ValueError, match=rf"{name}, line {line}: unknown operation"):
        read_table(tmp_path / name, SPACE)


# Writing


@every_format
def test_a_full_disk_leaves_the_previous_file(tmp_path, request, ending):
    path = tmp_path / f"file{ending}"
    write_table(path, {"arch": STRINGS, "x": np.arange(6)})
    before = path.read_bytes()
    assert request.getfixturevalue("full_disk") == []
    with pytest.raises(OSError, match="No space left"):
        write_table(path, {"arch": STRINGS[:2]})
    assert path.read_bytes() == before


@every_format
def test_columns_of_two_lengths_leave_the_previous_file(tmp_path, ending):
    path = tmp_path / f"file{ending}"
    write_table(path, {"arch": STRINGS})
    before = path.read_bytes()
    with pytest.raises(Exception, match="x"):
        write_table(path, {"arch": STRINGS, "x": np.arange(3)})
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]
