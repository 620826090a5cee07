import itertools
import re
from collections import Counter

import numpy as np
import pytest
import torch
from torch import nn

from archflow.archs.batch import ArchBatch
from archflow.benchmarks.nasbench201.space import NASBench201
from archflow.benchmarks.transnas101.space import TransNASMacro, TransNASMicro
from tests import shared_data

MICRO, MACRO = TransNASMicro(), TransNASMacro()


def cell(digits) -> str:
    a, b, c, d, e, f = digits
    return f"64-41414-{a}_{b}{c}_{d}{e}{f}"


def is_macro(code: str) -> bool:
    """The constraints of the macro space, read off a string of digits."""
    kinds = Counter(code)
    halved, doubled = kinds["3"] + kinds["4"], kinds["2"] + kinds["4"]
    return 4 <= len(code) <= 6 and 1 <= halved <= 4 and 1 <= doubled <= 3


MACRO_CODES = [
    code for length in (4, 5, 6) for code in map("".join, itertools.product("1234", repeat=length)) if is_macro(code)
]


# What is in the spaces


def test_the_micro_space_is_every_choice_of_six_operations():
    assert MICRO.format(MICRO.enumerate()) == [cell(digits) for digits in itertools.product(range(4), repeat=6)]


def test_the_macro_space_is_what_its_constraints_leave():
    assert MACRO.format(MACRO.enumerate()) == sorted(f"64-{code}-basic" for code in MACRO_CODES)


def test_the_shared_table_holds_every_micro_cell():
    strings = [row["tnb_arch_str"] for row in shared_data.rows("transnas101_micro")]
    archs = MICRO.parse(strings)
    assert MICRO.format(archs) == strings
    assert sorted(MICRO.keys(archs).tolist()) == list(range(4_096))


# Graphs


def test_a_cell_has_the_graph_of_a_nasbench201_cell():
    ours = MICRO.parse(["64-41414-1_02_333"])
    theirs = NASBench201().parse(
        ["|skip_connect~0|+|none~0|nor_conv_1x1~1|+|nor_conv_3x3~0|nor_conv_3x3~1|nor_conv_3x3~2|"]
    )
    assert ours.graph(0) == theirs.graph(0)


def test_a_macro_network_is_a_chain():
    names = {"1": "normal", "2": "double_channels", "3": "halve_resolution", "4": "double_and_halve"}
    archs = MACRO.enumerate()
    for index, string in enumerate(MACRO.format(archs)):
        code = string.split("-")[1]
        chain = [(node, node + 1) for node in range(len(code) + 1)]
        assert archs.graph(index) == (["input", *(names[digit] for digit in code), "output"], chain)


def test_keys_by_hand():
    assert MICRO.keys(MICRO.parse(["64-41414-0_00_012", "64-41414-3_33_333"])).tolist() == [6, 4_095]
    assert MACRO.keys(MACRO.parse(["64-1234-basic", "64-12341-basic", "64-444311-basic"])).tolist() == [
        *(123_400, 123_410, 444_311)
    ]


CHAIN = MACRO.parse(["64-1234-basic"]).graph(0)


def changed(graph, node: int, name: str):
    operations, edges = graph
    return [*operations[:node], name, *operations[node + 1 :]], edges


def chain_of(*modules: str):
    return ["input", *modules, "output"], [(node, node + 1) for node in range(len(modules) + 1)]


@pytest.mark.parametrize(
    "graph",
    [
        chain_of("double_and_halve", "normal", "normal"),
        chain_of("double_and_halve", *["normal"] * 6),
        (CHAIN[0], CHAIN[1][1:]),
        (CHAIN[0], [*CHAIN[1], (0, 2)]),
        (CHAIN[0], [*CHAIN[1][1:], (0, 2)]),
        (CHAIN[0], [*CHAIN[1][:-1], (3, 5)]),
        (CHAIN[0], []),
        changed(CHAIN, 5, "normal"),
        changed(CHAIN, 2, "input"),
        changed(CHAIN, 2, "output"),
        (["output", *CHAIN[0][1:5], "input"], CHAIN[1]),
        (CHAIN[0][::-1], [(target, source) for source, target in CHAIN[1]]),
    ],
)
def test_graphs_that_are_no_chains_are_refused(graph):
    archs = ArchBatch.from_graphs([CHAIN, graph, CHAIN], MACRO.vocabulary)
    for method in (MACRO.encode, MACRO.keys, MACRO.format, MACRO.mutate, MACRO.parameters):
        with pytest.raises(
            ValueError, match=r"^architecture 1 is not of transnas101-macro: its nodes must be the input"
        ):
            method(archs)
    assert MACRO.format(archs[[0, 2]]) == ["64-1234-basic"] * 2


@pytest.mark.parametrize(
    "modules",
    [
        ["normal"] * 4,
        ["double_channels"] * 2 + ["normal"] * 2,
        ["halve_resolution"] * 2 + ["normal"] * 2,
        ["double_and_halve"] * 4,
        ["halve_resolution"] * 4 + ["double_and_halve"],
    ],
)
def test_chains_that_change_too_little_or_too_much_are_refused(modules):
    archs = ArchBatch.from_graphs([CHAIN, chain_of(*modules)], MACRO.vocabulary)
    with pytest.raises(
        ValueError, match=r"^architecture 1 is not of transnas101-macro: a network must have 4 to 6 mod"
    ):
        MACRO.keys(archs)


# Strings


@pytest.mark.parametrize(
    "string",
    [
        *("", "1_02_333", "64-41414-1_02_33", "64-41414-1_02_3333", "64-41414-102333", "64-41414-4_02_333"),
        *("64-41414-1_02_33²", "32-41414-1_02_333", "64-4141-1_02_333", "64-41414-1_02_333 64", "64-1234-basic"),
    ],
)
def test_malformed_cells(string):
    with pytest.raises(ValueError, match=r"^a cell is written as 64-41414-a_bc_def, with digits from 0 to 3$"):
        MICRO.parse_one(string)


@pytest.mark.parametrize(
    "string",
    [
        *("", "1234", "64-123-basic", "64-1234111-basic", "64-12340-basic", "64-1235-basic", "32-1234-basic"),
        *("64-1234", "64-1234-Basic", "64-12²4-basic", "64-41414-1_02_333"),
    ],
)
def test_malformed_networks(string):
    reason = "a network is written as 64-…-basic with 4 to 6 digits from 1 to 4, e.g. 64-1234-basic"
    with pytest.raises(ValueError, match=f"^{re.escape(reason)}$"):
        MACRO.parse_one(string)


@pytest.mark.parametrize("code", ["1111", "2211", "3311", "4444", "33334", "222211"])
def test_networks_outside_of_the_constraints(code):
    reason = (
        "a network must have 4 to 6 modules, halve the resolution 1 to 4 times and double the channels 1 to 3 times"
    )
    with pytest.raises(ValueError, match=f"^{reason}$"):
        MACRO.parse_one(f"64-{code}-basic")


# Sampling and mutation


def neighbours(code: str) -> set[str]:
    """All macro networks that one change makes of another, by hand."""
    made = {code[:i] + d + code[i + 1 :] for i in range(len(code)) for d in "1234"}
    made |= {code[:i] + d + code[i:] for i in range(len(code) + 1) for d in "1234"}
    made |= {code[:i] + code[i + 1 :] for i in range(len(code))}
    return {f"64-{new}-basic" for new in made - {code} if is_macro(new)}


@pytest.mark.parametrize("code", ["1114", "44431", "131323"])
def test_mutate_reaches_every_neighbour(code):
    many = MACRO.parse([f"64-{code}-basic"] * 5_000)
    assert set(MACRO.format(MACRO.mutate(many))) == neighbours(code)


# Sizes: networks built of PyTorch's own layers


def relu_conv_norm(before: int, channels: int) -> nn.Sequential:
    return nn.Sequential(nn.ReLU(), nn.Conv2d(before, channels, 3, bias=False), nn.BatchNorm2d(channels))


def parameters(string: str) -> int:
    """Of a macro network."""
    layers = nn.ModuleList([nn.Conv2d(3, 32, 3, bias=False), nn.BatchNorm2d(32), relu_conv_norm(32, 64)])
    channels = 64
    for kind in string.split("-")[1]:
        before, channels = channels, 2 * channels if kind in "24" else channels
        layers += [relu_conv_norm(before, channels), *(relu_conv_norm(channels, channels) for _ in range(3))]
        if kind != "1":
            layers.append(nn.Sequential(nn.Conv2d(before, channels, 1, bias=False), nn.BatchNorm2d(channels)))
    layers.append(nn.Linear(channels, 47))
    return sum(parameter.numel() for parameter in layers.parameters())


def test_parameters_of_macro_networks_are_those_of_their_layers():
    """Those of cells the tests of their networks compare."""
    codes = [code for code in MACRO_CODES if len(code) == 4][::9]
    strings = [*MACRO.format(MACRO.sample(25, seed=1)), *(f"64-{code}-basic" for code in codes)]
    with torch.device("meta"):
        assert MACRO.parameters(MACRO.parse(strings)).tolist() == [parameters(string) for string in strings]


def test_the_other_proxies_are_those_of_the_same_cell_in_nasbench201():
    archs, other = MICRO.enumerate(), NASBench201()
    same = other.decode(MICRO.encode(archs))
    assert other.format(same[[27]]) == ["|none~0|+|none~0|none~1|+|skip_connect~0|nor_conv_1x1~1|nor_conv_3x3~2|"]
    assert MICRO.format(archs[[27]]) == ["64-41414-0_00_123"]
    assert MICRO.proxies == other.proxies
    assert MACRO.proxies == ("parameters",)
    for name in MICRO.proxies[1:]:
        assert np.array_equal(MICRO.proxy(name, archs), other.proxy(name, same))
