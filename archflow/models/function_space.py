"""A search space made from a function that builds a model from some choices.

``build(choose)`` asks for what it needs on its way (:mod:`archflow.models.choices`). The space learns its decisions by
running the function with random answers until no new question comes. Each model is built once, on the meta device,
which neither draws nor stores weights; one pass there (:mod:`archflow.archs.recorded`) gives its DAG and its
multiply-accumulates.

Some decisions, such as a width, change no DAG. So an architecture of such a space begins with its choices: a chain of
nodes like ``input/width=32`` before the model's inputs. Path features take no such node for an operation, and an
architecture that is saved or sent elsewhere still says what it is: :meth:`Space.encode` reads the choices from it.
Numeric decisions are proxies of the space beside its parameters and FLOPs, 0 where they are not asked for.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from math import prod
from typing import Any

import numpy as np
from jaxtyping import Float, Int, Shaped
from numpy import ndarray
from torch import Tensor, nn

from archflow.archs.batch import ArchBatch
from archflow.archs.kinds import OTHER, renamed
from archflow.benchmarks.space import Decision, Space
from archflow.models.built import Build, Built, built_model
from archflow.models.choices import UNASKED, Choices, Question, QuestionError

_QUIET = 40
"""All is taken for known once so many random models in a row asked for nothing new and had no new operation."""
_MOST_RUNS = 4_000
_REPEATED = 3
"""So many of the first models are built twice, to see whether the same is asked for."""
_MOST_FAILURES = 0.9
"""A function that fails for a larger part of the models is taken to be wrong,"""
_TRIED = 20
"""once so many were tried."""


class FunctionSpace(Space):
    """The space of the models that a function builds; :func:`space_from` makes it.

    Attributes:
        build: the function.
        example_input: a tensor, or a tuple of what the models take.
        questions: what the function asks for, in the order in which it came up.
        conditional: whether some are asked only after some answers.
        failures: why models could not be built, by their choices.
    """

    def __init__(self, build: Build, example_input: Tensor | tuple[Any, ...], name: str) -> None:
        self.build, self.example_input, self.name = build, example_input, name
        self.questions: tuple[Question, ...] = ()
        self.conditional = False
        self.failures: dict[str, str] = {}
        self._models: dict[tuple[int, ...], Built] = {}
        self._learn()

    @property
    def decisions(self) -> tuple[Decision, ...]:
        """What the function asks for; the first option also stands where a question is not asked."""
        return tuple(Decision(question.name, tuple(map(str, question.options))) for question in self.questions)

    @property
    def size(self) -> int | None:
        """The number of combinations; None where questions are conditional or some combinations failed."""
        return None if self.conditional or self.failures else prod(len(each.options) for each in self.questions)

    def keys(self, archs: ArchBatch) -> Shaped[ndarray, " archs"]:
        """The choices of each architecture, as :meth:`format` writes them."""
        return np.array(self.format(archs))

    def from_keys(self, keys: Shaped[ndarray, " archs"]) -> ArchBatch:
        """The inverse of :meth:`keys`."""
        return self.parse([str(key) for key in keys])

    def encode(self, archs: ArchBatch) -> Int[ndarray, "archs decisions"]:
        """The chosen options, read from the nodes before the input; 0 where a question was not asked; int64."""
        return np.maximum(self._rows(archs), 0)

    def format(self, archs: ArchBatch) -> list[str]:
        """The choices that were asked for, e.g. ``kernel=3,depth=2``."""
        return list(map(self._text, self._rows(archs).tolist()))

    def parse_one(self, string: str) -> tuple[int, ...]:
        """The choices in a string such as ``kernel=3,depth=2``: all that are asked for, in any order."""
        known = {decision.name: decision.options for decision in self.decisions}
        chosen: dict[str, int] = {}
        for part in string.strip().split(","):
            name, _, option = part.strip().partition("=")
            if name not in known or name in chosen:
                what = "is chosen twice" if name in chosen else f"is no decision (known: {', '.join(known)})"
                raise ValueError(f"'{name}' {what}")
            if option not in known[name]:
                raise ValueError(f"{name} cannot be '{option}' (known: {', '.join(known[name][:20])})")
            chosen[name] = known[name].index(option)
        built = self._model([chosen.get(name, 0) for name in known])
        if built.failure:
            raise ValueError(f"the model cannot be built: {built.failure}")
        asked = {name for name, choice in zip(known, built.row, strict=True) if choice >= 0}
        for name in sorted(asked ^ set(chosen)):
            raise ValueError(f"{name} is {'missing' if name in asked else 'not asked for after the other choices'}")
        return built.key

    def mutate(self, archs: ArchBatch, seed: int = 0) -> ArchBatch:
        """For each architecture, another one that differs in one of the decisions that it was asked for.

        What is asked for only then is answered at random; an answer after which the function fails is not taken.
        """
        rng = np.random.default_rng(seed)
        mutants = [self._mutant(np.array(row), rng) for row in self._rows(archs).tolist()]
        return self.decode(np.array(mutants, np.int64))

    def parameters(self, archs: ArchBatch) -> Int[ndarray, " archs"]:
        """Trainable parameters of each model."""
        return np.array([self._model(row).parameters for row in self.encode(archs).tolist()], np.int64)

    def flops(self, archs: ArchBatch) -> Int[ndarray, " archs"]:
        """Multiply-accumulates of convolutions and matrix products of each model for the example input."""
        return np.array([self._model(row).flops for row in self.encode(archs).tolist()], np.int64)

    def model(self, arch: ArchBatch) -> nn.Module:
        """The model of one architecture, with weights from PyTorch's global generator, to be trained.

        Raises:
            ValueError: a batch of more or fewer than one architecture, or an architecture of another space.
        """
        if len(arch) != 1:
            raise ValueError(f"a model is built from one architecture, not from {len(arch):,}")
        return self.build(Choices(self._answers(self.encode(arch)[0].tolist())))

    def _proxies(self, names: Sequence[str], archs: ArchBatch) -> Mapping[str, Float[ndarray, " archs"]]:
        rows, found = self._rows(archs), {}
        for place, question in enumerate(self.questions):
            if question.name in names:
                numbers = np.array([float(option) for option in question.options])
                found[question.name] = np.where(rows[:, place] >= 0, numbers[rows[:, place]], 0.0)
        return found

    def _all_keys(self) -> Shaped[ndarray, " archs"]:
        rows = np.stack(np.unravel_index(np.arange(self.size or 0), self._options), axis=1)
        return np.array(list(map(self._text, rows.tolist())))

    def _sample(self, n: int, seed: int) -> ArchBatch:
        """``n`` different random models; those for which the function fails are left out."""
        rng = np.random.default_rng(seed)
        drawn: dict[tuple[int, ...], None] = {}
        in_vain = 0
        while len(drawn) < n:
            built = self._model(rng.integers(self._options).tolist())
            new = not built.failure and built.key not in drawn
            in_vain = 0 if new else in_vain + 1
            if in_vain > 200 + 20 * len(drawn):
                raise ValueError(
                    f"cannot draw {n} different models of {self.name}: after {len(drawn)} no new ones came"
                    f"{self._failed()}"
                )
            if new:
                drawn[built.key] = None
        return self.decode(np.array(list(drawn), np.int64))

    def _decode(self, choices: Int[ndarray, "archs decisions"]) -> ArchBatch:
        graphs, count = [], len(self.questions)
        for number, row in enumerate(choices.tolist()):
            built = self._model(row)
            if built.failure:
                what = self._text(built.row)
                raise ValueError(f"architecture {number} of {self.name} cannot be built: {what}: {built.failure}")
            names, edges = built.graph
            chain = [_node(each, choice) for each, choice in zip(self.questions, built.row, strict=True)]
            inputs = [place for place, name in enumerate(names) if name == "input"]
            graphs.append(
                (
                    [*chain, *renamed(names, self._kinds)],
                    [(place, place + 1) for place in range(count - 1)]
                    + [(count - 1, count + place) for place in inputs]
                    + [(count + source, count + target) for source, target in edges],
                )
            )
        return ArchBatch.from_graphs(graphs, self.vocabulary)

    def _rows(self, archs: ArchBatch) -> Int[ndarray, "archs decisions"]:
        """The chosen options, read from the nodes before the input; -1 where a question was not asked; int64."""
        archs.require_vocabulary(self.vocabulary, self.name)
        count = len(self.questions)
        form = f"it does not begin with its {count} choices"
        self._require(np.diff(archs.node_offsets) > count, form)
        first = archs.operations[archs.node_offsets[:-1, None] + np.arange(count)].astype(np.int64)
        choices = first - np.append(0, np.cumsum(self._options + 1)[:-1])
        self._require(((choices >= 0) & (choices <= self._options)).all(axis=1), form)
        return np.where(choices == self._options, -1, choices)

    def _mutant(self, row: Int[ndarray, " decisions"], rng: np.random.Generator) -> tuple[int, ...]:
        free = np.flatnonzero((row >= 0) & (self._options > 1))
        for _ in range(200 if len(free) else 0):
            child = np.where(row >= 0, row, rng.integers(self._options))
            place = rng.choice(free)
            child[place] = (row[place] + rng.integers(1, self._options[place])) % self._options[place]
            built = self._model(child.tolist())
            if not built.failure:
                return built.key
        raise ValueError(
            f"{self._text(row.tolist())} of {self.name} has no neighbour that can be built{self._failed()}"
        )

    def _text(self, row: Sequence[int]) -> str:
        chosen = zip(self.questions, row, strict=True)
        return ",".join(f"{each.name}={each.options[choice]}" for each, choice in chosen if choice >= 0)

    def _answers(self, row: Sequence[int]) -> Callable[[Question], int]:
        """Answers to the known questions; to another one the first option, and :meth:`_model` then fails."""
        chosen = dict(zip(self.questions, row, strict=True))
        return lambda question: chosen.get(question, 0)

    def _failed(self) -> str:
        if not self.failures:
            return ""
        return (
            f"; {len(self.failures)} could not be built, as {next(f'{at}: {why}' for at, why in self.failures.items())}"
        )

    def _model(self, row: Sequence[int]) -> Built:
        """The model of some choices, built once."""
        key = tuple(row)
        if key not in self._models:
            choices = Choices(self._answers(row))
            found = built_model(self.build, self.example_input, choices)
            asked = tuple(choices.asked.get(question, -1) for question in self.questions)
            new = next((question.name for question in choices.asked if question not in self.questions), None)
            if new:
                found = Built(
                    (), failure=f"it asks for '{new}', which none of the models asked for that were tried first"
                )
            built = found._replace(row=asked)
            if built.failure:
                self.failures[self._text(asked)] = built.failure
            self._models[key] = self._models[built.key] = self._models.get(built.key, built)
        return self._models[key]

    def _learn(self) -> None:
        """Run the function with random answers until it asks for nothing new and each option was taken."""
        rng = np.random.default_rng(0)
        asked: dict[Question, set[int]] = {}
        always: set[Question] | None = None
        kinds: set[str] = set()
        runs = quiet = 0
        failures: list[str] = []
        while quiet < _QUIET and runs < _MOST_RUNS:
            choices = Choices(lambda question: _least_taken(question, asked, rng))
            built = built_model(self.build, self.example_input, choices)
            if runs < _REPEATED:
                again = Choices(lambda question, given=dict(choices.asked): given.get(question, 0))  # type: ignore[misc]
                built_model(self.build, self.example_input, again)
                if list(again.asked) != list(choices.asked):
                    raise QuestionError(
                        "the function asks for other choices when it is called with the same answers again"
                    )
            runs, quiet = runs + 1, quiet + 1
            for question, choice in choices.asked.items():
                taken = asked.setdefault(question, set())
                if choice not in taken:
                    taken.add(choice)
                    quiet = 0
            if built.failure:
                text = ",".join(f"{each.name}={each.options[choice]}" for each, choice in choices.asked.items())
                failures.append(f"{text}: {built.failure}")
                self.failures[text] = built.failure
                if len(failures) > _MOST_FAILURES * runs and runs >= _TRIED:
                    raise ValueError(f"{len(failures)} of {runs} models cannot be built; the first: {failures[0]}")
            elif not {*built.graph[0]} <= kinds:
                kinds |= {*built.graph[0]}
                quiet = 0
            if not built.failure:
                always = {*choices.asked} if always is None else always & {*choices.asked}
        if not asked:
            raise QuestionError("the function asks for no choice, so there is one model alone")
        names = [question.name for question in asked]
        if len(set(names)) < len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise QuestionError(
                f"'{twice}' is asked for with other options after other answers; name it differently there"
            )
        self.questions, self.conditional = tuple(asked), always != {*asked}
        chain = [_node(each, choice) for each in asked for choice in (*range(len(each.options)), -1)]
        kinds -= {"input", "output", OTHER}
        self.vocabulary = (*chain, "input", *sorted(kinds), OTHER, "output")
        self._kinds = frozenset(self.vocabulary)
        self.proxies = ("parameters", "flops", *(each.name for each in asked if each.is_numeric))
        if failures:
            logging.getLogger("archflow").warning(
                "%s: %d of %d models could not be built and are left out; the first: %s",
                *(self.name, len(failures), runs, failures[0]),
            )


def _node(question: Question, choice: int) -> str:
    return f"input/{question.name}={question.options[choice] if choice >= 0 else UNASKED}"


def _least_taken(question: Question, taken: dict[Question, set[int]], rng: np.random.Generator) -> int:
    """A random option that was not taken yet, or any."""
    left = set(range(len(question.options))) - taken.get(question, set())
    return int(rng.choice(sorted(left))) if left and rng.random() < 0.5 else int(rng.integers(len(question.options)))
