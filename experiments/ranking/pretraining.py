"""What pre-training adds to path features and proxies: python pretraining.py RUNS FOLDER [METHOD …].

Appends one JSON line a run to RUNS (those that are there are not run again), then prints a Markdown table of all of
them. FOLDER holds nasbench201.csv.gz and nasbench101.csv.gz, as for baselines.py, whose head, splits and labels these
are. Every method gives the head ``gp`` the blocks "paths", "simplified" (path features of what the architectures
compute) and "proxies"; "none" gives nothing else. PRETRAINING.md describes the other methods, and what came out.
Permutations from 100 on choose, those from 0 report.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import asdict, astuple, dataclass
from functools import cache
from pathlib import Path
from typing import Literal

import numpy as np
from baselines import csv_rows, numbers, parsed, rows_of
from deep_kernel import tuned
from jaxtyping import Float
from numpy import ndarray
from regression import Regression
from scipy.linalg import block_diag

import archflow
from archflow.archs.batch import ArchBatch
from archflow.archs.simplify import simplified
from archflow.benchmarks.registry import published
from archflow.encoding.base import Encoder
from archflow.encoding.registry import encode, seeded_encoder
from archflow.paths import path_features
from archflow.pretraining.fgp import FGP
from archflow.pretraining.loop import pretrain
from archflow.pretraining.task import Task
from archflow.ranking.columns import Scaling
from archflow.ranking.gp import GaussianProcess, GPSettings
from archflow.ranking.metrics import scores_of
from archflow.studies.protocol import default_pool, split
from archflow.zero_cost.columns import proxy_values

COMMON = ("input", "conv3x3", "conv1x1", "pool", "output")
COMMON_NAME = {"nor_conv_3x3": 1, "nor_conv_1x1": 2, "avg_pool_3x3": 3, "output": 4}
COMMON_NAME |= {"conv3x3-bn-relu": 1, "conv1x1-bn-relu": 2, "maxpool3x3": 3}
OTHER = {"nasbench101": "nasbench201", "nasbench201": "nasbench101"}
EPOCHS, SOURCE_LABELS, COMPONENTS = 25, 3000, 16


@dataclass(frozen=True)
class Pretext:
    """How an encoder is pre-trained: on which graphs, on what, and on how many draws of the flow surrogate."""

    graphs: Literal["raw", "simplified", "common"]
    targets: Literal["fgp", "transfer", "paths", "joint"] = "fgp"
    draws: int = 1


PRETEXTS = {
    "raw": Pretext("raw"),
    "simplified": Pretext("simplified"),
    "paths": Pretext("simplified", "paths"),
    "draws": Pretext("simplified", draws=8),
    "transfer": Pretext("simplified", "transfer"),
    "joint": Pretext("common", "joint"),
}
RATES = {" tuned": 3e-4, " nudged": 3e-5}
FORMS = ("", " pca", *RATES, " averaged")


@dataclass(frozen=True)
class Run:
    """A line of results; ``seconds`` of fitting and predicting, without pre-training."""

    table: str
    method: str
    seed: int
    permutation: int
    tau: float
    p_at_1: float
    p_at_5: float
    seconds: float


@dataclass(frozen=True, eq=False)
class Problem:
    """A table: its architectures as they are, as what they compute, and that in words that both spaces know."""

    graphs: dict[str, ArchBatch]
    accuracy: Float[ndarray, " archs"]
    blocks: dict[str, Float[ndarray, "archs _"]]


def main() -> None:
    """Run what is missing, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument(
        "methods", nargs="*", help="'none', 'transfer column', or a pretext task, and ' pca' or ' tuned'"
    )
    parser.add_argument("--permutations", type=int, default=6, help="how many")
    parser.add_argument("--first", type=int, default=100, help="the first of them")
    parser.add_argument("--seeds", type=int, nargs="*", default=[0], help="of pre-training")
    parser.add_argument("--tables", nargs="*", default=["nasbench201", "nasbench101"])
    given = parser.parse_args()
    done = read(given.runs) if given.runs.exists() else []
    seen = {(run.table, run.method, run.seed, run.permutation) for run in done}
    tables = given.tables if given.methods else []
    with given.runs.open("a") as file:
        for name, method, seed in [(n, m, s) for m in given.methods for n in tables for s in given.seeds]:
            for permutation in range(given.first, given.first + given.permutations):
                if (name, method, seed, permutation) not in seen:
                    run = measured(name, given.folder, method, seed, permutation)
                    file.write(json.dumps(asdict(run)) + "\n")
                    file.flush()
    print(markdown(read(given.runs)))


def read(path: Path) -> list[Run]:
    """The runs of a file."""
    return [Run(**json.loads(line)) for line in path.read_text().splitlines()]


@cache
def problem(name: str, folder: Path) -> Problem:
    """A table at hand; the first is the analog one."""
    if name == "nasbench201":
        table = archflow.table("nasbench201/analog")
        accuracy, proxies = table["baseline_accuracy"], proxy_values(table, "closed-form,measured")
    else:
        rows = csv_rows(folder / "nasbench101.csv.gz")
        operations = ("conv3x3-bn-relu", "conv1x1-bn-relu", "maxpool3x3")
        names = [",".join(operations[int(digit)] for digit in row["operations"]) for row in rows]
        table = parsed(name, [f"{row['adjacency']}:{each}" for row, each in zip(rows, names, strict=True)])
        accuracy, proxies = numbers(rows, "val_acc_108ep"), proxy_values(table, "closed-form")
    assert proxies is not None
    graphs = {"raw": table.archs, "simplified": simplified(table.archs), "common": common(simplified(table.archs))}
    blocks = {"paths": path_features(graphs["raw"]).values, "simplified": path_features(graphs["simplified"]).values}
    return Problem(graphs, accuracy, {**blocks, "proxies": proxies})


def measured(name: str, folder: Path, method: str, seed: int, permutation: int) -> Run:
    """Fit on the labelled architectures of a permutation, those for validation among them, and rank the rest."""
    its = problem(name, folder)
    pool = default_pool(name, len(its.accuracy))
    part = split(len(its.accuracy), pool, int(pool * 0.01 + 1e-9), permutation)
    known, blocks = np.concatenate([part.labelled, part.validation]), dict(its.blocks)
    form = next(form for form in reversed(FORMS) if method.endswith(form))
    begun = time.perf_counter()
    if method == "transfer column":
        blocks["transfer"] = transferred(name, folder)
    elif method != "none":
        pretext = PRETEXTS[method.removesuffix(form)]
        model = pretrained(name, folder, pretext, seed)
        begun = time.perf_counter()
        graphs = its.graphs[pretext.graphs]
        if form in RATES:
            model = tuned(model, graphs, blocks, known, its.accuracy[known], RATES[form])
        embedding = encode(model, graphs).numpy()
        blocks["embedding"] = components(embedding) if form == " pca" else embedding
    base = its.blocks if form == " averaged" else blocks
    head = GaussianProcess().fit(rows_of(base, known), its.accuracy[known], base)
    score, _ = head.predict(rows_of(base, part.test))
    if form == " averaged":  # with a process that reads no path features, so that their errors differ
        few = {name: blocks[name] for name in ("proxies", "embedding")}
        other = GaussianProcess().fit(rows_of(few, known), its.accuracy[known], few)
        score = score + other.predict(rows_of(few, part.test))[0]
    seconds = time.perf_counter() - begun
    tau, p_at_1, p_at_5 = astuple(scores_of(its.accuracy[part.test], score))
    return Run(name, method, seed, permutation, tau, p_at_1, p_at_5, seconds)


def components(embedding: Float[ndarray, "archs width"]) -> Float[ndarray, "archs components"]:
    """Its first principal components."""
    centred = embedding - embedding.mean(axis=0)
    return centred @ np.linalg.eigh(centred.T @ centred)[1][:, : -COMPONENTS - 1 : -1]


@cache
def pretrained(name: str, folder: Path, pretext: Pretext, seed: int) -> Encoder:
    """An encoder that learned a pretext task on all architectures of a table."""
    its = problem(name, folder)
    archs, proxies = its.graphs[pretext.graphs], its.blocks["proxies"]
    model = seeded_encoder("resgatedgcn", archs.vocabulary, seed, {"hidden": 64, "layers": 3})
    if pretext.targets == "paths":
        blocks = {block: its.blocks[block] for block in ("simplified", "proxies")}
        task: Task = Regression(np.hstack([Scaling.of(x, block)(x, block) for block, x in blocks.items()]))
    else:
        if pretext.targets == "transfer":
            proxies = np.hstack([proxies, transferred(name, folder)])
        if pretext.targets == "joint":
            other = problem(OTHER[name], folder)
            theirs = np.hstack([other.accuracy[:, None], other.blocks["proxies"]])
            archs = ArchBatch.concatenate([archs, other.graphs["common"]])
            proxies = block_diag(proxies, theirs)
            proxies[: len(its.accuracy), -theirs.shape[1] :] = proxies[len(its.accuracy) :, : -theirs.shape[1]] = np.nan
        task = FGP.for_space(
            *(len(archs.vocabulary), published(name), proxies, seed),
            draws=pretext.draws,
            proxy_loss="regression",
            lambda1=0.5,
            lambda2=0.5,
        )
    done = pretrain(model, archs, task, epochs=EPOCHS, batch_size=512, seed=seed, device="cpu")
    last = {term: round(values[-1], 4) for term, values in done.losses.items()}
    print(f"{name} {pretext} seed {seed}: {done.seconds:.0f} s, {last}", flush=True)
    return model


@cache
def transferred(name: str, folder: Path) -> Float[ndarray, "archs 1"]:
    """What a process on path features that spaces share predicts, having learned accuracies of the other table."""
    other = problem(OTHER[name], folder)
    here, there = (path_features(each.graphs["common"]).values for each in (problem(name, folder), other))
    labelled = np.random.default_rng(0).permutation(len(there))[:SOURCE_LABELS]
    reference = {"paths": np.concatenate([here, there])}
    head = GaussianProcess(GPSettings(steps=15)).fit({"paths": there[labelled]}, other.accuracy[labelled], reference)
    return head.predict({"paths": here})[0][:, None]


def common(archs: ArchBatch) -> ArchBatch:
    """The same graphs over words that both spaces know."""
    operations = np.array([COMMON_NAME.get(name, 0) for name in archs.vocabulary])[archs.operations]
    return ArchBatch(operations, archs.node_offsets, archs.edges, archs.edge_offsets, COMMON)


def markdown(runs: list[Run]) -> str:
    """Mean and standard deviation, and the mean difference from "none" on the same splits with its standard error."""
    found: dict[tuple[str, bool, str], dict[int, list[tuple[float, float, float]]]] = {}
    for run in runs:
        group = found.setdefault((run.table, run.permutation < 100, run.method), {})
        group.setdefault(run.permutation, []).append((run.tau, run.p_at_1, run.p_at_5))
    lines = ["| table | splits | seeds | method | τ | P@1% | P@5% | Δτ | ΔP@1% | ΔP@5% |", "| --- " * 10 + "|"]
    for (table, report, method), by_split in found.items():
        base = found[table, report, "none"]
        values = np.array([np.mean(seeds, axis=0) for seeds in by_split.values()])
        gain = values - np.array([np.mean(base[number], axis=0) for number in by_split])
        cells = [f"{m:.3f} ± {s:.3f}" for m, s in zip(values.mean(0), values.std(0, ddof=1), strict=True)]
        error = gain.std(0, ddof=1) / np.sqrt(len(gain))
        cells += [f"{m:+.3f} ± {s:.3f}" if method != "none" else "" for m, s in zip(gain.mean(0), error, strict=True)]
        numbers_of = f"{min(by_split)}–{max(by_split)} | {max(map(len, by_split.values()))}"
        lines.append(f"| {table} | {numbers_of} | {method} | {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
