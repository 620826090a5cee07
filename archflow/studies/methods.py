"""The methods that studies compare: a pretext task (or none) with a head, or a rival that needs no encoder.

All methods get the same labels. Fine-tuning uses the validation labels to choose an epoch; every other method trains on
them too.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from archflow.benchmarks.space import Space
from archflow.benchmarks.tables import tables
from archflow.encoding.base import Encoder
from archflow.pretraining.registry import tasks
from archflow.ranking.metrics import scores_of
from archflow.ranking.ranker import Ranker
from archflow.ranking.registry import HEADS
from archflow.studies.protocol import LabelledTable, Run, RunScores, Split
from archflow.studies.rivals import RIVALS, one_proxy
from archflow.support.digests import digest_sources
from archflow.support.progress import Progress, silent


@dataclass(frozen=True)
class Pretext:
    """A way of pre-training that studies refer to by name.

    Attributes:
        task: name of the pretext task, or "none".
        settings: keyword arguments of the task.
    """

    task: str
    settings: Mapping[str, Any] = field(default_factory=dict)


PRETEXTS = {
    "none": Pretext("none"),
    "graphcl": Pretext("graphcl"),
    "arch2vec": Pretext("arch2vec"),
    "gmae": Pretext("gmae"),
    "zero-cost": Pretext("zero-cost"),
    "fgp": Pretext("fgp"),
    "fgp-without-reconstruction": Pretext("fgp", {"lambda1": 0.0}),
    "fgp-without-proxy": Pretext("fgp", {"lambda2": 0.0}),
    "fgp-without-forward": Pretext("fgp", {"passes": "backward"}),
    "fgp-without-backward": Pretext("fgp", {"passes": "forward"}),
    "fgp-2-rounds": Pretext("fgp", {"rounds": 2}),
    "fgp-5-draws": Pretext("fgp", {"draws": 5}),
    **{f"fgp-draw-{number}": Pretext("fgp", {"draw_seed": 1000 + number}) for number in range(5)},
}
"""The pretexts by name; any other pretext task goes by its own name."""


def pretext(name: str) -> Pretext:
    """The pretext of that name.

    Raises:
        ValueError: it is unknown; the message lists the known ones.
    """
    if name in PRETEXTS:
        return PRETEXTS[name]
    if name not in tasks():
        raise ValueError(f"unknown pretext '{name}'; known: {', '.join(dict.fromkeys([*PRETEXTS, *tasks()]))}")
    return Pretext(name)


class Method(NamedTuple):
    """The names of a pretext and a head, and whether the head is given an encoder."""

    pretext: str
    head: str
    has_encoder: bool = True


METHODS: dict[str, Method] = {
    **{name: Method(name, "finetune") for name in PRETEXTS},
    **{name: Method("none", name, has_encoder=False) for name, kind in HEADS.items() if not kind.needs_encoder},
    **{name: Method("none", name, has_encoder=False) for name in RIVALS},
}
"""The methods with a name of their own."""


def method(name: str) -> Method:
    """The method of that name: one of ``METHODS``, a pretext task, "proxy:NAME", or PRETEXT+HEAD.

    "gp" has no encoder; "none+gp" has one without pre-training.

    Raises:
        ValueError: it is unknown; the message lists the known ones.
    """
    if name in METHODS:
        return METHODS[name]
    if name in tasks():
        return Method(name, "finetune")
    if name in HEADS and not HEADS[name].needs_encoder:
        return Method("none", name, has_encoder=False)
    first, plus, head = name.partition("+")
    if name.startswith("proxy:") or (plus and head in HEADS and (first in PRETEXTS or first in tasks())):
        return Method(first, head) if plus else Method("none", name, has_encoder=False)
    known = [*dict.fromkeys(["none", *tasks(), *METHODS]), "proxy:NAME", f"PRETEXT+HEAD with one of {', '.join(HEADS)}"]
    raise ValueError(f"unknown method '{name}'; known methods: {', '.join(known)}")


def takes_encoder(head: str) -> bool:
    """Whether a head can use an encoder.

    Raises:
        ValueError: there is no such head; the message lists the known ones.
    """
    if head not in HEADS and not ranks_alone(head):
        raise ValueError(f"unknown head '{head}'; known: {', '.join([*HEADS.names(), *RIVALS, 'proxy:NAME'])}")
    return head in HEADS


def ranks_alone(head: str) -> bool:
    """Whether a head can rank without an encoder."""
    return head in RIVALS or head.startswith("proxy:") or (head in HEADS and not HEADS[head].needs_encoder)


def head_settings(head: str) -> Any:
    """The default settings of a head; None for a rival, which has none."""
    return HEADS[head].Settings() if head in HEADS else None


def head_code(head: str) -> str:
    """A digest of the source file of a user-defined head; "" for the others."""
    return digest_sources(HEADS[head]) if head in HEADS else ""


def head_proxies(head: str, space: Space, names: str) -> str:
    """The proxies that a head reads: all known proxies of the space, and those of ``names`` that are user columns.

    Args:
        head: name of the head.
        space: the search space.
        names: the proxy names for pre-training.
    """
    if head.startswith("proxy:"):
        return head.removeprefix("proxy:")
    if not (head == "gp-proxies" or (head in HEADS and HEADS[head].reads_columns)):
        return "none"
    of_space = ("closed-form", "measured", "none", "parameters", "flops", *space.proxies)
    own = [name for name in names.split(",") if name not in of_space and not name.startswith("measured/")]
    measured = ["measured"] if f"{space.name}/proxies" in tables(space.name) else []
    return ",".join(["closed-form", *measured, *own])


def perform(run: Run, data: LabelledTable, encoder: Encoder | None, device: str) -> RunScores:
    """Fit the head of a run on the labels of its split, then score its ranking of the test architectures.

    Raises:
        ValueError: the split has too few labels, or the head cannot learn from them.
    """
    part = data.split(run.labels, run.split)
    began = time.monotonic()
    best: tuple[float, int] | None = None
    if run.head in HEADS:
        ranker = fitted(encoder, data, part, run, device)
        columns = data.head_columns(run.source.head_proxies, part.test)
        predicted = ranker.predict(data.table.archs[part.test], proxies=columns)
        best = best_epoch(ranker.validation_taus) if ranker.validation_taus else None
    else:
        predicted = RIVALS.get(run.head, one_proxy)(data, part, run)
    seconds = time.monotonic() - began
    return RunScores(
        labelled=len(part.labelled),
        validation=len(part.validation),
        test=len(part.test),
        **vars(scores_of(data.accuracy[part.test], predicted)),
        validation_tau=best[0] if best else None,
        best_epoch=best[1] if best else None,
        seconds=seconds,
    )


def fitted(
    encoder: Encoder | None,
    data: LabelledTable,
    part: Split,
    run: Run,
    device: str,
    progress: Progress = silent,
) -> Ranker:
    """A ranker with the head of a run, fitted on the labels of a split; ``encoder`` is left unchanged."""
    archs, accuracy = data.table.archs, data.accuracy
    head = HEADS[run.head](run.head_settings)
    # The run names its columns, so the ranker must not look up the space's own.
    ranker = Ranker(encoder, head, space=None, seed=run.seed, device=device)
    with warnings.catch_warnings():  # studies use few labels on purpose
        warnings.filterwarnings("ignore", message=".* labels say little")
        return ranker.fit(
            archs[part.labelled],
            accuracy[part.labelled],
            (archs[part.validation], accuracy[part.validation]),
            progress,
            proxies=data.head_columns(run.source.head_proxies, part.labelled),
            validation_proxies=data.head_columns(run.source.head_proxies, part.validation),
            candidates=archs,
            candidate_proxies=data.head_columns(run.source.head_proxies, np.arange(len(archs))),
        )


def best_epoch(taus: list[float]) -> tuple[float, int]:
    """The highest validation τ and its epoch, counted from 1; the last epoch if τ is always NaN."""
    found = np.array(taus)
    best = len(found) - 1 if np.isnan(found).all() else int(np.nanargmax(found))
    return float(found[best]), best + 1
