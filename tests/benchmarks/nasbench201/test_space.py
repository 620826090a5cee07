import itertools
import re

import numpy as np
import pytest
import torch
from torch import nn

from archflow.benchmarks.nasbench201.space import OPERATIONS, NASBench201
from archflow.benchmarks.networks import network
from tests import shared_data
from tests.benchmarks.network_references import EDGES

SPACE = NASBench201()
CELLS = SPACE.enumerate()
STRING = "|nor_conv_3x3~0|+|none~0|skip_connect~1|+|avg_pool_3x3~0|nor_conv_1x1~1|none~2|"


def write(edges: tuple[str, ...]) -> str:
    """The string of a cell from the operations of the edges 0→1, 0→2, 1→2, 0→3, 1→3, 2→3."""
    a, b, c, d, e, f = edges
    return f"|{a}~0|+|{b}~0|{c}~1|+|{d}~0|{e}~1|{f}~2|"


def test_enumerate_holds_every_cell_once_in_the_order_of_its_strings():
    assert SPACE.format(CELLS) == [write(edges) for edges in itertools.product(OPERATIONS, repeat=6)]


def test_a_cell_is_the_line_graph_of_its_edges():
    expected = {(0, 1 + i) for i, edge in enumerate(EDGES) if edge[0] == 0}
    expected |= {(1 + i, 7) for i, edge in enumerate(EDGES) if edge[1] == 3}
    expected |= {(1 + i, 1 + j) for (i, a), (j, b) in itertools.product(enumerate(EDGES), repeat=2) if a[1] == b[0]}
    archs = SPACE.parse([STRING])
    operations, edges = archs.graph(0)
    chosen = ["nor_conv_3x3", "none", "skip_connect", "avg_pool_3x3", "nor_conv_1x1", "none"]
    assert operations == ["input", *chosen, "output"]
    assert set(edges) == expected
    assert len(edges) == len(expected) == 10
    assert [decision.name for decision in SPACE.decisions] == [f"edge {source}→{target}" for source, target in EDGES]
    assert [SPACE.decisions[0].options[choice] for choice in SPACE.encode(archs)[0]] == chosen


@pytest.mark.parametrize(
    ("string", "reason"),
    [
        ("", "a cell has 3 groups joined by '+', not 1"),
        ("|none~0|+|none~0|none~1|", "a cell has 3 groups joined by '+', not 2"),
        (STRING + "+|none~0|", "a cell has 3 groups joined by '+', not 4"),
        (STRING.replace("|nor_conv_3x3~0|", "nor_conv_3x3~0"), "group 1 must look like |operation~source|…|"),
        (STRING.replace("none~0|skip", "none~0||skip"), "group 2 must look like |operation~source|…|"),
        (STRING.replace("|none~2|", "|"), "group 3 must have 3 operations, not 2"),
        (STRING.replace("none~0", "none"), "'none' in group 2 must end in ~0"),
        (STRING.replace("conv_1x1~1", "conv_1x1~2"), "'nor_conv_1x1~2' in group 3 must end in ~1"),
        (STRING.replace("nor_conv_1x1", "conv7"), "unknown operation 'conv7' (known: none, skip_connect, "),
    ],
)
def test_parse_says_what_is_wrong(string, reason):
    with pytest.raises(ValueError, match="^" + re.escape(reason)):
        SPACE.parse_one(string)


# Sizes


def multiply_accumulates(network: nn.Module) -> int:
    """Of every convolution and linear layer, counted while one image passes; a bias counts as one for each output."""
    counts = []

    def count(layer: nn.Conv2d | nn.Linear, _: object, result: torch.Tensor) -> None:
        counts.append(result.numel() * layer.weight[0].numel() + (0 if layer.bias is None else result.numel()))

    for layer in network.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            layer.register_forward_hook(count)
    with torch.no_grad():
        network.eval()(torch.zeros(1, 3, 32, 32))
    return sum(counts)


@pytest.mark.parametrize(
    "edges",
    [
        ("none",) * 6,
        ("nor_conv_3x3",) * 6,
        ("nor_conv_1x1", "skip_connect", "avg_pool_3x3", "none", "nor_conv_3x3", "nor_conv_1x1"),
        ("avg_pool_3x3", "nor_conv_3x3", "nor_conv_3x3", "skip_connect", "none", "nor_conv_1x1"),
    ],
)
def test_flops_are_those_of_the_network(edges):

    archs = SPACE.parse([write(edges)])
    assert SPACE.flops(archs).tolist() == [multiply_accumulates(network("nasbench201", archs))]


def assert_equal_to_six_digits(exact: np.ndarray, published: np.ndarray) -> None:
    unit = 10.0 ** (np.floor(np.log10(published)) - 5)
    assert np.abs(exact - published).max() > 0  # the published numbers are rounded, so this compares something
    assert (np.abs(exact - published) <= 0.5001 * unit).all()


def test_sizes_are_those_of_the_published_table():
    """Its flops also count 3 for each element that passes a batch norm with ReLU, 9 for one that passes a pooling."""
    published = shared_data.nasbench201()
    operations = SPACE.encode(CELLS)
    convolutions = np.isin(operations, [OPERATIONS.index(f"nor_conv_{size}") for size in ("1x1", "3x3")]).sum(axis=1)
    pools = (operations == OPERATIONS.index("avg_pool_3x3")).sum(axis=1)
    elements = 5 * (16 * 32 * 32 + 32 * 16 * 16 + 64 * 8 * 8)
    assert (3 * elements, 9 * elements) == (430_080, 1_290_240)
    flops = SPACE.flops(CELLS) + 3 * elements * convolutions + 9 * elements * pools + 160_820
    for exact, column in ((SPACE.parameters(CELLS), published["params"]), (flops, published["flops"])):
        known = ~np.isnan(column)
        assert known.sum() == 9_445
        assert_equal_to_six_digits(exact[known], column[known] * 1e6)
