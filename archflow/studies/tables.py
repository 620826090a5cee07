"""Markdown tables of the ranking studies, made from lines of results alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np

from archflow.studies.grids import PUBLISHED, PublishedScores

ROW_AXES = ("space", "encoder", "pretext", "head", "labels", "share")
"""The axes on which the runs of a row agree."""


class Row(NamedTuple):
    """Runs that differ only in seed and split.

    Attributes:
        names: the value of each of ``ROW_AXES``, and the column of accuracies.
        lines: the lines of the runs.
        published: the paper's scores, if there are any.
    """

    names: dict[str, Any]
    lines: list[dict[str, Any]]
    published: PublishedScores | None

    def values(self, score: str) -> np.ndarray:
        """A score of each run, ×100."""
        return 100 * np.array([line[score] for line in self.lines], dtype=float)

    def mean(self, score: str) -> float:
        """The mean of a score, ×100; NaN if it is undefined for a run, as τ is for equal predictions."""
        return float(self.values(score).mean())


def row_of(line: Mapping[str, Any]) -> tuple[Any, ...]:
    """The value of each of ``ROW_AXES``."""
    return tuple(line[axis] for axis in ROW_AXES)


def rows(lines: Iterable[dict[str, Any]]) -> list[Row]:
    """Lines grouped by all axes but seed and split, in order of first appearance."""
    groups: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for line in lines:
        groups.setdefault((*row_of(line), line["column"]), []).append(line)
    return [
        Row(dict(zip((*ROW_AXES, "column"), place, strict=True)), group, _published(*place[:6]))
        for place, group in groups.items()
    ]


def _published(
    space: str, encoder: str, pretext: str, head: str, labels: float, share: float | str
) -> PublishedScores | None:
    return PUBLISHED.get((space, encoder, pretext)) if (head, labels, share) == ("finetune", 0.01, 1) else None


def ranking_table(lines: Sequence[dict[str, Any]]) -> str:
    """Mean ± sample standard deviation of each score, ×100, beside the published score; the best is bold.

    The best is chosen among rows that differ only in pretext and head, and across encoders if some rows have none.
    """
    found = rows(lines)
    without = ("encoder",) if any(row.names["encoder"] == "none" for row in found) else ()
    further = [axis for axis in ("head", "column", "labels", "share") if _varies(axis, found)]
    axes = ["space", "encoder", "pretext", *further]
    headings = [*axes, "runs", "τ", "published", "P@1%", "published", "P@5%", "validation τ", "seconds"]
    text = [" | ".join(headings), " | ".join(["---"] * len(axes) + ["---:"] * (len(headings) - len(axes)))]
    for row in found:
        kin = [other for other in found if _compared(other, without) == _compared(row, without)]
        published = row.published or PublishedScores(np.nan)
        cells = [_label(axis, row.names[axis]) for axis in axes]
        cells.append(str(len(row.lines)))
        for score, given in (("tau", published.tau), ("p_at_1", published.p_at_1), ("p_at_5", None)):
            mean = row.mean(score)
            best = len(kin) > 1 and not np.isnan(mean) and not any(other.mean(score) > mean for other in kin)
            cells.append(f"**{spread(row.values(score))}**" if best else spread(row.values(score)))
            if score != "p_at_5":
                cells.append("" if given is None or np.isnan(given) else f"{given:.1f}")
        cells.append("" if row.lines[0]["best_epoch"] is None else f"{row.mean('validation_tau'):.1f}")
        seconds = [line["seconds"] + line["pretrain_seconds"] for line in row.lines]
        cells.append(f"{np.mean(seconds):,.0f}")
        text.append(" | ".join(cells))
    return "".join(f"| {line} |\n" for line in text)


def gains_table(lines: Sequence[dict[str, Any]]) -> str:
    """Gains from the encoder and from its pre-training: differences on the same seeds and splits, ×100.

    Each row is compared with the same encoder without pre-training, and with the same head without an encoder.
    """
    text = ["| space | encoder | pretext | head | more than | runs | τ | P@1% | P@5% |\n"]
    text.append("| --- | --- | --- | --- | --- | ---: | ---: | ---: | ---: |\n")
    found = rows(lines)
    by_place = {tuple(row.names.values()): row for row in found}
    for row in found:
        for name, changes in (
            ("no pre-training", {"pretext": "none", "share": row.names["share"]}),
            ("no encoder", {"encoder": "none", "pretext": "none"}),
        ):
            other = by_place.get(tuple({**row.names, **changes}.values()))
            if other is None or other is row:
                continue
            both = paired(row, other)
            gains = [spread(100 * np.array([a[score] - b[score] for a, b in both])) for score in SCORES] if both else []
            if gains:
                names = [str(row.names[axis]) for axis in ("space", "encoder", "pretext", "head")]
                text.append(f"| {' | '.join([*names, name, str(len(both)), *gains])} |\n")
    return "".join(text) if len(text) > 2 else ""


SCORES = ("tau", "p_at_1", "p_at_5")


def paired(one: Row, other: Row) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """Pairs of lines with the same seed and split, where τ is defined in both."""
    first, second = ({(line["seed"], line["split"]): line for line in row.lines} for row in (one, other))
    both = [(first[place], second[place]) for place in sorted(first.keys() & second.keys())]
    return [(a, b) for a, b in both if None not in (a["tau"], b["tau"])]


def draws_table(lines: Sequence[dict[str, Any]]) -> str:
    """The ranking table, and Wilcoxon's signed-rank test for each pair of draws, over the runs of both.

    p-values are two-sided and not corrected for multiple comparisons. Published: no significant difference.
    """
    from scipy.stats import wilcoxon

    text = [ranking_table(lines), "\n| space | encoder | draws | runs | τ apart, ×100 | p |\n"]
    text.append("| --- | --- | --- | ---: | ---: | ---: |\n")
    by_kind: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows(lines):
        by_kind.setdefault(_compared(row), []).append(row)
    for group in by_kind.values():
        for one, other in combinations(group, 2):
            both = paired(one, other)
            apart = np.array([first["tau"] - second["tau"] for first, second in both])
            p = f"{wilcoxon(apart).pvalue:.3f}" if len(apart) > 1 and apart.any() else ""
            names = f"{one.names['pretext']}, {other.names['pretext']}"
            apart_by = f"{100 * apart.mean():.1f}" if len(apart) else ""
            text.append(
                f"| {one.names['space']} | {one.names['encoder']} | {names} | {len(both)} | {apart_by} | {p} |\n"
            )
    return "".join(text)


def spread(values: np.ndarray) -> str:
    """Mean ± sample standard deviation; for a single run its value alone."""
    return f"{values.mean():.1f}" + (f" ± {values.std(ddof=1):.1f}" if len(values) > 1 else "")


def _compared(row: Row, without: Sequence[str] = ()) -> tuple[Any, ...]:
    return tuple(value for axis, value in row.names.items() if axis not in ("pretext", "head", "share", *without))


def _varies(axis: str, found: Sequence[Row]) -> bool:
    spaces = {row.names["space"] for row in found}
    return any(len({str(row.names[axis]) for row in found if row.names["space"] == space}) > 1 for space in spaces)


def _label(axis: str, value: Any) -> str:
    if axis not in ("labels", "share") or isinstance(value, str):
        return str(value)
    return f"{value:.0%}" if value <= 1 else f"{value:g}"
