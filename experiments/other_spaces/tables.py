"""The CSV files that the studies here read: python tables.py FOLDER OUT.

FOLDER holds nasbench101.csv.gz, nasbench301.csv.gz, nasbench301_unlabelled.csv.gz and transnas101_micro.csv.gz, numbers
published with the benchmarks and with NASLib. OUT gets one CSV file a space, its architectures in the space's native
notation; an accuracy or a proxy that nobody measured is empty.
"""

import sys
from pathlib import Path

import polars as pl

OPERATIONS = ("conv3x3-bn-relu", "conv1x1-bn-relu", "maxpool3x3")


def main(folder: Path, out: Path) -> None:
    """Write nasbench101.csv, darts.csv and transnas101-micro.csv."""
    out.mkdir(parents=True, exist_ok=True)

    cells = pl.read_csv(folder / "nasbench101.csv.gz", schema_overrides={"adjacency": str, "operations": str})
    strings = [
        f"{bits}:{','.join(OPERATIONS[int(digit)] for digit in digits or '')}"
        for bits, digits in cells.select("adjacency", "operations").rows()
    ]
    accuracy = cells.select("zen", accuracy="val_acc_108ep").with_columns(arch=pl.Series(strings))
    accuracy.select("arch", "accuracy", "zen").write_csv(out / "nasbench101.csv")

    known = pl.read_csv(folder / "nasbench301.csv.gz").select("arch_compact", "nwot", accuracy="surrogate_val_accuracy")
    others = pl.read_csv(folder / "nasbench301_unlabelled.csv.gz").select("arch_compact", "nwot")
    both = pl.concat([known, others], how="diagonal").rename({"arch_compact": "arch"})
    both.select("arch", "accuracy", "nwot").write_csv(out / "darts.csv")

    tasks = pl.read_csv(folder / "transnas101_micro.csv.gz").rename({"tnb_arch_str": "arch"})
    tasks.write_csv(out / "transnas101-micro.csv")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
