"""What a benchmark's folder says of itself, in its ``__init__.py``; every other room asks these records."""

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
    """The settings with which the paper (arXiv:2510.18360) ranks a space; the defaults are those of any other space.

    Attributes:
        pool: architectures in the training pool; None is half of those that are known.
        k: width of the flow surrogate's random vectors.
        std: their standard deviation.
        proxies: names of the zero-cost proxies that pre-training learns from, as
            :func:`archflow.zero_cost.columns.proxy_values` takes them.
        hidden: width of the encoders ResGatedGCN and GIN.
        finetune_epochs: of fine-tuning.
        max_pairs: the most pairs a minibatch compares; None is all.
    """

    pool: int | None = None
    k: int = 7
    std: float = 0.1
    proxies: str = "closed-form"
    hidden: int = 128
    finetune_epochs: int = 500
    max_pairs: int | None = None


@dataclass(frozen=True)
class TableSource:
    """Where a table comes from.

    Attributes:
        space: the name of its space.
        read: ``read(path, progress)`` where there are ``files``, else ``read()``.
        files: what the official files are called, which must be downloaded; "" where a package brings the table.
        package: the PyPI distribution that brings the table, "archflow" for one of its own.
    """

    space: str
    read: Callable[..., Table]
    files: str = ""
    package: str = ""


@dataclass(frozen=True)
class NetworkFamily:
    """The trainable networks of a space.

    Attributes:
        build: makes the network of a batch of one architecture, of the given width, depth and number of classes, with
            the initial weights that the benchmark begins with, drawn from PyTorch's global generator.
        representatives: for each architecture one of the space whose live part is the same; see
            :mod:`archflow.zero_cost`.
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


@dataclass(frozen=True)
class Benchmark:
    """All that is known of one benchmark.

    Attributes:
        spaces: by name, what makes each.
        published: the settings for its spaces.
        tables: its tables by name; the first of a space is the one that studies read.
        networks: for a space's name its networks.
        published_apart: the settings of a space where they are not those of the others.
    """

    spaces: Mapping[str, Callable[[], Space]]
    published: Published = Published()
    tables: Mapping[str, TableSource] = field(default_factory=dict)
    networks: Mapping[str, NetworkFamily] = field(default_factory=dict)
    published_apart: Mapping[str, Published] = field(default_factory=dict)
