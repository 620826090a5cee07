import collections
import itertools
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from archflow.archs.batch import ArchBatch
from archflow.benchmarks.darts.notation import OPERATIONS
from archflow.benchmarks.darts.space import DARTS, _different
from tests import shared_data

SPACE = DARTS()
DARTS_V2 = (
    "Genotype(normal=[('sep_conv_3x3', 0), ('sep_conv_3x3', 1), ('sep_conv_3x3', 0), ('sep_conv_3x3', 1), "
    "('skip_connect', 0), ('sep_conv_3x3', 1), ('skip_connect', 0), ('dil_conv_3x3', 2)], normal_concat=[2, 3, 4, 5], "
    "reduce=[('max_pool_3x3', 0), ('max_pool_3x3', 1), ('max_pool_3x3', 1), ('skip_connect', 2), ('max_pool_3x3', 0), "
    "('skip_connect', 2), ('max_pool_3x3', 1), ('skip_connect', 2)], reduce_concat=[2, 3, 4, 5])"
)
Genotype = collections.namedtuple("Genotype", "normal normal_concat reduce reduce_concat")


def edges(node: int) -> st.SearchStrategy:
    """Two edges (source, operation) of a node, in any order."""
    pairs = st.sampled_from(list(itertools.permutations(range(node), 2)))
    operations = st.integers(0, 6)
    return st.builds(lambda pair, a, b: [(pair[0], a), (pair[1], b)], pairs, operations, operations)


cells = st.builds(lambda *nodes: list(itertools.chain(*nodes)), *(edges(node) for node in range(2, 6)))
architectures = st.tuples(cells, cells)
lists_of_architectures = st.lists(architectures, min_size=1, max_size=5)


def genotype(arch) -> str:
    normal, reduce = ([(OPERATIONS[operation], source) for source, operation in cell] for cell in arch)
    return repr(Genotype(normal, [2, 3, 4, 5], reduce, [2, 3, 4, 5]))


def compact(arch) -> str:
    return repr(tuple(map(tuple, arch))).replace(" ", "")


def graph(arch) -> tuple[list[str], list[tuple[int, int]]]:
    """The graph of an architecture whose edges may be in any order, as the space's definition says it."""
    names, found = [], []
    for cell, choices in zip(("normal", "reduce"), arch, strict=True):
        first = len(names)
        names += [f"input_{cell}_0", f"input_{cell}_1"]
        ends = {0: [first], 1: [first + 1], 2: [], 3: [], 4: [], 5: []}
        for index, (source, operation) in enumerate(choices):
            found += [(node, len(names)) for node in ends[source]]
            ends[2 + index // 2].append(len(names))
            names.append(f"{cell}/{OPERATIONS[operation]}")
        found += [(node, len(names)) for node in range(first + 2, len(names))]
        names.append(f"output_{cell}")
    return names, found


def in_order(arch) -> list[list[tuple[int, int]]]:
    """The two edges of each node in the order of their sources."""
    return [[edge for node in range(0, 8, 2) for edge in sorted(map(tuple, cell[node : node + 2]))] for cell in arch]


# What is in the space


def test_its_size_is_that_of_independent_choices():
    pairs = [len(list(itertools.combinations(range(node), 2))) for node in range(2, 6)]
    cell = np.prod([pair * 7 * 7 for pair in pairs])
    assert (pairs, int(cell)) == ([1, 3, 6, 10], 1_037_664_180)
    assert SPACE.size == 1_037_664_180**2 == 1_076_746_950_455_072_400
    assert isinstance(SPACE.size, int)


def test_its_names():
    assert SPACE.vocabulary == (
        *("input_normal_0", "input_normal_1"),
        *("normal/max_pool_3x3", "normal/avg_pool_3x3", "normal/skip_connect", "normal/sep_conv_3x3"),
        *("normal/sep_conv_5x5", "normal/dil_conv_3x3", "normal/dil_conv_5x5", "output_normal"),
        *("input_reduce_0", "input_reduce_1"),
        *("reduce/max_pool_3x3", "reduce/avg_pool_3x3", "reduce/skip_connect", "reduce/sep_conv_3x3"),
        *("reduce/sep_conv_5x5", "reduce/dil_conv_3x3", "reduce/dil_conv_5x5", "output_reduce"),
    )


@given(lists_of_architectures)
def test_an_architecture_is_the_graph_of_its_definition(drawn):
    archs = SPACE.parse([genotype(arch) for arch in drawn])
    assert archs == ArchBatch.from_graphs([graph(in_order(arch)) for arch in drawn], SPACE.vocabulary)
    assert SPACE.edges(archs).tolist() == np.array([in_order(arch) for arch in drawn]).tolist()


def test_a_graph_worked_out_by_hand():
    names, found = SPACE.parse([DARTS_V2]).graph(0)
    assert names[2:10] == [f"normal/{name}" for name in (*["sep_conv_3x3"] * 4, "skip_connect", "sep_conv_3x3")] + [
        *("normal/skip_connect", "normal/dil_conv_3x3")
    ]
    normal = [(0, 2), (1, 3), (0, 4), (1, 5), (0, 6), (1, 7), (0, 8), (2, 9), (3, 9)]
    reduce = [(11, 13), (12, 14), (12, 15), (13, 16), (14, 16), (11, 17), (13, 18), (14, 18), (12, 19), (13, 20)]
    reduce += [(14, 20)]
    outputs = [(node, 10) for node in range(2, 10)], [(node, 21) for node in range(13, 21)]
    assert found == normal + outputs[0] + reduce + outputs[1]


@given(lists_of_architectures)
def test_the_choices_are_the_pairs_of_sources_and_the_operations_on_them(drawn):
    options = [len(decision.options) for decision in SPACE.decisions]
    assert options == [7, 7, 3, 7, 7, 6, 7, 7, 10, 7, 7] * 2
    for arch, row in zip(drawn, SPACE.encode(SPACE.parse(map(compact, drawn))).tolist(), strict=True):
        chosen = [decision.options[choice] for decision, choice in zip(SPACE.decisions, row, strict=True)]
        expected = []
        for cell in in_order(arch):
            for node, ((low, a), (high, b)) in enumerate(zip(cell[::2], cell[1::2], strict=True), start=2):
                expected += [f"{low} and {high}"] * (node > 2) + [OPERATIONS[a], OPERATIONS[b]]
        assert chosen == expected


# Keys


def plain_key(arch) -> int:
    """Mixed radix: for each node of each cell its pair of sources, then the operations on them."""
    key = 0
    for cell in in_order(arch):
        for node in range(2, 6):
            (low, a), (high, b) = cell[2 * node - 4 : 2 * node - 2]
            pairs = [(low, high) for high in range(node) for low in range(high)]
            key = ((key * len(pairs) + pairs.index((low, high))) * 7 + a) * 7 + b
    return key


@given(lists_of_architectures)
def test_keys_do_not_depend_on_the_order_of_a_nodes_edges(drawn):
    """Neither in a string nor in a graph."""
    expected = [plain_key(arch) for arch in drawn]
    for archs in (
        SPACE.parse([genotype(arch) for arch in drawn]),
        SPACE.parse([compact(arch) for arch in drawn]),
        ArchBatch.from_graphs([graph(arch) for arch in drawn], SPACE.vocabulary),
    ):
        assert SPACE.keys(archs).tolist() == expected
        assert SPACE.from_keys(SPACE.keys(archs)) == SPACE.parse([genotype(arch) for arch in drawn])


def test_keys_number_the_space_from_0_without_gaps():
    keys = [0, 1, 489, 490, SPACE.size // 2, SPACE.size - 1]
    assert SPACE.keys(SPACE.from_keys(np.array(keys))).tolist() == keys
    assert SPACE.format(SPACE.from_keys(np.array([SPACE.size - 1])))[0].endswith(
        "('dil_conv_5x5', 3), ('dil_conv_5x5', 4)], reduce_concat=[2, 3, 4, 5])"
    )


# Invalid graphs


GOOD = graph(in_order([[(0, 3), (1, 2), (0, 1), (2, 5), (1, 0), (3, 4), (2, 2), (4, 6)]] * 2))


LATER = graph(in_order([[(0, 3), (1, 2), (0, 1), (2, 5), (0, 0), (1, 4), (2, 2), (3, 6)]] * 2))
LATER = LATER[0], [(6, 5), (7, 5), *(edge for edge in LATER[1] if edge[1] != 5)]
"""Node 3 reads node 4."""


def renamed(node: int, name: str):
    return [*GOOD[0][:node], name, *GOOD[0][node + 1 :]], GOOD[1]


@pytest.mark.parametrize(
    "bad",
    [
        (GOOD[0][:-1], [edge for edge in GOOD[1] if 21 not in edge]),  # no second output
        (GOOD[0][:11], [edge for edge in GOOD[1] if max(edge) < 11]),  # one cell
        ([*GOOD[0], "input_normal_0"], GOOD[1]),  # a node too many
        renamed(3, "reduce/skip_connect"),  # an operation of the other cell
        renamed(14, "normal/skip_connect"),
        renamed(3, "input_normal_0"),
        renamed(3, "output_normal"),
        renamed(13, "output_normal"),
        renamed(13, "output_reduce"),
        renamed(1, "input_normal_0"),
        renamed(11, "input_normal_0"),
        renamed(21, "output_normal"),
        (GOOD[0], GOOD[1][1:]),  # an operation that reads nothing
        (GOOD[0], GOOD[1][:-1]),  # an operation that the output does not read
        (GOOD[0], [*GOOD[1], (0, 10)]),  # an input that the output reads
        (GOOD[0], [*GOOD[1], (1, 2)]),  # an operation that reads two inputs
        (GOOD[0], [*GOOD[1], (10, 11)]),  # a cell's output that is the other's input
        (GOOD[0], [*GOOD[1], (13, 0)]),
        (GOOD[0], [edge for edge in GOOD[1] if edge != (3, 5)]),  # an operation that reads half a node
        (GOOD[0], [edge if edge != (1, 3) else (0, 3) for edge in GOOD[1]]),  # a node that reads one twice
        (GOOD[0], [edge if edge != (1, 3) else (12, 3) for edge in GOOD[1]]),  # an input of the other cell
        LATER,
        (GOOD[0][::-1], [(21 - target, 21 - source) for source, target in GOOD[1]]),  # everything the other way round
    ],
)
def test_graphs_that_are_no_architectures_are_refused(bad):
    archs = ArchBatch.from_graphs([GOOD, bad, GOOD], SPACE.vocabulary)
    for method in (SPACE.keys, SPACE.format, SPACE.mutate, SPACE.parameters, SPACE.flops):
        with pytest.raises(ValueError, match=r"^architecture 1 is not of darts: for each cell it must have two inputs"):
            method(archs)
    assert len(set(SPACE.keys(archs[[0, 2]]).tolist())) == 1


# Strings


@given(lists_of_architectures)
def test_format_writes_python_and_parse_undoes_it(drawn):
    archs = SPACE.parse([f" {genotype(arch)}\n" for arch in drawn])
    assert SPACE.format(archs) == [genotype(in_order(arch)) for arch in drawn]
    assert SPACE.parse(SPACE.format(archs)) == archs
    assert SPACE.parse([compact(arch) for arch in drawn]) == archs


def test_parse_takes_what_the_field_prints():
    archs = SPACE.parse([DARTS_V2])
    assert SPACE.format(archs) == [DARTS_V2]
    for other in (
        DARTS_V2.replace("[2, 3, 4, 5]", "range(2, 6)"),
        DARTS_V2.replace("'", '"').replace(" ", ""),
        DARTS_V2.replace(", ", " ,\n    ").replace("(", "( ").replace("=", " = "),
        "(((0,3),(1,3),(0,3),(1,3),(0,2),(1,3),(0,2),(2,5)),((0,0),(1,0),(1,0),(2,2),(0,0),(2,2),(1,0),(2,2)))",
        "(((1, 3), (0, 3), (0, 3), (1, 3), (0, 2), (1, 3), (0, 2), (2, 5)), "
        "((0, 0), (1, 0), (2, 2), (1, 0), (0, 0), (2, 2), (2, 2), (1, 0)))",
    ):
        assert SPACE.parse([other]) == archs


COMPACT = "(((0,3),(1,3),(0,3),(1,3),(0,2),(1,3),(0,2),(2,5)),((0,0),(1,0),(1,0),(2,2),(0,0),(2,2),(1,0),(2,2)))"


@pytest.mark.parametrize(
    ("string", "reason"),
    [
        ("", "an architecture is written as Genotype(normal=[('sep_conv_3x3', 0), …], "),
        (DARTS_V2[:-1], "an architecture is written as"),
        (DARTS_V2.replace("Genotype", "genotype"), "an architecture is written as"),
        (DARTS_V2.replace("reduce=", "reduction="), "an architecture is written as"),
        (COMPACT + COMPACT, "the normal cell must have 8 edges, not 23"),
        (COMPACT[1:-1], "an architecture is written as"),
        (
            DARTS_V2.replace("[2, 3, 4, 5])", "[2, 4, 5])"),
            "the reduce cell's output must join nodes [2, 3, 4, 5], not [2,",
        ),
        (
            DARTS_V2.replace("[2, 3, 4, 5], r", "range(2, 5), r"),
            "the normal cell's output must join nodes [2, 3, 4, 5]",
        ),
        (DARTS_V2.replace(", ('dil_conv_3x3', 2)", ""), "the normal cell must have 8 edges, not 7"),
        (COMPACT.replace(",(2,2)))", ",(2,2),(2,2)))"), "the reduce cell must have 8 edges, not 9"),
        (
            DARTS_V2.replace("'dil_conv_3x3', 2", "'dil_conv_3x3', 5"),
            "node 5 of the normal cell must read from 0 … 4, not '5'",
        ),
        (
            DARTS_V2.replace("('max_pool_3x3', 1), ('max", "('max_pool_3x3', 2), ('max"),
            "node 2 of the reduce cell must read",
        ),
        (COMPACT.replace("(2,5)", "(x,5)"), "node 5 of the normal cell must read from 0 … 4, not 'x'"),
        (COMPACT.replace("(2,5)", "(²,5)"), "node 5 of the normal cell must read from 0 … 4, not '²'"),
        (COMPACT.replace("(2,5)", "(2)"), "unknown operation in the normal cell (known: 0, 1, 2, 3, 4, 5, 6)"),
        (COMPACT.replace("(2,5)", "(2,7)"), "unknown operation 7 in the normal cell (known: 0, 1, 2, 3, 4, 5, 6)"),
        (COMPACT.replace("(2,5)", "(2,5,6)"), "unknown operation 5,6 in the normal cell (known: 0"),
        (
            DARTS_V2.replace("dil_conv_3x3", "none"),
            "unknown operation 'none' in the normal cell (known: 'max_pool_3x3', 'avg",
        ),
        (DARTS_V2.replace("'dil_conv_3x3'", "5"), "unknown operation 5 in the normal cell (known: 'max_pool_3x3'"),
        (COMPACT.replace("(2,5)", "(0,5)"), "node 5 of the normal cell must read from two nodes, not twice from 0"),
    ],
)
def test_parse_says_what_is_wrong_and_where(string, reason):
    with pytest.raises(ValueError, match="^" + re.escape(f"line 12: {reason}")) as caught:
        SPACE.parse([DARTS_V2, COMPACT, string], first_line=10)
    assert str(caught.value).endswith(f", in {string!r:.160}")


# Sampling and mutation


def test_sample_is_uniform():
    """For each choice separately: the frequency of each value lies within five standard deviations."""
    choices = SPACE.edges(SPACE.sample(20_000))
    for edge, cell in itertools.product(range(8), range(2)):
        counts = np.bincount(choices[:, cell, edge, 1], minlength=7)
        assert np.abs(counts - 20_000 / 7).max() < 5 * np.sqrt(20_000 / 7)
    for node, cell in itertools.product(range(4), range(2)):
        low, high = choices[:, cell, 2 * node, 0], choices[:, cell, 2 * node + 1, 0]
        _, counts = np.unique(5 * low + high, return_counts=True)
        assert len(counts) == (node + 2) * (node + 1) // 2
        assert np.abs(counts - 20_000 / len(counts)).max() < 5 * np.sqrt(20_000 / len(counts))


@given(st.integers(1, 30), st.integers(0, 5), st.integers(0, 1_000))
def test_different_numbers_are_drawn_again_until_none_repeats(n, more, seed):
    numbers = _different(n, n + more, np.random.default_rng(seed))
    assert len(set(numbers.tolist())) == n
    assert numbers.min() >= 0
    assert numbers.max() < n + more


def test_different_numbers_favour_none():
    drawn = [tuple(_different(2, 3, np.random.default_rng(seed)).tolist()) for seed in range(6_000)]
    counts = collections.Counter(drawn)
    assert set(counts) == set(itertools.permutations(range(3), 2))
    assert max(abs(count - 1_000) for count in counts.values()) < 150


def neighbours(arch) -> set[int]:
    """The keys of all architectures with one other operation, or one other source, at one edge."""
    found = set()
    for cell, edge in itertools.product(range(2), range(8)):
        source, operation = arch[cell][edge]
        taken = {source, arch[cell][edge ^ 1][0]}
        changed = [(source, other) for other in range(7) if other != operation]
        changed += [(other, operation) for other in range(2 + edge // 2) if other not in taken]
        for choice in changed:
            other = [list(choices) for choices in arch]
            other[cell][edge] = choice
            found.add(plain_key(other))
    return found


@pytest.mark.parametrize(
    "string", [DARTS_V2, genotype([[(0, 0), (1, 6), (1, 3), (2, 2), (0, 5), (3, 1), (3, 0), (4, 4)]] * 2)]
)
def test_mutate_reaches_every_neighbour_and_nothing_else(string):
    arch = SPACE.edges(SPACE.parse([string]))[0].tolist()
    keys = SPACE.keys(SPACE.mutate(SPACE.parse([string])[[0] * 10_000], seed=1))
    assert len(neighbours(arch)) == 2 * (8 * 6 + 2 * (1 + 2 + 3))
    assert set(keys.tolist()) == neighbours(arch)


def test_mutate_changes_one_choice_of_each():
    archs = SPACE.sample(500, seed=8)
    mutated = SPACE.mutate(archs, seed=5)
    for arch, key in zip(SPACE.edges(archs).tolist(), SPACE.keys(mutated).tolist(), strict=True):
        assert key in neighbours(arch)


def test_mutate_gives_each_change_the_same_chance():
    many = SPACE.parse([DARTS_V2])[[0] * 28_000]
    changed = SPACE.edges(many) != SPACE.edges(SPACE.mutate(many))
    moved = changed[..., 0].any(axis=(1, 2))  # a new source may also put the node's two edges in another order
    assert abs(moved.sum() - 12_000) < 500
    assert np.abs(changed[~moved, ..., 1].sum(axis=0) - 1_000).max() < 200


# Sizes


def test_sizes_equal_the_published_ones_in_every_digit():
    rows = shared_data.rows("nasbench301")
    archs = SPACE.parse([row["arch_compact"] for row in rows], first_line=2)
    assert len(rows) == len(set(SPACE.keys(archs).tolist())) == 1_218
    for method, column in ((SPACE.parameters, "params"), (SPACE.flops, "flops")):
        assert [f"{number / 1e6:.6g}" for number in method(archs).tolist()] == [row[column] for row in rows]


def test_the_smallest_and_the_largest_network():
    least = [[(0, 2), (1, 2)] * 4, [(0, 0), (1, 0), (1, 0), (2, 2), (2, 2), (3, 2), (2, 2), (3, 2)]]
    archs = SPACE.parse([compact(least), compact([[(0, 4), (1, 4)] * 4] * 2)])
    assert SPACE.parameters(archs).tolist() == [392_426, 1_664_234]
    assert SPACE.flops(archs).tolist() == [82_343_424, 276_575_744]
    others = SPACE.sample(5_000)
    for method in (SPACE.parameters, SPACE.flops):
        low, high = method(archs)
        assert low <= method(others).min()
        assert method(others).max() <= high
