"""The closed forms against real random networks, plain path sums, simulations, and the published proxies."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from torch import nn
from torch.nn import functional

from archflow.benchmarks.nasbench101 import closed_form as signal
from archflow.benchmarks.nasbench101.cells import OPERATIONS, unpack
from archflow.benchmarks.nasbench101.space import NASBench101
from archflow.benchmarks.networks import network
from archflow.zero_cost.measures import measure
from tests import shared_data
from tests.benchmarks.network_references import each

SPACE = NASBench101()
CLOSED_FORMS = {
    "rectifiers": signal.rectifiers,
    "l2_norm": signal.l2_norm,
    "synflow": signal.synflow,
    **{name: lambda *cells, name=name: getattr(signal.propagate(*cells), name) for name in signal.Signal._fields},
}


def arrays(archs):
    """Adjacency and operations as the closed forms take them."""
    return unpack(SPACE.keys(archs))[1:]


def plain(adjacency, operations):
    """Matrix and operations of one cell without padding."""
    size = operations.tolist().index(signal.OUTPUT) + 1
    return adjacency[:size, :size].tolist(), operations[:size].tolist()


# Real networks


def measured(archs, width, names):
    """Proxies of small random networks, measured on random images."""
    torch.manual_seed(0)
    images, labels = torch.randn(16, 3, 16, 16), torch.randint(10, (16,))
    rows = [measure(network("nasbench101", arch, width=width), images, labels, names) for arch in each(archs)]
    return {name: [row[name] for row in rows] for name in names}


def test_the_signal_ranks_cells_as_small_random_networks_do():
    archs = SPACE.sample(30, seed=1)
    expected = signal.propagate(*arrays(archs))._asdict()
    for name, values in measured(archs, 32, signal.Signal._fields).items():
        assert spearmanr(expected[name], values).statistic > 0.85, name


def test_rectifiers_rank_cells_as_nwot_does_in_small_random_networks():
    archs = SPACE.sample(25, seed=5)
    (values,) = measured(archs, 20, ["nwot"]).values()
    assert spearmanr(signal.rectifiers(*arrays(archs)), values).statistic > 0.9


def test_weights_and_rectifiers_are_those_of_the_whole_network():
    archs = SPACE.sample(12, seed=2)
    norms, counts = [], []
    torch.manual_seed(0)
    for arch in each(archs):
        net = network("nasbench101", arch).body[1:]  # without stem and classifier
        norms.append(sum(m.weight.norm().item() for m in net.modules() if isinstance(m, nn.Conv2d)))
        counts.append(0)
        for relu in (module for module in net.modules() if isinstance(module, nn.ReLU)):
            relu.register_forward_hook(lambda _m, _x, out: counts.append(counts.pop() + out.numel()))
        with torch.no_grad():
            net(torch.zeros(1, 128, 32, 32))
    assert np.exp(signal.l2_norm(*arrays(archs))) == pytest.approx(norms, rel=0.01)
    assert signal.rectifiers(*arrays(archs)) == pytest.approx(counts, rel=0.01)


# Plain versions and simulations


def paths(matrix, start=0):
    """All paths from a vertex to the output, as lists of what follows it."""
    if start == len(matrix) - 1:
        return [[]]
    return [[v, *rest] for v in range(len(matrix)) if matrix[start][v] for rest in paths(matrix, v)]


def test_synflow_is_the_sum_over_paths_of_the_product_of_gains():
    adjacency, operations = arrays(SPACE.sample(60, seed=3))
    for index in range(len(adjacency)):
        matrix, labels = plain(adjacency[index], operations[index])
        last, total = len(labels) - 1, 0.0
        ends = sum(row[last] for row in matrix[1:])
        for entering, leaving in ((128, 128), (128, 256), (256, 512)):
            for cell in range(3):
                flow = 0.0
                for path in paths(matrix):
                    inner = path[:-1]
                    width = leaving / ends if inner else leaving
                    product = (leaving if cell else entering) * math.sqrt(4 / (math.pi * width))
                    for v in inner:
                        taps = {signal.CONV_3X3: 9, signal.CONV_1X1: 1}.get(labels[v])
                        # so many weights meet in an output, each of which is half-normal
                        product *= taps * width * math.sqrt(2 / math.pi) * math.sqrt(2 / (taps * width)) if taps else 1
                    flow += product / ends if inner else product
                total += math.log(flow)
        assert signal.synflow(adjacency[[index]], operations[[index]])[0] == pytest.approx(total)


def test_rectifiers_and_maxima_of_maps_whose_pixels_correlate_by_half():
    rng = np.random.default_rng(0)
    pixels = (rng.standard_normal((200_000, 1)) + rng.standard_normal((200_000, 9))) / math.sqrt(2)
    is_open, maximum = pixels > 0, np.maximum(pixels, 0).max(axis=1)
    assert np.maximum(pixels, 0).var() == pytest.approx(signal.RECTIFIED, rel=0.02)
    assert maximum.var() == pytest.approx(signal.POOLED, rel=0.02)
    assert is_open[:, 0].mean() == pytest.approx(signal.PASS, abs=0.01)
    assert (is_open[:, 0] & is_open[:, 1]).mean() == pytest.approx(signal.PASS_SHARED, abs=0.01)
    assert (maximum > 0).mean() == pytest.approx(signal.PASS_MAXIMUM, abs=0.01)


def test_a_gradient_that_all_pixels_share_gathers_at_the_maxima():
    maps = torch.randn(1, 20, 100, 100, generator=torch.Generator().manual_seed(0), requires_grad=True)
    functional.max_pool2d(maps, 3, 1).sum().backward()
    inside = maps.grad[:, :, 4:-4, 4:-4]
    assert inside.mean().item() == pytest.approx(1, rel=0.01)
    assert (inside**2).mean().item() == pytest.approx(signal.GATHERED, rel=0.02)


# The arrays


def test_a_cell_counts_the_same_alone_in_any_company_and_in_any_numbering():
    conv3, conv1, pool = OPERATIONS
    matrix = np.zeros((6, 6), dtype=int)
    for edge in ((0, 1), (0, 2), (1, 3), (2, 3), (2, 4), (3, 5), (4, 5), (0, 5)):
        matrix[edge] = 1
    labels = ["input", conv3, pool, conv1, conv3, "output"]
    numbers = np.array([SPACE.vocabulary.index(label) for label in labels])
    versions = np.zeros((3, 7, 7), dtype=bool), np.full((3, 7), signal.OUTPUT)
    for row, order in enumerate(([0, 1, 2, 3, 4, 5], [0, 2, 1, 3, 4, 5], [0, 2, 4, 1, 3, 5])):
        versions[0][row, :6, :6], versions[1][row, :6] = matrix[np.ix_(order, order)], numbers[order]
    mixed = arrays(SPACE.sample(5, seed=4))
    company = [np.concatenate([more, own]) for more, own in zip(mixed, versions, strict=True)]
    for name, closed_form in CLOSED_FORMS.items():
        values = closed_form(*versions)
        assert values == pytest.approx(np.full(3, values[0])), name
        assert closed_form(*company)[5:] == pytest.approx(values), name
        assert closed_form(*(part[:0] for part in versions)).shape == (0,), name


def test_all_closed_forms_are_finite_over_the_space():
    cells = arrays(SPACE.enumerate()[::37])
    for name, closed_form in CLOSED_FORMS.items():
        values = closed_form(*cells)
        assert values.shape == (len(cells[0]),), name
        assert np.isfinite(values).all(), name
        assert len(np.unique(values)) > 20, name


# Published values


@pytest.mark.parametrize(
    ("name", "least"), [("synflow", 0.99), ("l2_norm", 0.99), ("snip", 0.96), ("grad_norm", 0.95), ("fisher", 0.96)]
)
def test_closed_forms_rank_as_the_published_proxies_do(name, least):
    rows = shared_data.rows("nasbench101_proxies")
    values = CLOSED_FORMS[name](*arrays(SPACE.parse([row["naslib_arch"] for row in rows])))
    assert spearmanr(values, [float(row[name]) for row in rows]).statistic > least


def test_zen_is_the_published_one_up_to_a_constant():
    rows = [row for row in shared_data.rows("nasbench101") if row["zen"]]
    strings = [f"{row['adjacency']}:{','.join(OPERATIONS[int(label)] for label in row['operations'])}" for row in rows]
    published = np.array([float(row["zen"]) for row in rows])
    values = CLOSED_FORMS["zen"](*arrays(SPACE.parse(strings)))
    assert len(rows) == 10_250
    assert spearmanr(values, published).statistic > 0.995
    assert np.polyfit(values, published, 1)[0] == pytest.approx(1, abs=0.05)
