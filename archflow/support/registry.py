"""Registries of encoders, tasks, spaces, … by name: archflow's own, those of installed packages, and those users add.

A package brings its own by entry points, which are loaded when their names are first looked up::

    [project.entry-points."archflow.encoders"]
    mine = "my_package.encoders:Mine"
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Self, TypeVar

Kind = TypeVar("Kind")

REGISTRIES: dict[str, Registry[Any]] = {}
"""Every registry by its kind."""


class Registry(dict[str, Kind]):
    """Classes or functions by name. An iteration shows what is loaded; :meth:`names` and lookups know the rest as well.

    Args:
        kind: the kind of entry, such as "encoder"; installed packages bring theirs in the group "archflow.encoders".
        own: archflow's own entries, which cannot be replaced.
        check: called with the name and the object to register; raises ValueError if the object does not qualify.
    """

    def __init__(self, kind: str, own: Mapping[str, Kind], check: Callable[[str, Any], None] | None = None) -> None:
        super().__init__(own)
        self.kind, self.own, self.check = kind, frozenset(own), check
        self.kinds = kind if kind.endswith("s") else f"{kind}s"
        REGISTRIES[kind] = self

    def names(self) -> list[str]:
        """The known names, sorted."""
        return sorted({*self, *self._installed()})

    def find(self, name: str) -> Kind:
        """The entry of that name.

        Raises:
            ValueError: the name is unknown; the message lists the known ones. Or the installed package that brings the
                entry is broken; the message names it.
        """
        if name not in self:
            raise ValueError(f"unknown {self.kind} '{name}'; known {self.kinds}: {', '.join(self.names())}")
        return self[name]

    def loaded(self) -> Self:
        """The registry, with all entries of installed packages; raises ValueError if one of them is broken."""
        for name in self._installed():
            self[name]
        return self

    def __contains__(self, name: object) -> bool:
        return super().__contains__(name) or name in self._installed()

    def __missing__(self, name: str) -> Kind:
        if name not in self._installed():
            raise KeyError(name)
        entry = self._installed()[name]
        try:
            self.register(name, entry.load())
        except Exception as error:  # a package can raise anything
            reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
            what = f"the {self.kind} '{name}' of {_package(entry)} cannot be used ({reason})"
            raise ValueError(f"{what}; upgrade or uninstall the package") from error
        return self[name]

    def _installed(self) -> dict[str, EntryPoint]:
        return installed(f"archflow.{self.kinds}", self.own)

    def register(self, name: str, thing: Kind) -> None:
        """Add an entry.

        Raises:
            ValueError: archflow has an entry of that name, or the object does not qualify.
        """
        if name in self.own:
            article = "" if self.kinds == self.kind else "an " if self.kind[0] in "aeiou" else "a "
            raise ValueError(f"archflow already has {article}{self.kind} '{name}'; choose another name")
        if self.check:
            self.check(name, thing)
        self[name] = thing


@functools.cache
def installed(group: str, own: frozenset[str]) -> dict[str, EntryPoint]:
    """What installed packages declare in a group, by name; one that takes a name of archflow's own is passed over."""
    found = {entry.name: entry for entry in entry_points(group=group)}
    for name in own & found.keys():
        what = f"{_package(found.pop(name))} declares '{name}' in {group}"
        warnings.warn(f"{what}, which is a name of archflow's own and stays so", stacklevel=2)
    return found


def _package(entry: EntryPoint) -> str:
    return "an installed package" if entry.dist is None else f"the package {entry.dist.name}"


def register(kind: str, name: str, thing: Any) -> None:
    """Register an encoder, a pretext task, a space, … under a name.

    Args:
        kind: "encoder", "task", "space", "table", "networks" or "head".
        name: its name in Python and on the command line.
        thing: a subclass of :class:`archflow.Encoder`, :class:`archflow.Task` or :class:`archflow.Head`, a function
            that returns a :class:`archflow.Space`, for
            tables a ``TableSource``, for networks a ``NetworkFamily`` under the name of its space.

    Raises:
        ValueError: the kind is unknown, archflow has an entry of that name, or ``thing`` does not qualify.
    """
    if kind not in REGISTRIES:
        raise ValueError(f"nothing of kind '{kind}' can be registered; known kinds: {', '.join(sorted(REGISTRIES))}")
    REGISTRIES[kind].register(name, thing)
