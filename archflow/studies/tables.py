"""The studies that rank as Markdown tables, from lines of results alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np
from scipy.stats import wilcoxon

from archflow.studies.grids import PUBLISHED, Published

ROW_AXES = ("space", "encoder", "pretext", "labels", "share")


class Row(NamedTuple):
    """The runs that differ in seed and split only.

    Attributes:
        names: its place on each of ``ROW_AXES``.
        lines: its runs.
        published: what the paper gives for it.
    """

    names: dict[str, Any]
    lines: list[dict[str, Any]]
    published: Published | None

    def values(self, figure: str) -> np.ndarray:
        """A figure of all runs, ×100."""
        return 100 * np.array([line[figure] for line in self.lines], dtype=float)

    def mean(self, figure: str) -> float:
        """Its mean, ×100; a run where it is not defined, as τ of equal scores, makes it NaN."""
        return float(self.values(figure).mean())


def row_of(line: Mapping[str, Any]) -> tuple[Any, ...]:
    """Its place on each of ``ROW_AXES``."""
    return tuple(line[axis] for axis in ROW_AXES)


def rows(lines: Iterable[dict[str, Any]]) -> list[Row]:
    """Lines grouped by all axes but seed and split, in the order in which they first come."""
    groups: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for line in lines:
        groups.setdefault(row_of(line), []).append(line)
    return [
        Row(
            dict(zip(ROW_AXES, place, strict=True)),
            its,
            PUBLISHED.get(place[:3]) if place[3] == 0.01 and place[4] == 1 else None,
        )
        for place, its in groups.items()
    ]


def ranking_table(lines: Sequence[dict[str, Any]]) -> str:
    """Mean ± sample standard deviation of each figure, ×100, beside the published one; the best of its kind is bold.

    Rows are compared that differ in pre-training alone.
    """
    found = rows(lines)
    axes = [axis for axis in ROW_AXES if axis in ROW_AXES[:3] or len({str(row.names[axis]) for row in found}) > 1]
    headings = [*axes, "runs", "τ", "published", "P@1%", "published", "P@5%", "validation τ", "seconds"]
    text = [" | ".join(headings), " | ".join(["---"] * len(axes) + ["---:"] * (len(headings) - len(axes)))]
    for row in found:
        kin = [other for other in found if _rivals(other) == _rivals(row)]
        published = row.published or Published(np.nan)
        cells = [_label(axis, row.names[axis]) for axis in axes]
        cells.append(str(len(row.lines)))
        for figure, given in (("tau", published.tau), ("p_at_1", published.p_at_1), ("p_at_5", None)):
            mean = row.mean(figure)
            best = len(kin) > 1 and not np.isnan(mean) and not any(other.mean(figure) > mean for other in kin)
            cells.append(f"**{spread(row.values(figure))}**" if best else spread(row.values(figure)))
            if figure != "p_at_5":
                cells.append("" if given is None or np.isnan(given) else f"{given:.1f}")
        cells.append(f"{row.mean('validation_tau'):.1f}")
        seconds = [line["seconds"] + line["pretrain_seconds"] for line in row.lines]
        cells.append(f"{np.mean(seconds):,.0f}")
        text.append(" | ".join(cells))
    return "".join(f"| {line} |\n" for line in text)


def draws_table(lines: Sequence[dict[str, Any]]) -> str:
    """The ranking table, and whether any two draws differ: Wilcoxon's signed-rank test over the runs of both.

    p-values are two-sided and not corrected for how many pairs there are. Published: no significant difference.
    """
    text = [ranking_table(lines), "\n| space | encoder | draws | runs | τ apart, ×100 | p |\n"]
    text.append("| --- | --- | --- | ---: | ---: | ---: |\n")
    by_kind: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows(lines):
        by_kind.setdefault(_rivals(row), []).append(row)
    for its in by_kind.values():
        for one, other in combinations(its, 2):
            taus = [{(line["seed"], line["split"]): line["tau"] for line in row.lines} for row in (one, other)]
            both = [run for run in sorted(taus[0].keys() & taus[1].keys()) if None not in (taus[0][run], taus[1][run])]
            apart = np.array([taus[0][run] - taus[1][run] for run in both])
            p = f"{wilcoxon(apart).pvalue:.3f}" if len(apart) > 1 and apart.any() else ""
            names = f"{one.names['pretext']}, {other.names['pretext']}"
            apart_by = f"{100 * apart.mean():.1f}" if len(apart) else ""
            text.append(
                f"| {one.names['space']} | {one.names['encoder']} | {names} | {len(both)} | {apart_by} | {p} |\n"
            )
    return "".join(text)


def spread(values: np.ndarray) -> str:
    """Mean ± sample standard deviation; of one run the value alone."""
    return f"{values.mean():.1f}" + (f" ± {values.std(ddof=1):.1f}" if len(values) > 1 else "")


def _rivals(row: Row) -> tuple[Any, ...]:
    return tuple(value for axis, value in row.names.items() if axis not in ("pretext", "share"))


def _label(axis: str, value: Any) -> str:
    return f"{value:.0%}" if axis in ("labels", "share") and not isinstance(value, str) and value <= 1 else str(value)
