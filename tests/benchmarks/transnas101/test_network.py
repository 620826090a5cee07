from archflow.benchmarks.transnas101 import network as transnas101
from archflow.benchmarks.transnas101.space import TransNASMicro
from tests.benchmarks.network_references import EDGES, live
from tests.benchmarks.test_four_nodes import assert_representatives_compute_the_same

SPACE = TransNASMicro()


NAMINGS = [{0: 0, 1: 1, 2: 2, 3: 3}, {0: 0, 1: 2, 2: 1, 3: 3}]


def renamed(cell, naming) -> list[tuple[int, int, int]]:
    """The live operations with the nodes between input and output named anew."""
    operations = dict(zip(EDGES, cell, strict=True))
    return sorted((naming[source], naming[target], operations[source, target]) for source, target in live(cell))


def test_representatives_are_the_first_cells_of_the_same_live_graph():
    archs, first = SPACE.enumerate(), {}
    cells = SPACE.encode(archs).tolist()
    expected = [first.setdefault(str(min(renamed(cell, n) for n in NAMINGS)), cell) for cell in cells]
    assert SPACE.encode(transnas101.representatives(archs)).tolist() == expected
    assert len(first) == 1_948


def test_a_representative_computes_the_same_with_the_same_weights():
    def mapping(cell, other):
        naming = next(naming for naming in NAMINGS if renamed(other, naming) == renamed(cell, NAMINGS[0]))
        return {(source, target): (naming[source], naming[target]) for source, target in live(other)}

    assert_representatives_compute_the_same(SPACE, 600, mapping, depth=2, size=32)
