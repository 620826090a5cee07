"""NAS-Bench-Graph (Qin et al., NeurIPS 2022): 26,206 graph neural networks of four computing nodes.

A computing node applies one operation to the output of exactly one earlier node (0 is the input, 1 the first computing
node, …), and nodes that no other reads go to the output. So every architecture has 6 nodes: ``input``, four operations,
``output``. It is written as two lists, the source and the operation of each node: ``0-1-1-2:gcn,cheb,gin,fc``.

Many architectures denote the same network: nodes may be numbered in another order, and a skip may change nothing. The
benchmark trained one architecture for each network, and identifies it by a key of five decimal digits: the position of
its first list in ``LINKS``, then its operations as positions in ``OPERATIONS``. All of this module uses these keys.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from itertools import permutations, product

import numpy as np
from jaxtyping import Bool, Int
from numpy import ndarray

from archflow.archs.batch import ArchBatch
from archflow.benchmarks.space import Decision, Space

OPERATIONS = ("gat", "gcn", "gin", "cheb", "sage", "arma", "graph", "fc", "skip")
PROTEINS_OPERATIONS = ("gcn", "sage", "arma", "fc", "skip")
"""The operations that were trained on the data set proteins."""
LINKS = ("0-0-0-0", "0-0-0-1", "0-0-1-1", "0-0-1-2", "0-0-1-3", "0-1-1-1", "0-1-1-2", "0-1-2-2", "0-1-2-3")
"""The source of each computing node: one list for each of the nine shapes of a tree of an input and four nodes."""

_LINKS = np.array([[int(source) for source in links.split("-")] for links in LINKS])
_SKIP = OPERATIONS.index("skip")
_ALL_SKIPS = 88888
"""The key that four skips would have. No such network was trained, as it would compute nothing."""
_BASE_5, _BASE_10 = 5 ** np.arange(4)[::-1], 10 ** np.arange(4)[::-1]


class NASBenchGraph(Space):
    """The space ``nasbench-graph``: 26,206 DAGs of 6 nodes over a vocabulary of 11.

    :meth:`proteins` gives the smaller space of the architectures that were trained on the data set proteins.
    """

    def __init__(
        self, name: str = "nasbench-graph", operations: Sequence[str] = OPERATIONS, column: str = "<dataset>/para"
    ) -> None:
        self.name = name
        self._digits = np.array(sorted(OPERATIONS.index(operation) for operation in operations))
        self.vocabulary = ("input", *(OPERATIONS[digit] for digit in self._digits), "output")
        self.sizes_elsewhere = (
            "a network's size depends on its data set's hyperparameters; "
            f"the table {name.replace('-proteins', '/proteins')} has the parameters in its column {column}"
        )

    @classmethod
    def proteins(cls) -> NASBenchGraph:
        """The space ``nasbench-graph-proteins``: 2,021 architectures over a vocabulary of 7."""
        return cls("nasbench-graph-proteins", PROTEINS_OPERATIONS, "para")

    @property
    def decisions(self) -> tuple[Decision, ...]:
        """The source of each node after the first, which can only read the input; then the operation of each node."""
        sources = tuple(map(str, range(4)))
        links = (Decision(f"source of node {node}", sources[:node]) for node in (2, 3, 4))
        return (*links, *(Decision(f"operation of node {node}", self.vocabulary[1:-1]) for node in (1, 2, 3, 4)))

    @property
    def size(self) -> int:
        """The number of different networks."""
        return len(self._all_keys())

    def mutate(self, archs: ArchBatch, seed: int = 0) -> ArchBatch:
        """For each architecture, another one: a random operation, or the source of a random node, is changed.

        A change that does not change the network, or that leaves only skips, is drawn again.
        """
        rng = np.random.default_rng(seed)
        keys = self.keys(archs)
        mutated, rest = keys.copy(), np.arange(len(keys))
        while len(rest):
            links, operations = _lists(keys[rest])
            choice = rng.integers(7, size=len(rest))  # 0 … 3: the operation of a node; 4 … 6: the source of node 2 … 4
            relinked, node, rows = choice >= 4, np.where(choice >= 4, choice - 3, choice), np.arange(len(rest))
            options = np.where(relinked, node + 1, len(self._digits))
            old = np.where(relinked, links[rows, node], np.searchsorted(self._digits, operations[rows, node]))
            new = (old + rng.integers(1, options)) % options
            links[rows[relinked], node[relinked]] = new[relinked]
            operations[rows[~relinked], node[~relinked]] = self._digits[new[~relinked]]
            mutated[rest] = _keys(links, operations)
            rest = rest[(mutated[rest] == keys[rest]) | (mutated[rest] == _ALL_SKIPS)]
        return self.from_keys(mutated)

    def format(self, archs: ArchBatch) -> list[str]:
        """Each architecture as ``0-1-1-2:gcn,cheb,gin,fc``, in the benchmark's numbering."""
        keys = self.keys(archs)
        names = np.array(OPERATIONS)[_lists(keys)[1]]
        return [f"{LINKS[key // 10_000]}:{','.join(row)}" for key, row in zip(keys, names, strict=True)]

    def parse_one(self, string: str) -> list[int]:
        """The choices of the architecture that a string denotes, whose nodes may be in any topological order."""
        links, separator, names = string.strip().partition(":")
        if not separator:
            raise ValueError("an architecture is written as sources:operations, e.g. 0-1-1-2:gcn,cheb,gin,fc")
        sources = links.split("-")
        if len(sources) != 4:
            raise ValueError(f"an architecture has 4 sources joined by '-', not {len(sources)}")
        for node, source in enumerate(sources, start=1):
            if source not in [str(number) for number in range(node)]:
                raise ValueError(f"node {node} must read from 0{f' … {node - 1}' if node > 1 else ''}, not '{source}'")
        chosen = names.split(",")
        if len(chosen) != 4:
            raise ValueError(f"an architecture has 4 operations joined by ',', not {len(chosen)}")
        operations = self.vocabulary[1:-1]
        for name in chosen:
            if name not in operations:
                raise ValueError(f"unknown operation '{name}' (known: {', '.join(operations)})")
        if set(chosen) == {"skip"}:
            raise ValueError("an architecture of skips only is not in the space")
        return [*map(int, sources[1:]), *(operations.index(name) for name in chosen)]

    def keys(self, archs: ArchBatch) -> Int[ndarray, " archs"]:
        """The key of each network in the benchmark's files, whichever of its architectures is given.

        Raises:
            ValueError: an architecture is not of this space; the message names its index.
        """
        archs.require_vocabulary(self.vocabulary, self.name)
        output = len(self.vocabulary) - 1
        form = (
            "its nodes must be the input, four operations that each read from one node, and the output, which reads "
            "what no operation reads"
        )
        self._require(np.diff(archs.node_offsets) == 6, form)
        nodes = archs.operations.reshape(-1, 6).astype(np.int64)
        adjacency = np.zeros((len(archs), 6, 6), dtype=bool)
        adjacency[np.repeat(np.arange(len(archs)), np.diff(archs.edge_offsets)), *archs.edges] = True
        links = adjacency[:, :5, 1:5].argmax(axis=1)
        inner = (nodes[:, 1:5] > 0) & (nodes[:, 1:5] < output)
        as_read = (adjacency == _adjacency(links)).all(axis=(1, 2))
        self._require((nodes[:, 0] == 0) & inner.all(axis=1) & (nodes[:, 5] == output) & as_read, form)
        return self._keys_of(links, nodes[:, 1:5] - 1)

    def from_keys(self, keys: Int[ndarray, " archs"]) -> ArchBatch:
        """The inverse of :meth:`keys`, for keys of this space."""
        links, operations = _lists(keys)
        nodes = np.zeros((len(keys), 6), dtype=np.int64)
        nodes[:, 1:5] = np.searchsorted(self._digits, operations) + 1
        nodes[:, 5] = len(self.vocabulary) - 1
        return ArchBatch.from_adjacency(nodes, _adjacency(links), self.vocabulary)

    def encode(self, archs: ArchBatch) -> Int[ndarray, "archs 7"]:
        """The choices of each architecture in the benchmark's numbering.

        Raises:
            ValueError: see :meth:`keys`.
        """
        links, operations = _lists(self.keys(archs))
        return np.hstack([links[:, 1:], np.searchsorted(self._digits, operations)])

    def _decode(self, choices: Int[ndarray, "archs 7"]) -> ArchBatch:
        return self.from_keys(self._keys_of(np.insert(choices[:, :3], 0, 0, axis=1), choices[:, 3:]))

    def _keys_of(self, links: Int[ndarray, "archs 4"], choices: Int[ndarray, "archs 4"]) -> Int[ndarray, " archs"]:
        """The keys of architectures whose operations are positions in this space's options."""
        keys = _keys(links, self._digits[choices])
        self._require(keys != _ALL_SKIPS, "all its operations are skips")
        return keys

    def _all_keys(self) -> Int[ndarray, " archs"]:
        return _every_key(tuple(self._digits.tolist()))


@cache
def _every_key(operations: tuple[int, ...]) -> Int[ndarray, " archs"]:
    """The keys of all architectures of these operations, ascending."""
    chosen = np.array(list(product(operations, repeat=4)))
    keys = _keys(np.repeat(_LINKS, len(chosen), axis=0), np.tile(chosen, (len(_LINKS), 1)))
    return np.setdiff1d(keys, [_ALL_SKIPS])


def _keys(links: Int[ndarray, "archs 4"], operations: Int[ndarray, "archs 4"]) -> Int[ndarray, " archs"]:
    """The key of each architecture: redundant skips move to the front, then the smallest key of all numberings counts.

    A skip that is read is redundant, as its readers could read its source instead. So is a skip that is not read but is
    the only reader of a node, whose value would reach the output without it too. In this benchmark, so is a skip that
    is not read and reads the input. Redundant skips stay in the architecture, as a chain from the input to the rest.
    """
    # Column 0 stands for the input, as if it read itself; column i for computing node i.
    source = np.insert(links, 0, 0, axis=1)
    skip = np.insert(operations == _SKIP, 0, False, axis=1)
    passed = skip & (links[:, :, None] == np.arange(5)).any(axis=1)
    for _ in range(2):  # two rounds bypass a run of three read skips, the longest possible, as each doubles the jumps
        source = np.where(_at(passed, source), _at(source, source), source)
    readers = ((source[:, 1:, None] == np.arange(5)) & ~passed[:, 1:, None]).sum(axis=1)
    redundant = passed | (skip & ((source == 0) | (_at(readers, source) == 1)))

    chain = np.maximum.accumulate(np.where(redundant, np.arange(5), 0), axis=1)  # the last such skip up to each node
    source = np.where(redundant, np.roll(chain, 1, axis=1), np.where(source == 0, chain[:, -1:], source))
    in_each_numbering = _SHAPES[source[:, 1:] @ _BASE_5] * 10_000 + operations @ _PLACES
    smallest: Int[ndarray, " archs"] = in_each_numbering.min(axis=1)
    return smallest


def _lists(keys: Int[ndarray, " archs"]) -> tuple[Int[ndarray, "archs 4"], Int[ndarray, "archs 4"]]:
    """The source of each computing node, and its operation as an index into ``OPERATIONS``."""
    return _LINKS[keys // 10_000], keys[:, None] // _BASE_10 % 10


def _adjacency(links: Int[ndarray, "archs 4"]) -> Bool[ndarray, "archs 6 6"]:
    """Whether there is an edge from the second index to the third."""
    adjacency = np.zeros((len(links), 6, 6), dtype=bool)
    adjacency[:, :5, 1:5] = links[:, None, :] == np.arange(5)[:, None]
    adjacency[:, 1:5, 5] = ~adjacency[:, 1:5].any(axis=2)
    return adjacency


def _at(values: ndarray, columns: Int[ndarray, "archs n"]) -> ndarray:
    return np.take_along_axis(values, columns, axis=1)


def _renumberings() -> tuple[Int[ndarray, "625 24"], Int[ndarray, "4 24"]]:
    """For each list of sources and order of the nodes, the renumbered list's position in ``LINKS``, 9 if it has none.

    Then, for each node and order, the place value of its operation's digit in the key.
    """
    position = np.full(5**4, len(LINKS))
    position[_LINKS @ _BASE_5] = np.arange(len(LINKS))
    lists = np.array(list(product(range(5), repeat=4)))
    orders = [np.array(order) for order in permutations(range(4))]
    new_number = [np.insert(np.argsort(order) + 1, 0, 0) for order in orders]  # the input stays 0
    shapes = [position[new[lists[:, order]] @ _BASE_5] for order, new in zip(orders, new_number, strict=True)]
    return np.stack(shapes, axis=1), np.stack([_BASE_10[np.argsort(order)] for order in orders], axis=1)


_SHAPES, _PLACES = _renumberings()
