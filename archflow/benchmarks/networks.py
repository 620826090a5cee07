"""The real, trainable PyTorch network of an architecture, as its benchmark trained it.

``network(space, arch)`` builds one. To add those of another space, write a file with ``build`` and ``representatives``
and name it in ``_FAMILIES``, or call :func:`register_networks` from your code.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from archflow.archs.batch import ArchBatch
from archflow.benchmarks.darts import network as darts
from archflow.benchmarks.nasbench101 import network as nasbench101
from archflow.benchmarks.nasbench201 import network as nasbench201
from archflow.benchmarks.network import Network
from archflow.benchmarks.transnas101 import network as transnas101


class Family(NamedTuple):
    """The networks of a space.

    Attributes:
        build: makes the network of a batch of one architecture, of the given width, depth and number of classes, with
            the initial weights that the benchmark begins with, drawn from PyTorch's global generator.
        representatives: for each architecture one of the space whose live part is the same; see
            :mod:`archflow.proxies`.
        width: the benchmark's channels of the first cells.
        depth: the benchmark's number of cells, or of cells a stage.
        classes: of the benchmark's images.
        size: their height and width in pixels.
    """

    build: Callable[[ArchBatch, int, int, int], Network]
    representatives: Callable[[ArchBatch], ArchBatch]
    width: int
    depth: int
    classes: int
    size: int


_FAMILIES = {
    "nasbench101": Family(nasbench101.build, nasbench101.representatives, 128, 3, 10, 32),
    "nasbench201": Family(nasbench201.build, nasbench201.representatives, 16, 5, 10, 32),
    "darts": Family(darts.build, darts.representatives, 32, 8, 10, 32),
    "transnas101-micro": Family(transnas101.build, transnas101.representatives, 64, 5, 47, 256),
}


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
    sizes = [
        given if given is not None else its for given, its in zip((width, depth, classes), found[2:], strict=False)
    ]
    if min(sizes) < 1:
        raise ValueError(f"width, depth and classes must be at least 1, not {', '.join(map(str, sizes))}")
    return found.build(arch, *sizes)


def networks() -> list[str]:
    """Names of the spaces whose networks archflow can build."""
    return sorted(_FAMILIES)


def family(space: str) -> Family:
    """How the networks of a space are built, and their sizes in the benchmark.

    Raises:
        ValueError: archflow knows no networks of that space; the message lists those it knows.
    """
    if space not in _FAMILIES:
        raise ValueError(f"archflow builds no networks of the space '{space}'; it does of: {', '.join(networks())}")
    return _FAMILIES[space]


def register_networks(space: str, family: Family) -> None:
    """Make ``network(space, …)`` build networks of a space that is not archflow's own."""
    _FAMILIES[space] = family
