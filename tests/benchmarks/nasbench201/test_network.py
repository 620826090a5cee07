import collections

import networkx as nx
import numpy as np
import torch
from hypothesis import strategies as st

from archflow.archs.batch import ArchBatch
from archflow.benchmarks.nasbench201 import network as nasbench201
from archflow.benchmarks.nasbench201.space import NASBench201
from archflow.benchmarks.network import Network
from tests.benchmarks.network_references import EDGES, live

SPACE = NASBench201()
SKIP = 1
cells = st.tuples(*[st.integers(0, 4)] * 6)


def of(*several) -> ArchBatch:
    return SPACE.decode(np.array(several))


def operations(archs: ArchBatch) -> list[list[int]]:
    return SPACE.encode(archs).tolist()


def live_graph(cell) -> nx.MultiDiGraph:
    """What a cell computes: its live operations, each a node; skips are contracted, one after the other."""
    graph = nx.MultiDiGraph()
    graph.add_node("input", operation="input")
    graph.add_node("output", operation="output")
    number_of = {edge: number for edge, number in zip(EDGES, cell, strict=True) if edge in live(cell)}
    for edge, number in number_of.items():
        graph.add_node(edge, operation=number)
    for edge in number_of:
        graph.add_edges_from([("input", edge)] if edge[0] == 0 else [])
        graph.add_edges_from([(edge, "output")] if edge[1] == 3 else [])
        graph.add_edges_from((edge, other) for other in number_of if other[0] == edge[1])
    for wire in [edge for edge, number in number_of.items() if number == SKIP]:
        sources = [source for source, _, _ in graph.in_edges(wire, keys=True)]
        targets = [target for _, target, _ in graph.out_edges(wire, keys=True)]
        graph.remove_node(wire)
        graph.add_edges_from((source, target) for source in sources for target in targets)
    return graph


def matcher(one: nx.MultiDiGraph, other: nx.MultiDiGraph) -> nx.algorithms.isomorphism.MultiDiGraphMatcher:
    """Finds how one graph is the other with its nodes named anew; it counts parallel edges."""
    return nx.algorithms.isomorphism.MultiDiGraphMatcher(one, other, node_match=lambda a, b: a == b)


def coarse(graph: nx.MultiDiGraph) -> tuple:
    """Equal for isomorphic graphs; of others only some are equal."""
    names = {node: str(name) for node, name in graph.nodes("operation")}
    sources = {node: sorted(names[source] for source, _ in graph.in_edges(node)) for node in names}
    targets = {node: sorted(names[target] for _, target in graph.out_edges(node)) for node in names}
    return tuple(sorted(f"{names[node]} {sources[node]} {targets[node]}" for node in names))


def test_representatives_are_the_first_of_all_cells_whose_live_graphs_are_isomorphic():
    first, firsts, expected = {}, collections.defaultdict(list), []  # the former saves what is decided already
    for cell in operations(SPACE.enumerate()):
        alive = live(cell)
        key = str([number if edge in alive else 0 for edge, number in zip(EDGES, cell, strict=True)])
        if key not in first:
            graph = live_graph(cell)
            known = firsts[coarse(graph)]
            found = [other for other, its in known if matcher(its, graph).is_isomorphic()]
            assert len(found) < 2
            known.extend([] if found else [(cell, graph)])
            first[key] = found[0] if found else cell
        expected.append(first[key])
    assert sum(map(len, firsts.values())) == 5_425
    assert operations(nasbench201.representatives(SPACE.enumerate())) == expected


def test_a_representative_computes_the_same_with_the_same_weights():
    archs = SPACE.sample(400, seed=4)
    others = nasbench201.representatives(archs)
    pairs = [pair for pair in zip(operations(archs), operations(others), strict=True) if pair[0] != pair[1]][:60]
    assert len(pairs) == 60
    for cell, other in pairs:
        network, same = transplanted(cell, other, width=4, depth=1, classes=3)
        images = torch.randn(2, 3, 8, 8).double()
        assert torch.allclose(network(images), same(images), rtol=1e-9, atol=1e-9)
        assert np.ptp(network(images).detach().numpy(), axis=0).any() == bool(live(cell))


def transplanted(cell, other, **sizes: int) -> tuple[Network, Network]:
    """The networks of two cells that are alike, in float64, with the same weights where operations correspond."""
    torch.manual_seed(1)
    network, same = (nasbench201.build(of(each), **sizes).double() for each in (cell, other))
    found = matcher(live_graph(other), live_graph(cell))
    assert found.is_isomorphic()
    weights = network.state_dict()
    for name in (loaded := same.state_dict()):
        parts = name.split(".")
        if "edges" in parts:
            edge = (int(parts[3][0]), int(parts[3][1]))
            if edge not in found.mapping:
                continue
            parts[3] = "{}{}".format(*found.mapping[edge])
        loaded[name] = weights[".".join(parts)]
    same.load_state_dict(loaded)
    return network, same
