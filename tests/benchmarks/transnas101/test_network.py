import numpy as np
import torch

from archflow.archs.batch import ArchBatch
from archflow.benchmarks.transnas101 import network as transnas101
from archflow.benchmarks.transnas101.space import TransNASMicro
from tests.benchmarks.network_references import EDGES, live

SPACE = TransNASMicro()


def of(cell) -> ArchBatch:
    return SPACE.decode(np.array([cell]))


NAMINGS = [{0: 0, 1: 1, 2: 2, 3: 3}, {0: 0, 1: 2, 2: 1, 3: 3}]


def renamed(cell, naming) -> list[tuple[int, int, int]]:
    """The live operations with the nodes between input and output named anew."""
    operations = dict(zip(EDGES, cell, strict=True))
    return sorted((naming[source], naming[target], operations[source, target]) for source, target in live(cell))


def test_representatives_are_the_first_cells_of_the_same_live_graph():
    archs = SPACE.enumerate()
    first = {}
    expected = [first.setdefault(str(min(renamed(cell, n) for n in NAMINGS)), cell) for cell in operations(archs)]
    assert operations(transnas101.representatives(archs)) == expected
    assert len(first) == 1_948


def operations(archs: ArchBatch) -> list[list[int]]:
    return SPACE.encode(archs).tolist()


def test_a_representative_computes_the_same_with_the_same_weights():
    archs = SPACE.sample(600, seed=4)
    others = transnas101.representatives(archs)
    pairs = [pair for pair in zip(operations(archs), operations(others), strict=True) if pair[0] != pair[1]][:60]
    assert len(pairs) == 60
    for cell, other in pairs:
        torch.manual_seed(1)
        network, images = transnas101.build(of(cell), 4, 2, 3).double(), torch.randn(2, 3, 32, 32).double()
        same = transnas101.build(of(other), 4, 2, 3).double()
        naming = next(naming for naming in NAMINGS if renamed(other, naming) == renamed(cell, NAMINGS[0]))
        weights = network.state_dict()
        for name in (loaded := same.state_dict()):
            parts = name.split(".")
            if "edges" in parts:
                source, target = map(int, parts[3])
                if (source, target) not in live(other):
                    continue
                parts[3] = f"{naming[source]}{naming[target]}"
            loaded[name] = weights[".".join(parts)]
        same.load_state_dict(loaded)
        assert torch.allclose(network(images), same(images), rtol=1e-9, atol=1e-9)
        assert np.ptp(network(images).detach().numpy(), axis=0).any() == bool(live(cell))
