"""Regret against trainings for every strategy, by looking accuracies up in tables; one JSON line a run.

    nice -n 19 python experiments/search/run.py --seeds 30 --out experiments/search/results.jsonl

Runs that the file holds are left out, so the same command resumes. Seeds are the outermost loop, so that whatever is
there compares all strategies by the same seeds. The strategies are driven directly, without a storage; Optuna's own
samplers through a study in memory, in which a repeated architecture costs nothing.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import json
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import optuna

import archflow
from archflow.benchmarks.table import Table
from archflow.search.decisions import choices_of, distributions
from archflow.search.strategies import STRATEGIES, Candidates, History, Random, make_strategy

BUDGET, STARTUP, BATCH, AT = 150, 10, 5, (25, 50, 100, 150)
SHARED = Path(__file__).resolve().parents[2] / ".." / "shared" / "data"
OURS = ("flow", "random", "evolution", "local", "weisfeiler-leman", "proxy")
OPTUNA = {"tpe": optuna.samplers.TPESampler, "gp": optuna.samplers.GPSampler}


def tables(shared: Path) -> dict[str, Table]:
    """The analog table, and, where the shared tables are, validation accuracies of 201 and of 20,001 rows of 101."""
    found = {"nasbench201/analog": archflow.table("nasbench201/analog")}
    if (shared / "nasbench201.csv.gz").is_file():
        space, strings = archflow.space("nasbench201"), []
        names = ["skip_connect", "none", "nor_conv_3x3", "nor_conv_1x1", "avg_pool_3x3"]
        rows = read(shared / "nasbench201.csv.gz")
        for row in rows:
            a, b, c, d, e, f = (names[int(digit)] for digit in row["ops"])
            strings.append(f"|{a}~0|+|{b}~0|{d}~1|+|{c}~0|{e}~1|{f}~2|")
        accuracy = np.array([float(row["cifar10_val_acc"]) for row in rows])
        found["nasbench201/official"] = Table("", space, space.parse(strings), {"accuracy": accuracy}, "accuracy")
    if (shared / "nasbench101.csv.gz").is_file():
        space, operations = archflow.space("nasbench101"), ("conv3x3-bn-relu", "conv1x1-bn-relu", "maxpool3x3")
        rows = read(shared / "nasbench101.csv.gz")
        strings = [f"{r['adjacency']}:{','.join(operations[int(o)] for o in r['operations'])}" for r in rows]
        accuracy = np.array([100 * float(row["val_acc_108ep"]) for row in rows])
        found["nasbench101/rows"] = Table("", space, space.parse(strings), {"accuracy": accuracy}, "accuracy")
    return found


def read(path: Path) -> list[dict[str, str]]:
    """The rows of a compressed CSV file."""
    with gzip.open(path, "rt", newline="") as file:
        return list(csv.DictReader(file))


def ours(name: str, table: Table, seed: int) -> list[float]:
    """The accuracies of the architectures that one of our strategies trains, in order."""
    space, accuracy = table.space, table[table.default]
    part = None if len(table) == space.size else table.archs
    strategy, random = make_strategy(name, space, part), Random(Candidates(space, part))
    row_of = {tuple(row): place for place, row in enumerate(space.encode(table.archs).tolist())}
    batch = BATCH if STRATEGIES[name].refits_in_batches else 1
    history = History(np.empty((0, len(space.decisions)), np.int64), np.empty(0))
    while (done := len(history.labels)) < BUDGET:
        n, by = (STARTUP, random) if not done else (min(batch, BUDGET - done), strategy)
        choices = by.propose(history, n, int(np.random.default_rng([seed, done]).integers(2**31)))
        labels = accuracy[[row_of[tuple(row)] for row in choices.tolist()]]
        history = History(np.concatenate([history.choices, choices]), np.concatenate([history.labels, labels]))
    return history.labels.tolist()


def optunas(name: str, table: Table, seed: int) -> list[float]:
    """The same of one of Optuna's samplers; an architecture that it repeats is told its score and not counted."""
    space, accuracy, found = table.space, table[table.default], dict[int, float]()
    study = optuna.create_study(direction="maximize", sampler=OPTUNA[name](seed=seed, n_startup_trials=STARTUP))
    row_of = {tuple(row): place for place, row in enumerate(space.encode(table.archs).tolist())}
    for _ in range(20 * BUDGET):
        trial = study.ask(distributions(space))
        row = row_of[tuple(choices_of(space, [trial.params])[0].tolist())]
        found.setdefault(row, float(accuracy[row]))
        study.tell(trial, float(accuracy[row]))
        if len(found) == BUDGET:
            break
    return list(found.values())


def main() -> None:
    """Run what the file lacks."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=30)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--strategies", default=",".join((*OURS, *OPTUNA)))
    parser.add_argument("--tables", default="nasbench201/analog,nasbench201/official,nasbench101/rows")
    parser.add_argument("--shared", type=Path, default=SHARED)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("results.jsonl"))
    args = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    known = {name: table for name, table in tables(args.shared).items() if name in args.tables.split(",")}
    lines = args.out.read_text().splitlines() if args.out.exists() else []
    done = {(line["table"], line["strategy"], line["seed"]) for line in map(json.loads, lines)}
    for seed in range(args.first_seed, args.first_seed + args.seeds):
        for name, table in known.items():
            for strategy in args.strategies.split(","):
                # Most combinations that Optuna's samplers propose are not among the rows of 101.
                if (name, strategy, seed) in done or (strategy in OPTUNA and name == "nasbench101/rows"):
                    continue
                start, top = time.process_time(), float(table[table.default].max())
                labels = (optunas if strategy in OPTUNA else ours)(strategy, table, seed)
                best = top - np.maximum.accumulate(labels)
                within = np.flatnonzero(best <= 0.2)
                line: dict[str, Any] = {"table": name, "strategy": strategy, "seed": seed}
                line |= {f"regret@{at}": round(float(best[min(at, len(best)) - 1]), 4) for at in AT}
                line |= {"trainings": len(labels), "to_0.2": int(within[0]) + 1 if len(within) else None}
                line |= {"cpu_seconds": round(time.process_time() - start, 1)}
                with args.out.open("a") as file:
                    file.write(json.dumps(line) + "\n")
                    file.flush()
                    os.fsync(file.fileno())
                print(line, flush=True)


if __name__ == "__main__":
    main()
