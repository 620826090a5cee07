"""The objectives that are built in, by their text.

They are a look-up in a table, a command of one's own (:mod:`archflow.search.command_objective`), and real training on
small images of digits (:mod:`archflow.search.digits`).
"""

from __future__ import annotations

import math
import re

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from archflow.benchmarks.space import Space
from archflow.benchmarks.table import Table
from archflow.benchmarks.tables import table as table_named
from archflow.search.command_objective import CommandObjective
from archflow.search.digits import Digits
from archflow.search.objective import Objective, ObjectiveFailed, Report, no_report

__all__ = ["Objective", "ObjectiveFailed", "Report", "TableObjective", "make_objective", "no_report"]


def make_objective(text: str, space: Space, *, timeout: float | None = None) -> Objective:
    """The objective that a text names.

    Args:
        text: "table:NAME" or "table:NAME:COLUMN", see :class:`TableObjective`; "digits", see
            :class:`archflow.search.digits.Digits`; anything else is a command, see
            :class:`archflow.search.command_objective.CommandObjective`.
        space: the space that is searched.
        timeout: seconds after which a command is stopped; None for no limit.

    Raises:
        ValueError: an unknown table or column, a table of another space, a space without networks, a command that is
            empty or lacks a closing quote, or a time limit that is not above zero.
        ModuleNotFoundError: the objective needs a package that is not installed; the message names it.
    """
    if text.startswith("table:"):
        name, _, column = text.removeprefix("table:").partition(":")
        return TableObjective(table_named(name), space, column)
    if text == "digits":
        return Digits(space)
    return CommandObjective(text, space, timeout)


class TableObjective:
    """Looks accuracies up instead of training.

    A column named after a number of epochs, as ``validation_accuracy/12``, holds what a shorter training reaches. Those
    beside the chosen column are reported in the order of their epochs: all of them if it is ``validation_accuracy``,
    those of fewer epochs if it is ``validation_accuracy/36``. The full training is returned, and not reported.

    Args:
        table: the table.
        space: the space that is searched.
        column: its column of scores, higher is better; the table's default if "".

    Raises:
        ValueError: the table is of another space, or has no such column.
    """

    def __init__(self, table: Table, space: Space, column: str = "") -> None:
        if table.space.name != space.name:
            raise ValueError(f"the table {table.name} is of {table.space.name}, but the search is in {space.name}")
        column = column or table.default
        if not column:
            raise ValueError(
                f"the table {table.name} does not say which of its columns is the accuracy; name one as "
                f"table:{table.name}:COLUMN: {', '.join(table.columns) or 'none'}"
            )
        self.table, self.space, self.column, self.scores = table, space, column, table[column]
        self.shorter = _shorter_trainings(table, column)
        self._keys = space.keys(table.archs)

    def __call__(self, architecture: str, report: Report) -> float:
        """The number in the table."""
        (key,) = self.space.keys(self.space.parse([architecture]))
        rows = np.flatnonzero(self._keys == key)
        if not rows.size:
            raise ObjectiveFailed(f"the table {self.table.name} lacks this architecture")
        row = int(rows[0])
        score = float(self.scores[row])
        if not math.isfinite(score):
            raise ObjectiveFailed(f"the table {self.table.name} has no '{self.column}' of this architecture: {score}")
        for epochs, scores in self.shorter.items():
            if math.isfinite(scores[row]):
                report(epochs, float(scores[row]))
        return score


def _shorter_trainings(table: Table, column: str) -> dict[int, Float[ndarray, " archs"]]:
    """By their epochs, the columns that hold what shorter trainings reach than that of ``column``."""
    stem, most = _stem_and_epochs(column)
    found = {}
    for name, values in table.columns.items():
        its_stem, epochs = _stem_and_epochs(name)
        if its_stem == stem and epochs is not None and (most is None or epochs < most):
            found[epochs] = values
    return dict(sorted(found.items()))


def _stem_and_epochs(column: str) -> tuple[str, int | None]:
    parts = re.fullmatch(r"(.+)/([0-9]{1,6})", column)
    return (parts[1], int(parts[2])) if parts else (column, None)
