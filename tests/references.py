"""Plain, slow, obviously right versions of what archflow does fast; the fast paths are tested against them."""

from __future__ import annotations

import networkx as nx
import torch


def flow_surrogate(graphs, vocabulary, r, P, W, alpha=0.5):
    """Word for word the equations of arXiv:2510.18360, Section 4: one generation, one node after the other."""
    surrogates = []
    for names, edges in graphs:
        graph = nx.DiGraph()
        graph.add_nodes_from(range(len(names)))
        graph.add_edges_from(edges)
        X = torch.zeros(len(names), len(vocabulary), dtype=P.dtype)
        for node, name in enumerate(names):
            X[node, vocabulary.index(name)] = 1
        h = X @ P
        generations = list(nx.topological_generations(graph))

        f = {}
        for generation in generations:
            for i in generation:
                predecessors = list(graph.predecessors(i))
                if not predecessors:
                    f[i] = r
                else:
                    m = sum(f[j] for j in predecessors)
                    f[i] = alpha * m + (1 - alpha) * torch.relu(torch.cat([h[i], m]) @ W)

        b = {}
        for generation in reversed(generations):
            for i in generation:
                successors = list(graph.successors(i))
                if not successors:
                    b[i] = f[i]
                else:
                    m = sum(b[j] for j in successors)
                    b[i] = alpha * m + (1 - alpha) * torch.relu(torch.cat([h[i], m]) @ W)

        surrogates.append(sum(b[i] for i in graph if graph.in_degree(i) == 0))
    return torch.stack(surrogates)


def neighbourhoods(graphs, hops, directed=False):
    """For 0, 1, …, hops and each node all that lies within so many edges, written out and given a short name."""
    short, levels = {}, [[name for names, _ in graphs for name in names]]
    for _ in range(hops):
        level, seen = [], iter(levels[-1])
        for names, edges in graphs:
            own = [next(seen) for _ in names]
            for node in range(len(names)):
                before = sorted(own[a] for a, b in edges if b == node)
                after = sorted(own[b] for a, b in edges if a == node)
                text = f"{own[node]} {before} {after}" if directed else f"{own[node]} {sorted(before + after)}"
                level.append(short.setdefault(text, f"#{len(short)}"))
        levels.append(level)
    return levels
