"""The trainable four-node cell of NAS-Bench-201 and TransNAS-Bench-101."""

from __future__ import annotations

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor, nn

from archflow.benchmarks.four_nodes import CELL_EDGES


class Cell(nn.Module):
    """Four nodes; each but the first is the sum of its incoming edges' outputs, or zeros if it has none.

    Args:
        operations: one for each edge in the order of ``CELL_EDGES``, None for a missing edge.
        channels: of every node but the first.
        stride: of the edges that leave the first node.
    """

    def __init__(self, operations: Sequence[nn.Module | None], channels: int, stride: int = 1) -> None:
        super().__init__()
        self.channels, self.stride = channels, stride
        present = zip(CELL_EDGES, operations, strict=True)
        self.edges = nn.ModuleDict(
            {f"{source}{target}": each for (source, target), each in present if each is not None}
        )

    def forward(self, maps: Float[Tensor, "batch c_in h w"]) -> Float[Tensor, "batch c_out h2 w2"]:
        """The last node's feature maps; h2 and w2 are h and w divided by the stride, rounded up."""
        nodes = [maps]
        for target in (1, 2, 3):
            read = [edge(nodes[int(name[0])]) for name, edge in self.edges.items() if name[1] == str(target)]
            nodes.append(sum(read[1:], read[0]) if read else self._zeros(maps))
        return nodes[-1]

    def _zeros(self, maps: Tensor) -> Tensor:
        return maps.new_zeros(len(maps), self.channels, *(-(-side // self.stride) for side in maps.shape[2:]))
