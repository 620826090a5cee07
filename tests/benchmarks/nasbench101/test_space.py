import itertools
import json
import re
from hashlib import md5

import networkx as nx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from archflow.archs.batch import ArchBatch
from archflow.benchmarks.nasbench101 import closed_form
from archflow.benchmarks.nasbench101.cells import OPERATIONS, prune, unpack
from archflow.benchmarks.nasbench101.space import NASBench101
from tests import shared_data
from tests.strategies import renumber

SPACE = NASBench101()
CONV3, CONV1, POOL = OPERATIONS
CELL = f"0110000110000100000100000:{CONV3},{POOL},{CONV1}"
SMALLEST = "0100:"


@pytest.fixture(scope="module")
def cells() -> ArchBatch:
    return SPACE.enumerate()


@pytest.fixture(scope="module")
def some(cells) -> ArchBatch:
    """The 91 cells of at most four vertices and 200 others."""
    return cells[np.concatenate([np.arange(91), np.random.default_rng(0).choice(np.arange(91, len(cells)), 200)])]


# Plain versions


def plain(text: str) -> tuple[list[list[int]], list[str]]:
    """Matrix and operations of a string that format() wrote."""
    bits, names = text.split(":")
    size = int(len(bits) ** 0.5)
    matrix = [[int(bit) for bit in bits[size * row : size * (row + 1)]] for row in range(size)]
    return matrix, ["input", *(name for name in names.split(",") if name), "output"]


def write(matrix, operations) -> str:
    return "".join(str(int(bit)) for row in matrix for bit in row) + ":" + ",".join(operations[1:-1])


def as_networkx(matrix, operations) -> nx.DiGraph:
    graph = nx.DiGraph()
    graph.add_nodes_from((vertex, {"operation": name}) for vertex, name in enumerate(operations))
    graph.add_edges_from((int(source), int(target)) for source, target in np.argwhere(matrix))
    return graph


def pruned(matrix, operations):
    """Matrix and operations of the vertices on a path from input to output, or None where there is no cell left."""
    last, graph = len(operations) - 1, as_networkx(matrix, operations)
    live = sorted((nx.descendants(graph, 0) | {0}) & (nx.ancestors(graph, last) | {last}))
    left = np.array(matrix)[np.ix_(live, live)]
    if 0 not in live or len(live) > 7 or left.sum() > 9 or not {operations[v] for v in live[1:-1]} <= set(OPERATIONS):
        return None
    return left.tolist(), [operations[vertex] for vertex in live]


def module_hash(matrix, operations) -> str:
    """The hash as the benchmark's paper and code define it."""

    def hashed(text):
        return md5(text.encode()).hexdigest()

    size = len(operations)
    labels = [-1, *(OPERATIONS.index(name) for name in operations[1:-1]), -2]
    hashes = [hashed(str((sum(matrix[v]), sum(row[v] for row in matrix), labels[v]))) for v in range(size)]
    for _ in range(size):
        read = ["".join(sorted(hashes[w] for w in range(size) if matrix[w][v])) for v in range(size)]
        readers = ["".join(sorted(hashes[w] for w in range(size) if matrix[v][w])) for v in range(size)]
        hashes = [hashed(f"{read[v]}|{readers[v]}|{hashes[v]}") for v in range(size)]
    return hashed(str(sorted(hashes)))


def layers(matrix, operations) -> list[tuple[str, int, int, int, int]]:
    """Every layer of a pruned cell's network: kind, width of its kernel, channels in and out, side of its output."""
    size, found, entering = len(operations), [("conv", 3, 3, 128, 32)], 128
    for stack, (leaving, side) in enumerate([(128, 32), (256, 16), (512, 8)]):
        if stack:
            found.append(("pool", 2, entering, entering, side))
        for _ in range(3):
            concatenated = [vertex for vertex in range(1, size - 1) if matrix[vertex][-1]]
            channels = {size - 1: leaving}
            for place, vertex in enumerate(concatenated):
                channels[vertex] = leaving // len(concatenated) + (place < leaving % len(concatenated))
            for vertex in range(size - 2, 0, -1):
                if vertex not in channels:
                    channels[vertex] = max(channels[reader] for reader in range(size) if matrix[vertex][reader])
            found += [("conv", 1, entering, channels[v], side) for v in range(1, size) if matrix[0][v]]
            for vertex in range(1, size - 1):
                width, kind = {CONV3: (3, "conv"), CONV1: (1, "conv"), POOL: (3, "pool")}[operations[vertex]]
                found.append((kind, width, channels[vertex], channels[vertex], side))
            entering = leaving
    return found


def parameters(found) -> int:
    return sum(k * k * c_in * c + 2 * c for kind, k, c_in, c, _ in found if kind == "conv") + 5_130


def flops(found) -> int:
    return sum(k * k * c_in * c * side * side for kind, k, c_in, c, side in found if kind == "conv") + 5_120


def naslib_flops(found) -> int:
    """What NASLib counts on top: batch normalisation 2, rectifier 1, pooling its kernel, each for an output number."""
    return flops(found) + sum((3 if kind == "conv" else k * k) * c * side * side for kind, k, _, c, side in found)


def changes(text: str) -> set[str]:
    """The other cells that one edge more or less, or one other operation, makes of a cell."""
    matrix, operations = plain(text)
    raw = []
    for source, target in itertools.combinations(range(len(operations)), 2):
        other = np.array(matrix)
        other[source, target] ^= 1
        raw.append((other, operations))
    for vertex in range(1, len(operations) - 1):
        raw += [(matrix, [*operations[:vertex], name, *operations[vertex + 1 :]]) for name in OPERATIONS]
    return canonical(itertools.starmap(pruned, raw)) - {text}


def grown(text: str) -> set[str]:
    """The cells with one vertex more that one edge less turns into this one."""
    matrix, operations = plain(text)
    size, found = len(operations), []
    for place, name in itertools.product(range(1, size), OPERATIONS):
        for links in itertools.product([0, 1], repeat=size):
            larger = np.insert(np.insert(np.array(matrix), place, 0, axis=0), place, 0, axis=1)
            larger[:place, place], larger[place, place + 1 :] = links[:place], links[place:]
            found.append(pruned(larger, [*operations[:place], name, *operations[place:]]))
    return {other for other in canonical(found) if text in changes(other)}


def canonical(cells) -> set[str]:
    """The strings of the cells that are not None."""
    cells = list(filter(None, cells))
    return set(SPACE.format(SPACE.from_cells(cells))) if cells else set()


# What is in the space


def test_the_space_is_the_published_one_in_the_order_of_its_keys(cells):
    keys = SPACE.keys(cells)
    assert SPACE.vocabulary == ("input", "conv3x3-bn-relu", "conv1x1-bn-relu", "maxpool3x3", "output")
    assert np.bincount(np.diff(cells.node_offsets)).tolist() == [0, 0, 1, 6, 84, 2_441, 62_010, 359_082]
    assert np.diff(cells.edge_offsets).max() == 9
    assert (np.diff(keys) > 0).all()
    assert np.array_equal(np.sort(SPACE.keys(SPACE.sample(SPACE.size))), keys)


def test_enumerate_gives_the_first_cell_of_each_hash_as_the_benchmark_goes_through_them(cells):
    found = {}
    for size in range(2, 6):
        pairs = [(source, target) for target in range(size) for source in range(target)]
        for bits in range(2 ** len(pairs)):
            matrix = np.zeros((size, size), dtype=int)
            for place, (source, target) in enumerate(pairs):
                matrix[source, target] = bits >> place & 1
            if matrix[:-1].any(axis=1).all() and matrix[:, 1:].any(axis=0).all() and matrix.sum() <= 9:
                for names in itertools.product(OPERATIONS, repeat=size - 2):
                    cell = matrix.tolist(), ["input", *names, "output"]
                    found.setdefault(module_hash(*cell), write(*cell))
    smaller = np.diff(cells.node_offsets) <= 5
    assert SPACE.format(cells[smaller]) == list(found.values())
    assert SPACE.module_hash(cells[smaller]) == list(found)


def test_a_batch_holds_the_vertices_and_edges_of_the_matrix(some):
    for index, text in enumerate(SPACE.format(some)):
        matrix, operations = plain(text)
        names, edges = some.graph(index)
        assert names == operations
        assert sorted(edges) == [tuple(edge) for edge in np.argwhere(matrix)]


# One key a network


@st.composite
def raw_cells(draw, smallest=2, largest=9, operations=OPERATIONS):
    """Matrix and operations, dead vertices among them; many are too large for the space, some not connected."""
    size, density = draw(st.integers(smallest, largest)), draw(st.sampled_from([0.3, 0.5, 0.8]))
    seed = draw(st.integers(0, 2**32 - 1))
    matrix = np.triu(np.random.default_rng(seed).random((size, size)) < density, 1).astype(int)
    names = draw(st.lists(st.sampled_from(operations), min_size=size - 2, max_size=size - 2))
    return matrix.tolist(), ["input", *names, "output"]


whole_cells = raw_cells().map(lambda cell: pruned(*cell)).filter(bool)
similar_cells = raw_cells(5, 5, (CONV3, POOL)).map(lambda cell: pruned(*cell)).filter(bool)


@given(whole_cells, st.integers(0, 2**32 - 1))
def test_numbering_the_nodes_otherwise_changes_nothing(cell, seed):
    graph = cell[1], [(int(source), int(target)) for source, target in np.argwhere(cell[0])]
    archs = ArchBatch.from_graphs([graph, renumber(graph, np.random.default_rng(seed))], SPACE.vocabulary)
    for method in (SPACE.keys, SPACE.module_hash, SPACE.format, SPACE.parameters, SPACE.flops):
        first, second = method(archs)
        assert first == second
    assert SPACE.module_hash(archs)[0] == module_hash(*cell)
    assert SPACE.from_keys(SPACE.keys(archs))[0] == SPACE.parse([write(*cell)])


@given(st.lists(similar_cells, min_size=2, max_size=30))
def test_two_cells_have_one_key_exactly_when_they_are_isomorphic(drawn):
    keys = SPACE.keys(SPACE.from_cells(drawn))
    graphs = [as_networkx(*cell) for cell in drawn]
    for (key, graph), (other_key, other) in itertools.combinations(zip(keys, graphs, strict=True), 2):
        same = nx.is_isomorphic(graph, other, node_match=lambda a, b: a["operation"] == b["operation"])
        assert (key == other_key) == same


def test_the_hash_is_that_of_the_definition_and_tells_cells_apart(some):
    hashes = SPACE.module_hash(some)
    assert hashes == [module_hash(*plain(text)) for text in SPACE.format(some)]
    assert len(set(hashes)) == len(set(SPACE.keys(some).tolist()))


GOOD = (["input", CONV3, POOL, "output"], [(0, 1), (0, 2), (1, 2), (2, 3)])
CHAIN = (["input", *[CONV3] * 6, "output"], [(node, node + 1) for node in range(7)])
DENSE = (["input", *[CONV3] * 3, "output"], list(itertools.combinations(range(5), 2)))


@pytest.mark.parametrize(
    ("graph", "reason"),
    [
        ((["input"], []), "it must have 2 to 7 vertices"),
        (CHAIN, "it must have 2 to 7 vertices"),
        (DENSE, "it must have at most 9 edges"),
        ((["input", "input", POOL, "output"], GOOD[1]), "it must have one input and one output"),
        ((["input", CONV3, POOL, CONV1], GOOD[1]), "it must have one input and one output"),
        ((["input", "output", "output"], [(0, 1), (0, 2)]), "it must have one input and one output"),
        ((["input", *[CONV3] * 6], [(node, node + 1) for node in range(6)]), "it must have one input and one output"),
        ((GOOD[0], [(1, 2), (2, 3)]), "every vertex must lie on a path from the input to the output"),
        ((GOOD[0], [(0, 1), (0, 2), (1, 3)]), "every vertex must lie on a path"),
        ((GOOD[0], [(0, 1), (0, 2), (1, 2)]), "every vertex must lie on a path"),
        ((["input", CONV3, "output"], [(0, 2), (2, 1)]), "every vertex must lie on a path"),
        ((["input", CONV3, "output"], [(1, 0), (0, 2)]), "every vertex must lie on a path"),
    ],
)
def test_graphs_that_are_no_cells_are_refused(graph, reason):
    archs = ArchBatch.from_graphs([GOOD, graph, GOOD], SPACE.vocabulary)
    with pytest.raises(ValueError, match=f"architecture 1 is not of nasbench101: {reason}"):
        SPACE.keys(archs)
    assert len(set(SPACE.keys(archs[[0, 2]]).tolist())) == 1


def test_the_largest_cells_are_accepted():
    longest = (["input", *[CONV3] * 5, "output"], [(node, node + 1) for node in range(6)])
    densest = (DENSE[0], [edge for edge in DENSE[1] if edge != (0, 4)])
    assert len(SPACE.keys(ArchBatch.from_graphs([longest, densest], SPACE.vocabulary))) == 2


# Pruning


@given(raw_cells())
def test_prune_leaves_what_lies_on_a_path_from_input_to_output(cell):
    expected = pruned(*cell)
    if expected is None:
        with pytest.raises(ValueError, match=r"not connected|more than 7$|more than 9$"):
            prune(*cell)
        with pytest.raises(ValueError, match=r"^line 1: .*(not connected|more than 7|more than 9), in"):
            SPACE.parse([json.dumps(dict(zip(("matrix", "ops"), cell, strict=True)))])
        return
    matrix, operations = prune(*cell)
    assert (matrix.tolist(), operations) == expected
    archs = SPACE.from_cells([cell, expected])
    assert archs[0] == archs[1] == SPACE.parse([write(*cell)])


def test_prune_takes_arrays_and_ignores_what_a_dead_vertex_would_do():
    matrix = np.zeros((4, 4))
    matrix[0, [1, 3]] = 1
    matrix[2, 3] = 1
    left, operations = prune(matrix, np.array(["input", "none", "none", "output"]))
    assert left.tolist() == [[0, 1], [0, 0]]
    assert operations == ["input", "output"]


@pytest.mark.parametrize(
    ("cell", "reason"),
    [
        (([[0, 1], [0, 0]], ["input", CONV3]), "the first operation must be input, the last output"),
        (([[0, 1], [0, 0]], ["output", "input"]), "the first operation must be input, the last output"),
        (([], []), "the first operation must be input, the last output"),
        (([[0, 1], [0, 0]], ["input", CONV3, "output"]), r"a matrix of shape \(2, 2\) does not fit 3 operations"),
        (([[0, 1], [0]], ["input", "output"]), r"a matrix of shape \(2,\) does not fit 2 operations"),
        (([0, 1], ["input", "output"]), r"a matrix of shape \(2,\) does not fit 2 operations"),
        (([[0, 2], [0, 0]], ["input", "output"]), "the matrix must hold 0 and 1 only"),
        (([[0, 0.5], [0, 0]], ["input", "output"]), "the matrix must hold 0 and 1 only"),
        (([[0, "1"], [0, 0]], ["input", "output"]), "the matrix must hold 0 and 1 only"),
        (([[0, 1], [1, 0]], ["input", "output"]), "the matrix must be zero on and below its diagonal"),
        (([[1, 1], [0, 0]], ["input", "output"]), "the matrix must be zero on and below its diagonal"),
        (([[0, 0], [0, 0]], ["input", "output"]), "input and output are not connected"),
        (
            ([[0, 1, 0], [0, 0, 1], [0, 0, 0]], ["input", "conv", "output"]),
            r"unknown operation 'conv' \(known: conv3x3",
        ),
        (([[0, 1, 0], [0, 0, 1], [0, 0, 0]], ["input", "input", "output"]), "unknown operation 'input'"),
        ((np.eye(8, k=1), ["input", *[POOL] * 6, "output"]), "the cell has 8 vertices, more than 7"),
        ((np.triu(np.ones((5, 5)), 1), ["input", *[POOL] * 3, "output"]), "the cell has 10 edges, more than 9"),
    ],
)
def test_prune_and_from_cells_say_what_is_wrong(cell, reason):
    with pytest.raises(ValueError, match=f"^{reason}"):
        prune(*cell)
    with pytest.raises(ValueError, match=f"^architecture 1: {reason}"):
        SPACE.from_cells([([[0, 1], [0, 0]], ["input", "output"]), cell])


# Strings


def test_the_three_notations_denote_the_same_cells(some):
    numbers = {"input": 0, "output": 1, POOL: 2, CONV1: 3, CONV3: 4}
    strings = SPACE.format(some)
    specs, tuples = [], []
    for matrix, operations in map(plain, strings):
        specs.append(json.dumps({"matrix": matrix, "ops": operations}))
        tuples.append(str((*itertools.chain(*matrix), *(numbers[name] for name in operations))))
    assert SPACE.parse(specs) == SPACE.parse(tuples) == some
    assert SPACE.parse([f" {text.replace(' ', '')}\n" for text in tuples]) == some


@pytest.mark.parametrize(
    ("string", "reason"),
    [
        ("", "a cell is written as matrix:operations, e.g. 010001000:maxpool3x3, with"),
        ("0100", "a cell is written as matrix:operations"),
        ("01000:", "a cell is written as matrix:operations"),
        (":", "a matrix of shape (0, 0) does not fit 2 operations, input and output included"),
        ("0:", "a matrix of shape (1, 1) does not fit 2 operations"),
        ("010001000:", "a matrix of shape (3, 3) does not fit 2 operations"),
        (f"010001000:{CONV3},{CONV3}", "a matrix of shape (3, 3) does not fit 4 operations"),
        (f"010001000:{CONV3},", "a matrix of shape (3, 3) does not fit 4 operations"),
        ("010001000:none", "unknown operation 'none' (known: conv3x3-bn-relu, conv1x1-bn-relu, maxpool3x3)"),
        (f"010001000: {CONV3}", f"unknown operation ' {CONV3}'"),
        ("010001000:output", "unknown operation 'output'"),
        ("0200:", "the matrix must hold 0 and 1 only"),
        ("0²00:", "the matrix must hold 0 and 1 only"),
        ("0 00:", "the matrix must hold 0 and 1 only"),
        ("0110:", "the matrix must be zero on and below its diagonal"),
        ("0000:", "input and output are not connected"),
        ("0" + "1" * 24 + f":{CONV3},{CONV3},{CONV3}", "the matrix must be zero on and below its diagonal"),
        (f"0111100111000110000100000:{CONV3},{CONV3},{CONV3}", "the cell has 10 edges, more than 9"),
        ("(0,1,0,0,0)", "a tuple holds V·V matrix entries and V operations of 0 … 4, not these 5 numbers"),
        ("(0,1,0,0,0,5)", "a tuple holds V·V matrix entries and V operations of 0 … 4, not these 6 numbers"),
        ("(0,1,0,0,1,0)", "the first operation must be input, the last output"),
        ("(0,1,0,0,0,-1)", "a cell is written as matrix:operations"),
        ("(0,1,0,0,0,10)", "a cell is written as matrix:operations"),
        ("{", "the module spec is not valid JSON"),
        ('{"matrix": ' + "[" * 100_000, "the module spec is not valid JSON"),
        ('{"matrix": [[0, 1], [0, 0]]}', 'the module spec must have a list of operations, "ops"'),
        ('{"matrix": [[0, 1], [0, 0]], "ops": "input"}', 'the module spec must have a list of operations, "ops"'),
        ('{"matrix": [[0, 1], [0, 0]], "ops": [0, 1]}', 'the module spec must have a list of operations, "ops"'),
        ('{"ops": ["input", "output"]}', 'the module spec must have a square "matrix" of 0 and 1'),
        ('{"matrix": [[0, 1], [0]], "ops": ["input", "output"]}', 'the module spec must have a square "matrix"'),
        ('{"matrix": [[0, 300], [0, 0]], "ops": ["input", "output"]}', 'the module spec must have a square "matrix"'),
        ('{"matrix": [[0, "1"], [0, 0]], "ops": ["input", "output"]}', 'the module spec must have a square "matrix"'),
        ('{"matrix": [[0, 1], [0, 0]], "ops": ["input"]}', "the first operation must be input, the last output"),
    ],
)
def test_parse_says_what_is_wrong(string, reason):
    with pytest.raises(ValueError, match="^" + re.escape(reason)):
        SPACE.parse_one(string)


# Decisions and mutation


def test_the_choices_are_the_bits_of_a_matrix_of_seven_vertices_and_five_operations(some):
    for index, text in enumerate(SPACE.format(some)):
        matrix, operations = plain(text)
        size, padded = len(operations), np.zeros((7, 7), dtype=int)
        place = [*range(size - 1), 6]
        padded[np.ix_(place, place)] = matrix
        chosen = SPACE.encode(some[[index]])[0].tolist()
        assert chosen[:21] == [padded[source, target] for target in range(7) for source in range(target)]
        assert chosen[21:] == [OPERATIONS.index(name) for name in operations[1:-1]] + [0] * (7 - size)


@given(raw_cells(7, 7))
def test_any_matrix_of_seven_vertices_is_pruned_or_refused(cell):
    matrix, operations = np.array(cell[0]), [OPERATIONS.index(name) for name in cell[1][1:-1]]
    choices = np.array([[matrix[source, target] for target in range(7) for source in range(target)] + operations])
    if pruned(*cell):
        assert SPACE.decode(choices) == SPACE.from_cells([cell])
    else:
        with pytest.raises(ValueError, match=r"^architecture 1 is not of nasbench101: .*(not connected|more than 9)$"):
            SPACE.decode(np.concatenate([SPACE.encode(SPACE.sample(1)), choices]))


def test_mutate_changes_one_choice(some):
    """What is cut off by one edge less may come back by one edge more."""
    for before, after in zip(SPACE.format(some[::3]), SPACE.format(SPACE.mutate(some[::3])), strict=True):
        assert after in changes(before) or before in changes(after)


@pytest.mark.parametrize("size", [6, 7])
def test_mutate_reaches_every_neighbour_and_no_other_cell(size):
    matrix = np.eye(size, k=1)
    matrix[[0, 1], [size - 1, size - 1]] = 1
    (text,) = canonical([(matrix, ["input", *[CONV3, CONV3, POOL, CONV1, CONV1][: size - 2], "output"])])
    reached = SPACE.format(SPACE.mutate(SPACE.parse([text] * 60_000)))
    assert set(reached) == changes(text) | (grown(text) if size < 7 else set())


def test_mutate_leaves_the_smallest_cell():
    mutated = SPACE.mutate(SPACE.parse([SMALLEST] * 500))
    assert SMALLEST not in SPACE.format(mutated)
    for text in SPACE.format(mutated):
        assert SMALLEST in changes(text)


# Sizes


def test_parameters_and_flops_are_those_of_the_layers(some):
    networks = [layers(*plain(text)) for text in SPACE.format(some)]
    assert SPACE.parameters(some).tolist() == [parameters(network) for network in networks]
    assert SPACE.flops(some).tolist() == [flops(network) for network in networks]


def test_the_other_proxies_are_those_of_signal_propagation(some):
    _, matrices, operations = unpack(SPACE.keys(some))
    for name in closed_form.PROXIES:
        assert np.array_equal(SPACE.proxy(name, some), closed_form.proxies([name], matrices, operations)[name])
    found = SPACE.proxies_of(some)
    assert tuple(found) == SPACE.proxies
    assert np.array_equal(SPACE.proxy("zen", some), closed_form.propagate(matrices, operations).zen)
    assert np.array_equal(SPACE.proxy("l2_norm", some), closed_form.l2_norm(matrices, operations))


# The published tables


def test_every_shared_row_has_its_cell_its_hash_and_its_parameters(cells):
    rows = shared_data.rows("nasbench101")
    strings = [f"{row['adjacency']}:{','.join(OPERATIONS[int(label)] for label in row['operations'])}" for row in rows]
    archs = SPACE.parse(strings)
    assert len(rows) == 20_001
    assert SPACE.format(archs) == strings  # the numbering is the benchmark's own
    assert np.isin(SPACE.keys(archs), SPACE.keys(cells)).all()
    assert SPACE.module_hash(archs) == [row["module_hash"] for row in rows]
    assert SPACE.parameters(archs).tolist() == [int(row["trainable_parameters"]) for row in rows]


def test_naslib_rows_have_their_hash_and_naslib_counts_the_same_network():
    rows = shared_data.rows("nasbench101_proxies")
    archs = SPACE.parse([row["naslib_arch"] for row in rows])
    assert len(rows) == 500
    assert SPACE.module_hash(archs) == [row["module_hash"] for row in rows]
    names = np.array(["input", "output", POOL, CONV1, CONV3])
    for row in rows:
        numbers = [int(number) for number in row["naslib_arch"].strip("()").split(",")]
        # NASLib builds the network in the numbering of its tuple, which decides who gets a channel more.
        network = layers(*pruned(np.reshape(numbers[:49], (7, 7)), names[numbers[49:]].tolist()))
        assert f"{parameters(network) / 1e6:.6g}" == row["params"]
        assert f"{naslib_flops(network) / 1e6:.6g}" == row["flops"]
