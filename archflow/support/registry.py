"""What is known by name: archflow's own, and what a person registers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TypeVar

Kind = TypeVar("Kind")


class Registry(dict[str, Kind]):
    """Classes or functions by name.

    Args:
        what: what one is called, as "encoder".
        own: archflow's, which nobody replaces.
    """

    def __init__(self, what: str, own: Mapping[str, Kind]) -> None:
        super().__init__(own)
        self.what, self.own = what, frozenset(own)

    def find(self, name: str, listed: Iterable[str]) -> Kind:
        """The one of that name.

        Raises:
            ValueError: the name is unknown; the message lists those in ``listed``.
        """
        if name not in self:
            raise ValueError(f"unknown {self.what} '{name}'; known {self.what}s: {', '.join(listed)}")
        return self[name]

    def register(self, name: str, kind: Kind) -> None:
        """Know one that is not archflow's.

        Raises:
            ValueError: archflow has one of that name.
        """
        if name in self.own:
            article = "an" if self.what[0] in "aeiou" else "a"
            raise ValueError(f"archflow has {article} {self.what} '{name}' of its own; call yours otherwise")
        self[name] = kind
