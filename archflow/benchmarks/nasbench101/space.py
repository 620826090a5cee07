"""NAS-Bench-101 (Ying et al., ICML 2019): 423,624 cells of at most seven vertices and nine edges.

A cell is a directed acyclic graph from ``input`` to ``output``, and every vertex lies on a path between the two. An
inner vertex applies one of three operations to the sum of what it reads; the output concatenates what it reads.

Many matrices denote the same network. The benchmark lists them by number of vertices, then by the bits above their
diagonal (down the columns, the last bit the most significant), then by their operations, and it trained the first one
of each network. A network's key encodes this order: the vertices times 2³¹, plus the bits times 2¹⁰, plus two bits for
each operation, the first vertex the most significant. Everything here goes through these keys. The compiled loops that
find them are in :mod:`.keys`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from archflow.archs.batch import ArchBatch
from archflow.benchmarks.module_hash import module_hash
from archflow.benchmarks.nasbench101 import closed_form
from archflow.benchmarks.nasbench101.cells import MAX_VERTICES, OPERATIONS, PAIRS, Cell, prune, unpack
from archflow.benchmarks.nasbench101.keys import FAULTS, all_keys, keys_or_faults, mutated, pruned_key, pruned_keys
from archflow.benchmarks.nasbench101.notation import read_cell
from archflow.benchmarks.space import Decision, Space


class NASBench101(Space):
    """The space ``nasbench101``: 423,624 cells, as DAGs of 2 to 7 nodes over a vocabulary of 5."""

    name = "nasbench101"
    vocabulary = ("input", *OPERATIONS, "output")
    size = 423_624
    proxies = ("parameters", "flops", *closed_form.PROXIES)
    decisions = (
        *(Decision(f"edge {source}→{target}", ("absent", "present")) for source, target in PAIRS.T.tolist()),
        *(Decision(f"operation of vertex {vertex}", OPERATIONS) for vertex in range(1, MAX_VERTICES - 1)),
    )
    """The 21 bits above the diagonal of a matrix of seven vertices, down its columns, and five operations."""

    def keys(self, archs: ArchBatch) -> Int[ndarray, " archs"]:
        """The key of each network, however its nodes are numbered; ascending in :meth:`enumerate`.

        Raises:
            ValueError: an architecture is not of this space; the message names its index.
        """
        archs.require_vocabulary(self.vocabulary, self.name)
        keys = keys_or_faults(archs.operations, archs.node_offsets, archs.edges, archs.edge_offsets)
        for position, reason in enumerate(FAULTS):
            self._require(keys != -1 - position, reason)
        return keys

    def from_keys(self, keys: Int[ndarray, " archs"]) -> ArchBatch:
        """The inverse of :meth:`keys`, in the numbering that the benchmark trained."""
        sizes, matrices, operations = unpack(keys)
        present = matrices[:, *PAIRS]
        return ArchBatch(
            operations[np.arange(MAX_VERTICES) < sizes[:, None]],
            np.concatenate([[0], np.cumsum(sizes)]),
            PAIRS[:, np.nonzero(present)[1]],
            np.concatenate([[0], np.cumsum(present.sum(axis=1))]),
            self.vocabulary,
        )

    def encode(self, archs: ArchBatch) -> Int[ndarray, "archs 26"]:
        """The choices that make each cell in the numbering that the benchmark trained.

        A cell of fewer than seven vertices is padded, before the output, with vertices that have no edges and the first
        operation.

        Raises:
            ValueError: see :meth:`keys`.
        """
        sizes, matrices, operations = unpack(self.keys(archs))
        rows, output = np.arange(len(sizes)), MAX_VERTICES - 1
        read_by_output = matrices[rows, :, sizes - 1]
        matrices[rows, :, sizes - 1] = False
        matrices[:, :, output] = read_by_output
        inner = np.where(np.arange(1, output) < sizes[:, None] - 1, operations[:, 1:output] - 1, 0)
        return np.hstack([matrices[:, *PAIRS], inner])

    def _decode(self, choices: Int[ndarray, "archs 26"]) -> ArchBatch:
        """The cells after pruning; the message of the ValueError includes that of :func:`.prune`."""
        matrices = np.zeros((len(choices), MAX_VERTICES, MAX_VERTICES), np.uint8)
        matrices[:, *PAIRS] = choices[:, : PAIRS.shape[1]]
        operations = choices[:, PAIRS.shape[1] :]
        keys = pruned_keys(matrices, np.pad(operations, ((0, 0), (1, 1)), constant_values=((0, 0), (3, 4))))
        if (keys < 0).any():
            row = int(np.argmax(keys < 0))
            try:
                prune(matrices[row], ["input", *(OPERATIONS[number] for number in operations[row]), "output"])
            except ValueError as error:
                raise ValueError(f"architecture {row} is not of {self.name}: {error}") from None
        return self.from_keys(keys)

    def mutate(self, archs: ArchBatch, seed: int = 0) -> ArchBatch:
        """For each cell, another one: one random edge is added or removed, or one random operation is changed.

        A cell of fewer than seven vertices is first padded with vertices that have no effect, at random places and with
        random edges. A new edge may connect such vertices, and a removed edge may disconnect others, which are pruned.
        A change that does not change the network, or that leaves the space, is drawn again.
        """
        return self.from_keys(mutated(self.keys(archs), np.random.default_rng(seed)))

    def format(self, archs: ArchBatch) -> list[str]:
        """Each cell as ``010001000:conv3x3-bn-relu``, in the numbering that the benchmark trained.

        That is its matrix row by row, then the operations of the vertices between input and output.
        """
        sizes, matrices, operations = unpack(self.keys(archs))
        strings = []
        for size, matrix, row in zip(sizes.tolist(), matrices.astype(np.uint8), operations.tolist(), strict=True):
            bits = (matrix[:size, :size] + ord("0")).tobytes().decode()
            strings.append(f"{bits}:{','.join(self.vocabulary[operation] for operation in row[1 : size - 1])}")
        return strings

    def parse_one(self, string: str) -> int:
        """The key of the cell that a string denotes, after pruning.

        A string is what :meth:`format` writes, or a module spec of the benchmark as JSON,
        ``{"matrix": [[0, 1], [0, 0]], "ops": ["input", "output"]}``, or NASLib's tuple ``(0, 1, 0, 0, 0, 1)``: the
        matrix row by row, then the operations (0 input, 1 output, 2 maxpool3x3, 3 conv1x1, 4 conv3x3).

        Raises:
            ValueError: the string is malformed, or its cell is not in the space; see :func:`.prune`.
        """
        return pruned_key(*read_cell(string))

    def from_cells(self, cells: Iterable[Cell]) -> ArchBatch:
        """Cells given as matrix and operations, pruned, in the numbering that the benchmark trained.

        Raises:
            ValueError: a cell is not in the space, see :func:`.prune`; the message gives its index.
        """
        keys = []
        for index, cell in enumerate(cells):
            try:
                keys.append(pruned_key(*prune(*cell)))
            except ValueError as error:
                raise ValueError(f"architecture {index}: {error}") from None
        return self._from_parsed(keys)

    def parameters(self, archs: ArchBatch) -> Int[ndarray, " archs"]:
        """Trainable parameters of the CIFAR-10 network, exactly; 227,274 to 49,979,274."""
        return closed_form.parameters(*unpack(self.keys(archs)))

    def flops(self, archs: ArchBatch) -> Int[ndarray, " archs"]:
        """Multiply-accumulates of the CIFAR-10 network for one image; 37,098,496 to 7,335,187,456.

        Counts the convolutions and the classifier. The benchmark itself publishes none; NASLib's "flops" add 2 for each
        normalised element, 1 for each rectified one, and 9 (between stacks 4) for each output of a maximum pooling.
        """
        return closed_form.flops(*unpack(self.keys(archs)))

    def module_hash(self, archs: ArchBatch) -> list[str]:
        """The MD5 hash by which the benchmark's files identify each network, as 32 hexadecimal digits.

        It is :func:`.module_hash` with each vertex labelled by its degrees and operation.
        """
        sizes, matrices, operations = unpack(self.keys(archs))
        cells = zip(sizes.tolist(), matrices.tolist(), operations.tolist(), strict=True)
        return [_module_hash(matrix[:size], row[:size]) for size, matrix, row in cells]

    def _proxies(self, names: Sequence[str], archs: ArchBatch) -> dict[str, Float[ndarray, " archs"]]:
        _, matrices, operations = unpack(self.keys(archs))
        return closed_form.proxies(names, matrices, operations)

    def _all_keys(self) -> Int[ndarray, " archs"]:
        return all_keys()

    def _from_parsed(self, parsed: list[int]) -> ArchBatch:
        return self.from_keys(np.array(parsed, dtype=np.int64))


def _module_hash(matrix: list[list[bool]], operations: list[int]) -> str:
    vertices = range(len(operations))
    reads = [[source for source in vertices if matrix[source][vertex]] for vertex in vertices]
    readers = [[target for target in vertices if matrix[vertex][target]] for vertex in vertices]
    numbers = [-1, *(operation - 1 for operation in operations[1:-1]), -2]
    return module_hash([f"({len(readers[v])}, {len(reads[v])}, {numbers[v]})" for v in vertices], reads, readers)
