"""The report: a ranking of architectures as one self-contained HTML page.

The page embeds Plotly's JavaScript and its data as JSON, both compressed, and its own style and scripts (``page.html``,
``page.css`` and ``_SCRIPTS``). It opens from disk and requests nothing from any server; its content security policy
forbids it to.
"""

from __future__ import annotations

import base64
import gzip
import html
import json
import math
from collections.abc import Sequence, Sized
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from string import Template
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy import ndarray

from archflow.archs.batch import ArchBatch
from archflow.support.files import write_atomically

_DRAWN = 20_000
"""Maximum number of architectures drawn: browsers still handle that many SVG points smoothly."""
_BEST = 30
"""So many of the best of each method are always drawn; the first ten are shown as graphs."""
_SCRIPTS = ("unpack.js", "cell.js", "card.js", "plots.js", "tables.js", "page.js")
_QUANTILES = (0, 0.1, 0.25, 0.5, 0.75, 0.9, 1)
"""Positions on the map's colour bar, which runs over ranks, that are labelled with values."""


@dataclass(frozen=True)
class Report:
    """The content of a report; ``n`` is the number of architectures.

    Attributes:
        title: the page's heading.
        archs: the ``n`` architectures.
        strings: each architecture in its native notation.
        scores: the predicted score (n,) of each method, higher is better.
        accuracy: the true accuracy (n,), in percent or as a fraction, NaN where unknown; None if all are unknown.
        surrogate: the flow surrogate (n, k), finite.
        curves: plots by title; each holds curves by name; a curve has one value per epoch, starting with epoch 1.
        rows: the result table, a dict for each method; the columns are all keys, in order of first appearance. A pair
            is a value and its spread.
        settings: how the result was obtained; may be nested.
        held_out: (n,) True where the architecture was used neither for training nor validation; None if unknown.
        over: by a plot's title, what its curves run over if not epochs: the best accuracy so far over "networks
            trained" shows the history of a search, a curve a strategy.
        intervals: for some of the methods, between which two values (n, 2) the accuracy lies with probability 0.8.
        best_trained: the highest accuracy that is trained already; by default, of those that are not held out.
        apart: further rows of the table that are not compared with the others, such as training scores.
        remark: a sentence below the result table.

    Raises:
        ValueError: there are no methods, a length differs from ``n``, or the surrogate is not finite.
    """

    title: str
    archs: ArchBatch
    strings: Sequence[str]
    scores: dict[str, Float[ndarray, " n"]]
    accuracy: Float[ndarray, " n"] | None
    surrogate: Float[ndarray, "n k"]
    curves: dict[str, dict[str, Sequence[float]]]
    rows: Sequence[dict[str, Any]]
    settings: dict[str, Any]
    held_out: Bool[ndarray, " n"] | None = None
    over: dict[str, str] = field(default_factory=dict)
    intervals: dict[str, Float[ndarray, "n 2"]] = field(default_factory=dict)
    best_trained: float | None = None
    apart: Sequence[dict[str, Any]] = ()
    remark: str = ""

    def __post_init__(self) -> None:
        if not self.scores:
            raise ValueError("a report needs the scores of at least one method")
        columns: dict[str, Sized] = {"strings": self.strings, "the surrogate": self.surrogate}
        columns |= {f"the scores of '{name}'": scores for name, scores in self.scores.items()}
        columns |= {"the accuracy": self.accuracy} if self.accuracy is not None else {}
        columns |= {"held_out": self.held_out} if self.held_out is not None else {}
        columns |= {f"the intervals of '{name}'": bounds for name, bounds in self.intervals.items()}
        for what, column in columns.items():
            if len(column) != len(self.archs):
                raise ValueError(f"{what} should have one entry per architecture: {len(self.archs)}, not {len(column)}")
        if unknown := self.intervals.keys() - self.scores.keys():
            raise ValueError(f"there are intervals but no scores of '{min(unknown)}'")
        if self.surrogate.ndim != 2 or not np.isfinite(self.surrogate).all():
            raise ValueError("the surrogate should be a finite matrix with one row per architecture")


def write_report(path: str | Path, report: Report) -> None:
    """Write the report to ``path`` as one HTML page.

    Raises:
        OSError: writing failed; a previous file at ``path`` is then untouched.
    """
    folder = resources.files("archflow.report")

    def source(name: str) -> str:
        return folder.joinpath(name).read_text("utf-8")

    filled = Template(source("page.html")).substitute(
        title=html.escape(report.title),
        style=source("page.css"),
        data=_packed(json.dumps(_plain(_data(report)), allow_nan=False, ensure_ascii=False, separators=(",", ":"))),
        plotly=_packed(source("plotly/plotly-basic.min.js")),
        licence=html.escape(source("plotly/LICENSE")),
        script="\n".join(map(source, _SCRIPTS)),
    )
    write_atomically(path, filled)


def _data(report: Report) -> dict[str, Any]:
    """The data for ``page.js``: columns cover the drawn architectures; ranks and quantiles are among all of them."""
    accuracy = report.accuracy if report.accuracy is not None else np.full(len(report.archs), np.nan)
    known = ~np.isnan(accuracy)
    compared = known if report.held_out is None else known & report.held_out
    first = np.asarray(next(iter(report.scores.values())), dtype=np.float64)
    best = {name: np.argsort(-scores, kind="stable")[:_BEST] for name, scores in report.scores.items()}
    drawn = _choose(np.concatenate(list(best.values())), report.held_out, len(report.archs))
    place = {row: i for i, row in enumerate(drawn.tolist())}
    components, explained = _principal_components(report.surrogate)
    return {
        "archs": len(report.archs),
        "known": int(known.sum()),
        "compared": int(compared.sum()),
        "strings": [report.strings[index] for index in drawn],
        "graphs": _graphs(report.archs[drawn]),
        "accuracy": _rounded(accuracy[drawn], 6) if known.any() else None,
        "trueRank": _integers(_ranks(accuracy)[drawn]),
        "methods": [
            {
                "name": name,
                "score": _rounded(scores[drawn], 5),
                "rank": _integers(_ranks(scores)[drawn]),
                # True ranks exist only among known accuracies, so the plot compares predicted ranks among the same.
                "rankOfKnown": _integers(_ranks(np.where(known, scores, np.nan))[drawn]) if not known.all() else None,
                "best": [place[row] for row in best[name].tolist() if row in place],
                "intervals": _intervals(report.intervals[name], accuracy, compared, drawn)
                if name in report.intervals
                else None,
            }
            for name, scores in report.scores.items()
        ],
        "bestTrained": _best_trained(report, accuracy),
        "usedInTraining": np.flatnonzero(~report.held_out[drawn]) if report.held_out is not None else [],
        "map": {"x": _rounded(components[drawn, 0], 4), "y": _rounded(components[drawn, 1], 4), "explained": explained},
        "colourBar": _colour_bar(accuracy[known] if known.any() else first),
        "curves": [
            {"title": title, "over": report.over.get(title, "epoch"), "curves": curves}
            for title, curves in report.curves.items()
        ],
        "rows": report.rows,
        "apart": report.apart,
        "remark": report.remark,
        "settings": report.settings,
    }


def _intervals(
    bounds: Float[ndarray, "n 2"],
    accuracy: Float[ndarray, " n"],
    compared: Bool[ndarray, " n"],
    drawn: Int[ndarray, " drawn"],
) -> dict[str, Any]:
    """The drawn intervals, and which share of the compared accuracies lies inside theirs."""
    low, high = np.asarray(bounds, dtype=np.float64).T
    inside = (low[compared] <= accuracy[compared]) & (accuracy[compared] <= high[compared])
    covered = float(inside.mean()) if len(inside) else None
    return {"low": _rounded(low[drawn], 5), "high": _rounded(high[drawn], 5), "covered": covered}


def _best_trained(report: Report, accuracy: Float[ndarray, " n"]) -> dict[str, Any] | None:
    """The accuracy of the best architecture trained already, and its rank among the known accuracies."""
    best = report.best_trained
    if best is None and report.held_out is not None:
        trained = accuracy[~report.held_out]
        best = float(np.nanmax(trained)) if not np.isnan(trained).all() else None
    return None if best is None else {"accuracy": float(f"{best:.6g}"), "rank": 1 + int((accuracy > best).sum())}


def _choose(best: Int[ndarray, " b"], held_out: Bool[ndarray, " n"] | None, n: int) -> Int[ndarray, " drawn"]:
    """The architectures to draw: the best, labelled ones, then others at random.

    ``best`` may name one several times. The order is random even if all are drawn: spaces are enumerated in a regular
    order, and the last architectures would cover the others in every plot.
    """
    labelled = np.flatnonzero(~held_out) if held_out is not None else np.zeros(0, np.int64)
    rng = np.random.default_rng(0)
    order = np.concatenate([best, rng.permutation(labelled)[: _DRAWN // 4], rng.permutation(n)])
    _, positions = np.unique(order, return_index=True)
    return order[np.sort(positions)][:_DRAWN]


def _graphs(archs: ArchBatch) -> dict[str, Any]:
    """The concatenated operations of the architectures, and each distinct set of edges once, as a "shape"."""
    shapes: dict[tuple[int, bytes], int] = {}
    described: list[dict[str, Any]] = []
    which = []
    for index, nodes in enumerate(np.diff(archs.node_offsets)):
        edges = archs.edges[:, archs.edge_offsets[index] : archs.edge_offsets[index + 1]]
        number = shapes.setdefault((int(nodes), edges.tobytes()), len(shapes))
        if number == len(described):
            described.append({"nodes": int(nodes), "edges": edges.T.tolist()})
        which.append(number)
    return {
        "vocabulary": list(archs.vocabulary),
        "operations": archs.operations.tolist(),
        "shapes": described,
        "shape": which,
    }


def _principal_components(surrogate: Float[ndarray, "n k"]) -> tuple[Float[ndarray, "n 2"], list[float]]:
    """The first two principal components of the standardised surrogate, and the share of variance each explains."""
    spread = surrogate.std(axis=0, dtype=np.float64)
    standard = (surrogate - surrogate.mean(axis=0, dtype=np.float64)) / np.where(spread > 0, spread, 1)
    left, singular, right = np.linalg.svd(standard, full_matrices=False)
    # The sign of a component is arbitrary; fix it so that a surrogate always gives the same map.
    sign = np.sign(right[np.arange(len(right)), np.abs(right).argmax(axis=1)])
    components = left * singular * np.where(sign == 0, 1, sign)
    total = float((singular**2).sum())
    shares = [float(value) / total if total > 0 else 0.0 for value in singular**2] + [0.0, 0.0]
    return np.pad(components, ((0, 0), (0, 2)))[:, :2], shares[:2]


def _ranks(values: Float[ndarray, " n"]) -> Float[ndarray, " n"]:
    """1 + the number of strictly higher values; NaN where the value is NaN."""
    values = np.asarray(values, dtype=np.float64)
    known = np.sort(values[~np.isnan(values)])
    return np.where(np.isnan(values), np.nan, 1 + len(known) - np.searchsorted(known, values, side="right"))


def _colour_bar(values: Float[ndarray, " n"]) -> dict[str, Any]:
    """Values and their positions on the map's colour bar, which runs over ranks from 0 (worst) to 1 (best).

    Accuracies have a long tail (NAS-Bench-201: down to 10 %), so on a linear scale the others would share one colour.
    """
    ticks = np.nanquantile(values, _QUANTILES, method="nearest")
    return {"at": _QUANTILES, "label": _rounded(ticks, 6)}


def _rounded(values: Float[ndarray, " n"], digits: int) -> list[float | None]:
    """Values rounded to ``digits`` significant digits, to keep the page small."""
    return [float(f"{value:.{digits}g}") if math.isfinite(value) else None for value in values.tolist()]


def _integers(values: Float[ndarray, " n"]) -> list[int | None]:
    return [int(value) if math.isfinite(value) else None for value in values.tolist()]


def _plain(value: Any) -> Any:
    """The value in JSON types: NaN and infinity become null, unknown types become text."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(item) for item in value]
    if isinstance(value, ndarray | np.generic):
        return _plain(value.tolist())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, bool | int | str) else str(value)


def _packed(text: str) -> str:
    """The text compressed, in characters that are safe inside a script element; ``unpack.js`` is the inverse."""
    return base64.b64encode(gzip.compress(text.encode(), mtime=0)).decode("ascii")
