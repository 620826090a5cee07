"""Search spaces by name.

``archflow.space(name)`` returns one, ``archflow.spaces()`` lists the names. A new benchmark names its spaces in its
folder's record; ``archflow.register("space", name, make)`` adds your own.
"""

from __future__ import annotations

from collections.abc import Callable

from archflow.benchmarks import BENCHMARKS
from archflow.benchmarks.record import Published
from archflow.benchmarks.space import Space
from archflow.support.registry import Registry


def _require_makes_space(name: str, make: object) -> None:
    if not callable(make) or (isinstance(make, type) and not issubclass(make, Space)):
        raise ValueError(
            f"the space {name} must be a subclass of archflow.Space, or a function that returns one, not {make!r}"
        )


SPACES: Registry[Callable[[], Space]] = Registry(
    "space",
    {name: make for benchmark in BENCHMARKS for name, make in benchmark.spaces.items()},
    _require_makes_space,
)
"""The class or function that makes each space, by the space's name."""


def space(name: str) -> Space:
    """The search space of that name.

    Raises:
        ValueError: the name is unknown; the message lists the known ones.
    """
    return SPACES.find(name)()


def spaces() -> list[str]:
    """Names that :func:`space` knows, sorted."""
    return SPACES.names()


def published(space: str) -> Published:
    """The settings with which the paper ranks the space of that name; the defaults for a space that it lacks."""
    for benchmark in BENCHMARKS:
        if space in benchmark.spaces:
            return benchmark.published_apart.get(space, benchmark.published)
    return Published()
