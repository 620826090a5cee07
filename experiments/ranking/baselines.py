"""How well simple heads rank from a hundred labels, without pre-training: python baselines.py RUNS [FOLDER].

Appends one JSON line a run to RUNS (those that are there are not run again), then prints a Markdown table of all of
them. FOLDER holds nasbench201.csv.gz, nasbench101.csv.gz, nasbench301.csv.gz, transnas101_micro.csv.gz and
nasbench_nlp.csv.gz, numbers published with the benchmarks; without it, only nasbench201/analog and the nine data sets
of NAS-Bench-Graph are studied, whose labels are validation accuracies and of which no proxy is known. The split is
that of archflow.studies.protocol; the labelled architectures and the 40 for validation are all used for fitting, as
these heads select nothing. Permutations from 0 are for reporting, those from 100 on were used to choose settings.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, astuple, dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray
from scipy.stats import norm

import archflow
from archflow.archs.simplify import simplified
from archflow.benchmarks.table import Table
from archflow.paths import path_features, weisfeiler_leman_features
from archflow.ranking.columns import Blocks, widened
from archflow.ranking.ensemble import Ensemble, EnsembleSettings
from archflow.ranking.gp import GaussianProcess, GPSettings
from archflow.ranking.metrics import scores_of
from archflow.ranking.trees import ExtraTrees
from archflow.studies.protocol import default_pool, split
from archflow.zero_cost.columns import proxy_values

GRAPH_DATASETS = ("cora", "citeseer", "pubmed", "cs", "physics", "photo", "computers", "arxiv")
LEVELS = (0.5, 0.8, 0.95)
WL_COLUMNS = 400
OPERATIONS_101 = ("conv3x3-bn-relu", "conv1x1-bn-relu", "maxpool3x3")
OPERATIONS_201 = ("skip_connect", "none", "nor_conv_3x3", "nor_conv_1x1", "avg_pool_3x3")


@dataclass(frozen=True)
class Run:
    """A line of results. ``covered``: the share of test labels within intervals of 50, 80 and 95 %."""

    table: str
    method: str
    permutation: int
    labels: int
    tau: float
    p_at_1: float
    p_at_5: float
    fit_seconds: float
    predict_seconds: float
    covered: tuple[float, ...]


@dataclass(frozen=True, eq=False)
class Problem:
    """A table's columns by the names of their blocks, and the accuracies to be ranked."""

    name: str
    accuracy: Float[ndarray, " archs"]
    blocks: dict[str, Float[ndarray, "archs _"]]
    proxies: tuple[str, ...]
    pool: int
    labelled: int


def half() -> Ensemble:
    """Process and trees with equal weights, whatever the labels say."""
    return Ensemble(EnsembleSettings(prior_labels=np.inf))


Head = GaussianProcess | ExtraTrees | Ensemble
DEFAULT = "the head gp"
"""As archflow.Ranker fits it with candidates: columns are scaled among so many of them, evenly spread."""
CANDIDATES = 5_000
HEADS: dict[str, tuple[Callable[[], Head], tuple[str, ...]]] = {
    DEFAULT: (Ensemble, ("paths", "simplified", "proxies")),
    "gp paths": (GaussianProcess, ("paths",)),
    "gp proxies": (GaussianProcess, ("proxies",)),
    "gp paths+proxies": (GaussianProcess, ("paths", "proxies")),
    "gp simplified": (GaussianProcess, ("simplified",)),
    "gp paths+simplified+proxies": (GaussianProcess, ("paths", "simplified", "proxies")),
    "gp+trees paths+simplified+proxies": (half, ("paths", "simplified", "proxies")),
    "gp rbf paths+proxies": (lambda: GaussianProcess(GPSettings(kernel="rbf")), ("paths", "proxies")),
    "gp paths+proxies+wl": (GaussianProcess, ("paths", "proxies", "wl")),
    "gp wl": (GaussianProcess, ("wl",)),
    "gp onehot": (GaussianProcess, ("onehot",)),
    "trees paths+proxies": (ExtraTrees, ("paths", "proxies")),
    "gp+trees paths": (half, ("paths",)),
    "gp+trees proxies": (half, ("proxies",)),
    "gp+trees paths+proxies": (half, ("paths", "proxies")),
}


def main() -> None:
    """Run what is missing, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", type=Path)
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("--permutations", type=int, default=9, help="how many")
    parser.add_argument("--first", type=int, default=0, help="the first of them")
    parser.add_argument("--labels", type=int, nargs="*", help="labels in all, other than the published number")
    parser.add_argument("--methods", nargs="*", help="only these")
    parser.add_argument("--tables", nargs="*", help="only these")
    given = parser.parse_args()
    done = read(given.runs) if given.runs.exists() else []
    seen = {(run.table, run.method, run.permutation, run.labels) for run in done}
    with given.runs.open("a") as file:
        for problem in problems(given.folder):
            if given.tables and problem.name not in given.tables:
                continue
            for labels in given.labels or [problem.labelled + 40]:
                for permutation in range(given.first, given.first + given.permutations):
                    for method in given.methods or methods_of(problem):
                        if (problem.name, method, permutation, labels) not in seen:
                            run = measured(problem, method, permutation, labels)
                            file.write(json.dumps(asdict(run)) + "\n")
                            file.flush()
    print(markdown(read(given.runs)))


def methods_of(problem: Problem) -> list[str]:
    """The heads that find a block of columns, each proxy by itself, and chance."""
    heads = [name for name, (_, blocks) in HEADS.items() if problem.blocks.keys() & set(blocks)]
    return [*heads, *problem.proxies, "random"]


def read(path: Path) -> list[Run]:
    """The runs of a file."""
    rows = (json.loads(line) for line in path.read_text().splitlines())
    return [Run(**{**row, "covered": tuple(row["covered"])}) for row in rows]


def measured(problem: Problem, method: str, permutation: int, labels: int) -> Run:
    """Fit on the labelled architectures of a permutation, rank those for testing."""
    accuracy = problem.accuracy
    part = split(len(accuracy), problem.pool, max(2, labels - 40), permutation)
    known = np.concatenate([part.labelled, part.validation])[:labels]
    test, seconds = accuracy[part.test], (0.0, 0.0)
    covered: tuple[float, ...] = ()
    if method == "random":
        score = np.random.default_rng(permutation).random(len(test))
    elif method not in HEADS:  # a single proxy
        score = problem.blocks["proxies"][part.test, problem.proxies.index(method)]
        score = np.nan_to_num(score, nan=np.nanmean(score), posinf=np.inf, neginf=-np.inf)
    else:
        make, names = HEADS[method]
        blocks = {name: problem.blocks[name] for name in names if name in problem.blocks}
        some = np.unique(np.linspace(0, len(accuracy) - 1, min(len(accuracy), CANDIDATES)).astype(np.int64))
        reference = rows_of(blocks, some) if method == DEFAULT else blocks
        begun = time.perf_counter()
        head = make().fit(rows_of(blocks, known), accuracy[known], reference)
        fitted = time.perf_counter()
        score, std = head.predict(rows_of(blocks, part.test), with_noise=True)
        std = widened(std, score, len(known))
        seconds = fitted - begun, time.perf_counter() - fitted
        halves = [norm.ppf((1 + level) / 2) * std for level in LEVELS]
        bounds = [(head.to_labels(score - half), head.to_labels(score + half)) for half in halves]
        covered = tuple(float(((low <= test) & (test <= high)).mean()) for low, high in bounds)
    tau, p_at_1, p_at_5 = astuple(scores_of(test, score))
    return Run(problem.name, method, permutation, len(known), tau, p_at_1, p_at_5, *seconds, covered)


def rows_of(blocks: Blocks, rows: Int[ndarray, " rows"]) -> dict[str, Float[ndarray, "rows _"]]:
    """Some rows of each block."""
    return {name: columns[rows] for name, columns in blocks.items()}


def problems(folder: Path | None) -> Iterator[Problem]:
    """The tables at hand."""
    analog = archflow.table("nasbench201/analog")
    yield problem("nasbench201/analog", analog, analog["baseline_accuracy"], "closed-form,measured")
    graph = archflow.table("nasbench-graph")
    for dataset in GRAPH_DATASETS:
        yield problem(f"nasbench-graph {dataset}", graph, graph[f"{dataset}/valid_perf"], "none")
    proteins = archflow.table("nasbench-graph/proteins")
    yield problem("nasbench-graph proteins", proteins, proteins["valid_perf"], "none")
    if folder is None:
        return
    by_cell = {}
    for row in csv_rows(folder / "nasbench201.csv.gz"):
        e01, e02, e03, e12, e13, e23 = (OPERATIONS_201[int(digit)] for digit in row["ops"])
        by_cell[f"|{e01}~0|+|{e02}~0|{e12}~1|+|{e03}~0|{e13}~1|{e23}~2|"] = float(row["cifar10_val_acc"])
    accuracy = np.array([by_cell[cell] for cell in analog.space.format(analog.archs)])
    yield problem("nasbench201 validation", analog, accuracy, "closed-form,measured")
    rows = csv_rows(folder / "nasbench101.csv.gz")
    names = [",".join(OPERATIONS_101[int(digit)] for digit in row["operations"]) for row in rows]
    strings = [f"{row['adjacency']}:{name}" for row, name in zip(rows, names, strict=True)]
    yield problem("nasbench101", parsed("nasbench101", strings), numbers(rows, "val_acc_108ep"), "closed-form")
    rows = csv_rows(folder / "nasbench301.csv.gz")
    genotypes = parsed("darts", [row["arch_compact"] for row in rows])
    yield problem("darts", genotypes, numbers(rows, "surrogate_val_accuracy"), "closed-form", 56)
    rows = csv_rows(folder / "transnas101_micro.csv.gz")
    cells = parsed("transnas101-micro", [row["tnb_arch_str"] for row in rows])
    for task in ("class_scene", "class_object", "jigsaw"):
        yield problem(f"transnas101-micro {task}", cells, numbers(rows, task), "closed-form")
    rows = [row for row in csv_rows(folder / "nasbench_nlp.csv.gz") if row["best_valid_loss"]]
    recurrent = parsed("nasbench-nlp", [row["recepie_json"] for row in rows])
    yield problem("nasbench-nlp", recurrent, -numbers(rows, "best_valid_loss"), "closed-form", 60)


def parsed(space: str, strings: list[str]) -> Table:
    """A table of the architectures that the strings denote."""
    return Table(space, archflow.space(space), archflow.space(space).parse(strings), {})


def numbers(rows: list[dict[str, str]], column: str) -> Float[ndarray, " rows"]:
    """A column as numbers."""
    return np.array([float(row[column]) for row in rows])


def problem(
    name: str, table: Table, accuracy: Float[ndarray, " archs"], proxies: str, labelled: int | None = None
) -> Problem:
    """All columns of a table; 1 % of its pool is labelled, if nothing else is said."""
    archs, pool = table.archs, default_pool(table.space.name, len(table))
    columns = proxy_values(table, proxies)
    names = [f"proxy {name}" for name in table.space.proxies]
    if "measured" in proxies:
        names += [f"measured {name}" for name in archflow.table(f"{table.space.name}/proxies").columns]
    counts = weisfeiler_leman_features(archs, 2).tocsc()
    spread = counts.multiply(counts).mean(axis=0) - counts.mean(axis=0) ** 2
    sizes = np.diff(archs.node_offsets)
    place = np.arange(len(archs.operations)) - np.repeat(archs.node_offsets[:-1], sizes)
    onehot = np.zeros((len(archs), int(sizes.max()), len(archs.vocabulary)))
    onehot[archs.owners, place, archs.operations] = 1
    blocks = {
        "paths": path_features(archs).values,
        "wl": counts[:, np.argsort(-spread)[:WL_COLUMNS]].toarray(),
        "onehot": onehot.reshape(len(archs), -1),
    }
    if columns is not None:
        blocks["proxies"] = columns
    simple = simplified(archs)
    if simple is not archs:
        blocks["simplified"] = path_features(simple).values
    return Problem(name, accuracy, blocks, tuple(names), pool, labelled or int(pool * 0.01 + 1e-9))


def csv_rows(path: Path) -> list[dict[str, str]]:
    """The rows of a compressed CSV file."""
    with gzip.open(path, "rt", newline="") as file:
        return list(csv.DictReader(file))


def markdown(runs: list[Run]) -> str:
    """Mean and standard deviation over the permutations, a row a table, method and number of labels."""
    lines = [
        "| table | labels | method | τ | P@1% | P@5% | runs | within 50/80/95 % | fit, predict (s) |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    groups: dict[tuple[str, int, str], list[Run]] = {}
    for run in runs:
        groups.setdefault((run.table, run.labels, run.method), []).append(run)
    for (table, labels, method), group in groups.items():
        values = np.array([(run.tau, run.p_at_1, run.p_at_5) for run in group])
        spread = values.std(axis=0, ddof=1) if len(group) > 1 else np.full(3, np.nan)
        cells = [f"{mean:.3f} ± {std:.3f}" for mean, std in zip(values.mean(axis=0), spread, strict=True)]
        covered = " ".join(f"{share:.2f}" for share in np.mean([run.covered for run in group], axis=0))
        seconds = np.mean([(run.fit_seconds, run.predict_seconds) for run in group], axis=0)
        timed = f"{seconds[0]:.2f}, {seconds[1]:.2f}" if seconds.any() else ""
        lines.append(f"| {table} | {labels} | {method} | {' | '.join(cells)} | {len(group)} | {covered} | {timed} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
