"""The flow surrogate of all 15,625 NAS-Bench-201 cells beside the plain loop of the tests, cells per second."""

from __future__ import annotations

from statistics import median

import archflow
from bench.measure import Row, timed
from tests import references

SAMPLE = 40
"""The plain loop is timed on every 40th cell only, assuming the same rate for all."""


def rows() -> list[Row]:
    space = archflow.space("nasbench201")
    archs = space.enumerate()
    draw = archflow.FlowDraw.sample(len(space.vocabulary), k=7, std=0.1)
    graphs = [archs.graph(index) for index in range(0, len(archs), SAMPLE)]

    def plain() -> object:
        return references.flow_surrogate(graphs, list(space.vocabulary), draw.r, draw.P, draw.W)

    first, again = [], []
    for _ in range(15):
        batch = space.enumerate()  # a new one each time, without cached values
        first.append(timed(lambda batch=batch: archflow.flow_surrogate(batch, draw)))
        again.append(timed(lambda batch=batch: archflow.flow_surrogate(batch, draw)))
    theirs = len(graphs) / median(timed(plain) for _ in range(3))
    return [
        Row("flow surrogate, k = 7, first call", "plain loop", len(archs) / median(first), theirs, 1000),
        Row("flow surrogate, k = 7, another draw", "plain loop", len(archs) / median(again), theirs, 1000),
    ]
