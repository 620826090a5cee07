"""Zero-cost proxies of many architectures: in parallel, each network once, resumable after a kill.

``archflow.proxies(space, archs)`` measures the real network of each architecture on one minibatch. Architectures that
compute the same (isomorphic ones, and those that differ only in operations that lead nowhere) are measured once; only
``params`` and ``flops`` count the whole network, as the benchmarks do. The values depend only on the settings, not on
the number of processes, the order of the architectures, or interruptions.
"""

from __future__ import annotations

import contextlib
import logging
import math
from collections.abc import Iterable
from functools import cache, partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped
from numpy import ndarray
from torch import Tensor

from archflow.archs.batch import ArchBatch
from archflow.benchmarks.networks import NETWORKS, family, network
from archflow.benchmarks.own_tables import require_format, write_table
from archflow.benchmarks.record import NetworkFamily
from archflow.benchmarks.registry import SPACES
from archflow.benchmarks.registry import space as make_space
from archflow.benchmarks.space import Space
from archflow.benchmarks.table import Table
from archflow.support.devices import resolve_device, seeded
from archflow.support.digests import digest_arrays
from archflow.support.files import locked, require_writable, write_atomically
from archflow.support.processes import in_processes, pack
from archflow.support.progress import Progress, shown
from archflow.support.threads import available_cpus
from archflow.zero_cost.images import SYNTHETIC, minibatch
from archflow.zero_cost.journal import Journal, Settings
from archflow.zero_cost.measures import PROXIES, Values, measure, require_known

OF_THE_WHOLE = ("params", "flops")
"""Proxies that also count operations that lead nowhere."""


def proxies(
    space: str,
    archs: ArchBatch | None = None,
    names: Iterable[str] = PROXIES,
    *,
    images: str | Path = "natural",
    batch_size: int = 64,
    size: int | None = None,
    width: int | None = None,
    depth: int | None = None,
    classes: int | None = None,
    seed: int = 0,
    processes: int | None = None,
    device: str = "auto",
    out: str | Path | None = None,
    resume: bool = False,
    progress: Progress | None = None,
) -> Table:
    """Zero-cost proxies of architectures, measured on their untrained networks.

    Args:
        space: the space's name; :func:`archflow.benchmarks.networks.networks` lists those that have networks.
        archs: architectures of the space; all of them if None.
        names: some of ``PROXIES``; see :mod:`archflow.zero_cost.measures`.
        images: "natural", Gaussian noise with the spectrum of natural images; "white", independent Gaussian pixels; or
            the folder of CIFAR-10's batches. Labels of the first two are random.
        batch_size: images in the minibatch, which is the same for all networks.
        size: height and width of the images in pixels; the benchmark's if None, as for the following three.
        width: channels of the first cells.
        depth: cells, or cells per stage; see :func:`archflow.network`.
        classes: number of classes.
        seed: of the images, their labels, and all weights: every network starts from the same random numbers.
        processes: number of processes; if None, one per core on the CPU and one on a GPU. Several processes can measure
            networks that you registered only if they can import the module that defines them.
        device: "cpu", "cuda", …, or "auto".
        out: CSV, JSONL or Parquet file for the values. OUT.partial keeps intermediate results until OUT is written;
            OUT.log names the networks that failed, if any. A disconnected network has the value −inf in the table, in
            CSV and in Parquet; JSON has no infinity, so JSONL has null for it as for NaN, and both are read as NaN.
        resume: continue from OUT.partial if it exists.
        progress: called with "networks", the number of networks that are done, and the number of all; by default there
            is a bar on a terminal and in a notebook.

    Returns:
        A table with a float64 column for each proxy; NaN where a network failed or overflowed.

    Raises:
        ValueError: an unknown space, proxy or device, a number out of range, an architecture of another space,
            networks that cannot be sent to other processes, or an OUT.partial that was started with other settings, on
            another device, with other images in the folder, by another version, or is damaged.
        OSError: the folder of the images is missing or empty, OUT, OUT.partial or OUT.log cannot be written,
            or another command is writing OUT.
    """
    space_networks, known = family(space), make_space(space)
    names = tuple(dict.fromkeys(names))
    require_known(names)
    size = space_networks.size if size is None else size
    width = space_networks.width if width is None else width
    depth = space_networks.depth if depth is None else depth
    classes = space_networks.classes if classes is None else classes
    if min(size, width, depth, classes) < 1:
        raise ValueError(f"size, width, depth and classes must be at least 1, not {size}, {width}, {depth}, {classes}")
    if processes is not None and processes < 1:
        raise ValueError(f"processes must be at least 1, not {processes}")
    if out is not None:
        out = Path(out)
        require_format(out)
        for path in (out, _beside(out, "partial"), _beside(out, "log")):
            require_writable(path)
    images, where = str(images), str(resolve_device(device))
    _minibatch.cache_clear()  # the folder may hold other images by now
    found = _minibatch(images, batch_size, size, classes, seed, where)  # fails now, not after hours
    digest = "" if images in SYNTHETIC else digest_arrays(part.cpu().numpy() for part in found)
    settings = Settings(space, names, images, digest, batch_size, seed, size, width, depth, classes, where)
    archs = known.enumerate() if archs is None else archs

    plan = Plan.of(archs, settings)
    values = np.full(plan.wanted.shape, np.nan)
    failures: dict[int, str] = {}
    to_do = np.asarray(plan.wanted.any(axis=1))
    total = int(to_do.sum())
    work = partial(_measured, settings, space_networks, known)
    most = 1 if where.startswith("cuda") else available_cpus()
    if min(processes or most, total) > 1:
        pack(work)  # fails now if these networks cannot be sent to other processes

    def keep(row: int, measured: Values, failed: str) -> None:
        values[row] = [measured.get(name, math.nan) for name in names]
        failures.update({row: failed} if failed else {})
        to_do[row] = False

    with contextlib.ExitStack() as stack:
        told, journal = stack.enter_context(shown(progress)), None
        if out is not None:
            stack.enter_context(locked(out))
            journal = stack.enter_context(Journal(_beside(out, "partial"), settings, resume))
            rows = {str(key): row for row, key in enumerate(plan.keys)}
            for key, measured, failed in journal.entries():
                if key in rows and measured.keys() >= set(plan.names_of(rows[key])):
                    keep(rows[key], measured, failed)
        rest = int(to_do.sum())
        told("networks", total - rest, total)
        tasks = ((row, plan.networks[[row]], plan.names_of(row)) for row in np.flatnonzero(to_do).tolist())
        for (row, _, wanted), outcome in in_processes(work, tasks, processes or max(1, min(most, rest))):
            if isinstance(outcome, Exception):
                outcome = dict.fromkeys(wanted, math.nan), f"{type(outcome).__name__}: {outcome}"
            keep(row, *outcome)
            if journal:
                journal.add(str(plan.keys[row]), *outcome)
            rest -= 1
            told("networks", total - rest, total)

        columns = {name: values[plan.rows[name], column] for column, name in enumerate(names)}
        causes = [f"{known.format(plan.networks[[row]])[0]}: {failures[row]}" for row in sorted(failures)]
        if out is not None:
            _log(_beside(out, "log"), causes)
            write_table(out, {"arch": known.format(archs), **columns})
        if journal:
            journal.path.unlink()
    if causes:
        logging.getLogger("archflow").warning("%d networks failed and have NaN; the first: %s", len(causes), causes[0])
    return Table(str(out) if out else f"{space}/proxies", known, archs, columns)


class Plan(NamedTuple):
    """Which networks are built, each once, and which proxies are measured on each.

    Attributes:
        networks: one architecture for each network.
        keys: their keys in the space.
        wanted: whether a proxy is measured on a network.
        rows: for each proxy, the network of every requested architecture.
    """

    networks: ArchBatch
    keys: Shaped[ndarray, " networks"]
    wanted: Bool[ndarray, "networks proxies"]
    rows: dict[str, Int[ndarray, " archs"]]

    @classmethod
    def of(cls, archs: ArchBatch, settings: Settings) -> Plan:
        """The plan for some architectures."""
        both = ArchBatch.concatenate([archs, family(settings.space).representatives(archs)])
        keys = make_space(settings.space).keys(both)
        keys, first, number = np.unique(keys, return_index=True, return_inverse=True)
        own, live = number[: len(archs)], number[len(archs) :]
        rows = {name: own if name in OF_THE_WHOLE else live for name in settings.names}
        wanted = np.stack([np.isin(np.arange(len(keys)), needed) for needed in rows.values()], axis=1)
        return cls(both[first], keys, wanted, rows)

    def names_of(self, row: int) -> tuple[str, ...]:
        """The proxies that are measured on a network."""
        return tuple(name for name, wanted in zip(self.rows, self.wanted[row], strict=True) if wanted)


def _beside(out: Path, ending: str) -> Path:
    return out.with_name(f"{out.name}.{ending}")


def _log(path: Path, causes: list[str]) -> None:
    if causes:
        write_atomically(path, "".join(f"{' '.join(cause.split())}\n" for cause in causes))
    else:
        path.unlink(missing_ok=True)


@cache
def _minibatch(
    source: str, batch: int, size: int, classes: int, seed: int, device: str
) -> tuple[Float[Tensor, "batch 3 size size"], Int[Tensor, " batch"]]:
    images, labels = minibatch(source, batch, size, classes, seed)
    return images.to(device), labels.to(device)


def _measured(
    settings: Settings, space_networks: NetworkFamily, known: Space, task: tuple[int, ArchBatch, tuple[str, ...]]
) -> tuple[Values, str]:
    """The proxies of one network, and the cause of failure, "" if none."""
    s, (_, arch, names) = settings, task
    # A child process does not know what was registered in the parent.
    if s.space not in NETWORKS:
        NETWORKS.register(s.space, space_networks)
    if s.space not in SPACES:
        SPACES.register(s.space, lambda: known)
    with seeded(s.seed):
        model = network(s.space, arch, width=s.width, depth=s.depth, classes=s.classes).to(s.device)
    values = measure(model, *_minibatch(s.images, s.batch_size, s.size, s.classes, s.seed, s.device), names, s.seed)
    # Minus infinity is the value of a disconnected network.
    overflowed = [name for name, value in values.items() if math.isnan(value) or value == math.inf]
    cause = f"{', '.join(overflowed)} overflowed" if overflowed else ""
    return values | dict.fromkeys(overflowed, math.nan), cause
