import itertools
import re

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import archflow
from archflow.archs.batch import ArchBatch
from archflow.benchmarks.nasbench201.space import OPERATIONS, NASBench201
from archflow.benchmarks.nasbench_graph.space import NASBenchGraph
from tests import shared_data

SPACE = NASBench201()
STRING = "|nor_conv_3x3~0|+|none~0|skip_connect~1|+|avg_pool_3x3~0|nor_conv_1x1~1|none~2|"


@pytest.fixture(scope="module")
def cells() -> ArchBatch:
    return SPACE.enumerate()


def write(edges: tuple[str, ...]) -> str:
    """The string of a cell from the operations of the edges 0→1, 0→2, 1→2, 0→3, 1→3, 2→3."""
    a, b, c, d, e, f = edges
    return f"|{a}~0|+|{b}~0|{c}~1|+|{d}~0|{e}~1|{f}~2|"


# What is in the space


def test_enumerate_holds_every_cell_once_in_the_order_of_its_strings(cells):
    assert SPACE.size == len(cells) == 15_625
    assert SPACE.format(cells) == [write(edges) for edges in itertools.product(OPERATIONS, repeat=6)]
    assert cells == SPACE.enumerate()


def test_a_cell_is_the_line_graph_of_its_edges():
    edge_list = [(0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3)]
    expected = {(0, 1 + i) for i, edge in enumerate(edge_list) if edge[0] == 0}
    expected |= {(1 + i, 7) for i, edge in enumerate(edge_list) if edge[1] == 3}
    expected |= {(1 + i, 1 + j) for (i, a), (j, b) in itertools.product(enumerate(edge_list), repeat=2) if a[1] == b[0]}
    operations, edges = SPACE.parse([STRING]).graph(0)
    assert operations == [
        *("input", "nor_conv_3x3", "none", "skip_connect", "avg_pool_3x3", "nor_conv_1x1", "none", "output")
    ]
    assert set(edges) == expected
    assert len(edges) == len(expected) == 10


def test_the_registry_returns_it():
    assert isinstance(archflow.space("nasbench201"), NASBench201)
    assert SPACE.vocabulary == ("input", *OPERATIONS, "output")
    assert SPACE.flow_defaults == (7, 0.1)


# Strings


def test_parse_undoes_format(cells):
    assert SPACE.parse(SPACE.format(cells)) == cells


@given(st.lists(st.tuples(*[st.sampled_from(OPERATIONS)] * 6), min_size=1, max_size=5))
def test_format_undoes_parse(drawn):
    strings = [write(edges) for edges in drawn]
    assert SPACE.format(SPACE.parse([f" {string}\n" for string in strings])) == strings


@given(st.text("|~+012 nonedskip_ct", max_size=40))
def test_any_other_text_is_an_error_with_its_line(text):
    with pytest.raises(ValueError, match=r"^line 2: .*, in '"):
        SPACE.parse([STRING, text])


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
def test_parse_says_what_is_wrong_and_where(string, reason):
    with pytest.raises(ValueError, match="^" + re.escape(f"line 12: {reason}")) as caught:
        SPACE.parse([STRING, STRING, string], first_line=10)
    assert str(caught.value).endswith(f", in {string!r}")


def test_parse_needs_a_string():
    with pytest.raises(ValueError, match="empty"):
        SPACE.parse([])


# Sampling and mutation


def test_sample_repeats_nothing_and_follows_its_seed():
    drawn = SPACE.sample(2_000, seed=3)
    assert len(set(SPACE.format(drawn))) == 2_000
    assert drawn == SPACE.sample(2_000, seed=3)
    assert drawn != SPACE.sample(2_000, seed=4)
    assert sorted(SPACE.format(SPACE.sample(15_625))) == sorted(SPACE.format(SPACE.enumerate()))


@pytest.mark.parametrize("n", [-1, 0, 15_626])
def test_sample_refuses_a_number_it_cannot_draw(n):
    with pytest.raises(ValueError, match=f"cannot draw {n} different architectures: nasbench201 has 15,625"):
        SPACE.sample(n)


def test_mutate_changes_exactly_one_edge(cells):
    before, after = SPACE.operations(cells), SPACE.operations(SPACE.mutate(cells, seed=1))
    changed = before != after
    assert (changed.sum(axis=1) == 1).all()
    assert changed.sum(axis=0).min() > 15_625 / 6 * 0.9  # no edge is preferred
    steps = np.bincount(before[changed] * 5 + after[changed], minlength=25).reshape(5, 5)
    assert steps[~np.eye(5, dtype=bool)].min() > 15_625 / 20 * 0.8  # nor a pair of operations
    assert SPACE.mutate(cells, seed=1) == SPACE.mutate(cells, seed=1)
    assert SPACE.mutate(cells, seed=1) != SPACE.mutate(cells, seed=2)


def test_architectures_of_another_space_are_refused():
    other = NASBenchGraph().sample(2)
    for method in (SPACE.format, SPACE.mutate, SPACE.parameters, SPACE.flops):
        with pytest.raises(ValueError, match="of another space than nasbench201"):
            method(other)


# Sizes


class Network(nn.Module):
    """The benchmark's CIFAR-10 network, layer by layer, of the operations of a cell's six edges."""

    def __init__(self, edges: list[str]) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16))
        blocks: list[nn.Module] = []
        for channels in (16, 32, 64):
            if channels > 16:
                blocks.append(Reduction(channels // 2, channels))
            blocks += [Cell(edges, channels) for _ in range(5)]
        self.blocks = nn.Sequential(*blocks)
        self.norm, self.classifier = nn.BatchNorm2d(64), nn.Linear(64, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.classifier(self.norm(self.blocks(self.stem(x))).relu().mean(dim=(2, 3)))


class Reduction(nn.Module):
    def __init__(self, c_in: int, c_out: int) -> None:
        super().__init__()
        self.main = nn.Sequential(conv_block(c_in, c_out, 3, stride=2), conv_block(c_out, c_out, 3))
        self.shortcut = nn.Sequential(nn.AvgPool2d(2), nn.Conv2d(c_in, c_out, 1, bias=False))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.main(x) + self.shortcut(x)


class Cell(nn.Module):
    def __init__(self, edges: list[str], channels: int) -> None:
        super().__init__()
        make = {
            "none": lambda: None,
            "skip_connect": nn.Identity,
            "nor_conv_1x1": lambda: conv_block(channels, channels, 1),
            "nor_conv_3x3": lambda: conv_block(channels, channels, 3),
            "avg_pool_3x3": lambda: nn.AvgPool2d(3, stride=1, padding=1, count_include_pad=False),
        }
        self.edges = nn.ModuleList([make[name]() for name in edges])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        nodes = [x]
        edges = iter(self.edges)
        for target in (1, 2, 3):
            read = [(next(edges), nodes[source]) for source in range(target)]
            nodes.append(sum((edge(value) for edge, value in read if edge is not None), torch.zeros_like(x)))
        return nodes[3]


def conv_block(c_in: int, c_out: int, size: int, stride: int = 1) -> nn.Module:
    conv = nn.Conv2d(c_in, c_out, size, stride=stride, padding=size // 2, bias=False)
    return nn.Sequential(nn.ReLU(), conv, nn.BatchNorm2d(c_out))


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
def test_sizes_are_those_of_the_network_itself(edges):
    network = Network(list(edges))
    archs = SPACE.parse([write(edges)])
    assert SPACE.parameters(archs).tolist() == [sum(weight.numel() for weight in network.parameters())]
    assert SPACE.flops(archs).tolist() == [multiply_accumulates(network)]


def test_sizes_have_the_published_extremes(cells):
    parameters, flops = SPACE.parameters(cells), SPACE.flops(cells)
    assert (parameters.min(), parameters.max()) == (73_306, 1_531_546)
    assert (flops.min(), flops.max()) == (7_783_050, 220_119_690)


def assert_equal_to_six_digits(exact: np.ndarray, published: np.ndarray) -> None:
    unit = 10.0 ** (np.floor(np.log10(published)) - 5)
    assert np.abs(exact - published).max() > 0  # the published numbers are rounded, so this compares something
    assert (np.abs(exact - published) <= 0.5001 * unit).all()


def test_parameters_are_those_of_the_published_table(cells):
    published = shared_data.nasbench201()["params"] * 1e6
    known = ~np.isnan(published)
    assert known.sum() == 9_445
    assert_equal_to_six_digits(SPACE.parameters(cells)[known], published[known])


def test_flops_are_those_of_the_published_table(cells):
    """That table also counts 3 for each element that passes a batch norm with ReLU, 9 for one that passes a pooling."""
    published = shared_data.nasbench201()["flops"] * 1e6
    known = ~np.isnan(published)
    operations = SPACE.operations(cells)
    convolutions = np.isin(operations, [OPERATIONS.index(f"nor_conv_{size}") for size in ("1x1", "3x3")]).sum(axis=1)
    pools = (operations == OPERATIONS.index("avg_pool_3x3")).sum(axis=1)
    elements = 5 * (16 * 32 * 32 + 32 * 16 * 16 + 64 * 8 * 8)
    assert (3 * elements, 9 * elements) == (430_080, 1_290_240)
    exact = SPACE.flops(cells) + 3 * elements * convolutions + 9 * elements * pools + 160_820
    assert_equal_to_six_digits(exact[known], published[known])
