"""What ``archflow demo`` computes: rankings of NAS-Bench-201 from 118 labels, and a search for its best cell.

All methods see the same labels. What needs validation labels keeps 40 of the 118 for that; the others fit to all.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, astuple, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from archflow.archs.batch import ArchBatch
from archflow.benchmarks.registry import published
from archflow.benchmarks.tables import table
from archflow.commands.shared import titled
from archflow.encoding.base import Encoder
from archflow.encoding.registry import seeded_encoder
from archflow.flow import FlowDraw, flow_surrogate
from archflow.pretraining.loop import Pretraining, pretrain
from archflow.pretraining.registry import make_task
from archflow.ranking.metrics import RankScores, kendall_tau, scores_of
from archflow.ranking.ranker import Ranker
from archflow.report.page import Report, write_report
from archflow.studies.protocol import LabelledTable, Split
from archflow.support.devices import resolve_device
from archflow.support.files import require_writable
from archflow.support.progress import Progress, silent
from archflow.support.versions import versions
from archflow.zero_cost.columns import measured_proxies

RANDOM, PARAMETERS, PROXY = "random", "parameters alone", "best single proxy"
GP = "gp: paths and proxies"
FGP, FGP_GP = "FGP, fine-tuned (paper)", "gp and FGP's encoding"
_SHOWN = ("method", "splits", "tau", "p_at_1", "p_at_5", "seconds")
"""Of a row, on the page."""

Score = Float[ndarray, " archs"]
Rows = Int[ndarray, " rows"]
Choose = Callable[[Rows, int], Rows]
"""Given the rows trained so far and a number, so many rows to train next, or more, the first first."""


@dataclass(frozen=True)
class Row:
    """How well a method ranks the test cells: means and sample standard deviations over splits.

    Attributes:
        method: its name.
        splits: how many splits; deviations are 0 where there is one.
        tau, p_at_1, p_at_5: means of Kendall's τ, and of Precision at 1 % and 5 %.
        tau_std, p_at_1_std, p_at_5_std: their deviations.
        seconds: of a split, features to scores of all cells.
        note: what else there is to say.
    """

    method: str
    splits: int
    tau: float
    p_at_1: float
    p_at_5: float
    tau_std: float
    p_at_1_std: float
    p_at_5_std: float
    seconds: float
    note: str = ""


def row_of(method: str, found: Sequence[RankScores], seconds: Sequence[float], note: str = "") -> Row:
    """The row of a method from its scores on each split."""
    values = np.array([astuple(each) for each in found])
    tau, p_at_1, p_at_5 = values.mean(axis=0).tolist()
    tau_std, p_at_1_std, p_at_5_std = values.std(axis=0, ddof=int(len(values) > 1)).tolist()
    taken = float(np.mean(seconds))
    return Row(method, len(values), tau, p_at_1, p_at_5, tau_std, p_at_1_std, p_at_5_std, taken, note)


class Bench:
    """The table, its proxies, and the splits of these numbers: what all methods are given."""

    def __init__(self, labels: float, splits: Iterable[int], seed: int, device: str) -> None:
        self.table = table("nasbench201/analog")
        labelled = LabelledTable(self.table)
        self.archs, self.accuracy, self.space = self.table.archs, labelled.accuracy, self.table.space
        self.splits = [labelled.split(labels, number) for number in splits]
        self.seed, self.device = seed, device
        self.names = (*self.space.proxies, *measured_proxies(self.table))
        # A ranker would find these by itself, but anew at each of some dozen calls.
        columns = labelled.head_columns(",".join(self.names), np.arange(len(self.table)))
        self.proxies = np.empty((len(self.table), 0)) if columns is None else columns

    def ranker(self, rows: Rows, encoder: Encoder | None = None) -> Ranker:
        """The head ``gp``, fitted to labelled cells."""
        ranker = Ranker(encoder, "gp", space=None, seed=self.seed, device=self.device)
        return ranker.fit(self.archs[rows], self.accuracy[rows], proxies=self.proxies[rows])

    def proxy_of(self, rows: Rows) -> tuple[str, Score]:
        """The proxy with the highest absolute τ on labelled cells, turned so that high is good there."""
        filled = np.where(np.isnan(self.proxies), np.nanmin(self.proxies, axis=0), self.proxies).T
        taus = np.nan_to_num([kendall_tau(self.accuracy[rows], column[rows]) for column in filled])
        best = int(np.abs(taus).argmax())
        return self.names[best], filled[best] * (1 if taus[best] >= 0 else -1)


def demonstrate(
    out: str | Path = "demo",
    *,
    pretrain_epochs: int = 20,
    labels: float = 0.01,
    splits: int = 5,
    starts: int = 3,
    seed: int = 0,
    device: str = "auto",
    progress: Progress = silent,
    show: Callable[[str, Any], None] = lambda what, result: None,
) -> dict[str, Any]:
    """Rank all 15,625 cells from 118 labels by several methods, suggest what to train next, and search for the best.

    Args:
        out: the folder for ``report.html``.
        pretrain_epochs: of FGP; the published settings have 200, for which there is no time here.
        labels: share of the pool of 7,813 cells that is labelled, beside 40 for validation.
        splits: how many the methods without pre-training are measured on; those with it have the first.
        starts: from how many sets of 20 random cells the search begins.
        seed: fixes everything random; the splits are numbered from it.
        device: "cpu", "cuda", …, or "auto".
        progress: told how far each phase is.
        show: called with the name of a result and the result, as soon as it is known.

    Returns:
        "labels", how many there are for what; "rows", a :class:`Row` a method, as a dict; "search", the best accuracy
        found by the number of networks trained; "suggestions", what to train next after the first split, with 80 %
        intervals; "second_round", what ten more find after those; "report", the page's path.

    Raises:
        ModuleNotFoundError: the package with the accuracies is not installed.
        ValueError: too few labels, no epochs, splits or starts, or an unknown device.
    """
    page = Path(out) / "report.html"
    require_writable(page)
    resolve_device(device)
    for name, value in (("pretrain_epochs", pretrain_epochs), ("splits", splits), ("starts", starts)):
        if value < 1:
            raise ValueError(f"{name} must be 1 or more, not {value}")
    bench = Bench(labels, range(seed, seed + splits), seed, device)
    first, strings = bench.splits[0], bench.space.format(bench.archs)
    known = first.known
    counts = {"all": len(known), "fit": len(first.labelled), "validation": len(first.validation)}
    counts |= {"test": len(first.test), "cells": len(bench.archs)}
    rows, scores = [], {}

    def found(row: Row) -> None:
        rows.append(row)
        show("row", row)

    show("labels", counts)
    for row, score in rivals(bench):
        found(row)
        scores[row.method] = score
    taus, seconds, rankers = [], [], []
    for number, part in enumerate(bench.splits):
        progress("gp (splits)", number, splits)
        begun = time.monotonic()
        rankers.append(bench.ranker(part.known))
        score = rankers[-1].predict(bench.archs, proxies=bench.proxies)
        seconds.append(time.monotonic() - begun)
        taus.append(scores_of(bench.accuracy[part.test], score[part.test]))
        scores.setdefault(GP, score)
        if number == 0:
            show("first", row_of(GP, taus, seconds))
    progress("gp (splits)", splits, splits)
    found(row_of(GP, taus, seconds))

    suggestions, second = two_rounds(bench, rankers[0], known, strings)
    show("suggestions", suggestions)
    show("second_round", second)
    search = searches(bench, starts, len(known), progress)
    show("search", search)

    found(row_of(f"gp, split {seed}", taus[:1], seconds[:1], "the split of the two below"))
    model, outcome = pretrained(bench, pretrain_epochs, progress)
    begun = time.monotonic()
    tuned = fine_tuned(bench, model, first, progress)
    scores[FGP] = tuned.predict(bench.archs)
    tuned_by = time.monotonic()
    scores[FGP_GP] = bench.ranker(known, model).predict(bench.archs, proxies=bench.proxies)
    taken = {FGP: tuned_by - begun, FGP_GP: time.monotonic() - tuned_by}
    note = f"{pretrain_epochs} epochs of pre-training; published: 200"
    for method, own in taken.items():
        right = scores_of(bench.accuracy[first.test], scores[method][first.test])
        found(row_of(method, [right], [outcome.seconds + own], note))

    held_out = np.ones(len(bench.archs), dtype=bool)
    held_out[known] = False
    flow = published(bench.space.name)
    draw = FlowDraw.sample(len(bench.space.vocabulary), flow.k, flow.std, seed)
    write_report(
        page,
        Report(
            title="NAS-Bench-201 from 118 labels" if counts["all"] == 118 else "NAS-Bench-201 from a few labels",
            archs=bench.archs,
            strings=strings,
            scores={name: scores[name] for name in (GP, FGP, FGP_GP, PROXY, PARAMETERS)},
            accuracy=bench.accuracy,
            surrogate=flow_surrogate(bench.archs, draw).numpy(),
            curves={
                "Best accuracy found": search["curves"],
                "Pre-training loss": dict(outcome.losses),
                "Fine-tuning loss": {FGP: tuned.losses},
                "Kendall's τ on the validation cells": {FGP: tuned.validation_taus},
            },
            over={"Best accuracy found": "networks trained"},
            rows=[titled({name: getattr(row, name) for name in _SHOWN}) for row in rows],
            settings={
                **{"table": bench.table.name, "column": bench.table.default, "labels": counts},
                **{"gp": asdict(rankers[0].settings), "pre-training": outcome.settings},
                **{"fine-tuning": asdict(tuned.settings), "versions": versions()},
            },
            held_out=held_out,
        ),
    )
    return {
        **{"labels": counts, "rows": [asdict(row) for row in rows], "search": search},
        **{"suggestions": suggestions, "second_round": second, "report": str(page)},
    }


def rivals(bench: Bench) -> list[tuple[Row, Score]]:
    """The rows of random, of parameters, and of the best proxy on the labels, with their scores on the first split."""
    chosen: list[str] = []

    def proxy(number: int, part: Split) -> Score:
        name, score = bench.proxy_of(part.known)
        chosen.append(name)
        return score

    methods: dict[str, Callable[[int, Split], Score]] = {
        RANDOM: lambda number, part: np.random.default_rng([bench.seed, number]).random(len(bench.archs)),
        PARAMETERS: lambda number, part: bench.space.parameters(bench.archs).astype(float),
        PROXY: proxy,
    }
    rows = []
    for method, rank in methods.items():
        ranked, seconds = [], []
        for number, part in enumerate(bench.splits):
            begun = time.monotonic()
            ranked.append(rank(number, part))
            seconds.append(time.monotonic() - begun)
        rows_of_test = [part.test for part in bench.splits]
        right = [scores_of(bench.accuracy[t], score[t]) for t, score in zip(rows_of_test, ranked, strict=True)]
        rows.append((row_of(method, right, seconds, " or ".join(dict.fromkeys(chosen))), ranked[0]))
    return rows


def searches(bench: Bench, starts: int, budget: int, progress: Progress) -> dict[str, Any]:
    """The best accuracy found by the number of networks trained, for four ways to choose; mean over starts.

    All ways begin with the same 20 random cells (fewer where the budget is small), and then choose some at a time.

    Returns:
        "curves", of each way a value for each number of networks from 1 on; "after", the numbers after which new
        networks are chosen, and the budget; "best", the highest accuracy of all; "starts".
    """
    begin = min(20, max(2, budget // 4))
    batch = max(1, -(-(budget - begin) // 7))
    after = [*range(begin, budget, batch), budget]
    parameters = bench.space.parameters(bench.archs).astype(float)
    curves: dict[str, list[Score]] = {}
    best = float(bench.accuracy.max())
    progress("search", 0, starts)
    for start in range(starts):
        order = np.random.default_rng([bench.seed, start, 1]).permutation(len(bench.archs))
        at_random = -np.argsort(order).astype(float)
        ways: dict[str, Choose] = {
            RANDOM: lambda rows, n, score=at_random: _highest(score, rows),  # type: ignore[misc]
            PARAMETERS: lambda rows, n: _highest(parameters, rows),
            PROXY: lambda rows, n: _highest(bench.proxy_of(rows)[1], rows),
            GP: lambda rows, n: bench.ranker(rows).suggest(bench.archs, n, proxies=bench.proxies),
        }
        for way, choose in ways.items():
            rows = order[:begin]
            for total in after[1:]:
                if bench.accuracy[rows].max() < best:  # there is nothing left to find, and so no need to choose
                    rows = np.concatenate([rows, choose(rows, total - len(rows))[: total - len(rows)]])
            curve = np.maximum.accumulate(bench.accuracy[rows])
            curves.setdefault(way, []).append(np.pad(curve, (0, budget - len(curve)), mode="edge"))
        progress("search", start + 1, starts)
    means = {way: np.mean(each, axis=0).tolist() for way, each in curves.items()}
    return {"starts": starts, "after": after, "best": best, "curves": means}


def two_rounds(
    bench: Bench, ranker: Ranker, known: Rows, strings: list[str], count: int = 10
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Ten to train next, with what they turn out to be; and what ten more find, once those are trained as well."""
    chosen = ranker.suggest(bench.archs, count, proxies=bench.proxies)
    intervals = ranker.intervals(bench.archs[chosen], 0.8, proxies=bench.proxies[chosen])
    again = bench.ranker(both := np.concatenate([known, chosen])).suggest(bench.archs, count, proxies=bench.proxies)
    suggestions = [
        {**described(row, bench.accuracy, strings), "low": float(low), "high": float(high)}
        for row, (low, high) in zip(chosen, intervals, strict=True)
    ]
    best = again[int(bench.accuracy[again].argmax())]
    return suggestions, {
        **{"labels": len(both), "suggested": len(again)},
        "best_before": float(bench.accuracy[known].max()),
        "best_of_first": float(bench.accuracy[chosen].max()),
        "best_of_second": described(best, bench.accuracy, strings),
    }


def described(row: int, accuracy: Score, strings: list[str]) -> dict[str, Any]:
    """An architecture with its accuracy and true rank; equals share a rank."""
    rank = 1 + int((accuracy > accuracy[row]).sum())
    return {"arch": strings[row], "accuracy": float(accuracy[row]), "true_rank": rank}


def pretrained(bench: Bench, epochs: int, progress: Progress) -> tuple[Encoder, Pretraining]:
    """The paper's encoder after FGP on all cells, without a label, with our own jacov as the proxy."""
    model = seeded_encoder("resgatedgcn", bench.archs.vocabulary, bench.seed, {})
    proxy = bench.proxies[:, [bench.names.index("measured/jacov")]]
    task = make_task("fgp", bench.space.name, bench.archs, proxy, bench.seed, {})
    settings: dict[str, Any] = {"epochs": epochs, "seed": bench.seed, "device": bench.device}
    return model, pretrain(model, bench.archs, task, **settings, progress=progress)


def fine_tuned(bench: Bench, model: Encoder, part: Split, progress: Progress) -> Ranker:
    """The paper's head, which fits to 78 labels and keeps the epoch that ranks the 40 for validation best."""

    def of(rows: Rows) -> tuple[ArchBatch, Score]:
        return bench.archs[rows], bench.accuracy[rows]

    ranker = Ranker(model, "finetune", space=bench.space, seed=bench.seed, device=bench.device)
    return ranker.fit(*of(part.labelled), of(part.validation), progress)


def _highest(score: Score, trained: Rows) -> Rows:
    order = np.argsort(-score, kind="stable")
    return order[~np.isin(order, trained)]
