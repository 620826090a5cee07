"""The trainable PyTorch network of an architecture, as its benchmark trained it.

``network(space, arch)`` builds one. To add networks for another space, give its benchmark's record a
:class:`.NetworkFamily`, or call ``archflow.register("networks", space, family)``.
"""

from __future__ import annotations

from archflow.archs.batch import ArchBatch
from archflow.benchmarks import BENCHMARKS
from archflow.benchmarks.network import Network
from archflow.benchmarks.record import NetworkFamily
from archflow.support.registry import Registry


def _require_family(space: str, family: object) -> None:
    if not isinstance(family, NetworkFamily):
        raise ValueError(f"the networks of {space} must be a NetworkFamily, not {family!r}")


NETWORKS = Registry(
    "networks",
    {space: family for benchmark in BENCHMARKS for space, family in benchmark.networks.items()},
    _require_family,
)
"""The network family of each space that has one, by the space's name."""


def network(
    space: str, arch: ArchBatch, *, width: int | None = None, depth: int | None = None, classes: int | None = None
) -> Network:
    """The network of one architecture, with initial weights from PyTorch's global generator.

    Args:
        space: the space's name; :func:`networks` lists those that have networks.
        arch: a batch of one architecture.
        width: channels of the first cells; the benchmark's value if None, as for the other two.
        depth: number of cells (DARTS), of cells per stack (NAS-Bench-101) or per stage (NAS-Bench-201), or of modules
            (TransNAS-Bench-101).
        classes: number of classes.

    Raises:
        ValueError: an unknown space, a batch of more or fewer than one architecture, an architecture of another space,
            or a size below 1.
    """
    networks_of_space = family(space)
    if len(arch) != 1:
        raise ValueError(f"a network is built from one architecture, not from {len(arch):,}")
    defaults = (networks_of_space.width, networks_of_space.depth, networks_of_space.classes)
    given = (width, depth, classes)
    sizes = [default if size is None else size for size, default in zip(given, defaults, strict=True)]
    if min(sizes) < 1:
        raise ValueError(f"width, depth and classes must be at least 1, not {', '.join(map(str, sizes))}")
    return networks_of_space.build(arch, *sizes)


def networks() -> list[str]:
    """Names of the spaces whose networks archflow can build, sorted."""
    return NETWORKS.names()


def family(space: str) -> NetworkFamily:
    """How the networks of a space are built, and their sizes in the benchmark.

    Raises:
        ValueError: the space has no networks; the message lists the spaces that have some.
    """
    if space not in NETWORKS:
        raise ValueError(
            f"archflow has no networks for the space '{space}'; it has networks for: {', '.join(networks())}"
        )
    return NETWORKS[space]
