"""Few epochs first: `python search.py nasbench101.csv.gz`; see README.md.

Cells of NAS-Bench-101 are drawn at random, with and without a pruner of Optuna's that stops the weak ones after 4, 12
or 36 epochs; what is printed is the training hours until a regret is reached, and the regret after some hours.
"""

import argparse
import csv
import gzip
import statistics

import numpy as np
import optuna

import archflow
from archflow.benchmarks.table import Table
from archflow.search.objectives import TableObjective

EPOCHS = (4, 12, 36, 108)
REGRETS = (0.01, 0.005, 0.003)
BUDGETS = (10, 20, 40, 80)
"""Hours."""
PRUNERS = {
    "full training": optuna.pruners.NopPruner,
    "hyperband": lambda: optuna.pruners.HyperbandPruner(min_resource=4, max_resource=108, reduction_factor=3),
    "successive halving": lambda: optuna.pruners.SuccessiveHalvingPruner(min_resource=4, reduction_factor=3),
}


def read(path):
    """The table, and the seconds of each cell's training of 108 epochs."""
    space = archflow.space("nasbench101")
    operations = ("conv3x3-bn-relu", "conv1x1-bn-relu", "maxpool3x3")
    with gzip.open(path, "rt", newline="") as file:
        rows = list(csv.DictReader(file))
    graphs = []
    for row in rows:
        size = int(row["num_vertices"])
        names = ["input", *(operations[int(digit)] for digit in row["operations"]), "output"]
        edges = [divmod(place, size) for place, bit in enumerate(row["adjacency"]) if bit == "1"]
        graphs.append((names, edges))
    archs = archflow.ArchBatch.from_graphs(graphs, vocabulary=space.vocabulary)
    columns = {f"accuracy/{each}": np.array([float(row[f"val_acc_{each}ep"]) for row in rows]) for each in EPOCHS}
    seconds = np.array([float(row["training_time_108ep_s"]) for row in rows])
    return Table("nasbench101 sample", space, archs, columns, "accuracy/108"), seconds


def search(table, strings, seconds, pruner, seed):
    """Hours and regret after each training, until the largest budget is spent."""
    objective = TableObjective(table, table.space)
    study = optuna.create_study(
        study_name=str(seed),  # Optuna's hyperband draws a trial's bracket from it
        direction="maximize",
        sampler=optuna.samplers.RandomSampler(seed=seed),
        pruner=PRUNERS[pruner](),
    )
    best, most, hours, path = 0.0, objective.scores.max(), 0.0, []
    for row in np.random.default_rng(seed).permutation(len(table)).tolist():
        if hours > BUDGETS[-1]:
            return path
        trial, spent = study.ask(), []

        def report(epoch, score, trial=trial, spent=spent):
            if pruner == "full training":
                return
            spent.append(epoch)
            trial.report(score, epoch)
            if trial.should_prune():
                raise optuna.TrialPruned

        try:
            score = objective(strings[row], report)
            spent.append(EPOCHS[-1])
            best = max(best, score)
            study.tell(trial, score)
        except optuna.TrialPruned:
            study.tell(trial, state=optuna.trial.TrialState.PRUNED)
        # The benchmark trained each number of epochs apart, with a schedule of its own.
        hours += seconds[row] * sum(spent) / EPOCHS[-1] / 3600
        path.append((hours, most - best))
    raise ValueError("the budget outlasts the cells")


def main():
    """Search with every pruner and seed, then print a table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("file")
    parser.add_argument("--seeds", type=int, default=10)
    args = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    table, seconds = read(args.file)
    strings = table.space.format(table.archs)
    heads = [*(f"hours to {100 * regret:g} %" for regret in REGRETS), *(f"after {hours} h" for hours in BUDGETS)]
    print(f"| | {' | '.join([*heads, 'trainings begun'])} |\n|{' --- |' * (len(heads) + 2)}", flush=True)
    for pruner in PRUNERS:
        paths = [search(table, strings, seconds, pruner, seed) for seed in range(args.seeds)]
        reached = [[next((h for h, found in path if found <= most), np.inf) for path in paths] for most in REGRETS]
        after = [[min((r for h, r in path if h <= most), default=1) for path in paths] for most in BUDGETS]
        shown = [
            *(quartiles(each, 1, "{:.1f}") for each in reached),
            *(quartiles(each, 100, "{:.2f}") for each in after),
        ]
        print(f"| {pruner} | {' | '.join(shown)} | {statistics.median(map(len, paths)):.0f} |", flush=True)


def quartiles(values, scale, form):
    """Median, and the quartiles in brackets; "never" for what was not reached within the largest budget."""
    low, median, high = np.quantile(values, [0.25, 0.5, 0.75], method="nearest")
    low, median, high = (form.format(scale * each) if np.isfinite(each) else "never" for each in (low, median, high))
    return f"{median} ({low} to {high})"


if __name__ == "__main__":
    main()
