import itertools
import re
from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from archflow.archs.batch import ArchBatch
from archflow.benchmarks.nasbench201.space import NASBench201
from archflow.benchmarks.transnas101.space import TransNASMacro, TransNASMicro
from tests import shared_data

MICRO, MACRO = TransNASMicro(), TransNASMacro()
SPACES = pytest.mark.parametrize("space", [MICRO, MACRO], ids=lambda space: space.name)


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
    assert MICRO.size == 4_096
    assert MICRO.format(MICRO.enumerate()) == [cell(digits) for digits in itertools.product(range(4), repeat=6)]


def test_the_macro_space_is_what_its_constraints_leave():
    assert MACRO.size == len(MACRO_CODES) == 3_256
    assert MACRO.format(MACRO.enumerate()) == sorted(f"64-{code}-basic" for code in MACRO_CODES)


@pytest.mark.parametrize("string", ["64-1234-basic", "64-4111-basic", "64-2311-basic", "64-43243-basic"])
def test_networks_that_the_benchmark_names(string):
    assert MACRO.format(MACRO.parse([string])) == [string]


@SPACES
def test_an_encoder_and_the_flow_know_what_to_do_with_them(space):
    assert space.vocabulary[0] == "input"
    assert space.vocabulary[-1] == "output"
    assert len(space.vocabulary) == 6
    assert space.flow_defaults == (7, 0.1)
    assert space.proxies[0] == "parameters"


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


def test_operations_are_nodes_that_read_those_before_them():
    ends = [(0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3)]
    names = ["none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3"]
    for digits in ([1, 0, 2, 3, 3, 3], [0, 1, 2, 3, 2, 1]):
        edges = [(0, 1 + i) for i, (source, _) in enumerate(ends) if source == 0]
        edges += [(1 + i, 1 + j) for i, first in enumerate(ends) for j, then in enumerate(ends) if first[1] == then[0]]
        edges += [(1 + i, 7) for i, (_, target) in enumerate(ends) if target == 3]
        graph = ["input", *(names[digit] for digit in digits), "output"], edges
        archs = ArchBatch.from_graphs([graph], MICRO.vocabulary)
        assert archs == MICRO.parse([cell(digits)])
        assert MICRO.operations(archs).tolist() == [digits]


def test_a_macro_network_is_a_chain():
    names = {"1": "normal", "2": "double_channels", "3": "halve_resolution", "4": "double_and_halve"}
    archs = MACRO.enumerate()
    for index, string in enumerate(MACRO.format(archs)):
        code = string.split("-")[1]
        chain = [(node, node + 1) for node in range(len(code) + 1)]
        assert archs.graph(index) == (["input", *(names[digit] for digit in code), "output"], chain)


@SPACES
def test_keys_differ_from_network_to_network_and_stay_with_it(space):
    archs = space.enumerate()
    keys = space.keys(archs)
    assert (np.diff(keys) > 0).all()
    shuffled = np.random.default_rng(1).permutation(space.size)[:500]
    assert space.keys(archs[shuffled]).tolist() == keys[shuffled].tolist()
    assert space.format(archs[shuffled]) == np.array(space.format(archs))[shuffled].tolist()


def test_keys_by_hand():
    assert MICRO.keys(MICRO.parse(["64-41414-0_00_012", "64-41414-3_33_333"])).tolist() == [6, 4_095]
    assert MACRO.keys(MACRO.parse(["64-1234-basic", "64-12341-basic", "64-444311-basic"])).tolist() == [
        *(123_400, 123_410, 444_311)
    ]


def changed(graph, node: int, name: str):
    operations, edges = graph
    return [*operations[:node], name, *operations[node + 1 :]], edges


CELL, CHAIN = MICRO.parse(["64-41414-1_02_333"]).graph(0), MACRO.parse(["64-1234-basic"]).graph(0)


@pytest.mark.parametrize(
    "graph",
    [
        (CELL[0], CELL[1][1:]),
        (CELL[0], [*CELL[1], (0, 7)]),
        (CELL[0], [*CELL[1][:-1], (0, 7)]),
        (["input", *["none"] * 5, "output"], [(0, 1), (1, 6)]),
        changed(CELL, 7, "none"),
        changed(CELL, 3, "input"),
        changed(CELL, 3, "output"),
        (["output", *CELL[0][1:7], "input"], CELL[1]),
    ],
)
def test_graphs_that_are_no_cells_are_refused(graph):
    archs = ArchBatch.from_graphs([CELL, graph, CELL], MICRO.vocabulary)
    for method in (MICRO.operations, MICRO.keys, MICRO.format, MICRO.mutate, MICRO.parameters):
        with pytest.raises(
            ValueError, match=r"^architecture 1 is not of transnas101-micro: it lacks the 8 nodes and 10"
        ):
            method(archs)
    assert MICRO.format(archs[[0, 2]]) == ["64-41414-1_02_333"] * 2


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
    for method in (MACRO.modules, MACRO.keys, MACRO.format, MACRO.mutate, MACRO.parameters):
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
        ValueError, match=r"^architecture 1 is not of transnas101-macro: a network must halve the resol"
    ):
        MACRO.keys(archs)


@SPACES
def test_other_spaces_are_refused(space):
    for other in (MICRO, MACRO, NASBench201()):
        if other is not space:
            with pytest.raises(ValueError, match=f"of another space than {space.name}"):
                space.keys(other.sample(1))


# Strings

cells = st.tuples(*[st.integers(0, 3)] * 6)


@settings(deadline=None)
@given(st.lists(cells, min_size=1, max_size=5))
def test_parse_undoes_format_of_cells(drawn):
    strings = [cell(digits) for digits in drawn]
    archs = MICRO.parse([f" {string}\n" for string in strings])
    assert MICRO.format(archs) == strings
    assert MICRO.operations(archs).tolist() == [list(digits) for digits in drawn]
    assert MICRO.from_operations(MICRO.operations(archs)) == archs


@settings(deadline=None)
@given(st.lists(st.sampled_from(MACRO_CODES), min_size=1, max_size=5))
def test_parse_undoes_format_of_chains(drawn):
    strings = [f"64-{code}-basic" for code in drawn]
    archs = MACRO.parse([f" {string}\n" for string in strings])
    assert MACRO.format(archs) == strings
    assert MACRO.modules(archs).tolist() == [[int(digit) for digit in code.ljust(6, "0")] for code in drawn]
    assert MACRO.from_modules(MACRO.modules(archs)) == archs


@SPACES
def test_parse_undoes_format_of_all(space):
    archs = space.enumerate()
    assert space.parse(space.format(archs)) == archs


@SPACES
@settings(deadline=None)
@given(text=st.text("64-123_basic²", max_size=12))
def test_any_other_text_is_an_error_with_its_line(space, text):
    with pytest.raises(ValueError, match=r"^line 2: .*, in '"):
        space.parse([*space.format(space.sample(1)), text])


@pytest.mark.parametrize(
    "string",
    [
        *("", "1_02_333", "64-41414-1_02_33", "64-41414-1_02_3333", "64-41414-102333", "64-41414-4_02_333"),
        *("64-41414-1_02_33²", "32-41414-1_02_333", "64-4141-1_02_333", "64-41414-1_02_333 64", "64-1234-basic"),
    ],
)
def test_malformed_cells(string):
    reason = re.escape(f"line 12: a cell is written as 64-41414-a_bc_def, with digits from 0 to 3, in {string!r}")
    with pytest.raises(ValueError, match=f"^{reason}$"):
        MICRO.parse(["64-41414-1_02_333", "64-41414-1_02_333", string], first_line=10)


@pytest.mark.parametrize(
    "string",
    [
        *("", "1234", "64-123-basic", "64-1234111-basic", "64-12340-basic", "64-1235-basic", "32-1234-basic"),
        *("64-1234", "64-1234-Basic", "64-12²4-basic", "64-41414-1_02_333"),
    ],
)
def test_malformed_networks(string):
    reason = re.escape(
        f"line 12: a network is written as 64-…-basic with 4 to 6 digits from 1 to 4, e.g. 64-1234-basic, in {string!r}"
    )
    with pytest.raises(ValueError, match=f"^{reason}$"):
        MACRO.parse(["64-1234-basic", "64-1234-basic", string], first_line=10)


@pytest.mark.parametrize("code", ["1111", "2211", "3311", "4444", "33334", "222211"])
def test_networks_outside_of_the_constraints(code):
    reason = "a network must halve the resolution 1 to 4 times and double the channels 1 to 3 times"
    with pytest.raises(ValueError, match=f"^line 12: {reason}, in '64-{code}-basic'$"):
        MACRO.parse(["64-1234-basic", "64-1234-basic", f"64-{code}-basic"], first_line=10)


@SPACES
def test_parse_needs_a_string(space):
    with pytest.raises(ValueError, match="empty"):
        space.parse([])


# Sampling and mutation


@SPACES
def test_sample_repeats_nothing_and_follows_its_seed(space):
    drawn = space.sample(500, seed=3)
    assert len(set(space.format(drawn))) == 500
    assert drawn == space.sample(500, seed=3)
    assert drawn != space.sample(500, seed=4)
    assert set(space.format(space.sample(space.size))) == set(space.format(space.enumerate()))


@SPACES
@pytest.mark.parametrize("n", [-1, 0, 4_097])
def test_sample_refuses_a_number_it_cannot_draw(space, n):
    with pytest.raises(ValueError, match=f"cannot draw {n} different architectures: {space.name} has {space.size:,}"):
        space.sample(n)


def neighbours(space, string: str) -> set[str]:
    """All that one change makes of an architecture, by hand."""
    if space is MICRO:
        digits = [int(digit) for digit in string[9:].replace("_", "")]
        return {cell([*digits[:i], d, *digits[i + 1 :]]) for i in range(6) for d in range(4)} - {string}
    code = string.split("-")[1]
    made = {code[:i] + d + code[i + 1 :] for i in range(len(code)) for d in "1234"}
    made |= {code[:i] + d + code[i:] for i in range(len(code) + 1) for d in "1234"}
    made |= {code[:i] + code[i + 1 :] for i in range(len(code))}
    return {f"64-{new}-basic" for new in made - {code} if is_macro(new)}


@SPACES
def test_mutate_changes_one_choice_and_stays_in_the_space(space):
    archs = space.enumerate()
    before, after = space.format(archs), space.format(space.mutate(archs, seed=5))
    assert all(new in neighbours(space, old) for old, new in zip(before, after, strict=True))
    assert space.mutate(archs, seed=5) == space.mutate(archs, seed=5)
    assert space.mutate(archs, seed=6) != space.mutate(archs, seed=5)


@pytest.mark.parametrize(
    ("space", "string"),
    [
        (MICRO, "64-41414-1_02_333"),
        (MACRO, "64-1114-basic"),
        (MACRO, "64-44431-basic"),
        (MACRO, "64-131323-basic"),
    ],
)
def test_mutate_reaches_every_neighbour(space, string):
    many = space.parse([string] * 5_000)
    assert set(space.format(space.mutate(many))) == neighbours(space, string)


@SPACES
def test_mutate_leaves_its_argument_alone(space):
    archs = space.sample(50)
    copy = space.parse(space.format(archs))
    space.mutate(archs)
    assert archs == copy


# Sizes: networks built of PyTorch's own layers


def relu_conv_norm(before: int, channels: int, kernel: int) -> nn.Sequential:
    return nn.Sequential(
        nn.ReLU(), nn.Conv2d(before, channels, kernel, padding=kernel // 2, bias=False), nn.BatchNorm2d(channels)
    )


def micro_cell(digits: str, before: int, channels: int, stride: int) -> nn.ModuleList:
    layers = nn.ModuleList()
    for digit, start in zip(digits, (0, 0, 1, 0, 1, 2), strict=True):
        entering, step = (before, stride) if start == 0 else (channels, 1)
        if digit == "1" and (entering, step) != (channels, 1):
            halves = [nn.Conv2d(entering, channels // 2, 1, stride=step, bias=False) for _ in range(2)]
            layers.append(nn.Sequential(*halves, nn.BatchNorm2d(channels)))
        elif digit in "23":
            layers.append(relu_conv_norm(entering, channels, {"2": 1, "3": 3}[digit]))
    return layers


def basic_block(before: int, channels: int, stride: int) -> nn.ModuleList:
    layers = nn.ModuleList([relu_conv_norm(before, channels, 3), relu_conv_norm(channels, channels, 3)])
    if (before, stride) != (channels, 1):
        shortcut = nn.Conv2d(before, channels, 1, stride=stride, bias=False)
        layers.append(nn.Sequential(shortcut, nn.BatchNorm2d(channels)))
    return layers


def parameters(string: str) -> int:
    _, modules, block = string.split("-")
    layers = nn.ModuleList([nn.Conv2d(3, 32, 3, bias=False), nn.BatchNorm2d(32), relu_conv_norm(32, 64, 3)])
    channels = 64
    for kind in modules:
        before, stride = channels, 2 if kind in "34" else 1
        channels = 2 * channels if kind in "24" else channels
        for shape in ((before, channels, stride), (channels, channels, 1)):
            layers.append(basic_block(*shape) if block == "basic" else micro_cell(block.replace("_", ""), *shape))
    layers.append(nn.Linear(channels, 47))
    return sum(parameter.numel() for parameter in layers.parameters())


@SPACES
def test_parameters_are_those_of_a_network_of_layers(space):
    archs = space.sample(25, seed=1)
    with torch.device("meta"):
        expected = [parameters(string) for string in space.format(archs)]
    counted = space.parameters(archs)
    assert counted.tolist() == expected
    assert counted.dtype == np.int64
    assert space.proxy("parameters", archs).tolist() == expected
    assert space.proxy("parameters", archs).dtype == np.float64


def test_each_operation_and_module_in_each_place_counts_as_its_layers():
    strings = [cell([*[0] * i, d, *[0] * (5 - i)]) for i in range(6) for d in range(4)]
    with torch.device("meta"):
        assert MICRO.parameters(MICRO.parse(strings)).tolist() == [parameters(string) for string in strings]
        strings = [f"64-{code}-basic" for code in MACRO_CODES if len(code) == 4][::9]
        assert MACRO.parameters(MACRO.parse(strings)).tolist() == [parameters(string) for string in strings]


def test_smallest_and_largest():
    micro, macro = (space.parameters(space.enumerate()) for space in (MICRO, MACRO))
    assert (micro.min(), micro.max()) == (43_599, 41_435_727)
    assert (macro.min(), macro.max()) == (995_023, 40_175_951)


@SPACES
def test_flops_have_no_closed_form_and_the_error_names_the_table(space):
    with pytest.raises(ValueError, match=f"{space.name} has no closed form for flops: .* table {space.name} .*FLOPs$"):
        space.flops(space.sample(1))


def test_the_other_proxies_are_those_of_the_same_cell_in_nasbench201():
    archs, other = MICRO.enumerate(), NASBench201()
    same = other.from_operations(MICRO.operations(archs))
    assert other.format(same[[27]]) == ["|none~0|+|none~0|none~1|+|skip_connect~0|nor_conv_1x1~1|nor_conv_3x3~2|"]
    assert MICRO.format(archs[[27]]) == ["64-41414-0_00_123"]
    assert MICRO.proxies == other.proxies
    assert MACRO.proxies == ("parameters",)
    for name in MICRO.proxies[1:]:
        assert np.array_equal(MICRO.proxy(name, archs), other.proxy(name, same))


@SPACES
def test_an_unknown_proxy_is_refused(space):
    with pytest.raises(ValueError, match=f"unknown proxy 'flops' of {space.name}; known: parameters"):
        space.proxy("flops", space.sample(1))
