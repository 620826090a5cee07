import hashlib
import itertools
import re

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from archflow.archs.batch import ArchBatch
from archflow.benchmarks.nasbench_asr.space import OPERATIONS, NASBenchASR
from archflow.benchmarks.space import Decision
from tests.strategies import renumber

SPACE = NASBenchASR()
CELL = "[[1, 0], [1, 0, 0], [4, 1, 0, 0]]"


def every_cell() -> list[list[list[int]]]:
    """All 13,824, in the order of their numbers."""
    options = [[range(6), *[range(2)] * node] for node in (1, 2, 3)]
    nodes = [[list(choices) for choices in itertools.product(*option)] for option in options]
    return [list(cell) for cell in itertools.product(*nodes)]


def what_is_left(cell) -> tuple[list[int], set[tuple[int, int]]]:
    """Labels and edges of the graph without zeros and without what is then on no path."""
    edges = {(node, node + 1) for node in range(4)}
    edges |= {
        (source, node + 1) for node, (_, *skips) in enumerate(cell, 1) for source, skip in enumerate(skips) if skip
    }
    labels = [-1, *(operation for operation, *_ in cell), -2]
    edges = {edge for edge in edges if 5 not in (labels[edge[0]], labels[edge[1]])}
    begun, ended = {0}, {4}
    for _ in range(4):
        begun |= {target for source, target in edges if source in begun}
        ended |= {source for source, target in edges if target in ended}
    left = sorted(begun & ended)
    number = {node: index for index, node in enumerate(left)}
    return [labels[node] for node in left], {(number[a], number[b]) for a, b in edges if {a, b} <= set(left)}


def model_hash(cell) -> str:
    """The benchmark's hash: nodes by their degrees and operation, then by what is around them, once for each node."""
    labels, edges = what_is_left(cell)
    before = [[source for source, target in edges if target == node] for node in range(len(labels))]
    after = [[target for source, target in edges if source == node] for node in range(len(labels))]

    def md5(*parts):
        return hashlib.md5("|".join(parts).encode()).hexdigest()

    def around(nodes):
        return "".join(sorted(hashes[node] for node in nodes))

    hashes = [md5(f"({len(after[node])}.0, {len(before[node])}.0, {label})") for node, label in enumerate(labels)]
    for _ in labels:
        hashes = [md5(around(before[node]), around(after[node]), hashes[node]) for node in range(len(labels))]
    return md5(str(sorted(hashes)))


@pytest.fixture(scope="module")
def hashes() -> list[str]:
    return [model_hash(cell) for cell in every_cell()]


# What is in the space


def test_two_cells_have_one_key_exactly_when_the_benchmark_has_one_hash(hashes):
    assert model_hash([[1, 0], [1, 0, 0], [1, 0, 0, 0]]) == "36855332a5778e0df5114305bc3ce238"  # published
    keys = SPACE.keys(SPACE.parse([str(cell) for cell in every_cell()])).tolist()
    assert len(keys) == 13_824
    assert len(set(keys)) == len(set(hashes)) == len(set(zip(keys, hashes, strict=True))) == 8_242
    assert sorted(set(keys)) == SPACE.keys(SPACE.enumerate()).tolist()


def test_a_network_is_its_cell_with_most_zeros_then_fewest_skips_then_the_first(hashes):
    plainest = {}
    for cell, name in zip(every_cell(), hashes, strict=True):
        zeros = sum(operation == 5 for operation, *_ in cell)
        skips = sum(sum(skips) for _, *skips in cell)
        plainest.setdefault(name, []).append((-zeros, skips, cell))
    assert SPACE.format(SPACE.enumerate()) == sorted(str(min(cells)[2]) for cells in plainest.values())


def test_a_cell_is_a_row_of_operations_with_an_edge_a_skip():
    archs = SPACE.enumerate()
    for index, text in enumerate(SPACE.format(archs)):
        if index % 7 == 0:
            (a, ax), (b, bx, b1), (c, cx, c1, c2) = eval(text)
            names, edges = archs.graph(index)
            assert names == ["input", OPERATIONS[a], OPERATIONS[b], OPERATIONS[c], "output"]
            skips = {(0, 2): ax, (0, 3): bx, (1, 3): b1, (0, 4): cx, (1, 4): c1, (2, 4): c2}
            row = [(0, 1), (1, 2), (2, 3), (3, 4)]
            assert sorted(edges) == sorted(row + [edge for edge, skip in skips.items() if skip])


@pytest.mark.parametrize(
    ("given_cell", "expected"),
    [
        ("[[0,0],[5,0,0],[4,0,0,0]]", "[[5, 0], [5, 0, 0], [5, 0, 0, 0]]"),  # nothing comes through
        ("[[0,0],[5,0,0],[4,1,0,1]]", "[[5, 0], [5, 0, 0], [5, 1, 0, 0]]"),  # the input alone
        ("[[5,1],[2,0,1],[3,0,0,0]]", "[[2, 0], [3, 0, 0], [5, 0, 0, 1]]"),  # two convolutions in a row
        ("[[2,1],[5,0,1],[3,0,0,0]]", "[[2, 0], [3, 0, 0], [5, 0, 0, 1]]"),
        ("[[2,1],[4,1,1],[3,0,1,0]]", "[[2, 1], [4, 1, 1], [3, 0, 1, 0]]"),  # nothing to simplify
    ],
)
def test_plain_cells_worked_out_by_hand(given_cell, expected):
    assert SPACE.format(SPACE.parse([given_cell])) == [expected]


# Graphs from outside


@given(st.lists(st.integers(0, 8_241), min_size=1, max_size=8), st.integers(0, 2**32 - 1))
def test_nodes_may_be_numbered_in_any_order(rows, seed):
    rng = np.random.default_rng(seed)
    archs = SPACE.enumerate()[rows]
    shuffled = [renumber(archs.graph(index), rng) for index in range(len(archs))]
    other = ArchBatch.from_graphs(shuffled, SPACE.vocabulary)
    assert (SPACE.keys(other) == SPACE.keys(archs)).all()
    assert SPACE.format(other) == SPACE.format(archs)
    assert SPACE.parse(SPACE.format(other)) == archs
    assert (SPACE.parameters(other) == SPACE.parameters(archs)).all()


ROW = [(0, 1), (1, 2), (2, 3), (3, 4)]


@pytest.mark.parametrize(
    "graph",
    [
        (["input", "conv5", "conv7", "output"], ROW[:3]),  # two operations
        (["input", "conv5", "conv7", "zero", "output"], [*ROW[:2], (3, 4), (0, 3)]),  # two rows
        (["input", "conv5", "conv7", "zero", "output"], [*ROW[:3], (2, 4)]),  # an operation that nothing reads
        (["input", "conv5", "input", "zero", "output"], ROW),
        (["input", "conv5", "output", "zero", "output"], ROW),
        (["input", "conv5", "conv7", "zero", "linear"], ROW),
        (["linear", "conv5", "conv7", "zero", "input"], ROW),
    ],
)
def test_other_graphs_are_refused(graph):
    good = SPACE.parse([CELL]).graph(0)
    archs = ArchBatch.from_graphs([good, good, graph], SPACE.vocabulary)
    for method in (SPACE.keys, SPACE.format, SPACE.parameters, SPACE.mutate):
        with pytest.raises(
            ValueError, match="architecture 2 is not of nasbench-asr: its nodes must be the input, three"
        ):
            method(archs)


# Reading and writing


def test_brackets_may_be_round():
    archs = SPACE.enumerate()
    texts = SPACE.format(archs)
    assert SPACE.parse([text.replace("[", "(").replace("]", ")") for text in texts]) == archs
    assert SPACE.format(SPACE.parse([CELL])) == [CELL]


@pytest.mark.parametrize(
    ("string", "reason"),
    [
        ("", "a cell is written as [[operation, skip], [operation, skip, skip], …]"),
        ("[[1, 0], [1, 0, 0]", "a cell is written as"),
        ("[" * 100_000, "a cell is written as"),
        ("[[conv5, 0], [1, 0, 0], [1, 0, 0, 0]]", "a cell is written as"),
        ("3", "a cell is a list of 3 nodes"),
        ("[[1, 0], [1, 0, 0]]", "a cell is a list of 3 nodes"),
        ("[[1, 0], [1, 0, 0], 4]", "node 3 must be a list of 4 whole numbers: an operation, then its skips"),
        ("[[1, 0], [1, 0], [1, 0, 0, 0]]", "node 2 must be a list of 3 whole numbers"),
        ("[[1, 0], [1.0, 0, 0], [1, 0, 0, 0]]", "node 2 must be a list of 3 whole numbers"),
        ("[[1, true], [1, 0, 0], [1, 0, 0, 0]]", "node 1 must be a list of 2 whole numbers"),
        ("[[6, 0], [1, 0, 0], [1, 0, 0, 0]]", "node 1 has the operation 6, but there are 0 to 5"),
        ("[[1, 0], [-1, 0, 0], [1, 0, 0, 0]]", "node 2 has the operation -1, but there are 0 to 5"),
        ("[[1, 0], [1, 0, 0], [1, 0, 2, 0]]", "a skip connection of node 3 must be 0 or 1"),
    ],
)
def test_parse_says_what_is_wrong(string, reason):
    with pytest.raises(ValueError, match="^" + re.escape(reason)):
        SPACE.parse_one(string)


# Decisions and mutation


def test_the_choices_are_the_numbers_that_a_cell_is_written_with():
    cells = every_cell()
    choices = np.array([[number for node in cell for number in node] for cell in cells])
    assert [len(decision.options) for decision in SPACE.decisions] == [6, 2, 6, 2, 2, 6, 2, 2, 2]
    assert SPACE.decode(choices) == SPACE.parse([str(cell) for cell in cells])
    plainest = [re.findall(r"\d", text) for text in SPACE.format(SPACE.enumerate())]
    assert SPACE.encode(SPACE.enumerate()).tolist() == [[int(number) for number in row] for row in plainest]
    assert SPACE.decisions[4] == Decision("skip from node 1 to node 2", ("absent", "present"))
    assert [decision.name for decision in SPACE.decisions if len(decision.options) == 6] == [
        f"operation of node {node}" for node in (1, 2, 3)
    ]


def neighbours(text: str) -> set[str]:
    """The other networks that one changed operation or skip connection makes of a cell."""
    flat = [int(number) for number in re.findall(r"\d", text)]
    changed = []
    for place, options in enumerate((6, 2, 6, 2, 2, 6, 2, 2, 2)):
        for choice in range(options):
            new = [*flat[:place], choice, *flat[place + 1 :]]
            changed.append(str([new[:2], new[2:5], new[5:]]))
    return set(SPACE.format(SPACE.parse(changed))) - {text}


def test_mutate_changes_one_choice_and_stays_in_the_space():
    archs = SPACE.enumerate()
    mutated = SPACE.mutate(archs, seed=5)
    before, after = SPACE.format(archs), SPACE.format(mutated)
    assert set(after) <= set(before)
    for index in range(0, len(archs), len(archs) // 300):
        assert after[index] in neighbours(before[index])


@pytest.mark.parametrize("text", [CELL, "[[5, 0], [5, 0, 0], [5, 0, 0, 0]]"])
def test_mutate_reaches_every_neighbour(text):
    assert set(SPACE.format(SPACE.mutate(SPACE.parse([text] * 5_000)))) == neighbours(text)


# Sizes


def plain_parameters(cell) -> int:
    """The network's layers as PyTorch makes them, without room for their numbers."""
    with torch.device("meta"):
        layers, source = [], 80
        for filters, cells in ((600, 3), (800, 4), (1000, 5), (1200, 6)):
            layers += [torch.nn.Conv1d(source, filters, 8), torch.nn.LayerNorm(filters)]
            for operation in cells * [OPERATIONS[node[0]] for node in cell]:
                if operation == "linear":
                    layers.append(torch.nn.Linear(filters, filters))
                elif operation != "zero":
                    layers.append(torch.nn.Conv1d(filters, filters, int(operation[4]), groups=100))
            layers += [torch.nn.LayerNorm(filters) for _ in range(cells)]
            source = filters
        layers += [torch.nn.LSTM(source, 500), torch.nn.Linear(500, 48)]
    second_bias = 4 * 500  # PyTorch's LSTM adds two biases, where TensorFlow's has one
    return sum(parameter.numel() for layer in layers for parameter in layer.parameters()) - second_bias


def test_parameters_equal_the_layers_and_the_published_number():
    assert SPACE.parameters(SPACE.parse(["[[1,0],[1,0,0],[1,0,0,0]]"])).tolist() == [26_338_848]
    archs = SPACE.enumerate()
    parameters = SPACE.parameters(archs)
    for index in [*range(0, 8_242, 200), 8_240, 8_241]:
        assert parameters[index] == plain_parameters(eval(SPACE.format(archs[index])[0]))
