"""Conversion to and from networkx and PyTorch Geometric, which are imported on use."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy import ndarray

if TYPE_CHECKING:
    import networkx
    import torch_geometric.data


def from_networkx(graph: networkx.DiGraph) -> tuple[list[str], list[tuple[int, int]]]:
    """The ``operation`` of each node, and the edges; nodes are numbered in the graph's order."""
    number = {node: index for index, node in enumerate(graph.nodes)}
    names = [graph.nodes[node]["operation"] for node in graph.nodes]
    return names, [(number[source], number[target]) for source, target in graph.edges]


def to_networkx(names: Sequence[str], edges: Sequence[tuple[int, int]]) -> networkx.DiGraph:
    """A graph whose nodes have the name of their ``operation``."""
    import networkx

    graph = networkx.DiGraph()
    graph.add_nodes_from((node, {"operation": name}) for node, name in enumerate(names))
    graph.add_edges_from(edges)
    return graph


def from_pyg(batch: torch_geometric.data.Batch) -> tuple[ndarray, ndarray, ndarray, ndarray]:
    """Operations, node offsets, edges and edge offsets of a batch with ``x``, ``edge_index`` and ``ptr``."""
    node_offsets = batch.ptr.cpu().numpy().astype(np.int64)
    edge_index = batch.edge_index.cpu().numpy()
    owners = np.searchsorted(node_offsets, edge_index[0], side="right") - 1
    order = np.argsort(owners, kind="stable")
    edge_offsets = np.searchsorted(owners[order], np.arange(len(node_offsets)))
    local = edge_index[:, order] - node_offsets[owners[order]]
    return batch.x.cpu().numpy().reshape(-1), node_offsets, local, edge_offsets


def to_pyg(
    operations: ndarray, node_offsets: ndarray, edges: ndarray, edge_offsets: ndarray
) -> torch_geometric.data.Batch:
    """The inverse of :func:`from_pyg`."""
    from torch_geometric.data import Batch, Data

    node_parts = np.split(operations.astype(np.int64), node_offsets[1:-1])
    edge_parts = np.split(edges.astype(np.int64), edge_offsets[1:-1], axis=1)
    graphs = zip(node_parts, edge_parts, strict=True)
    return Batch.from_data_list(
        [Data(x=torch.from_numpy(x), edge_index=torch.from_numpy(edges.copy())) for x, edges in graphs]
    )
