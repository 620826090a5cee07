"""What holds for the cells of both spaces of four nodes; which cells compute the same is tested for each space."""

import numpy as np
import pytest
import torch

import archflow
from archflow.benchmarks.four_nodes import CELL_EDGES, FourNodes
from archflow.benchmarks.four_nodes import live as live_edges
from archflow.benchmarks.networks import family
from tests.benchmarks.network_references import EDGES, live

SPACES = [space for space in map(archflow.space, archflow.spaces()) if isinstance(space, FourNodes)]


@pytest.mark.parametrize("space", SPACES, ids=lambda space: space.name)
def test_live_operations_are_those_on_an_uncut_path(space):
    cells = space.encode(space.enumerate())
    assert list(CELL_EDGES) == list(EDGES)
    for cell, alive in zip(cells.tolist(), live_edges(cells).tolist(), strict=True):
        assert {edge for edge, is_live in zip(EDGES, alive, strict=True) if is_live} == live(cell)


def transplanted(space, arch, other, edges, depth):
    """The networks of two equivalent cells in float64; each edge of the other has the weights of ``edges[edge]``."""
    torch.manual_seed(1)
    network, same = (family(space.name).build(one, 4, depth, 3).double() for one in (arch, other))
    weights = network.state_dict()
    for name in (loaded := same.state_dict()):
        parts = name.split(".")
        if "edges" in parts:
            edge = (int(parts[3][0]), int(parts[3][1]))
            if edge not in edges:
                continue
            parts[3] = "{}{}".format(*edges[edge])
        loaded[name] = weights[".".join(parts)]
    same.load_state_dict(loaded)
    return network, same


def assert_representatives_compute_the_same(space, sample, mapping, depth, size) -> None:
    """With the same weights; ``mapping(cell, other)`` maps the live edges of the other cell to those of the cell."""
    archs = space.sample(sample, seed=4)
    stand_ins = family(space.name).representatives(archs)
    pairs = [pair for pair in ((archs[[row]], stand_ins[[row]]) for row in range(sample)) if pair[0] != pair[1]][:60]
    assert len(pairs) == 60
    for arch, other in pairs:
        (cell,), (stand_in,) = space.encode(arch).tolist(), space.encode(other).tolist()
        network, same = transplanted(space, arch, other, mapping(cell, stand_in), depth)
        images = torch.randn(2, 3, size, size).double()
        assert torch.allclose(network(images), same(images), rtol=1e-9, atol=1e-9)
        assert np.ptp(network(images).detach().numpy(), axis=0).any() == bool(live(cell))
