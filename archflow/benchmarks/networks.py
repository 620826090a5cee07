"""The real, trainable PyTorch network of an architecture, as its benchmark trained it.

``network(space, arch)`` builds one. To add the networks of another space, give its benchmark's record a
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
"""The networks of each space that has some, by its name."""


def network(
    space: str, arch: ArchBatch, *, width: int | None = None, depth: int | None = None, classes: int | None = None
) -> Network:
    """The network of one architecture, with initial weights from PyTorch's global generator.

    Args:
        space: the space's name; :func:`networks` lists those that have networks.
        arch: a batch of one architecture.
        width: channels of the first cells; the benchmark's by default, here as for the others.
        depth: number of cells (DARTS), or of cells a stack (NAS-Bench-101) or stage (NAS-Bench-201), or of modules
            (TransNAS-Bench-101).
        classes: of the classifier.

    Raises:
        ValueError: an unknown space, not one architecture, one that is not of the space, or a number below 1.
    """
    found = family(space)
    if len(arch) != 1:
        raise ValueError(f"a network is that of one architecture, not of {len(arch):,}")
    of_benchmark = (found.width, found.depth, found.classes)
    sizes = [its if given is None else given for given, its in zip((width, depth, classes), of_benchmark, strict=True)]
    if min(sizes) < 1:
        raise ValueError(f"width, depth and classes must be at least 1, not {', '.join(map(str, sizes))}")
    return found.build(arch, *sizes)


def networks() -> list[str]:
    """Names of the spaces whose networks archflow can build, sorted."""
    return NETWORKS.names()


def family(space: str) -> NetworkFamily:
    """How the networks of a space are built, and their sizes in the benchmark.

    Raises:
        ValueError: archflow knows no networks of that space; the message lists those it knows.
    """
    if space not in NETWORKS:
        raise ValueError(f"archflow builds no networks of the space '{space}'; it does of: {', '.join(networks())}")
    return NETWORKS[space]
