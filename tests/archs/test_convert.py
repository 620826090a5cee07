import subprocess
import sys

import networkx as nx
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from archflow.archs.batch import ArchBatch
from tests.strategies import VOCABULARY, as_networkx, lists_of_graphs


def batch_of(graphs):
    return ArchBatch.from_graphs(graphs, VOCABULARY)


@settings(max_examples=30)
@given(lists_of_graphs(max_nodes=12))
def test_networkx_and_back(graphs):
    batch = batch_of(graphs)
    for converted, graph in zip(batch.to_networkx(), graphs, strict=True):
        assert nx.utils.graphs_equal(converted, as_networkx(graph))
    assert ArchBatch.from_networkx(batch.to_networkx(), VOCABULARY) == batch


def test_networkx_nodes_may_have_any_names():
    graph = nx.DiGraph([("out", "last")])
    graph.add_edge("in", "out")
    nx.set_node_attributes(graph, {"out": "conv", "last": "output", "in": "input"}, "operation")
    assert ArchBatch.from_networkx([graph], VOCABULARY).graph(0) == (["conv", "output", "input"], [(2, 0), (0, 1)])


@settings(max_examples=30)
@given(lists_of_graphs(max_nodes=12), st.randoms(use_true_random=False))
def test_pytorch_geometric_and_back(graphs, random):
    batch = batch_of(graphs)
    converted = batch.to_pyg()
    assert converted.x.tolist() == batch.operations.tolist()
    assert converted.batch.tolist() == batch.owners.tolist()
    assert converted.ptr.tolist() == batch.node_offsets.tolist()
    assert sorted(converted.edge_index.T.tolist()) == sorted(batch.edge_index.T.tolist())
    for index, (names, edges) in enumerate(graphs):
        one = converted.get_example(index)
        assert [VOCABULARY[operation] for operation in one.x.tolist()] == names
        assert sorted(map(tuple, one.edge_index.T.tolist())) == sorted(edges)
    assert ArchBatch.from_pyg(converted, VOCABULARY) == batch
    order = list(range(converted.edge_index.shape[1]))
    random.shuffle(order)
    converted.edge_index = converted.edge_index[:, order]
    converted.x = converted.x[:, None]
    assert ArchBatch.from_pyg(converted, VOCABULARY) == batch


def test_pytorch_geometric_edges_between_two_architectures_are_an_error():
    converted = batch_of([(["input", "conv", "output"], [(0, 1), (1, 2)])] * 2).to_pyg()
    for edge, index in (([1, 4], 0), ([4, 1], 1)):
        converted.edge_index = torch.tensor([edge]).t()
        with pytest.raises(ValueError, match=f"architecture {index}: edge .* names a node that is missing"):
            ArchBatch.from_pyg(converted, VOCABULARY)


def test_other_libraries_are_imported_on_use():
    script = "import archflow.archs.batch, sys; print({'networkx', 'torch_geometric'} & set(sys.modules))"
    assert subprocess.check_output([sys.executable, "-c", script], text=True) == "set()\n"
