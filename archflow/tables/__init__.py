"""Tables of trained results: columns of numbers aligned with architectures.

``archflow.table(name)`` returns one of the published tables, ``archflow.tables()`` lists the names, and
:func:`archflow.tables.files.read_table` reads a person's own CSV, JSONL or Parquet file into the same thing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from jaxtyping import Shaped
from numpy import ndarray

from archflow.graphs import ArchBatch
from archflow.spaces import Space


@dataclass(frozen=True, eq=False)
class Table:
    """Architectures of a space, and what is known of each.

    Attributes:
        name: where it comes from, e.g. "nasbench201/analog".
        space: the search space of the architectures.
        archs: the architectures.
        columns: for each name one array with an entry an architecture; a missing number is NaN.
        default: the column of accuracies that is used where none is named, "" where there is no such column.
        left_out: names of further columns, which hold no numbers.
    """

    name: str
    space: Space
    archs: ArchBatch
    columns: dict[str, Shaped[ndarray, " archs"]]
    default: str = ""
    left_out: tuple[str, ...] = ()

    def __getitem__(self, column: str) -> Shaped[ndarray, " archs"]:
        """One column.

        Raises:
            ValueError: there is no such column of numbers; the message lists those there are.
        """
        if column in self.left_out:
            raise ValueError(f"the column '{column}' of {self.name} is not all numbers")
        if column not in self.columns:
            raise ValueError(f"{self.name} has no column '{column}'; it has: {', '.join(self.columns) or 'none'}")
        return self.columns[column]

    def __len__(self) -> int:
        return len(self.archs)


def table(name: str) -> Table:
    """The published table of that name.

    Raises:
        ValueError: the name is unknown; the message lists the known ones.
        ModuleNotFoundError: the PyPI package that ships the table is not installed; the message names it.
    """
    from archflow.tables import analog, nasbench_graph

    readers: dict[str, Callable[[], Table]] = {
        "nasbench201/analog": analog.read,
        "nasbench-graph": nasbench_graph.read,
        "nasbench-graph/proteins": nasbench_graph.read_proteins,
    }
    if name not in readers:
        raise ValueError(f"unknown table '{name}'; known tables: {', '.join(readers)}")
    return readers[name]()


def tables(space: str = "") -> list[str]:
    """Names that :func:`table` knows, all or those of a space."""
    spaces = {
        "nasbench201/analog": "nasbench201",
        "nasbench-graph": "nasbench-graph",
        "nasbench-graph/proteins": "nasbench-graph-proteins",
    }
    return [name for name, its_space in spaces.items() if space in ("", its_space)]
