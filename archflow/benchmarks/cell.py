"""The trainable cell of four nodes of NAS-Bench-201 and TransNAS-Bench-101."""

from __future__ import annotations

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor, nn

from archflow.benchmarks.four_nodes import CELL_EDGES


class Cell(nn.Module):
    """Each node is the sum of what its edges make of earlier nodes; without any, zeros.

    Args:
        operations: of the edges in the order of ``CELL_EDGES``, None where there is none.
        channels: of the nodes but the first.
        stride: by how much the edges that begin at the first node make the image smaller.
    """

    def __init__(self, operations: Sequence[nn.Module | None], channels: int, stride: int = 1) -> None:
        super().__init__()
        self.channels, self.stride = channels, stride
        present = zip(CELL_EDGES, operations, strict=True)
        self.edges = nn.ModuleDict(
            {f"{source}{target}": each for (source, target), each in present if each is not None}
        )

    def forward(self, maps: Float[Tensor, "batch c_in h w"]) -> Float[Tensor, "batch c_out h2 w2"]:
        """The last node; h2 and w2 are h and w over the stride, rounded up."""
        nodes = [maps]
        for target in (1, 2, 3):
            read = [edge(nodes[int(name[0])]) for name, edge in self.edges.items() if name[1] == str(target)]
            nodes.append(sum(read[1:], read[0]) if read else self._zeros(maps))
        return nodes[-1]

    def _zeros(self, maps: Tensor) -> Tensor:
        return maps.new_zeros(len(maps), self.channels, *(-(-side // self.stride) for side in maps.shape[2:]))
