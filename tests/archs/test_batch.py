import itertools
import re

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from archflow.archs.batch import ArchBatch
from archflow.support.digests import digest_arrays
from archflow.support.files import save_tensors
from tests.strategies import VOCABULARY, in_order, lists_of_graphs, random_graphs

GOOD = (["input", "conv", "output"], [(0, 1), (1, 2)])
ARRAYS = {
    "operations": np.array([0, 1, 4, 0, 4]),
    "node_offsets": np.array([0, 3, 5]),
    "edges": np.array([[0, 1, 0], [1, 2, 1]]),
    "edge_offsets": np.array([0, 2, 3]),
    "vocabulary": VOCABULARY,
}


def batch_of(graphs):
    return ArchBatch.from_graphs(graphs, VOCABULARY)


def plain(batch):
    return [batch.graph(index) for index in range(len(batch))]


@pytest.fixture(scope="module")
def graphs():
    return random_graphs(30, seed=1, max_nodes=15)


@pytest.fixture(scope="module")
def batch(graphs):
    return batch_of(graphs)


# Building


@given(lists_of_graphs())
def test_graphs_round_trip(graphs):
    batch = batch_of(graphs)
    assert plain(batch) == [in_order(graph) for graph in graphs]
    assert len(batch) == len(graphs)
    assert batch.vocabulary == VOCABULARY
    assert batch.operations.dtype == batch.edges.dtype == np.uint8
    assert np.diff(batch.node_offsets).tolist() == [len(names) for names, _ in graphs]
    assert np.diff(batch.edge_offsets).tolist() == [len(edges) for _, edges in graphs]
    assert batch.owners.tolist() == [index for index, (names, _) in enumerate(graphs) for _ in names]


def test_the_order_of_the_edges_does_not_matter():
    assert batch_of([(GOOD[0], GOOD[1][::-1])]) == batch_of([GOOD])


@pytest.mark.parametrize(
    "other",
    [
        (["input", "conv", "output"], [(0, 1)]),
        (["input", "pool", "output"], GOOD[1]),
        (["input", "conv", "output"], [(0, 1), (0, 2)]),
    ],
)
def test_different_architectures_are_not_equal(other):
    assert batch_of([GOOD]) != batch_of([other])
    assert batch_of([GOOD]) != batch_of([GOOD, GOOD])
    assert batch_of([GOOD]) != ArchBatch.from_graphs([GOOD], [*VOCABULARY, "more"])
    assert batch_of([GOOD]) != [GOOD]


def test_numbers_that_need_more_than_a_byte():
    nodes = 70_000
    vocabulary = ["input", *(f"op{number}" for number in range(300))]
    names = ["input", *(vocabulary[1 + number % 300] for number in range(nodes - 1))]
    edges = [(0, node) for node in range(1, nodes, 7)] + [(nodes - 2, nodes - 1)]
    batch = ArchBatch.from_graphs([(names, edges)], vocabulary)
    assert batch.graph(0) == in_order((names, edges))
    assert batch.operations.dtype == np.uint16
    assert batch.edges.dtype == np.uint32


def test_a_path_of_a_thousand_nodes():
    names = ["output"] * 1_000 + ["input"]
    batch = batch_of([(names, [(node + 1, node) for node in range(1_000)])])
    assert batch.generations.tolist() == list(range(1_000, -1, -1))


def test_inputs_are_nodes_without_predecessors_whatever_their_names():
    batch = ArchBatch.from_graphs([(["conv", "input1"], [(0, 1)]), (["conv"], [])], ["conv", "input1"])
    assert plain(batch) == [(["conv", "input1"], [(0, 1)]), (["conv"], [])]
    assert [part.tolist() for part in (batch.sweep.sources.values, batch.sweep.sinks.values)] == [[0, 1], [2, 1]]


def test_from_skeleton_equals_from_graphs(graphs):
    names, edges = graphs[3]
    rng = np.random.default_rng(0)
    operations = rng.integers(len(VOCABULARY), size=(20, len(names)))
    operations[:, rng.integers(len(names))] = 0
    expected = [([VOCABULARY[operation] for operation in row], edges) for row in operations]
    assert ArchBatch.from_skeleton(operations, edges, VOCABULARY) == batch_of(expected)
    assert ArchBatch.from_skeleton(operations, [], VOCABULARY) == batch_of([(names, []) for names, _ in expected])


# Bad input


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        ((["input", "conv", "output"], [(0, 1), (1, 2), (2, 1)]), "its edges form a cycle"),
        ((["input", "conv", "conv", "pool"], [(1, 2), (2, 3), (3, 1)]), "its edges form a cycle"),
        ((["input", "conv"], [(0, 1), (1, 1)]), "its edges form a cycle"),
        ((["input"], [(0, 0)]), "its edges form a cycle"),
        ((["input", "conv"], [(0, 2)]), "edge 0→2 names a node that is missing (it has 2 nodes)"),
        ((["input", "conv"], [(0, 1), (5, 1)]), "edge 5→1 names a node that is missing (it has 2 nodes)"),
        ((["input", "conv"], [(0, -1)]), "edge 0→-1 names a node that is missing"),
        ((["input", "conv"], [(-2, 1)]), "edge -2→1 names a node that is missing"),
        ((["input", "conv"], [(0, 2**40)]), "edge 0→1099511627776 names a node that is missing"),
        ((["input", "dense"], [(0, 1)]), "operation 'dense' is not in the vocabulary (input, conv, pool,"),
        ((["input", "Conv"], [(0, 1)]), "operation 'Conv' is not in the vocabulary"),
        ((["input", "conv"], [(0, 1), (0, 1)]), "edge 0→1 is given twice"),
        ((["input", "conv", "pool"], [(0, 1), (1, 2), (0, 1)]), "edge 0→1 is given twice"),
        (([], []), "it has no nodes"),
    ],
)
@pytest.mark.parametrize("index", [0, 2])
def test_the_error_names_the_bad_architecture_and_the_reason(bad, reason, index):
    graphs = [GOOD] * index + [bad] + [GOOD]
    with pytest.raises(ValueError, match="^" + re.escape(f"architecture {index}: {reason}")):
        batch_of(graphs)


@pytest.mark.parametrize("operation", [5, 200, -1, -250, 256, 2**33])
def test_an_operation_number_outside_the_vocabulary(operation):
    operations = np.array([0, 1, 4, 0, operation])
    with pytest.raises(ValueError, match=rf"^architecture 1: node 1 has operation {operation}, .* vocabulary has 5"):
        ArchBatch(**{**ARRAYS, "operations": operations})


def test_the_error_names_the_first_bad_architecture_of_many(graphs):
    cyclic = (["input", "conv", "conv"], [(1, 2), (2, 1)])
    with pytest.raises(ValueError, match=r"^architecture 17: "):
        batch_of([*graphs[:17], cyclic, *graphs[17:], cyclic])


def test_an_empty_batch():
    with pytest.raises(ValueError, match="the batch is empty"):
        batch_of([])
    with pytest.raises(ValueError, match="the batch is empty"):
        ArchBatch(np.array([]), np.array([0]), np.zeros((2, 0)), np.array([0]), VOCABULARY)


def test_an_empty_or_repeating_vocabulary():
    with pytest.raises(ValueError, match="the vocabulary names an operation twice"):
        ArchBatch.from_graphs([GOOD], [*VOCABULARY, "conv"])
    with pytest.raises(ValueError, match="architecture 0: operation 'input' is not in the vocabulary"):
        ArchBatch.from_graphs([GOOD], [])


@pytest.mark.parametrize(
    ("name", "offsets"),
    [
        ("node_offsets", [1, 3, 5]),
        ("node_offsets", [0, 3, 4]),
        ("node_offsets", [0, 3, 6]),
        ("node_offsets", [0, 6, 5]),
        ("node_offsets", [0, -1, 5]),
        ("edge_offsets", [0, 3]),
        ("edge_offsets", [0, 2, 2, 3]),
        ("edge_offsets", [0, 2, 4]),
        ("edge_offsets", [0, 2, 2]),
        ("edge_offsets", [0, 4, 3]),
        ("edge_offsets", [1, 2, 3]),
    ],
)
def test_wrong_offsets(name, offsets):
    with pytest.raises(ValueError, match=f"{name} must rise from 0 to the number of {name[:4]}s"):
        ArchBatch(**{**ARRAYS, name: np.array(offsets)})


def test_an_architecture_without_nodes():
    with pytest.raises(ValueError, match="architecture 1: it has no nodes"):
        ArchBatch(**{**ARRAYS, "node_offsets": np.array([0, 3, 3, 5]), "edge_offsets": np.array([0, 2, 2, 3])})


def test_edges_listed_as_pairs_are_not_taken_for_two_rows():
    with pytest.raises(ValueError, match="edges"):
        ArchBatch(**{**ARRAYS, "edges": ARRAYS["edges"].T})


def test_a_graph_number_out_of_range_is_an_error(batch, graphs):
    assert batch.graph(len(batch) - 1) == in_order(graphs[-1])
    with pytest.raises(IndexError):
        batch.graph(len(batch))


# Slicing and concatenating


@pytest.mark.parametrize(
    "index",
    [
        *(0, 7, -1, -30, np.int64(4), np.uint8(29)),
        *(slice(None), slice(3, 9), slice(-5, None), slice(20, 3, -4), slice(None, None, -1), slice(25, 400)),
        *([4], [9, 2, 2, -1], np.array([5, 5, 5]), np.arange(30)[::-1], np.array([29, 0], dtype=np.uint8)),
        *(np.arange(30) % 3 == 1, [True, False] * 15, np.ones(30, dtype=bool)),
    ],
    ids=str,
)
def test_slicing_equals_slicing_a_list(batch, graphs, index):
    numbers = np.arange(len(graphs))[index]
    expected = [in_order(graphs[number]) for number in np.atleast_1d(numbers)]
    chosen = batch[index]
    assert plain(chosen) == expected
    assert chosen == batch_of(expected)
    assert chosen.generations.tolist() == batch_of(expected).generations.tolist()


@given(lists_of_graphs(max_nodes=12), st.data())
def test_a_slice_of_a_slice(graphs, data):
    numbers = st.lists(st.integers(-len(graphs), len(graphs) - 1), min_size=1, max_size=8)
    first = data.draw(numbers)
    second = data.draw(st.lists(st.integers(0, len(first) - 1), min_size=1, max_size=8))
    expected = [in_order(graphs[first[number]]) for number in second]
    assert plain(batch_of(graphs)[first][second]) == expected


@pytest.mark.parametrize("nothing", [[], slice(5, 5), slice(40, None), np.zeros(30, bool), np.array([], int)], ids=str)
def test_an_empty_selection(batch, nothing):
    with pytest.raises(ValueError, match="the selection is empty"):
        batch[nothing]


@pytest.mark.parametrize("outside", [30, -31, [0, 30], np.array([-31]), np.ones(29, bool), np.ones(31, bool)], ids=str)
def test_a_selection_out_of_range(batch, outside):
    with pytest.raises(IndexError):
        batch[outside]


def test_a_slice_is_independent_of_its_batch(batch):
    before = batch.operations.copy()
    batch[:].operations[:] = 0
    assert np.array_equal(batch.operations, before)


def test_iterating_ends(batch):
    assert sum(len(one) for one in batch) == len(batch)


@given(st.lists(lists_of_graphs(max_size=3, max_nodes=10), min_size=1, max_size=4))
def test_concatenate(parts):
    whole = list(itertools.chain.from_iterable(parts))
    batch = ArchBatch.concatenate([batch_of(part) for part in parts])
    assert batch == batch_of(whole)
    assert batch.generations.tolist() == batch_of(whole).generations.tolist()


def test_concatenate_keeps_numbers_of_different_width():
    long = (["input"] * 400, [(399, 0)])
    assert plain(ArchBatch.concatenate([batch_of([GOOD]), batch_of([long])])) == [in_order(GOOD), in_order(long)]


def test_concatenate_refuses_no_batches_and_different_vocabularies(batch):
    with pytest.raises(ValueError, match="no batch to concatenate"):
        ArchBatch.concatenate([])
    with pytest.raises(ValueError, match="different vocabularies"):
        ArchBatch.concatenate([batch, ArchBatch.from_graphs([GOOD], VOCABULARY[::-1])])


# Files


@settings(max_examples=20)
@given(graphs=lists_of_graphs())
def test_a_file_gives_back_the_same(tmp_path_factory, graphs):
    path = tmp_path_factory.mktemp("archs") / "some.archs"
    batch_of(graphs).save(path)
    loaded = ArchBatch.load(path)
    assert loaded == batch_of(graphs)
    assert loaded.generations.tolist() == batch_of(graphs).generations.tolist()


def test_saving_a_slice(batch, graphs, tmp_path):
    batch.neighbourhoods(1)
    batch[[7, 3]].save(tmp_path / "slice")
    assert plain(ArchBatch.load(tmp_path / "slice")) == [in_order(graphs[7]), in_order(graphs[3])]


def test_a_files_content_is_validated(tmp_path):
    tensors = {name: torch.from_numpy(ARRAYS[name]) for name in ARRAYS if name != "vocabulary"}
    tensors["edges"] = torch.tensor([[0, 1, 1], [1, 2, 0]])
    tensors["edge_offsets"] = torch.tensor([0, 3, 3])
    save_tensors(tmp_path / "cyclic", "archs", tensors, {"vocabulary": VOCABULARY})
    with pytest.raises(ValueError, match="architecture 0: its edges form a cycle"):
        ArchBatch.load(tmp_path / "cyclic")
    del tensors["edges"]
    save_tensors(tmp_path / "lacking", "archs", tensors, {"vocabulary": VOCABULARY})
    with pytest.raises(ValueError, match=r"lacks .*'edges'"):
        ArchBatch.load(tmp_path / "lacking")


# Properties


def test_memory_of_a_space_as_large_as_nasbench101():
    archs, pairs = 423_624, np.array(list(itertools.combinations(range(7), 2)))
    rng = np.random.default_rng(0)
    operations = rng.integers(1, len(VOCABULARY), size=(archs, 7), dtype=np.uint8)
    operations[:, 0] = 0
    present = rng.random((archs, len(pairs)), dtype=np.float32) < rng.random((archs, 1), dtype=np.float32)
    present[0] = True
    edge_offsets = np.concatenate([[0], np.cumsum(present.sum(axis=1))])
    edges = pairs[np.nonzero(present)[1]].T
    batch = ArchBatch(operations.reshape(-1), np.arange(archs + 1) * 7, edges, edge_offsets, VOCABULARY)
    assert batch.nbytes <= 60e6
    arrays = {id(array): array.nbytes for array in every_array(vars(batch))}
    assert sum(arrays.values()) <= 60e6, "what a batch holds beside its own arrays counts too"
    first = [tuple(pair) for pair in pairs.tolist()]
    assert batch.graph(0) == in_order(([VOCABULARY[operation] for operation in operations[0]], first))
    last = [tuple(pair) for pair in pairs[present[-1]].tolist()]
    assert batch.graph(archs - 1) == in_order(([VOCABULARY[operation] for operation in operations[-1]], last))


def every_array(value):
    if isinstance(value, np.ndarray):
        yield value
    elif isinstance(value, dict):
        yield from every_array(list(value.values()))
    elif isinstance(value, list | tuple):
        for item in value:
            yield from every_array(item)


def test_another_vocabulary_is_named(batch):
    with pytest.raises(ValueError, match=r"are of another space than the encoder's: .*input, .* not input, dense"):
        batch.require_vocabulary(["input", "dense"], "the encoder's")
    batch.require_vocabulary(list(VOCABULARY), "the encoder's")


def test_different_architectures_and_columns_have_different_digests(batch):
    column, arrays = np.arange(30.0), (batch.operations, batch.node_offsets, batch.edges, batch.edge_offsets)
    assert batch.digest() == digest_arrays(arrays)
    assert batch.digest(column) == digest_arrays([*arrays, column])
    others = (batch[::-1].digest(column), batch.digest(column + 1), batch.digest())
    assert len({batch.digest(column), batch[:].digest(column.copy())}) == 1
    assert batch.digest(column) not in others
