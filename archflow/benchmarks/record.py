"""The record in which each benchmark's ``__init__.py`` describes it; the registries read these records."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from archflow.archs.batch import ArchBatch
from archflow.benchmarks.network import Network
from archflow.benchmarks.space import Space

if TYPE_CHECKING:
    from archflow.benchmarks.table import Table


@dataclass(frozen=True)
class Published:
    """The settings with which the paper (arXiv:2510.18360) ranks a space; the defaults hold for every other space.

    Attributes:
        pool: architectures in the training pool; None for half of the known ones.
        k: width of the flow surrogate's random vectors.
        std: their standard deviation.
        proxies: names of the zero-cost proxies that pre-training learns from, as
            :func:`archflow.zero_cost.columns.proxy_values` takes them.
        hidden: width of the encoders ResGatedGCN and GIN.
        finetune_epochs: epochs of fine-tuning.
        max_pairs: the most pairs that a minibatch compares; None for all.
        margin: of the ranking losses on accuracies and proxies, which :mod:`archflow.studies.preset` follows.
    """

    pool: int | None = None
    k: int = 7
    std: float = 0.1
    proxies: str = "closed-form"
    hidden: int = 128
    finetune_epochs: int = 500
    max_pairs: int | None = None
    margin: float = 0.5


@dataclass(frozen=True)
class TableSource:
    """Where a table comes from.

    Attributes:
        space: the name of its space.
        read: ``read(path, progress)`` where there are ``files``, else ``read()``.
        files: the names of the official files, which must be downloaded; "" where a package ships the table.
        package: the PyPI distribution that ships the table; "archflow" if archflow itself does.
        architectures: how many a packaged table has.
        columns: the names of its columns, likewise.
    """

    space: str
    read: Callable[..., Table]
    files: str = ""
    package: str = ""
    architectures: int = 0
    columns: tuple[str, ...] = ()


@dataclass(frozen=True)
class NetworkFamily:
    """The trainable networks of a space.

    Attributes:
        build: makes the network of a batch of one architecture, for a width, depth and number of classes, initialised
            as in the benchmark from PyTorch's global generator.
        representatives: for each architecture, one of the space with the same live part; see
            :mod:`archflow.zero_cost`.
        width: channels of the first cells in the benchmark.
        depth: number of cells, or of cells per stage, in the benchmark.
        classes: number of classes in the benchmark.
        size: height and width of the benchmark's images in pixels.
    """

    build: Callable[[ArchBatch, int, int, int], Network]
    representatives: Callable[[ArchBatch], ArchBatch]
    width: int
    depth: int
    classes: int
    size: int


@dataclass(frozen=True)
class Benchmark:
    """One benchmark: its spaces, their published settings, tables and networks.

    Attributes:
        spaces: what makes each space, by the space's name.
        published: the settings of its spaces.
        tables: its tables by name; studies read the first table of a space.
        networks: the networks of a space, by the space's name.
        published_apart: the settings of spaces that deviate from ``published``, by the space's name.
    """

    spaces: Mapping[str, Callable[[], Space]]
    published: Published = Published()
    tables: Mapping[str, TableSource] = field(default_factory=dict)
    networks: Mapping[str, NetworkFamily] = field(default_factory=dict)
    published_apart: Mapping[str, Published] = field(default_factory=dict)
