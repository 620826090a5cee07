"""What is known by name: archflow's own encoders, tasks, spaces, …, and those that a person registers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

Kind = TypeVar("Kind")

REGISTRIES: dict[str, Registry[Any]] = {}
"""Every registry by the kind of thing that it holds."""


class Registry(dict[str, Kind]):
    """Classes or functions by name.

    Args:
        kind: what one is called, as "encoder".
        own: archflow's, which nobody replaces.
        check: called with a name and a thing that is to be registered; raises ValueError if it has not the right form.
    """

    def __init__(self, kind: str, own: Mapping[str, Kind], check: Callable[[str, Any], None] | None = None) -> None:
        super().__init__(own)
        self.kind, self.own, self.check = kind, frozenset(own), check
        REGISTRIES[kind] = self

    def names(self) -> list[str]:
        """The known names, sorted."""
        return sorted(self)

    def find(self, name: str, listed: Iterable[str] | None = None) -> Kind:
        """The thing of that name.

        Raises:
            ValueError: the name is unknown; the message lists the known ones.
        """
        if name not in self:
            listed = self.names() if listed is None else listed
            raise ValueError(f"unknown {self.kind} '{name}'; known {self.kind}s: {', '.join(listed)}")
        return self[name]

    def register(self, name: str, thing: Kind) -> None:
        """Add a thing that is not archflow's own.

        Raises:
            ValueError: archflow has one of that name, or the thing has not the right form.
        """
        if name in self.own:
            article = "an" if self.kind[0] in "aeiou" else "a"
            raise ValueError(f"archflow has {article} {self.kind} '{name}' of its own; choose another name")
        if self.check:
            self.check(name, thing)
        self[name] = thing


def register(kind: str, name: str, thing: Any) -> None:
    """Make archflow know an encoder, a pretext task, a space, … of yours by a name.

    Args:
        kind: what it is: "encoder", "task", "space", "networks" or "head".
        name: how it is called, in Python and on the command line.
        thing: a subclass of :class:`archflow.Encoder`, :class:`archflow.Task` or :class:`archflow.Head`, a function
            that returns a :class:`archflow.Space`, or for networks a ``NetworkFamily``, under the name of its space.

    Raises:
        ValueError: the kind is unknown, archflow has one of that name, or the thing has not the right form.
    """
    if kind not in REGISTRIES:
        raise ValueError(f"nothing of kind '{kind}' can be registered; known kinds: {', '.join(sorted(REGISTRIES))}")
    REGISTRIES[kind].register(name, thing)
