"""The graphs of NAS-Bench-NLP's cells (see :mod:`.space`): which graphs are cells, and which are the same network."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Int, Integer, UInt64
from numpy import ndarray

from archflow.archs.batch import ArchBatch
from archflow.archs.neighbourhoods import scramble
from archflow.benchmarks.nasbench_nlp.recipes import INPUTS, OPERATIONS, STATES, WIDTHS

VOCABULARY = (
    *(f"input_{name}" for name in INPUTS),
    *OPERATIONS,
    *("blend_gate", "blend_rest", "repeat"),
    *(f"output_h_new_{state}" for state in range(STATES)),
)
NUMBER = {name: number for number, name in enumerate(VOCABULARY)}


def misplaced(archs: ArchBatch) -> Bool[ndarray, " nodes"]:
    """Whether the inputs or readers of a node are not those of its operation in the graph of a recipe."""
    nodes, (sources, targets) = archs.operations, archs.edge_index
    source, target = nodes[sources], nodes[targets]

    def each(ends: Int[ndarray, " edges"]) -> Int[ndarray, " nodes"]:
        return np.bincount(ends, minlength=len(nodes))

    reads, readers = each(targets), each(sources)
    wrong = (reads < _READS[0, nodes]) | (reads > _READS[1, nodes])
    wrong |= (readers < _READERS[0, nodes]) | (readers > _READERS[1, nodes])
    wrong |= each(targets[~_MAY_READ[source, target]]) > 0
    wrong |= each(sources[target >= NUMBER["output_h_new_0"]]) > 1  # a node has one name
    for way in ("blend_gate", "blend_rest"):
        wrong |= (each(targets[source == NUMBER[way]]) != 1) & (nodes == NUMBER["blend"])
    # What is read a second time must also be read directly: a → repeat → b needs a → b.
    read = np.full(len(nodes), -1)
    read[targets] = sources
    repeated = source == NUMBER["repeat"]
    needed = read[sources[repeated]] * len(nodes) + targets[repeated]
    wrong |= each(sources[repeated][~np.isin(needed, sources * len(nodes) + targets)]) > 0
    return wrong


def _connections() -> tuple[Int[ndarray, "2 17"], Int[ndarray, "2 17"], Bool[ndarray, "17 17"]]:
    """The fewest and most inputs, then readers, of each operation; whether the second operation may read the first."""
    many = np.iinfo(np.int64).max
    reads, readers = np.ones((2, len(VOCABULARY)), dtype=np.int64), np.ones((2, len(VOCABULARY)), dtype=np.int64)
    may_read = np.zeros((len(VOCABULARY),) * 2, dtype=bool)
    x, *states = (NUMBER[f"input_{name}"] for name in INPUTS)
    inner = [NUMBER[operation] for operation in OPERATIONS]
    gate, rest, repeat = (NUMBER[way] for way in ("blend_gate", "blend_rest", "repeat"))
    outputs = range(NUMBER["output_h_new_0"], len(VOCABULARY))
    reads[:, [x, *states]] = 0
    reads[:, inner] = [[min(WIDTHS[op]) for op in OPERATIONS], [max(WIDTHS[op]) for op in OPERATIONS]]
    readers[1, [x, *states, *inner]] = many
    readers[:, outputs] = 0
    may_read[x, [NUMBER["linear"], repeat]] = True
    may_read[np.ix_([*states, *inner], [*inner, gate, rest, repeat])] = True
    may_read[np.ix_(inner, outputs)] = True
    may_read[[gate, rest], NUMBER["blend"]] = True
    may_read[repeat, [NUMBER[name] for name in ("linear", "elementwise_prod", "elementwise_sum")]] = True
    return reads, readers, may_read


_READS, _READERS, _MAY_READ = _connections()


def refined(archs: ArchBatch, operations: Integer[ndarray, " nodes"]) -> UInt64[ndarray, " archs"]:
    """A number for each graph that depends neither on the order of its nodes nor on other graphs.

    Each round sweeps the graph forward, so that a node's value depends on everything it is computed from, and then
    backward, so that it also depends on everything computed from it.
    """
    sweep = archs.sweep
    values = operations[sweep.nodes].astype(np.uint64)
    for _ in range(3):
        for generations, lists in (
            (sweep.generations, sweep.predecessors),
            (sweep.generations[::-1], sweep.successors),
        ):
            passed = np.empty_like(values)
            for rows, _ in generations:
                values[rows] = scramble(values[rows], 1) + lists.part(rows).sum(passed)  # modulo 2^64
                passed[rows] = scramble(values[rows], 2)
    scrambled = np.empty_like(values)
    scrambled[sweep.nodes] = scramble(values, 3)
    return np.add.reduceat(scrambled, archs.node_offsets[:-1])
