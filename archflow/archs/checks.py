"""Checks of a batch's arrays; each raises a ValueError that names the architecture's number."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Int
from numpy import ndarray

from archflow.archs.ragged import owner


def check_sizes(
    operations: ndarray, node_offsets: ndarray, edges: ndarray, edge_offsets: ndarray, vocabulary: tuple[str, ...]
) -> None:
    """Check that the arrays fit together, no architecture is empty, and no operation is named twice."""
    if not all(np.issubdtype(array.dtype, np.integer) for array in (operations, edges)):
        raise ValueError("operations and edges must be arrays of integers")
    if operations.ndim != 1 or edges.ndim != 2 or edges.shape[0] != 2:
        raise ValueError(f"operations have shape (nodes,), edges (2, edges), not {operations.shape} and {edges.shape}")
    if len(set(vocabulary)) != len(vocabulary):
        raise ValueError("the vocabulary names an operation twice")
    if len(node_offsets) < 2:
        raise ValueError("the batch is empty: it needs at least one architecture")
    for offsets, size, what in ((node_offsets, len(operations), "node"), (edge_offsets, edges.shape[1], "edge")):
        if len(offsets) != len(node_offsets) or offsets[0] != 0 or offsets[-1] != size or (np.diff(offsets) < 0).any():
            raise ValueError(
                f"{what}_offsets must rise from 0 to the number of {what}s ({size}) in one step per architecture"
            )
    if (np.diff(node_offsets) == 0).any():
        raise ValueError(f"architecture {int(np.argmin(np.diff(node_offsets)))}: it has no nodes")


def check_values(
    operations: ndarray, node_offsets: ndarray, edges: ndarray, edge_offsets: ndarray, vocabulary: tuple[str, ...]
) -> None:
    """Check that every operation is in the vocabulary, and that every edge joins nodes of its architecture."""
    unknown = (operations < 0) | (operations >= len(vocabulary))
    if unknown.any():
        node = int(np.argmax(unknown))
        arch = owner(node_offsets, node)
        raise ValueError(
            f"architecture {arch}: node {node - node_offsets[arch]} has operation {operations[node]}, "
            f"but the vocabulary has {len(vocabulary)}"
        )
    sizes = np.repeat(np.diff(node_offsets), np.diff(edge_offsets))
    missing = ((edges < 0) | (edges >= sizes)).any(axis=0)
    if missing.any():
        edge = int(np.argmax(missing))
        raise ValueError(
            f"architecture {owner(edge_offsets, edge)}: edge {edges[0, edge]}→{edges[1, edge]} names a node that is "
            f"missing (it has {sizes[edge]} nodes)"
        )


def sorted_edges(node_offsets: ndarray, edges: ndarray, edge_offsets: ndarray) -> Int[ndarray, " edges"]:
    """The order of the edges by target, then source; ValueError if an edge is given twice."""
    span = int(np.diff(node_offsets).max())
    first = np.repeat(node_offsets[:-1], np.diff(edge_offsets))
    keys = (first + edges[1]) * span + edges[0]
    order = np.argsort(keys, kind="stable")
    keys = keys[order]
    if (keys[1:] == keys[:-1]).any():
        edge = int(order[np.argmax(keys[1:] == keys[:-1])])
        source, target = edges[:, edge]
        raise ValueError(f"architecture {owner(edge_offsets, edge)}: edge {source}→{target} is given twice")
    return order


def check_names(names: Sequence[str], operations: ndarray, node_offsets: ndarray, vocabulary: Sequence[str]) -> None:
    """Check that the vocabulary has the names of all operations, whose number is else negative."""
    for node in np.flatnonzero(operations < 0)[:1].tolist():
        raise ValueError(
            f"architecture {owner(node_offsets, node)}: operation '{names[node]}' is not in the vocabulary "
            f"({', '.join(vocabulary)})"
        )


def check_vocabulary(own: tuple[str, ...], other: tuple[str, ...], whose: str) -> None:
    """Check that the vocabulary of architectures is the other one; ``whose`` says in the message whose that is."""
    if own != other:
        raise ValueError(
            f"the architectures are of another space than {whose}: their operations are {', '.join(own)}, not "
            f"{', '.join(other)}"
        )
