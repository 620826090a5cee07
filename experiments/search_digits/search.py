"""Search for a network by training for real: `python search.py runs.jsonl`; see README.md.

Each line of the file is one search of one seed, or one training; a search that is there already is not done again, and
an architecture is trained once per seed, whoever asks for it.
"""

import argparse
import json
import statistics
import time
import warnings
from pathlib import Path

import numpy as np
import optuna
import torch

import archflow
from archflow.search.digits import Digits

FIRST, BATCH = 10, 5
"""Random trainings before the ranker's first proposal, and how many it proposes at a time."""
SPACE = archflow.space("nasbench201")
ARCHS = SPACE.enumerate()
STRINGS = SPACE.format(ARCHS)


class Trainings:
    """Validation and test accuracy of each architecture, by number, for one seed; kept in the file."""

    def __init__(self, file, lines, seed):
        self.file, self.digits, self.seed = file, Digits(SPACE, seed), seed
        self.known = {line["arch"]: line for line in lines if line["kind"] == "training" and line["seed"] == seed}

    def __call__(self, arch):
        if arch not in self.known:
            began = time.process_time()
            network = self.digits.train(STRINGS[arch])
            scores = {part: self.digits.accuracy(network, part) for part in ("validation", "test")}
            line = {"kind": "training", "seed": self.seed, "arch": int(arch), "string": STRINGS[arch], **scores}
            write(self.file, {**line, "seconds": round(time.process_time() - began, 3)})
            self.known[arch] = line
        return self.known[arch]["validation"]


def random_search(train, budget, seed):
    """Different architectures, uniformly."""
    chosen = np.random.default_rng(seed).permutation(len(ARCHS))[:budget].tolist()
    for arch in chosen:
        train(arch)
    return chosen


def ranker(train, budget, seed):
    """The same first ones as at random, then batches that ``Ranker(None).suggest`` proposes out of the whole space."""
    chosen = np.random.default_rng(seed).permutation(len(ARCHS))[:FIRST].tolist()
    while True:
        accuracy = np.array([train(arch) for arch in chosen])
        if len(chosen) >= budget:
            return chosen
        fitted = archflow.Ranker(None, seed=seed).fit(ARCHS[chosen], accuracy, candidates=ARCHS)
        chosen += fitted.suggest(ARCHS, min(BATCH, budget - len(chosen))).tolist()


def tpe(train, budget, seed):
    """Optuna's default sampler, one choice an edge; what it proposes again counts as a training, as in Optuna."""
    place = {row: arch for arch, row in enumerate(map(tuple, SPACE.encode(ARCHS).tolist()))}
    chosen = []

    def objective(trial):
        choices = [trial.suggest_categorical(d.name, list(range(len(d.options)))) for d in SPACE.decisions]
        chosen.append(place[tuple(choices)])
        return train(chosen[-1])

    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=seed))
    study.optimize(objective, budget)
    return chosen


STRATEGIES = {"random": random_search, "tpe": tpe, "ranker": ranker}


def write(file, line):
    """Append a line at once, so that an interruption loses one training at most."""
    with file.open("a") as stream:
        stream.write(json.dumps(line) + "\n")


def read(file):
    """The lines so far; a torn last one is left out."""
    whole = file.read_text().rpartition("\n")[0] if file.exists() else ""
    return [json.loads(line) for line in whole.splitlines()]


def main():
    """Search with every strategy and seed, then print a table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("file", type=Path)
    parser.add_argument("--budget", type=int, default=30)
    parser.add_argument("--seeds", type=int, default=5)
    args = parser.parse_args()
    torch.set_num_threads(1)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    warnings.filterwarnings("ignore")
    for seed in range(args.seeds):
        lines = read(args.file)
        train = Trainings(args.file, lines, seed)
        done = {line["strategy"] for line in lines if line["kind"] == "search" and line["seed"] == seed}
        for name, strategy in STRATEGIES.items():
            if name not in done:
                chosen = [int(arch) for arch in strategy(train, args.budget, seed)]
                write(args.file, {"kind": "search", "strategy": name, "seed": seed, "chosen": chosen})
                print(seed, name, max(train(arch) for arch in chosen), flush=True)
    print(table(read(args.file)))


def table(lines):
    """Mean and standard deviation over the seeds: of the best after so many trainings, and of the found one's test."""
    trained = {(line["seed"], line["arch"]): line for line in lines if line["kind"] == "training"}
    rows = ["| strategy | seeds | validation after 10 | 20 | 30 | test of the found one | mean test | different |"]
    rows += ["| --- | --- | --- | --- | --- | --- | --- | --- |"]
    for name in STRATEGIES:
        searches = [line for line in lines if line["kind"] == "search" and line["strategy"] == name]
        if not searches:
            continue
        runs = [[trained[line["seed"], arch] for arch in line["chosen"]] for line in searches]
        after = [[max(each["validation"] for each in run[:count]) for run in runs] for count in (10, 20, 30)]
        # The first of the best, as whoever searches would take it.
        test = [max(run, key=lambda each: each["validation"])["test"] for run in runs]
        mean = [statistics.mean(each["test"] for each in run) for run in runs]
        different = statistics.mean(len(set(line["chosen"])) for line in searches)
        shown = [spread(values) for values in (*after, test, mean)]
        rows.append(f"| {name} | {len(searches)} | {' | '.join(shown)} | {different:.1f} |")
    return "\n".join(rows)


def spread(values):
    """Mean ± standard deviation in percent."""
    return f"{100 * statistics.mean(values):.2f} ± {100 * (statistics.stdev(values) if len(values) > 1 else 0):.2f}"


if __name__ == "__main__":
    main()
