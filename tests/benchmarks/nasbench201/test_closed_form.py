"""The closed forms against real random networks, plain path sums, and the published proxies."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import spearmanr

from archflow.benchmarks.four_nodes import CELL_EDGES
from archflow.benchmarks.nasbench201.closed_form import (
    CONV_1X1,
    CONV_3X3,
    POOL,
    SKIP,
    _forward,
    _matrices,
    propagate,
    rectifiers,
    synflow,
)
from archflow.benchmarks.nasbench201.space import OPERATIONS, NASBench201
from tests import shared_data

SPACE = NASBench201()
ARCHS = SPACE.enumerate()
CELLS = SPACE.encode(ARCHS)
PATHS = ([(0, 3)], [(0, 1), (1, 3)], [(0, 2), (2, 3)], [(0, 1), (1, 2), (2, 3)])


def names_on(cell, path):
    return [OPERATIONS[cell[CELL_EDGES.index(edge)]] for edge in path]


def test_synflow_is_the_sum_over_paths_of_the_product_of_gains():
    for index in range(0, len(CELLS), 61):
        total = 0.0
        for channels in (16, 32, 64):
            gain = {"none": 0, "skip_connect": 1, "avg_pool_3x3": 1}
            gain |= {"nor_conv_1x1": channels**0.5 / 2, "nor_conv_3x3": (9 * channels) ** 0.5 / 2}
            total += 5 * np.log(max(1e-12, sum(np.prod([gain[n] for n in names_on(CELLS[index], p)]) for p in PATHS)))
        assert synflow(CELLS[[index]])[0] == pytest.approx(total)


def test_a_cell_of_skips_shares_its_whole_gradient_and_one_of_convolutions_does_not():
    skips = SPACE.encode(SPACE.parse(["|none~0|+|none~0|none~1|+|skip_connect~0|none~1|none~2|"]))
    convs = SPACE.encode(SPACE.parse(["|nor_conv_3x3~0|+|none~0|nor_conv_3x3~1|+|none~0|none~1|nor_conv_3x3~2|"]))
    assert propagate(convs).jacobian > propagate(skips).jacobian + 5


@pytest.mark.parametrize("cell", ["110110", "334130", "143413", "000300", "313414"])
def test_the_variance_at_a_cells_output_is_that_of_wide_random_features(cell):
    """A cell of random linear maps on white vectors, with ReLU and exact batch norm, a thousand features wide."""
    rng, size, width = np.random.default_rng(0), 600, 600
    operations = [int(digit) for digit in cell]
    nodes = [rng.standard_normal((size, width))]
    for node in (1, 2, 3):
        total = np.zeros((size, width))
        for edge, (source, target) in enumerate(CELL_EDGES):
            name = OPERATIONS[operations[edge]]
            if target != node or name == "none":
                continue
            x = nodes[source]
            if "conv" in name:
                y = np.maximum(x, 0) @ rng.standard_normal((width, width))
                x = (y - y.mean(0)) / y.std(0)
            elif name == "avg_pool_3x3":
                x = x / 3
            total += x
        nodes.append(total)
    one = np.array([operations])
    linear = _matrices(one == SKIP) + _matrices(one == POOL) / 3
    expected = _forward(np.ones(1), linear, _matrices((one == CONV_1X1) | (one == CONV_3X3)))[0]
    assert [node.var() for node in nodes] == pytest.approx(np.where(expected < 1e-9, 0, expected), rel=0.06)


@pytest.mark.parametrize(("ours", "theirs", "least"), [("synflow", "synflow", 0.99), ("rectifiers", "nwot", 0.95)])
def test_closed_forms_rank_as_the_published_proxies_do(ours, theirs, least):
    published = shared_data.nasbench201()
    known = ~np.isnan(published[theirs])
    closed = {"synflow": synflow, "rectifiers": rectifiers}[ours](CELLS)
    assert spearmanr(closed[known], published[theirs][known]).statistic > least


def test_the_jacobian_ranks_much_as_jacov_does():
    published = shared_data.nasbench201()
    known = ~np.isnan(published["jacov"])
    assert spearmanr(propagate(CELLS).jacobian[known], published["jacov"][known]).statistic > 0.85
