import itertools
import json
import random
import re
from collections import Counter

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from networkx.algorithms.isomorphism import categorical_multiedge_match, categorical_node_match

from archflow.archs.batch import ArchBatch
from archflow.benchmarks.nasbench_nlp.space import NASBenchNLP
from tests import shared_data
from tests.strategies import renumber

SPACE = NASBenchNLP()
ARITIES = {"linear": (1, 2, 3), "blend": (3,), "elementwise_prod": (2,), "elementwise_sum": (2,)}
ACTIVATIONS = ("activation_tanh", "activation_sigm", "activation_leaky_relu")
ARITIES |= dict.fromkeys(ACTIVATIONS, (1,))


def recipe(**nodes: str) -> str:
    """A recipe from ``name="operation input input"``."""
    split = {name: node.split() for name, node in nodes.items()}
    return json.dumps({name: {"op": operation, "input": inputs} for name, (operation, *inputs) in split.items()})


RNN = recipe(f="linear x h_prev_0", h_new_0="activation_tanh f")
GRU = recipe(
    r="linear x h_prev_0",
    r_act="activation_sigm r",
    z="linear x h_prev_0",
    z_act="activation_sigm z",
    rh="elementwise_prod r_act h_prev_0",
    h="linear x rh",
    h_act="activation_tanh h",
    h_new_0="blend z_act h_prev_0 h_act",
)
LSTM = recipe(
    i="linear x h_prev_0",
    i_act="activation_tanh i",
    j="linear x h_prev_0",
    j_act="activation_sigm j",
    f="linear x h_prev_0",
    f_act="activation_sigm f",
    o="linear x h_prev_0",
    o_act="activation_tanh o",
    h_new_1_part1="elementwise_prod f_act h_prev_1",
    h_new_1_part2="elementwise_prod i_act j_act",
    h_new_1="elementwise_sum h_new_1_part1 h_new_1_part2",
    h_new_1_act="activation_tanh h_new_1",
    h_new_0="elementwise_prod h_new_1_act o_act",
)
THREE = recipe(
    a="linear x h_prev_0 h_prev_1",
    b="activation_sigm a",
    h_new_2="blend b h_prev_2 a",
    h_new_1="elementwise_sum b a",
    c="linear h_new_1 h_prev_2 h_new_1",
    h_new_0="activation_leaky_relu c",
)
TWICE = recipe(
    a="linear x h_prev_0 x",
    b="elementwise_prod a a",
    c="linear b b b",
    d="blend c c h_prev_0",
    e="blend d a a",
    f="blend e d e",
    h_new_0="elementwise_sum f f",
)
HANDMADE = (RNN, GRU, LSTM, THREE, TWICE)


def as_networkx(text: str, swap: bool = False) -> nx.MultiDiGraph:
    """A recipe with its own nodes; the places of a blend's inputs are labels of the edges."""
    nodes = json.loads(text)
    state = {"h_new_1": "h_new_2", "h_new_2": "h_new_1", "h_prev_1": "h_prev_2", "h_prev_2": "h_prev_1"}
    graph = nx.MultiDiGraph()
    for name, node in nodes.items():
        for place, source in enumerate(node["input"]):
            graph.add_edge(source, name, place=place if node["op"] == "blend" else 0)
    for name in graph:
        public = name if re.fullmatch(r"x|h_(prev|new)_\d", name) else ""
        public = state.get(public, public) if swap else public
        graph.nodes[name]["label"] = (public, nodes[name]["op"] if name in nodes else "")
    return graph


def are_one_network(first: str, second: str) -> bool:
    return any(
        nx.is_isomorphic(
            as_networkx(first, swap),
            as_networkx(second),
            node_match=categorical_node_match("label", None),
            edge_match=categorical_multiedge_match("place", None),
        )
        for swap in (False, True)
    )


def rewritten(text: str, rng: random.Random) -> str:
    """The same network with other names, and with its nodes and interchangeable inputs in another order."""
    nodes = json.loads(text)
    names = {name: name if re.fullmatch(r"h_new_\d", name) else f"q{rng.random()}" for name in nodes}
    items = []
    for name, node in nodes.items():
        inputs = [names.get(source, source) for source in node["input"]]
        if node["op"] != "blend":
            rng.shuffle(inputs)
        items.append((names[name], {"op": node["op"], "input": inputs}))
    rng.shuffle(items)
    return json.dumps(dict(items))


def states_swapped(text: str) -> str:
    for old, new in (("_1", "_q"), ("_2", "_1"), ("_q", "_2")):
        text = re.sub(rf"(h_new|h_prev){old}\b", rf"\1{new}", text)
    return text


@pytest.fixture(scope="module")
def drawn() -> ArchBatch:
    return SPACE.sample(600, seed=1)


# What is in the space


def test_a_gru_drawn_by_hand():
    names, edges = SPACE.parse([GRU]).graph(0)
    assert names == [
        *("input_x", "input_h_prev_0", "linear", "activation_sigm", "linear", "activation_sigm", "elementwise_prod"),
        *("linear", "activation_tanh", "blend_gate", "blend_rest", "blend", "output_h_new_0"),
    ]
    sources = ([0, 1], [2], [0, 1], [4], [1, 3], [0, 6], [7], [5], [8], [1, 9, 10], [11])
    assert edges == [(source, target) for target, read in enumerate(sources, start=2) for source in read]


def test_a_repeated_input_is_read_through_a_repeat_node():
    text = recipe(a="linear x x h_prev_0", h_new_0="elementwise_prod a a")
    names, edges = SPACE.parse([text]).graph(0)
    assert names == ["input_x", "input_h_prev_0", "repeat", "linear", "repeat", "elementwise_prod", "output_h_new_0"]
    assert edges == [(0, 2), (0, 3), (1, 3), (2, 3), (3, 4), (3, 5), (4, 5), (5, 6)]


def test_nodes_may_be_listed_before_what_they_read_and_new_states_be_read():
    text = recipe(h_new_1="activation_tanh h_new_0", h_new_0="linear x h_prev_1 h_prev_0")
    names, edges = SPACE.parse([text]).graph(0)
    assert names[:5] == ["input_x", "input_h_prev_0", "input_h_prev_1", "activation_tanh", "linear"]
    assert names[5:] == ["output_h_new_0", "output_h_new_1"]
    assert edges == [(4, 3), (0, 4), (1, 4), (2, 4), (4, 5), (3, 6)]


# Reading and writing


def test_format_writes_the_recipe_that_was_read(drawn):
    for text in [*HANDMADE, *SPACE.format(drawn)[:60]]:
        (written,) = SPACE.format(SPACE.parse([text]))
        assert are_one_network(written, text)
        names = list(json.loads(written))
        assert all(name == f"n{place}" or name.startswith("h_new_") for place, name in enumerate(names))
    assert SPACE.format(SPACE.parse([RNN])) == [RNN.replace('"f"', '"n0"')]


def test_parse_reads_what_format_writes(drawn):
    archs = ArchBatch.concatenate([SPACE.parse(HANDMADE), drawn, SPACE.mutate(drawn)])
    assert SPACE.parse(SPACE.format(archs)) == archs


def test_the_published_cells_are_read_and_written_and_have_their_parameters():
    rows = shared_data.rows("nasbench_nlp")
    archs = SPACE.parse([row["recepie_json"] for row in rows])
    assert SPACE.parse(SPACE.format(archs)) == archs
    larger_vocabulary = (33_278 - 10_000) * 401
    assert (SPACE.parameters(archs) + larger_vocabulary).tolist() == [int(row["num_params"]) for row in rows]


@pytest.mark.parametrize(
    ("string", "reason"),
    [
        ("", "a recipe is JSON"),
        (RNN[:-1], "a recipe is JSON"),
        ('{"a":' * 100_000, "a recipe is JSON"),
        ("[]", "a recipe is a JSON object of nodes"),
        ("{}", "no node is h_new_0"),
        (recipe(f="linear x h_prev_0"), "no node is h_new_0"),
        ('{"a": {"op": "linear"}}', 'node \'a\' must be written as {"op": …, "input": […]}'),
        ('{"a": "linear"}', "node 'a' must be written as"),
        (
            '{"a": {"op": ["linear"], "input": ["x"]}}',
            "node 'a' has the unknown operation ['linear'] (known: linear, bl",
        ),
        (RNN.replace("tanh", "relu"), "node 'h_new_0' has the unknown operation 'activation_relu'"),
        ('{"a": {"op": "linear", "input": "x"}}', "the inputs of node 'a' must be a list of names"),
        ('{"a": {"op": "linear", "input": [1]}}', "the inputs of node 'a' must be a list of names"),
        ('{"a": {"op": "linear", "input": ["x"]}, "a": {}}', "'a' is given twice"),
        (recipe(h_new_0="linear x h_prev_0", h_prev_0="linear x"), "node 'h_prev_0' has the name of an input"),
        (recipe(h_new_0="linear x h_prev_0", x="linear h_prev_0"), "node 'x' has the name of an input"),
        (recipe(h_new_0="linear x h_prev_0", h_new_2="linear x"), "node 'h_new_2' is one too many: at most h_new_0"),
        (recipe(h_new_0="linear"), "node 'h_new_0' has 0 inputs, but linear takes 1 or 2 or 3"),
        (recipe(h_new_0="linear x x x h_prev_0"), "node 'h_new_0' has 4 inputs"),
        (recipe(h_new_0="blend h_prev_0 h_prev_0"), "node 'h_new_0' has 2 inputs, but blend takes 3"),
        (recipe(h_new_0="linear x g"), "node 'h_new_0' reads 'g', which is not there"),
        (recipe(h_new_0="linear x h_prev_0 h_prev_1"), "node 'h_new_0' reads 'h_prev_1', which is not there"),
        (recipe(h_new_0="elementwise_sum x h_prev_0"), "node 'h_new_0' (elementwise_sum) reads x, which only"),
        (
            recipe(a="activation_tanh b", b="linear x h_prev_0 a", h_new_0="activation_sigm b"),
            "its nodes form a cycle: '",
        ),
        (recipe(h_new_0="activation_tanh h_prev_0"), "no node reads 'x'"),
        (recipe(h_new_0="linear x"), "no node reads 'h_prev_0'"),
        (recipe(a="linear x", h_new_0="linear x h_prev_0"), "no node reads 'a'"),
        (recipe(**{"a\n": "linear x", "h_new_0": "linear x h_prev_0"}), r"no node reads 'a\n'"),
    ],
)
def test_parse_says_what_is_wrong(string, reason):
    with pytest.raises(ValueError, match="^" + re.escape(reason)):
        SPACE.parse_one(string)


# Networks and their keys


def assert_keys_tell_networks_apart(texts: list[str]) -> None:
    """Pair by pair, for those that have the same operations."""
    keys = SPACE.keys(SPACE.parse(texts)).tolist()
    alike: dict[tuple, list[int]] = {}
    for index, text in enumerate(texts):
        alike.setdefault(tuple(sorted(node["op"] for node in json.loads(text).values())), []).append(index)
    pairs = [pair for group in alike.values() for pair in itertools.combinations(group, 2)]
    for first, second in pairs:
        pair = texts[first], texts[second]
        assert (keys[first] == keys[second]) == are_one_network(*pair), pair
    kinds = {ops: {keys[index] for index in group} for ops, group in alike.items()}
    assert sum(map(len, kinds.values())) == len(set().union(*kinds.values()))


def test_keys_tell_the_published_cells_apart():
    texts = list(dict.fromkeys(row["recepie_json"] for row in shared_data.rows("nasbench_nlp")))
    assert_keys_tell_networks_apart(texts)
    assert (len(texts), len(set(SPACE.keys(SPACE.parse(texts)).tolist()))) == (291, 265)


def test_keys_tell_neighbours_apart():
    """Mutants of a few cells, many of which only differ in the order of their nodes."""
    texts = SPACE.format(SPACE.mutate(SPACE.parse([GRU, TWICE, THREE] * 60)))
    assert_keys_tell_networks_apart(texts)


def test_the_order_of_a_blend_counts_and_that_of_a_sum_does_not():
    base = {"a": "linear x h_prev_0", "b": "activation_sigm a", "c": "activation_tanh a"}
    texts = [recipe(**base, h_new_0=f"blend {' '.join(order)}") for order in itertools.product("abc", repeat=3)]
    texts = [text for text in texts if {"b", "c"} <= set(json.loads(text)["h_new_0"]["input"])]
    assert len(set(SPACE.keys(SPACE.parse(texts)).tolist())) == len(texts) == 12
    for operation in ("elementwise_sum", "elementwise_prod", "linear"):
        texts = [recipe(**base, h_new_0=f"{operation} {order}") for order in ("b c", "c b")]
        assert len(set(SPACE.keys(SPACE.parse(texts)).tolist())) == 1


def test_the_first_hidden_state_is_the_output_and_the_others_may_change_places():
    assert states_swapped(THREE) != THREE
    assert len(set(SPACE.keys(SPACE.parse([THREE, states_swapped(THREE)])).tolist())) == 1
    one = recipe(a="linear x h_prev_0 h_prev_1", h_new_0="activation_tanh a", h_new_1="activation_sigm a")
    two = recipe(a="linear x h_prev_0 h_prev_1", h_new_1="activation_tanh a", h_new_0="activation_sigm a")
    assert len(set(SPACE.keys(SPACE.parse([one, two])).tolist())) == 2


def test_shared_and_separate_nodes_are_told_apart():
    """One layer that two activations read, and two layers of the same kind with separate weights."""
    one = recipe(a="linear x h_prev_0", b="activation_tanh a", c="activation_sigm a", h_new_0="elementwise_sum b c")
    two = recipe(
        **dict.fromkeys("ad", "linear x h_prev_0"),
        b="activation_tanh a",
        c="activation_sigm d",
        h_new_0="elementwise_sum b c",
    )
    assert len(set(SPACE.keys(SPACE.parse([one, two])).tolist())) == 2


@settings(max_examples=40)
@given(st.integers(0, 2**32 - 1))
def test_keys_and_parameters_do_not_depend_on_names_order_or_other_cells(drawn, seed):
    rng = random.Random(seed)
    rows = [rng.randrange(len(drawn)) for _ in range(3)]
    archs = drawn[rows]
    keys, parameters = SPACE.keys(archs), SPACE.parameters(archs)
    others = [
        SPACE.parse(
            [states_swapped(rewritten(text, rng)) if "h_new_2" in text else text for text in SPACE.format(archs)]
        ),
        ArchBatch.from_graphs(
            [renumber(archs.graph(index), np.random.default_rng(seed)) for index in range(3)], SPACE.vocabulary
        ),
        SPACE.parse(SPACE.format(ArchBatch.concatenate([SPACE.parse([LSTM]), archs])))[1:],
    ]
    for other in others:
        assert SPACE.keys(other).tolist() == keys.tolist() == SPACE.keys(drawn)[rows].tolist()
        assert SPACE.parameters(other).tolist() == parameters.tolist()


def test_keys_stay_what_they_are():
    assert SPACE.keys(SPACE.parse([RNN, LSTM])).tolist() == [0x324BDB8EBE34F2EA, 0x0956C647CEEB0565]


# Graphs from outside


def changed(text: str, drop=(), add=(), nodes=(), names=None):
    """The graph of a recipe with edges removed and added, nodes appended, and operations replaced."""
    operations, edges = SPACE.parse([text]).graph(0)
    for node, name in (names or {}).items():
        operations[node] = name
    return [*operations, *nodes], [edge for edge in edges if edge not in drop] + list(add)


@pytest.mark.parametrize(
    ("graph", "reason"),
    [
        (changed(GRU, drop=[(9, 11)]), "its node 9, blend_gate, is not connected as"),
        (changed(GRU, drop=[(1, 11)]), "its node 11, blend, is not connected as"),
        (changed(GRU, names={10: "blend_gate"}), "its node 11, blend,"),
        (changed(GRU, names={11: "linear"}), "its node 11, linear,"),
        (changed(GRU, names={9: "activation_tanh"}), "its node 11, blend,"),
        (changed(GRU, add=[(0, 6)], drop=[(1, 6)]), "its node 6, elementwise_prod,"),
        (changed(GRU, add=[(3, 12)]), "its node 12, output_h_new_0,"),
        (changed(GRU, add=[(1, 12)], drop=[(11, 12)]), "its node 11, blend,"),
        (changed(GRU, add=[(11, 13)], nodes=["activation_tanh"]), "its node 13, activation_tanh,"),
        (changed(RNN, drop=[(0, 2)]), "its node 0, input_x,"),
        (changed(RNN, add=[(3, 5)], nodes=["output_h_new_1"]), "its node 3, activation_tanh,"),
        (changed(RNN, names={3: "repeat"}), "its node 3, repeat,"),
        (changed(RNN, names={3: "elementwise_sum"}, add=[(1, 5), (5, 3)], nodes=["repeat"]), "its node 5, repeat,"),
        (changed(RNN, names={1: "input_x"}), "it must have x and its hidden states, from 0 on, once as"),
        (changed(RNN, names={1: "input_h_prev_1"}), "it must have x and its hidden states"),
        (changed(RNN, names={4: "output_h_new_1", 1: "input_h_prev_1"}), "it must have x and its hidden states"),
        (changed(RNN, add=[(2, 5)], nodes=["output_h_new_1"]), "it must have x and its hidden states"),
        (changed(RNN, add=[(5, 2)], nodes=["input_h_prev_1"]), "it must have x and its hidden states"),
        (
            changed(RNN, drop=[(0, 2)], names={0: "input_h_prev_1"}, add=[(0, 2), (2, 5)], nodes=["output_h_new_1"]),
            "x and",
        ),
    ],
)
def test_other_graphs_are_refused(graph, reason):
    good = SPACE.parse([GRU]).graph(0)
    archs = ArchBatch.from_graphs([good, graph, good], SPACE.vocabulary)
    for method in (SPACE.keys, SPACE.format, SPACE.parameters, SPACE.mutate):
        with pytest.raises(ValueError, match="architecture 1 is not of nasbench-nlp: .*" + re.escape(reason)):
            method(archs)


# Sampling and mutation


def test_a_sample_is_made_as_the_benchmark_makes_it(drawn):
    """An activation reads a linear node, a linear node reads inputs and activations; no new state reads an old one."""
    states, operations = Counter(), Counter()
    for text in SPACE.format(drawn):
        nodes = json.loads(text)
        new = [name for name in nodes if name.startswith("h_new_")]
        states[len(new)] += 1
        assert len(nodes) <= 25
        for name, node in nodes.items():
            operations[node["op"]] += 1
            kinds = [nodes[source]["op"] if source in nodes else source for source in node["input"]]
            assert len(set(node["input"])) == len(node["input"])
            if node["op"] in ACTIVATIONS:
                assert kinds == ["linear"]
            elif node["op"] == "linear":
                assert len(kinds) in (2, 3)
                assert all(kind in ACTIVATIONS or kind == "x" or kind.startswith("h_prev") for kind in kinds)
            if name in new:
                assert not any(kind.startswith("h_prev") for kind in kinds)
    assert min(states[1], states[2], states[3]) > 60
    assert set(operations) == set(ARITIES)
    assert operations["linear"] > 2 * max(operations[name] for name in ("blend", "elementwise_prod", "elementwise_sum"))


def neighbours(text: str) -> set[int]:
    """The keys of all cells that one changed operation or input makes, without what then leads to no output."""
    nodes, found = json.loads(text), []
    for name, node in nodes.items():
        found += [{**nodes, name: {"op": operation, "input": node["input"]}} for operation in ARITIES]
        for place in range(len(node["input"])):
            for source in ["x", "h_prev_0", "h_prev_1", "h_prev_2", *nodes]:
                inputs = [*node["input"][:place], source, *node["input"][place + 1 :]]
                found.append({**nodes, name: {"op": node["op"], "input": inputs}})
    graphs = []
    for new in found:
        while dead := {
            name
            for name in new
            if not name.startswith("h_new_") and not any(name in node["input"] for node in new.values())
        }:
            new = {name: node for name, node in new.items() if name not in dead}
        try:
            graphs.append(SPACE.parse_one(json.dumps(new)))
        except ValueError:
            continue
    return set(SPACE.keys(ArchBatch.from_graphs(graphs, SPACE.vocabulary)).tolist()) - set(
        SPACE.keys(SPACE.parse([text])).tolist()
    )


def test_mutate_changes_one_choice_and_stays_in_the_space(drawn):
    mutated = SPACE.mutate(drawn, seed=5)
    keys = SPACE.keys(mutated)
    for index, text in enumerate(SPACE.format(drawn)[:40]):
        assert keys[index] in neighbours(text)


def test_mutate_reaches_every_neighbour():
    text = recipe(a="linear x h_prev_0 x", b="activation_tanh a", h_new_0="elementwise_sum b a")
    assert set(SPACE.keys(SPACE.mutate(SPACE.parse([text] * 1_500))).tolist()) == neighbours(text)


# Sizes


def plain_parameters(text: str) -> int:
    """Embedding and bias of the words, and for each of three layers the matrices and the bias of each linear node."""
    total = 10_000 * 400 + 10_000
    for x, hidden in ((400, 600), (600, 600), (600, 400)):
        for node in json.loads(text).values():
            if node["op"] == "linear":
                total += sum((x if source == "x" else hidden) * hidden for source in node["input"]) + hidden
    return total


def test_parameters_equal_the_published_number_and_the_plain_sum(drawn):
    assert SPACE.parameters(SPACE.parse([LSTM])).tolist() == [10_896_400]  # from the benchmark's log on Penn Treebank
    archs = ArchBatch.concatenate([SPACE.parse(HANDMADE), drawn, SPACE.mutate(drawn)])
    parameters = SPACE.parameters(archs)
    assert parameters.tolist() == [plain_parameters(text) for text in SPACE.format(archs)]
