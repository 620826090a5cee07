"""What an objective is: any function of an architecture that a search wants to be high."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

Report = Callable[[int, float], None]
"""``report(epoch, score)``, to be called in a training after some of its epochs, counted from 1.

What it raises, as ``optuna.TrialPruned``, ends the training and reaches the caller.
"""


class ObjectiveFailed(ValueError):
    """An architecture has no score; the message says why in one line. The search goes on with another one."""


class Objective(Protocol):
    """A score for each architecture; higher is better."""

    def __call__(self, architecture: str, report: Report, /) -> float | tuple[float, ...]:
        """Train an architecture, given in its space's notation.

        Returns:
            Its score, or one for each of several objectives.

        Raises:
            ObjectiveFailed: the training failed.
            ValueError: the string denotes no architecture of the space.
        """


def no_report(epoch: int, score: float) -> None:
    """A report that nobody reads."""
