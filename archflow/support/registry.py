"""Registries of encoders, tasks, spaces, … by name: archflow's own and those that users add."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

Kind = TypeVar("Kind")

REGISTRIES: dict[str, Registry[Any]] = {}
"""Every registry by its kind."""


class Registry(dict[str, Kind]):
    """Classes or functions by name.

    Args:
        kind: the kind of entry, such as "encoder".
        own: archflow's own entries, which cannot be replaced.
        check: called with the name and the object to register; raises ValueError if the object does not qualify.
    """

    def __init__(self, kind: str, own: Mapping[str, Kind], check: Callable[[str, Any], None] | None = None) -> None:
        super().__init__(own)
        self.kind, self.own, self.check = kind, frozenset(own), check
        REGISTRIES[kind] = self

    def names(self) -> list[str]:
        """The known names, sorted."""
        return sorted(self)

    def find(self, name: str) -> Kind:
        """The entry of that name.

        Raises:
            ValueError: the name is unknown; the message lists the known ones.
        """
        if name not in self:
            raise ValueError(f"unknown {self.kind} '{name}'; known {self.kind}s: {', '.join(self.names())}")
        return self[name]

    def register(self, name: str, thing: Kind) -> None:
        """Add an entry.

        Raises:
            ValueError: archflow has an entry of that name, or the object does not qualify.
        """
        if name in self.own:
            article = "an" if self.kind[0] in "aeiou" else "a"
            raise ValueError(f"archflow already has {article} {self.kind} '{name}'; choose another name")
        if self.check:
            self.check(name, thing)
        self[name] = thing


def register(kind: str, name: str, thing: Any) -> None:
    """Register an encoder, a pretext task, a space, … under a name.

    Args:
        kind: "encoder", "task", "space", "networks" or "head".
        name: its name in Python and on the command line.
        thing: a subclass of :class:`archflow.Encoder`, :class:`archflow.Task` or :class:`archflow.Head`, a function
            that returns a :class:`archflow.Space`, or for networks a ``NetworkFamily``, under the name of its space.

    Raises:
        ValueError: the kind is unknown, archflow has an entry of that name, or ``thing`` does not qualify.
    """
    if kind not in REGISTRIES:
        raise ValueError(f"nothing of kind '{kind}' can be registered; known kinds: {', '.join(sorted(REGISTRIES))}")
    REGISTRIES[kind].register(name, thing)
