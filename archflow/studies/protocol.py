"""The protocol of the FGP paper (arXiv:2510.18360, Section 5): one run, and everything that its result depends on.

A run takes an encoder, pre-trained on a pretext task or not, fits a head on the labelled architectures of a split, and
measures how well the head ranks the test architectures. A split is a permutation of the table: its first architectures
are the training pool, of which 1, 5 or 10 % are labelled; the next 40 are for validation; the rest are for testing and
influence no choice. All methods get the same splits and the same labels.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal, NamedTuple

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from archflow.benchmarks.registry import published
from archflow.benchmarks.table import Table
from archflow.pretraining.loop import PretrainSettings
from archflow.ranking.finetune import FinetuneSettings
from archflow.ranking.labels import check_labels
from archflow.support.digests import digest, digest_arrays
from archflow.zero_cost.columns import bounded, proxy_values

VALIDATION = 40


class Split(NamedTuple):
    """Row numbers of a table for each purpose."""

    labelled: Int[ndarray, " labelled"]
    validation: Int[ndarray, " 40"]
    test: Int[ndarray, " test"]

    @property
    def known(self) -> Int[ndarray, " known"]:
        """The rows whose labels a method may use: those of the labelled and the validation architectures."""
        return np.concatenate([self.labelled, self.validation])


def split(count: int, pool: int, labels: float, number: int) -> Split:
    """Split ``count`` architectures at random.

    Args:
        count: number of architectures in the table.
        pool: size of the training pool.
        labels: how much of the pool is labelled: a share if at most 1 (rounded down), else a count.
        number: 0, 1, 2, …; splits with the same number differ only in how much of the pool is labelled.

    Raises:
        ValueError: fewer than two would be labelled, or fewer than two would be left for testing.
    """
    order = permutation(count, number)
    share = 0 < labels <= 1
    labelled = int(pool * labels + 1e-9) if share else int(labels) if float(labels).is_integer() else 0
    if not 2 <= labelled <= pool or pool + VALIDATION + 2 > count:
        raise ValueError(
            f"{labels:g}{' labels out' * (not share)} of a pool of {pool:,} out of {count:,} does not leave two labels "
            f"or more, {VALIDATION} for validation, and some for testing"
        )
    return Split(order[:labelled], order[pool : pool + VALIDATION], order[pool + VALIDATION :])


def permutation(count: int, number: int) -> Int[ndarray, " count"]:
    """The permutation of ``count`` architectures behind the splits with that number."""
    return np.random.default_rng(number).permutation(count)


def default_pool(space: str, count: int) -> int:
    """The published size of a space's training pool, but at most about half of the ``count`` labelled architectures."""
    return min(published(space).pool or count // 2, count // 2 + 1)


@dataclass(frozen=True)
class Source:
    """The data of a run.

    Attributes:
        table: name of the table.
        column: its column of accuracies.
        pool: size of the training pool.
        archs: digest of the architectures.
        accuracy: digest of the accuracies.
        proxies: names of the proxies for pre-training, see :func:`archflow.zero_cost.columns.proxy_values`, or "none".
        proxy_values: digest of those proxies that are read from a file; "" if archflow computes all of them.
        head_proxies: names of the proxies that the head reads, or "none".
        head_proxy_values: as ``proxy_values``, for the head.
    """

    table: str
    column: str
    pool: int
    archs: str
    accuracy: str
    proxies: str
    proxy_values: str
    head_proxies: str = "none"
    head_proxy_values: str = ""

    def without_proxies(self) -> Source:
        """The source with its proxies blanked, to compare sources regardless of proxies."""
        return replace(self, proxies="", proxy_values="", head_proxies="", head_proxy_values="")


class LabelledTable:
    """A table with one column of accuracies, from which splits are drawn.

    Architectures without an accuracy (NaN) belong to no split, but may be used for pre-training.

    Args:
        table: architectures with accuracies.
        column: the column of accuracies; the table's default if "".
        pool: size of the training pool; :func:`default_pool` if None.

    Raises:
        ValueError: there is no such column, or its accuracies cannot be ranked.
    """

    def __init__(self, table: Table, column: str = "", pool: int | None = None) -> None:
        self.table, self.column = table, column or table.default
        if not self.column:
            raise ValueError(
                f"the table {table.name} does not say which of its columns is the accuracy; name one of: "
                f"{', '.join(table.columns) or 'none'}"
            )
        self.accuracy: Float[ndarray, " archs"] = table[self.column]
        self.rows: Int[ndarray, " labelled"] = np.flatnonzero(~np.isnan(self.accuracy))
        if not len(self.rows):
            raise ValueError(f"the column '{self.column}' of {table.name} has no values")
        check_labels(table.archs[self.rows], self.accuracy[self.rows], f"labels in '{self.column}'")
        self.pool = default_pool(table.space.name, len(self.rows)) if pool is None else pool
        self._proxies: dict[str, Float[ndarray, "archs proxies"] | None] = {}
        self._digests: dict[str, str] = {}
        self._archs, self._accuracy = table.archs.digest(), digest_arrays([self.accuracy])

    def split(self, labels: float, number: int) -> Split:
        """The split with that number as rows of the table, see :func:`split`."""
        return Split(*(self.rows[part] for part in split(len(self.rows), self.pool, labels, number)))

    def pretraining_rows(self, share: float | Literal["pool"], seed: int, number: int) -> Int[ndarray, " rows"]:
        """Sorted rows for pre-training: a random share of the table, or the training pool of a split."""
        if share == "pool":
            return np.sort(self.rows[permutation(len(self.rows), number)[: self.pool]])
        # Not a split's permutation: its first share holds all labelled architectures and no test architectures.
        order = np.random.default_rng([seed, 1]).permutation(len(self.table))
        return np.sort(order[: round(share * len(self.table))])

    def proxies(self, names: str) -> Float[ndarray, "archs proxies"] | None:
        """Proxy values by their names, computed once."""
        if names not in self._proxies:
            self._proxies[names] = proxy_values(self.table, names)
        return self._proxies[names]

    def head_columns(self, names: str, rows: Int[ndarray, " rows"]) -> Float[ndarray, "rows proxies"] | None:
        """Proxy values for a head, each finite or NaN; None if there are no proxies."""
        values = self.proxies(names)
        return None if values is None else bounded(values[rows])

    def source(self, proxies: str, head_proxies: str = "none") -> Source:
        """The identity of the data for runs with these proxies.

        Raises:
            ValueError: a proxy that should be read from a file is unknown.
        """
        return Source(
            table=self.table.name,
            column=self.column,
            pool=self.pool,
            archs=self._archs,
            accuracy=self._accuracy,
            proxies=proxies,
            proxy_values=self._stored(proxies),
            head_proxies=head_proxies,
            head_proxy_values=self._stored(head_proxies),
        )

    def _stored(self, proxies: str) -> str:
        """A digest of those proxies that are read from a file."""
        if proxies not in self._digests:
            names = proxies.split(",")
            stored = [n for n in names if n in self.table.columns or n.partition("/")[0] == "measured"]
            values = self.proxies(",".join(stored)) if stored else None
            self._digests[proxies] = "" if values is None else digest_arrays([np.ascontiguousarray(values)])
        return self._digests[proxies]


@dataclass(frozen=True)
class GridPoint:
    """The values in which the runs of a study differ.

    Attributes:
        space: name of the space.
        encoder: name of the encoder, or "none" for a head that ranks without one.
        pretext: name of the pretext, "none" without pre-training.
        head: name of the head, see :mod:`archflow.studies.methods`.
        labels: how much of the pool is labelled, see :func:`split`.
        share: share of the table used for pre-training, or "pool" for the training pool of the split.
        seed: fixes the initial weights, the flow draw and every shuffle.
        split: number of the split.
    """

    space: str
    encoder: str
    pretext: str
    head: str
    labels: float
    share: float | Literal["pool"]
    seed: int
    split: int


AXES = tuple(axis.name for axis in fields(GridPoint))
"""Names of the axes of a grid; every line of results has all of them."""


@dataclass(frozen=True)
class Run(GridPoint):
    """One run, with everything that its result depends on.

    Digests leave out settings that equal their defaults. So a new setting whose default keeps the old behaviour leaves
    earlier results valid.

    Attributes:
        source: the data.
        encoder_settings: keyword arguments of the encoder that differ from its defaults.
        task: name of the pretext task, or "none".
        task_settings: keyword arguments of the task.
        pretraining: settings of pre-training.
        head_settings: settings of the head, a dataclass.
        code: digest of the source files of user-defined encoders, tasks and spaces.
        head_code: digest of the source file of a user-defined head.
    """

    source: Source
    encoder_settings: Mapping[str, Any] = field(default_factory=dict)
    task: str = "none"
    task_settings: Mapping[str, Any] = field(default_factory=dict)
    pretraining: PretrainSettings = field(default_factory=PretrainSettings)
    head_settings: Any = field(default_factory=FinetuneSettings)
    code: str = ""
    head_code: str = ""

    @property
    def encoder_key(self) -> str:
        """A digest of everything that the encoder depends on before a head is fitted."""
        return digest(self._of_encoder())

    @property
    def key(self) -> str:
        """A digest of everything that the result depends on."""
        mine: dict[str, Any] = {"labels": self.labels, "split": self.split, "head": self.head, "code": self.head_code}
        mine |= {name: getattr(self.source, name) for name in ("column", "pool", "accuracy")}
        if self.source.head_proxies != "none":
            mine |= {name: getattr(self.source, name) for name in ("head_proxies", "head_proxy_values")}
        return digest({"encoder": self._of_encoder(), **mine, "head_settings": changed(self.head_settings)})

    def _of_encoder(self) -> dict[str, Any]:
        source = self.source
        mine: dict[str, Any] = {"space": self.space, "seed": self.seed, "archs": source.archs, "encoder": self.encoder}
        mine |= {"encoder_settings": self.encoder_settings, "code": self.code}
        if self.task != "none":
            mine |= {"task": self.task, "task_settings": self.task_settings, "pretraining": changed(self.pretraining)}
            mine |= {"proxies": source.proxies, "proxy_values": source.proxy_values, "share": self.share}
            if self.share == "pool":
                mine |= {"split": self.split, "pool": source.pool, "accuracy": source.accuracy}
        return mine


def changed(settings: Any) -> dict[str, Any]:
    """The fields of a dataclass that differ from their defaults; empty for None."""
    if settings is None:
        return {}
    return {each.name: value for each in fields(settings) if (value := getattr(settings, each.name)) != each.default}


@dataclass(frozen=True)
class RunScores:
    """The result of one run.

    Attributes:
        labelled: number of pool architectures that the head was fitted on.
        validation: number of validation architectures; a head that chooses no epoch is fitted on them too.
        test: number of architectures that were ranked.
        tau: Kendall's τ on the test architectures, NaN if all predictions are equal.
        p_at_1: Precision@1% on the test architectures.
        p_at_5: Precision@5% on the test architectures.
        validation_tau: best τ on the validation architectures; None for a head that chooses no epoch.
        best_epoch: the epoch that was kept, counted from 1; None for a head that chooses no epoch.
        seconds: time to fit the head and predict.
    """

    labelled: int
    validation: int
    test: int
    tau: float
    p_at_1: float
    p_at_5: float
    validation_tau: float | None
    best_epoch: int | None
    seconds: float
