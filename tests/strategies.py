"""Random architectures for tests: any DAG of 2 to 40 nodes, in any numbering, as plain (operation names, edges)."""

import networkx as nx
import numpy as np
from hypothesis import strategies as st

VOCABULARY = ("input", "conv", "pool", "skip", "output")
DENSITIES = (0.0, 0.03, 0.1, 0.3, 0.6, 1.0)
"""From isolated nodes only, over many inputs and outputs, to every edge that a DAG can have."""


def random_graph(rng, nodes, density):
    """A DAG; its numbering says nothing of its order, and any node may carry any operation."""
    names = rng.choice(VOCABULARY, size=nodes)
    names[rng.integers(nodes)] = "input"
    number = rng.permutation(nodes)
    edges = np.argwhere(np.triu(rng.random((nodes, nodes)) < density, 1))
    return names.tolist(), [(int(number[source]), int(number[target])) for source, target in rng.permutation(edges)]


def random_graphs(count, seed, max_nodes=40):
    """Many of them, the same for the same seed."""
    rng = np.random.default_rng(seed)
    return [random_graph(rng, int(rng.integers(2, max_nodes + 1)), rng.choice(DENSITIES)) for _ in range(count)]


@st.composite
def graphs(draw, max_nodes=40):
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    return random_graph(rng, draw(st.integers(2, max_nodes)), draw(st.sampled_from(DENSITIES)))


def lists_of_graphs(max_size=6, max_nodes=40):
    return st.lists(graphs(max_nodes), min_size=1, max_size=max_size)


def renumber(graph, rng):
    """The same architecture with its nodes numbered, and its edges listed, in another order."""
    names, edges = graph
    number = rng.permutation(len(names)).tolist()
    renamed = [names[number.index(node)] for node in range(len(names))]
    shuffled = [edges[index] for index in rng.permutation(len(edges))]
    return renamed, [(number[source], number[target]) for source, target in shuffled]


def in_order(graph):
    """The graph as ArchBatch keeps it: edges in the order of their targets, then sources."""
    names, edges = graph
    return list(names), sorted(edges, key=lambda edge: edge[::-1])


def as_networkx(graph):
    names, edges = graph
    converted = nx.DiGraph()
    converted.add_nodes_from((node, {"operation": name}) for node, name in enumerate(names))
    converted.add_edges_from(edges)
    return converted
