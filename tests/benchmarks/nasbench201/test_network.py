import collections

import networkx as nx

from archflow.benchmarks.nasbench201 import network as nasbench201
from archflow.benchmarks.nasbench201.space import NASBench201
from tests.benchmarks.network_references import EDGES, live
from tests.benchmarks.test_four_nodes import assert_representatives_compute_the_same

SPACE = NASBench201()
SKIP = 1


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
    for cell in SPACE.encode(SPACE.enumerate()).tolist():
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
    assert SPACE.encode(nasbench201.representatives(SPACE.enumerate())).tolist() == expected


def mapping(cell, other) -> dict:
    """For each live edge of the other cell that of the first, which is alike."""
    found = matcher(live_graph(other), live_graph(cell))
    assert found.is_isomorphic()
    return found.mapping


def test_a_representative_computes_the_same_with_the_same_weights():
    assert_representatives_compute_the_same(SPACE, 400, mapping, depth=1, size=8)
