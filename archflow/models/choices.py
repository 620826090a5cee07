"""What a builder of models asks: the ``choose`` that it is given."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

Option = str | int | float | bool
T = TypeVar("T", bound=Option)

_NAME = re.compile(r"[^\s,=/\"']{1,80}")
_RESERVED = ("parameters", "flops")
_MOST_OPTIONS = 1_000
UNASKED = "-"
"""Stands where a question was not asked."""


@dataclass(frozen=True)
class Question:
    """A choice that a builder asks for.

    Attributes:
        name: of what is chosen.
        options: what may be chosen: strings, numbers or truth values.
    """

    name: str
    options: tuple[Option, ...]

    @property
    def is_numeric(self) -> bool:
        """Whether the options are numbers or truth values, which the ranker reads as a column."""
        return not any(isinstance(option, str) for option in self.options)


class QuestionError(ValueError):
    """A builder asks for a choice that cannot be asked for."""


class Choices:
    """Answers a builder's questions, as Optuna's trial does, and keeps what was asked.

    Args:
        answer: gives the position of the chosen option.
    """

    def __init__(self, answer: Callable[[Question], int]) -> None:
        self._answer = answer
        self.asked: dict[Question, int] = {}
        """The position of the chosen option of each question, in the order in which they were asked."""
        self._by_name: dict[str, Question] = {}

    def categorical(self, name: str, options: Sequence[T]) -> T:
        """One of the options."""
        options = tuple(options)
        for option in options:
            if not isinstance(option, str | int | float | bool):
                kind = type(option).__name__
                raise QuestionError(
                    f"'{name}' has an option of type {kind}; options are strings, numbers or truth values: choose a "
                    f"name, and look the {kind} up by it"
                )
            if isinstance(option, str) and (option == UNASKED or not _NAME.fullmatch(option)):
                raise QuestionError(
                    f"the option {option!r:.60} of '{name}' is empty, long, '-', or has a space or one of ,=/"
                )
        return self._ask(Question(name, options), options)

    def integer(self, name: str, low: int, high: int) -> int:
        """A whole number from ``low`` to ``high``, both included."""
        if type(low) is not int or type(high) is not int:
            raise QuestionError(f"'{name}' goes from {low!r} to {high!r}, which are not whole numbers")
        if high - low >= _MOST_OPTIONS:
            raise QuestionError(
                f"'{name}' has more than {_MOST_OPTIONS:,} options; choose among fewer with categorical"
            )
        return self.categorical(name, range(low, high + 1))

    def boolean(self, name: str) -> bool:
        """True or False."""
        return self.categorical(name, (False, True))

    def _ask(self, question: Question, options: tuple[T, ...]) -> T:
        name = question.name
        if not isinstance(name, str) or not _NAME.fullmatch(name) or name in _RESERVED:
            raise QuestionError(f"no choice can be called {name!r:.60}: no space or one of ,=/ and none of {_RESERVED}")
        if not options or len(set(map(str, options))) < len(options):
            raise QuestionError(f"'{name}' has no options, or one of them twice")
        if self._by_name.setdefault(name, question) != question:
            raise QuestionError(f"'{name}' is asked for with other options than before")
        if question not in self.asked:
            self.asked[question] = self._answer(question)
        return options[self.asked[question]]
