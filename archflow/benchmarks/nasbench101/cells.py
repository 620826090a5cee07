"""Cells of NAS-Bench-101: their limits, how they are pruned, and how the keys of :mod:`.space` encode them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Int, UInt8
from numpy import ndarray

OPERATIONS = ("conv3x3-bn-relu", "conv1x1-bn-relu", "maxpool3x3")
MAX_VERTICES, MAX_EDGES = 7, 9
PAIRS = np.array([(source, target) for target in range(MAX_VERTICES) for source in range(target)]).T
"""Source and target of the edge that each bit of a matrix stands for, whatever the number of vertices."""

Matrix = Sequence[Sequence[int]] | ndarray
Cell = tuple[Matrix, Sequence[str]]
"""A cell as the benchmark's ``ModelSpec`` takes it: upper triangular matrix, operations of all vertices."""


def prune(matrix: Matrix, operations: Sequence[str]) -> tuple[UInt8[ndarray, "left left"], list[str]]:
    """Remove the vertices of a cell that lie on no path from input to output.

    Args:
        matrix: 0 and 1, shape (vertices, vertices), zero on and below the diagonal; vertex 0 is the input, the last the
            output.
        operations: one for each vertex, the first ``input``, the last ``output``.

    Returns:
        matrix and operations of the remaining vertices, in their order.

    Raises:
        ValueError: the cell is malformed, its input and output are not connected, or the remaining cell has more than
            seven vertices, more than nine edges, or an unknown operation.
    """
    edges, vertices = np.asarray(matrix, dtype=object), len(operations)
    if list(operations[:1]) != ["input"] or list(operations[-1:]) != ["output"]:
        raise ValueError("the first operation must be input, the last output")
    if edges.shape != (vertices, vertices):
        raise ValueError(
            f"a matrix of shape {edges.shape} does not fit {vertices} operations, input and output included"
        )
    if not ((edges == 0) | (edges == 1)).all():
        raise ValueError("the matrix must hold 0 and 1 only")
    if np.tril(edges).any():
        raise ValueError("the matrix must be zero on and below its diagonal")
    live = np.flatnonzero(on_a_path(edges.astype(np.bool_)))
    if not len(live):
        raise ValueError("input and output are not connected")
    edges, left = edges[np.ix_(live, live)].astype(np.uint8), [operations[vertex] for vertex in live.tolist()]
    if unknown := [name for name in left[1:-1] if name not in OPERATIONS]:
        raise ValueError(f"unknown operation '{unknown[0]}' (known: {', '.join(OPERATIONS)})")
    if len(left) > MAX_VERTICES:
        raise ValueError(f"the cell has {len(left)} vertices, more than {MAX_VERTICES}")
    if np.count_nonzero(edges) > MAX_EDGES:
        raise ValueError(f"the cell has {np.count_nonzero(edges)} edges, more than {MAX_EDGES}")
    return edges, left


def on_a_path(matrix: Bool[ndarray, "vertices vertices"]) -> Bool[ndarray, " vertices"]:
    """Which vertices of an upper triangular adjacency matrix lie on a path from the first to the last."""
    size = len(matrix)
    reached, reaching = np.zeros(size, np.bool_), np.zeros(size, np.bool_)
    reached[0] = reaching[-1] = True
    for vertex in range(1, size):
        reached[vertex] = (reached & matrix[:, vertex]).any()
    for vertex in range(size - 2, -1, -1):
        reaching[vertex] = (reaching & matrix[vertex]).any()
    return reached & reaching


def unpack(
    keys: Int[ndarray, " archs"],
) -> tuple[Int[ndarray, " archs"], Bool[ndarray, "archs 7 7"], Int[ndarray, "archs 7"]]:
    """Number of vertices, matrix and operations (positions in the vocabulary) of each key's cell.

    Rows and columns beyond the last vertex are zero, and operations from the last vertex on are ``output``.
    """
    sizes, vertex = keys >> 31, np.arange(MAX_VERTICES)
    matrices = np.zeros((len(keys), MAX_VERTICES, MAX_VERTICES), dtype=bool)
    matrices[:, *PAIRS] = keys[:, None] >> (10 + np.arange(PAIRS.shape[1])) & 1
    after = sizes[:, None] - 2 - vertex
    operations = np.where(after >= 0, 1 + (keys[:, None] >> 2 * np.maximum(after, 0) & 3), len(OPERATIONS) + 1)
    operations[:, 0] = 0
    return sizes, matrices, operations
