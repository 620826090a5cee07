"""Plots of the studies: PNG and SVG files, and an HTML page with the table."""

from __future__ import annotations

import html
import io
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from archflow.studies.grids import STUDIES, Study
from archflow.studies.lines import by_space
from archflow.studies.speed import fastest_first
from archflow.studies.tables import Row, rows
from archflow.support.files import write_atomically

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""The palette of Okabe and Ito, safe for colour-blind readers."""

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 1100px; margin: 2rem auto; padding: 0 1rem }
svg { width: 100%; height: auto }
table { border-collapse: collapse; margin: 1rem 0 }
td, th { padding: 0.2rem 0.6rem; border-bottom: 1px solid #ddd; text-align: left }
"""


def draw(name: str, lines: Sequence[dict[str, Any]]) -> Figure:
    """The figure of a study, with a row of panels for each space.

    A ranking study has one panel for τ and one for P@1%: curves along its axis x if it has one, else one point per row.
    Error bars are sample standard deviations; rings mark published values.
    """
    if name in STUDIES:
        return _ranking(STUDIES[name], lines)
    fill = {"operation-probe": _fill_probe, "speed": _fill_speed}[name]
    spaces = by_space(lines)
    figure = Figure(figsize=(10, 3 * len(spaces)), layout="constrained")
    for (panel,), (space, group) in zip(figure.subplots(len(spaces), 1, squeeze=False), spaces.items(), strict=True):
        panel.set_title(space, fontsize=10)
        fill(panel, group)
        panel.invert_yaxis()
        panel.grid(alpha=0.3)
    return figure


def save(name: str, lines: Sequence[dict[str, Any]], stem: Path) -> list[Path]:
    """Write the figure of a study to ``stem`` with the suffixes .png and .svg; returns the files."""
    figure = draw(name, lines)
    FigureCanvasAgg(figure)
    files = []
    with matplotlib.rc_context({"svg.hashsalt": "archflow", "svg.fonttype": "none"}):
        for kind in ("png", "svg"):
            held = io.BytesIO()
            figure.savefig(held, format=kind, dpi=150, metadata={"Date": None} if kind == "svg" else {})
            files.append(stem.with_name(f"{stem.name}.{kind}"))
            write_atomically(files[-1], held.getvalue())
    return files


def write_page(path: Path, title: str, table: str, drawing: str) -> None:
    """Write a self-contained HTML page with the table (Markdown) and the figure (SVG)."""
    body = [f"<h1>{html.escape(title)}</h1>"]
    for block in table.strip().split("\n\n"):
        lines = [[text.strip() for text in line.strip().strip("|").split("|")] for line in block.splitlines()]
        if len(lines) < 2:
            body.append(f"<p>{html.escape(block)}</p>")
            continue
        head, rows = lines[0], lines[2:]
        body.append("<table><tr>" + "".join(f"<th>{_bold(text)}</th>" for text in head) + "</tr>")
        body += ["<tr>" + "".join(f"<td>{_bold(text)}</td>" for text in row) + "</tr>" for row in rows]
        body.append("</table>")
    body.append(drawing[max(0, drawing.find("<svg")) :])
    top = f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{html.escape(title)}</title>'
    write_atomically(path, f"{top}<style>{STYLE}</style>" + "\n".join(body) + "</html>\n")


def _bold(text: str) -> str:
    return re.sub(r"\*\*(.+?)\*\*", r"<b>\1</b>", html.escape(text))


def _ranking(study: Study, lines: Sequence[dict[str, Any]]) -> Figure:
    found = rows(lines)
    spaces = list(dict.fromkeys(row.names["space"] for row in found))
    tallest = max(sum(row.names["space"] == space for row in found) for space in spaces)
    height = 3.2 if study.x else 1.3 + 0.3 * tallest
    figure = Figure(figsize=(10, height * len(spaces)), layout="constrained")
    panels = figure.subplots(len(spaces), 2, squeeze=False)
    for across, space in zip(panels, spaces, strict=True):
        group = [row for row in found if row.names["space"] == space]
        for panel, (name, title) in zip(across, {"tau": "Kendall’s τ", "p_at_1": "P@1%"}.items(), strict=True):
            panel.set_title(f"{space}: {title} ×100", fontsize=10)
            if study.x:
                _over(panel, study.x, group, name)
            else:
                _beside(panel, group, name)
            panel.grid(alpha=0.3)
    return figure


def _over(panel: Any, axis: str, group: list[Row], name: str) -> None:
    lines: dict[str, list[Row]] = {}
    for row in sorted(group, key=lambda row: float(row.names[axis])):
        lines.setdefault(_method(row), []).append(row)
    for number, (method, line) in enumerate(lines.items()):
        colour = COLOURS[number % len(COLOURS)]
        x = [100 * row.names[axis] for row in line]
        y, spread = [row.mean(name) for row in line], [_deviation(row.values(name)) for row in line]
        panel.errorbar(x, y, spread, marker="o", capsize=3, label=method, color=colour)
        for place, row in zip(x, line, strict=True):
            _ring(panel, place, _published(row, name), colour)
    panel.set_xlabel({"labels": "labelled, % of the pool", "share": "pre-trained on, % of the space"}[axis])
    panel.legend(fontsize=8)


def _beside(panel: Any, group: list[Row], name: str) -> None:
    labels = []
    encoders = list(dict.fromkeys(row.names["encoder"] for row in group))
    for place, row in enumerate(group):
        colour = COLOURS[encoders.index(row.names["encoder"]) % len(COLOURS)]
        panel.errorbar(row.mean(name), place, xerr=_deviation(row.values(name)), marker="o", capsize=3, color=colour)
        _ring(panel, _published(row, name), place, colour)
        labels.append(_method(row) + (f", {row.names['share']}" if row.names["share"] != 1 else ""))
    panel.set_yticks(range(len(labels)), labels, fontsize=8)
    panel.invert_yaxis()


def _method(row: Row) -> str:
    encoder, pretext, head = (row.names[axis] for axis in ("encoder", "pretext", "head"))
    if encoder == "none":
        return str(head)
    return f"{encoder}, {pretext}" + (f", {head}" if head != "finetune" else "")


def _ring(panel: Any, x: float | None, y: float | None, colour: str) -> None:
    if x is not None and y is not None:
        panel.plot(x, y, marker="o", markersize=9, fillstyle="none", color=colour)


def _published(row: Row, score: str) -> float | None:
    given: float | None = getattr(row.published, score, None)
    return given


def _deviation(values: np.ndarray) -> float:
    return float(values.std(ddof=1)) if len(values) > 1 else np.nan


def _fill_probe(panel: Any, group: list[dict[str, Any]]) -> None:
    names = list(group[0]["operations"])
    for place, name in enumerate(names):
        right = 100 * np.array([line["operations"][name] for line in group])
        blind = 100 * np.mean([line["more_common"][name] for line in group])
        panel.errorbar(right.mean(), place, xerr=_deviation(right), marker="o", capsize=3, color=COLOURS[0])
        panel.plot(blind, place, marker="x", color=COLOURS[1])
    panel.set_yticks(range(len(names)), names, fontsize=8)
    panel.set_xlabel("right, %; a cross: always the more common answer")


def _fill_speed(panel: Any, group: list[dict[str, Any]]) -> None:
    names, rates = zip(*fastest_first(group), strict=True)
    panel.barh(range(len(names)), rates, color=COLOURS[0])
    panel.set_xscale("log")
    panel.set_yticks(range(len(names)), names, fontsize=8)
    panel.set_xlabel("architectures/s")
