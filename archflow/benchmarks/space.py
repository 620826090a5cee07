"""The base class of search spaces.

A space in which every tuple of choices is a different architecture defines its name, its vocabulary, its decisions, and
how choices become graphs and back (``_decode`` and ``encode``); everything else has a default. Where several tuples
denote one network, or some denote none, a space also overrides ``keys``, ``from_keys``, ``_all_keys`` and ``mutate``;
``decode`` then returns the network that the choices denote, and ``encode`` the same choices for each form of a network.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, Protocol

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped
from numpy import ndarray

from archflow.archs.batch import ArchBatch
from archflow.support.reading import reason

MOST_LISTED = 10_000_000
"""Spaces of more architectures are not listed."""
MOST_NODES = 20_000_000
"""Nodes of all architectures of one sample; with their edges they take about a gigabyte."""
MOST_CHARACTERS = 100_000
"""Characters of one architecture's notation; the longest, of NAS-Bench-NLP, have some 3,000."""


@dataclass(frozen=True)
class Decision:
    """One of the choices that make an architecture.

    Attributes:
        name: what is decided, e.g. "edge 0→1".
        options: the possible choices; a choice is a position among them.
    """

    name: str
    options: tuple[str, ...]


class Trial(Protocol):
    """What a space needs of an Optuna trial."""

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        """One of the choices, under that name."""


class Space:
    """A search space: its architectures, their notation, and the sizes of their networks.

    Attributes:
        name: the name by which ``archflow.space`` finds it.
        vocabulary: names of the operations, inputs and outputs included.
        proxies: names of the zero-cost proxies that need no network; the default targets of pre-training.
        sizes_elsewhere: where to find parameters and flops if they have no closed form, as the end of a sentence.
    """

    name: str
    vocabulary: tuple[str, ...]
    proxies: tuple[str, ...] = ()
    sizes_elsewhere: str = "the space does not say how large its networks are"

    @property
    def decisions(self) -> tuple[Decision, ...]:
        """The choices that make an architecture; empty where their number varies."""
        return ()

    @property
    def size(self) -> int | None:
        """The number of different networks; None where it is unknown."""
        return prod(len(decision.options) for decision in self.decisions) if self.decisions else None

    def enumerate(self) -> ArchBatch:
        """Every architecture of the space, always in the same order.

        Raises:
            ValueError: the space is too large to be listed.
        """
        if self.size is None:
            raise ValueError(f"{self.name} cannot be listed: its number of architectures is unknown; draw a sample")
        if self.size > MOST_LISTED:
            raise ValueError(
                f"{self.name} is too large to be listed: it has {self.size:,} architectures; draw a sample"
            )
        return self.from_keys(self._all_keys())

    def sample(self, n: int, seed: int = 0) -> ArchBatch:
        """``n`` different random architectures, drawn uniformly where the size is known.

        Raises:
            ValueError: ``n`` is below 1, larger than the space, or more than memory is likely to hold.
        """
        if n < 1 or (self.size is not None and n > self.size):
            limit = "at least 1 must be drawn" if self.size is None else f"{self.name} has {self.size:,}"
            raise ValueError(f"cannot draw {n} different architectures: {limit}")
        if n > MOST_NODES // len(self._sample(1, seed).operations):
            raise ValueError(f"cannot draw {n} different architectures: they have more than {MOST_NODES:,} nodes")
        return self._sample(n, seed)

    def keys(self, archs: ArchBatch) -> Shaped[ndarray, " archs"]:
        """A number or name for each network, equal where two architectures denote the same network.

        Raises:
            ValueError: an architecture is not of this space; the message names its index.
        """
        choices = self.encode(archs)
        if self.size is not None and self.size < 2**63:
            return choices @ self._place_values
        return np.array([",".join(map(str, row)) for row in choices.tolist()])

    def from_keys(self, keys: Int[ndarray, " archs"]) -> ArchBatch:
        """The inverse of :meth:`keys`, for keys of this space that are numbers."""
        return self.decode(keys[:, None] // self._place_values % self._options)

    def mutate(self, archs: ArchBatch, seed: int = 0) -> ArchBatch:
        """For each architecture, another one that differs from it in a single random decision.

        Raises:
            ValueError: see :meth:`keys`.
        """
        rng = np.random.default_rng(seed)
        choices = self.encode(archs)
        rows, decision = np.arange(len(choices)), rng.integers(len(self._options), size=len(choices))
        options = self._options[decision]
        step = rng.integers(1, options)
        choices[rows, decision] = (choices[rows, decision] + step) % options
        return self.decode(choices)

    def encode(self, archs: ArchBatch) -> Int[ndarray, "archs decisions"]:
        """The choices that make each architecture, as positions in the options of :attr:`decisions`; int64.

        Raises:
            ValueError: see :meth:`keys`.
        """
        raise ValueError(f"the architectures of {self.name} are not made by a fixed number of decisions")

    def decode(self, choices: Int[ndarray, "archs decisions"]) -> ArchBatch:
        """The architectures that the choices make, the inverse of :meth:`encode`.

        Raises:
            ValueError: an array of the wrong shape or not of integers, a choice out of range, or choices that make no
                architecture of the space; the message names the row, from 0.
        """
        if not self.decisions:
            raise ValueError(f"the architectures of {self.name} are not made by a fixed number of decisions")
        choices, options = np.asarray(choices), self._options
        if choices.dtype.kind not in "iu" or choices.shape[1:] != options.shape:
            raise ValueError(
                f"choices of {self.name} are whole numbers of shape (architectures, {len(options)}), not an array of "
                f"{choices.dtype} of shape {choices.shape}"
            )
        for decision, column in zip(self.decisions, choices.T, strict=True):
            last = len(decision.options) - 1
            self._require((column >= 0) & (column <= last), f"the choice for {decision.name} must be from 0 to {last}")
        return self._decode(choices.astype(np.int64))

    def suggest(self, trial: Trial) -> str:
        """The architecture that an Optuna trial chooses, in the notation of :meth:`format`.

        Each decision becomes a categorical parameter of the trial.

        >>> study.optimize(lambda trial: train(space.suggest(trial)), n_trials=100)

        Raises:
            ValueError: the architectures are not made by decisions, or these choices denote none.
        """
        chosen = {each.name: trial.suggest_categorical(each.name, each.options) for each in self.decisions}
        choices = [each.options.index(chosen[each.name]) for each in self.decisions]
        return self.format(self.decode(np.array([choices], np.int64)))[0]

    def format(self, archs: ArchBatch) -> list[str]:
        """Each architecture in its benchmark's notation; by default its chosen options, joined by commas."""
        return [
            ",".join(decision.options[choice] for decision, choice in zip(self.decisions, row, strict=True))
            for row in self.encode(archs).tolist()
        ]

    def parse(self, strings: Sequence[str], first_line: int = 1) -> ArchBatch:
        """The architectures that the strings denote, in the notation of :meth:`format`.

        Raises:
            ValueError: a string is malformed or denotes no architecture of the space; the message gives its line, the
                first being ``first_line``, and the reason.
        """
        parsed = []
        for line, string in enumerate(strings, start=first_line):
            try:
                if len(string) > MOST_CHARACTERS:
                    raise ValueError(f"it has more than {MOST_CHARACTERS:,} characters")
                parsed.append(self.parse_one(string))
            except (ValueError, RecursionError) as error:
                raise ValueError(f"line {line}: {reason(error)}, in {string[:160]!r:.160}") from None
        return self._from_parsed(parsed)

    def parse_one(self, string: str) -> Any:
        """What a string denotes: by default the choices of one architecture.

        Raises:
            ValueError: the string is malformed or denotes no architecture of the space; the message is the reason.
        """
        names = string.strip().split(",")
        if len(names) != len(self.decisions):
            raise ValueError(f"an architecture is {len(self.decisions)} options joined by ',', not {len(names)}")
        for decision, name in zip(self.decisions, names, strict=True):
            if name not in decision.options:
                raise ValueError(f"{decision.name} cannot be '{name}' (known: {', '.join(decision.options)})")
        return [decision.options.index(name) for decision, name in zip(self.decisions, names, strict=True)]

    def parameters(self, archs: ArchBatch) -> Int[ndarray, " archs"]:
        """Trainable parameters of each network, in closed form.

        Raises:
            ValueError: there is no closed form, or see :meth:`keys`.
        """
        raise self._no_closed_form("parameters")

    def flops(self, archs: ArchBatch) -> Int[ndarray, " archs"]:
        """Multiply-accumulates of each network for one input, as the benchmark counts them, in closed form.

        Raises:
            ValueError: there is no closed form, or see :meth:`keys`.
        """
        raise self._no_closed_form("flops")

    def proxy(self, name: str, archs: ArchBatch) -> Float[ndarray, " archs"]:
        """One of ``proxies`` for each architecture; only the order is meaningful, not the scale.

        Raises:
            ValueError: the name is not among ``proxies``, or see :meth:`keys`.
        """
        return self.proxies_of(archs, [name])[name]

    def proxies_of(self, archs: ArchBatch, names: Sequence[str] | None = None) -> dict[str, Float[ndarray, " archs"]]:
        """Several of ``proxies`` by name, all if None; together, as they share work.

        Raises:
            ValueError: see :meth:`proxy`.
        """
        names = self.proxies if names is None else names
        for name in names:
            if not self.proxies:
                raise self._no_closed_form(name)
            if name not in self.proxies:
                raise ValueError(f"unknown proxy '{name}' of {self.name}; known: {', '.join(self.proxies)}")
        sizes = {"parameters": self.parameters, "flops": self.flops}
        others = [name for name in names if name not in sizes]
        found = dict(self._proxies(others, archs)) if others else {}
        return {name: sizes[name](archs).astype(float) if name in sizes else found[name] for name in names}

    def _decode(self, choices: Int[ndarray, "archs decisions"]) -> ArchBatch:
        """The architectures of choices that are all in range."""
        raise NotImplementedError

    def _from_parsed(self, parsed: list[Any]) -> ArchBatch:
        """The architectures of the results of :meth:`parse_one`."""
        return self.decode(np.array(parsed, np.int64).reshape(len(parsed), len(self.decisions)))

    def _proxies(self, names: Sequence[str], archs: ArchBatch) -> Mapping[str, Float[ndarray, " archs"]]:
        """Some of ``proxies`` by name, or all, other than "parameters" and "flops"."""
        raise NotImplementedError

    def _all_keys(self) -> Int[ndarray, " archs"]:
        """The keys of all architectures, in the order of :meth:`enumerate`."""
        assert self.size is not None
        return np.arange(self.size)

    def _sample(self, n: int, seed: int) -> ArchBatch:
        """``n`` different architectures; the space has at least as many."""
        rng = np.random.default_rng(seed)
        if self.size is not None and self.size <= MOST_LISTED:
            return self.from_keys(rng.choice(self._all_keys(), n, replace=False))
        drawn: dict[tuple[int, ...], None] = {}
        while len(drawn) < n:
            rows = rng.integers(self._options, size=(n - len(drawn), len(self._options)))
            drawn |= dict.fromkeys(map(tuple, rows.tolist()))
        return self.decode(np.array(list(drawn)))

    def _require(self, valid: Bool[ndarray, " archs"], reason: str) -> None:
        """Raise ValueError unless all are valid; the message gives the index of the first that is not."""
        if not valid.all():
            raise ValueError(f"architecture {int(np.argmin(valid))} is not of {self.name}: {reason}")

    def _no_closed_form(self, what: str) -> ValueError:
        return ValueError(f"{self.name} has no closed form for {what}: {self.sizes_elsewhere}")

    @property
    def _options(self) -> Int[ndarray, " decisions"]:
        """How many options each decision has."""
        return np.array([len(decision.options) for decision in self.decisions])

    @property
    def _place_values(self) -> Int[ndarray, " decisions"]:
        """The weight of each choice in an architecture's number, the first one the most significant."""
        return np.append(np.cumprod(self._options[:0:-1])[::-1], 1)
