import itertools
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from archflow.archs.batch import ArchBatch
from archflow.benchmarks.nasbench_graph.space import LINKS, OPERATIONS, PROTEINS_OPERATIONS, NASBenchGraph, _keys

SPACE, PROTEINS = NASBenchGraph(), NASBenchGraph.proteins()
CELL = "0-1-1-2:gcn,cheb,gin,fc"
SPACES = pytest.mark.parametrize("space", [SPACE, PROTEINS], ids=lambda space: space.name)

LINK_LISTS = list(itertools.product(range(1), range(2), range(3), range(4)))
"""All combinations of four nodes' sources."""


def write(links, operations) -> str:
    return "-".join(map(str, links)) + ":" + ",".join(operations)


def canonical(string: str, space: NASBenchGraph = SPACE) -> str:
    return space.format(space.parse([string]))[0]


# What is in the spaces


def test_their_vocabularies():
    assert " ".join(SPACE.vocabulary) == "input gat gcn gin cheb sage arma graph fc skip output"
    assert PROTEINS.vocabulary == ("input", "gcn", "sage", "arma", "fc", "skip", "output")


def test_the_smaller_space_is_the_part_of_the_larger_that_has_its_operations():
    chosen = [text for text in SPACE.format(SPACE.enumerate()) if set(text[8:].split(",")) <= set(PROTEINS_OPERATIONS)]
    assert PROTEINS.format(PROTEINS.enumerate()) == chosen


def test_a_key_is_the_position_of_the_links_and_of_each_operation():
    archs = SPACE.parse([CELL, "0-0-0-0:gat,gat,gat,gat", "0-1-2-3:skip,skip,skip,fc"])
    assert SPACE.keys(archs).tolist() == [61_327, 0, 88_887]
    assert PROTEINS.keys(PROTEINS.parse(["0-0-0-1:gcn,gcn,sage,fc"])).tolist() == [11_147]


@SPACES
def test_an_architecture_is_a_tree_whose_leaves_go_to_the_output(space):
    archs = space.enumerate()
    for index, text in enumerate(space.format(archs)):
        links, names = (part.split(separator) for part, separator in zip(text.split(":"), "-,", strict=True))
        edges = {(int(source), node) for node, source in enumerate(links, start=1)}
        edges |= {(node, 5) for node in range(1, 5) if str(node) not in links}
        operations, found = archs.graph(index)
        assert operations == ["input", *names, "output"]
        assert sorted(found) == sorted(edges)


# Keys of networks


def network(links, operations) -> tuple:
    """What an architecture computes, as nested sorted tuples (operation, its readers), equal for equal networks.

    A skip that is read gives way to its readers; an unread one is dropped if it reads the input or is its only reader.
    """

    def readers(node: int) -> list[tuple]:
        found = []
        for reader, (source, operation) in enumerate(zip(links, operations, strict=True), start=1):
            if source == node and operation == "skip" and reader in links:
                found += readers(reader)
            elif source == node:
                below = readers(reader)
                found.append((operation, () if below == [("skip", ())] else tuple(sorted(below))))
        return found

    return tuple(sorted(item for item in readers(0) if item != ("skip", ())))


def test_two_architectures_share_a_key_exactly_when_they_are_the_same_network():
    operations = np.array(list(itertools.product(range(len(OPERATIONS)), repeat=4)))
    names = list(itertools.product(OPERATIONS, repeat=4))
    pairs = set()
    for links in LINK_LISTS:
        keys = _keys(np.tile(links, (len(operations), 1)), operations)
        pairs |= {(key, network(links, row)) for key, row in zip(keys.tolist(), names, strict=True)}
    keys, networks = (set(part) for part in zip(*pairs, strict=True))
    assert len(pairs) == len(keys) == len(networks) == 26_206 + 1  # and the one that is nothing but skips
    assert keys - set(SPACE.keys(SPACE.enumerate()).tolist()) == {88_888}
    assert (88_888, ()) in pairs


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("0-1-2-1:gcn,gin,fc,cheb", "0-1-1-2:gcn,gin,cheb,fc"),
        ("0-0-1-2:gin,gcn,fc,sage", "0-0-1-2:gcn,gin,sage,fc"),
        ("0-0-1-2:gin,gin,fc,sage", "0-0-1-2:gin,gin,sage,fc"),
        ("0-1-2-3:gcn,skip,gin,fc", "0-1-2-3:skip,gcn,gin,fc"),  # a skip on the way
        ("0-1-2-3:gcn,skip,skip,skip", "0-1-2-3:skip,skip,skip,gcn"),
        ("0-0-0-0:skip,gcn,skip,gat", "0-1-2-2:skip,skip,gat,gcn"),  # skips from the input to the output
        ("0-1-1-2:gcn,fc,skip,gin", "0-1-1-2:gcn,fc,skip,gin"),  # a skip that adds an output
        ("0-1-1-1:gcn,skip,skip,gin", "0-1-1-1:gcn,gin,skip,skip"),
        ("0-1-1-2:gcn,skip,skip,gin", "0-1-2-2:skip,gcn,gin,skip"),  # one of each
    ],
)
def test_canonical_architectures_by_hand(given, expected):
    assert canonical(given) == expected


def test_a_batch_may_number_nodes_and_list_edges_in_any_order():
    names = ["input", "fc", "gin", "cheb", "gcn", "output"]  # node 4 is read by 3 and 2, which is read by 1
    edges = [(1, 5), (3, 5), (2, 1), (4, 2), (4, 3), (0, 4)]
    for shuffled in itertools.islice(itertools.permutations(edges), 0, 720, 37):
        archs = ArchBatch.from_graphs([(names, list(shuffled))], SPACE.vocabulary)
        assert SPACE.format(archs) == ["0-1-1-2:gcn,gin,cheb,fc"]
        assert SPACE.keys(archs).tolist() == [61_237]


GOOD = (["input", "gcn", "gin", "fc", "cheb", "output"], [(0, 1), (1, 2), (2, 3), (1, 4), (3, 5), (4, 5)])


@pytest.mark.parametrize(
    "graph",
    [
        (["input", "gcn", "gin", "fc", "output"], [(0, 1), (1, 2), (2, 3), (3, 4)]),  # three operations
        (["input", *GOOD[0][2:], "output"], GOOD[1]),  # two outputs
        (["output", *GOOD[0][1:5], "input"], GOOD[1]),  # output first
        (["input", "input", *GOOD[0][2:]], GOOD[1]),  # two inputs
        (GOOD[0], [*GOOD[1], (0, 2)]),  # a node that reads two
        (GOOD[0], GOOD[1][1:]),  # a node that reads none
        (GOOD[0], GOOD[1][:-1]),  # a leaf without output
        (GOOD[0], [*GOOD[1], (2, 5)]),  # an output of what is read
        (GOOD[0], [*GOOD[1], (0, 5)]),
    ],
)
def test_graphs_of_another_form_are_refused(graph):
    archs = ArchBatch.from_graphs([GOOD, graph, GOOD], SPACE.vocabulary)
    with pytest.raises(ValueError, match=r"architecture 1 is not of nasbench-graph: its nodes must be the input, four"):
        SPACE.keys(archs)
    assert SPACE.keys(archs[[0, 2]]).tolist() == [61_237, 61_237]


def test_skips_alone_are_refused():
    skips = (["input", *["skip"] * 4, "output"], GOOD[1])
    archs = ArchBatch.from_graphs([GOOD, skips], SPACE.vocabulary)
    for method in (SPACE.keys, SPACE.format, SPACE.mutate):
        with pytest.raises(ValueError, match="architecture 1 is not of nasbench-graph: all its operations are skips"):
            method(archs)


# Strings


cells = st.tuples(st.sampled_from(LINK_LISTS), st.tuples(*[st.sampled_from(OPERATIONS)] * 4)).filter(
    lambda cell: set(cell[1]) != {"skip"}
)


@given(st.lists(cells, min_size=1, max_size=5))
def test_parse_takes_any_numbering_and_format_is_settled_after_it(drawn):
    strings = [f" {write(*cell)}\n" for cell in drawn]
    settled = SPACE.format(SPACE.parse(strings))
    assert SPACE.format(SPACE.parse(settled)) == settled
    for cell, text in zip(drawn, settled, strict=True):
        assert text.split(":")[0] in LINKS
        assert sorted(text.split(":")[1].split(",")) == sorted(cell[1])


@pytest.mark.parametrize(
    ("string", "reason"),
    [
        ("", "an architecture is written as sources:operations, e.g. 0-1-1-2:gcn,cheb,gin,fc"),
        ("0-1-1-2", "an architecture is written as sources:operations"),
        ("0-1-1:gcn,cheb,gin,fc", "an architecture has 4 sources joined by '-', not 3"),
        ("0-1-1-2-3:gcn,cheb,gin,fc", "an architecture has 4 sources joined by '-', not 5"),
        ("1-1-1-2:gcn,cheb,gin,fc", "node 1 must read from 0, not '1'"),
        ("0-1-3-2:gcn,cheb,gin,fc", "node 3 must read from 0 … 2, not '3'"),
        ("0-1-1-x:gcn,cheb,gin,fc", "node 4 must read from 0 … 3, not 'x'"),
        ("0-1-²-1:gcn,cheb,gin,fc", "node 3 must read from 0 … 2, not '²'"),
        ("0-1-1-2:gcn,cheb,gin", "an architecture has 4 operations joined by ',', not 3"),
        ("0-1-1-2:gcn,cheb,gin,mlp", "unknown operation 'mlp' (known: gat, gcn, gin, "),
        ("0-1-1-2:gcn,cheb,gin,output", "unknown operation 'output'"),
        ("0-1-1-2:gcn,cheb, gin,fc", "unknown operation ' gin'"),
        ("0-1-1-2:skip,skip,skip,skip", "an architecture of skips only is not in the space"),
    ],
)
def test_parse_says_what_is_wrong(string, reason):
    with pytest.raises(ValueError, match="^" + re.escape(reason)):
        SPACE.parse_one(string)


def test_the_smaller_space_refuses_the_operations_it_lacks():
    with pytest.raises(ValueError, match=r"line 1: unknown operation 'cheb' \(known: gcn, sage, arma, fc, skip\), in"):
        PROTEINS.parse([CELL])


# Mutation


def neighbours(text: str, space: NASBenchGraph) -> set[str]:
    """The other architectures that one changed operation or source makes of one."""
    links, names = text[:7].split("-"), text[8:].split(",")
    strings = []
    for node in range(4):
        strings += [write([*links[:node], s, *links[node + 1 :]], names) for s in range(node + 1)]
        strings += [write(links, [*names[:node], name, *names[node + 1 :]]) for name in space.vocabulary[1:-1]]
    possible = [string for string in strings if not string.endswith("skip,skip,skip,skip")]
    return set(space.format(space.parse(possible))) - {text}


@SPACES
def test_mutate_changes_one_choice_and_stays_in_the_space(space):
    archs = space.enumerate()
    mutated = space.mutate(archs, seed=5)
    before, after = space.format(archs), space.format(mutated)
    assert space.from_keys(space.keys(mutated)) == mutated
    assert set(after) <= set(before)
    for index in range(0, len(archs), len(archs) // 200):
        assert after[index] in neighbours(before[index], space)


@pytest.mark.parametrize("text", [CELL, "0-1-2-3:skip,skip,skip,gcn", "0-0-0-0:gat,gat,gat,gat"])
def test_mutate_reaches_every_neighbour(text):
    many = SPACE.parse([text] * 5_000)
    assert set(SPACE.format(SPACE.mutate(many))) == neighbours(text, SPACE)


# Sizes
