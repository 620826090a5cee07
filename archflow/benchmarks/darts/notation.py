"""The names of DARTS operations and cells, and the notations in which architectures are written."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

OPERATIONS = (
    *("max_pool_3x3", "avg_pool_3x3", "skip_connect", "sep_conv_3x3", "sep_conv_5x5"),
    *("dil_conv_3x3", "dil_conv_5x5"),
)
CELLS = ("normal", "reduce")

_SPACES = re.compile(r"\s+(?=[(),=\[\]])|(?<=[(),=\[\]])\s+")
_GENOTYPE = re.compile(
    r"Genotype\(normal=\[\((.*)\)\],normal_concat=(.*),reduce=\[\((.*)\)\],reduce_concat=(.*)\)", re.DOTALL
)
_COMPACT = re.compile(r"\(\(\((.*)\)\),\(\((.*)\)\)\)", re.DOTALL)


def read_architecture(string: str) -> list[list[tuple[int, int]]]:
    """Source and operation of the edges of both cells, as :meth:`.DARTS.parse_one` takes them.

    Raises:
        ValueError: the string is malformed; the message says why.
    """
    text = _SPACES.sub("", string)
    if found := _COMPACT.fullmatch(text):
        known = {str(index): index for index in range(len(OPERATIONS))}
        cells = [[pair.partition(",")[::2] for pair in cell.split("),(")] for cell in found.groups()]
    elif found := _GENOTYPE.fullmatch(text.replace('"', "'")):
        known = {f"'{name}'": index for index, name in enumerate(OPERATIONS)}
        for cell, nodes in zip(CELLS, found.group(2, 4), strict=True):
            if nodes not in ("[2,3,4,5]", "range(2,6)"):
                raise ValueError(f"the {cell} cell's output must join nodes [2, 3, 4, 5], not {nodes}")
        cells = [[pair.partition(",")[::-2] for pair in cell.split("),(")] for cell in found.group(1, 3)]
    else:
        raise ValueError(
            "an architecture is written as Genotype(normal=[('sep_conv_3x3', 0), …], normal_concat=[2, 3, 4, 5], "
            "reduce=[…], reduce_concat=[2, 3, 4, 5]) or as (((0,3),…),(…))"
        )
    return [_parse_cell(cell, edges, known) for cell, edges in zip(CELLS, cells, strict=True)]


def _parse_cell(cell: str, edges: Sequence[Sequence[str]], known: Mapping[str, int]) -> list[tuple[int, int]]:
    """The edges of a cell from the text of each edge's source and operation."""
    if len(edges) != 8:
        raise ValueError(f"the {cell} cell must have 8 edges, not {len(edges)}")
    chosen: list[tuple[int, int]] = []
    for index, (source, operation) in enumerate(edges):
        node = 2 + index // 2
        if source not in ("0", "1", "2", "3", "4")[:node]:
            raise ValueError(f"node {node} of the {cell} cell must read from 0 … {node - 1}, not '{source}'")
        if operation not in known:
            raise ValueError(f"unknown operation {operation} in the {cell} cell (known: {', '.join(known)})")
        chosen.append((int(source), known[operation]))
        if index % 2 and chosen[-1][0] == chosen[-2][0]:
            raise ValueError(f"node {node} of the {cell} cell must read from two nodes, not twice from {source}")
    return chosen
