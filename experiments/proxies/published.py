"""The CSV files of published proxies that compare.py reads: python published.py FOLDER OUT.

FOLDER holds nasbench201.csv.gz, nasbench101_proxies.csv.gz, nasbench301.csv.gz, numbers of NAS-Bench-Suite-Zero and
NASLib. OUT gets one CSV file a space: its architectures in the space's native notation, accuracies, proxies. Those of
nasbench201 without proxies (cells with dead branches) are left out; nasbench201-500.csv is a sample of the others.
"""

import sys
from pathlib import Path

import polars as pl

NAMES = ("skip_connect", "none", "nor_conv_3x3", "nor_conv_1x1", "avg_pool_3x3")


def cell(digits: str) -> str:
    """NAS-Bench-201's string of a cell, from the digits of edges 0→1 0→2 0→3 1→2 1→3 2→3."""
    e01, e02, e03, e12, e13, e23 = (NAMES[int(digit)] for digit in digits)
    return f"|{e01}~0|+|{e02}~0|{e12}~1|+|{e03}~0|{e13}~1|{e23}~2|"


def main(folder: Path, out: Path) -> None:
    """Write nasbench201.csv, nasbench201-500.csv, nasbench101.csv and darts.csv."""
    out.mkdir(parents=True, exist_ok=True)
    cells = pl.read_csv(folder / "nasbench201.csv.gz", schema_overrides={"ops": str}).drop_nulls("snip")
    cells = cells.with_columns(arch=pl.Series([cell(digits) for digits in cells["ops"]]), accuracy="cifar10_val_acc")
    cells = cells.drop("ops", "cifar10_val_acc", "cifar10_test_acc")
    cells.write_csv(out / "nasbench201.csv")
    cells.sample(500, seed=0).write_csv(out / "nasbench201-500.csv")
    cells = pl.read_csv(folder / "nasbench101_proxies.csv.gz").drop("module_hash")
    cells.rename({"naslib_arch": "arch", "val_accuracy_pct": "accuracy"}).write_csv(out / "nasbench101.csv")
    pairs = pl.read_csv(folder / "nasbench301.csv.gz")
    pairs = pairs.rename({"arch_compact": "arch", "surrogate_val_accuracy": "accuracy"})
    pairs.sample(500, seed=0).write_csv(out / "darts.csv")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
