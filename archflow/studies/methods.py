"""What is compared: a method is a pretext task, or none, and a head, or a rival that needs no encoder.

All of them have the same labels. Fine-tuning uses those of the validation architectures to choose an epoch; every other
method learns from them as well.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple, Protocol

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from archflow.encoding.base import Encoder
from archflow.pretraining.registry import tasks
from archflow.ranking.metrics import kendall_tau
from archflow.ranking.ranker import Ranker
from archflow.studies.interim import FinetuneSettings, scores_of
from archflow.studies.protocol import LabelledTable, Run, RunScores, Split
from archflow.support.digests import digest_sources


@dataclass(frozen=True)
class Pretext:
    """A pre-training as a study names it.

    Attributes:
        task: name of the pretext task, or "none".
        settings: its keyword arguments.
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
"""The named pre-trainings; every other pretext task goes by its own name."""


def pretext(name: str) -> Pretext:
    """The pre-training of that name.

    Raises:
        ValueError: it is unknown; the message lists the known ones.
    """
    if name in PRETEXTS:
        return PRETEXTS[name]
    if name not in tasks():
        raise ValueError(f"unknown pretext '{name}'; known: {', '.join(dict.fromkeys([*PRETEXTS, *tasks()]))}")
    return Pretext(name)


class Rival(Protocol):
    """Ranks architectures without an encoder."""

    def __call__(self, data: LabelledTable, part: Split, run: Run) -> Float[ndarray, " test"]:
        """Scores of the test architectures of a split, higher is better."""


def _random(data: LabelledTable, part: Split, run: Run) -> Float[ndarray, " test"]:
    return np.random.default_rng([run.seed, run.split, 2]).random(len(part.test))


def _one_proxy(data: LabelledTable, part: Split, run: Run) -> Float[ndarray, " test"]:
    """The proxy by itself, turned round if the labels say so; what it does not know ranks last."""
    values = data.proxies(run.source.proxies)
    assert values is not None
    known = np.concatenate([part.labelled, part.validation])
    known = known[np.isfinite(values[known, 0])]
    tau = kendall_tau(data.accuracy[known], values[known, 0]) if len(known) > 1 else np.nan
    score = -values[part.test, 0] if tau < 0 else values[part.test, 0]
    finite = np.isfinite(score)
    return np.where(finite, score, score[finite].min() - 1 if finite.any() else 0.0)


RIVALS: dict[str, Rival] = {"random": _random}
"""Heads that rank without an encoder; "proxy:NAME" is each proxy by itself."""

HEADS: dict[str, type[Any]] = {"finetune": FinetuneSettings}
"""Heads on top of an encoder, with their settings."""


class Method(NamedTuple):
    """What is compared: the name of a pretext, and that of a head."""

    pretext: str
    head: str


METHODS: dict[str, Method] = {
    **{name: Method(name, "finetune") for name in PRETEXTS},
    **{name: Method("none", name) for name in RIVALS},
}
"""The methods that have a name of their own."""


def method(name: str) -> Method:
    """The method of that name: one of ``METHODS``, a pretext task, "proxy:NAME", or PRETEXT+HEAD.

    Raises:
        ValueError: it is unknown; the message lists the known ones.
    """
    if name in METHODS:
        return METHODS[name]
    if name in tasks():
        return Method(name, "finetune")
    if name.startswith("proxy:"):
        return Method("none", name)
    first, plus, head = name.partition("+")
    if plus and head in HEADS and (first in PRETEXTS or first in tasks()):
        return Method(first, head)
    known = [*dict.fromkeys(["none", *tasks(), *METHODS]), "proxy:NAME", f"PRETEXT+HEAD with one of {', '.join(HEADS)}"]
    raise ValueError(f"unknown method '{name}'; known methods: {', '.join(known)}")


def takes_encoder(head: str) -> bool:
    """Whether a head can stand on an encoder.

    Raises:
        ValueError: there is no such head; the message lists the known ones.
    """
    if head not in HEADS and not ranks_alone(head):
        raise ValueError(f"unknown head '{head}'; known: {', '.join([*HEADS, *RIVALS, 'proxy:NAME'])}")
    return head in HEADS


def ranks_alone(head: str) -> bool:
    """Whether a head can rank without an encoder."""
    return head in RIVALS or head.startswith("proxy:")


def head_settings(head: str) -> Any:
    """The default settings of a head; None for a head that has none."""
    return HEADS[head]() if head in HEADS else None


def head_code(head: str) -> str:
    """A digest of the file with a head that is a user's own, else ""."""
    return digest_sources(HEADS[head]) if head in HEADS else ""


def perform(run: Run, data: LabelledTable, encoder: Encoder | None, device: str) -> RunScores:
    """Fit the head of a run on the labels of its split, and rank the test architectures.

    Raises:
        ValueError: the split leaves too few labels, or the head cannot learn from them.
    """
    part = data.split(run.labels, run.split)
    began = time.monotonic()
    best: tuple[float, int] | None = None
    if encoder is None:
        rival = _one_proxy if run.head.startswith("proxy:") else RIVALS[run.head]
        predicted = rival(data, part, run)
    else:
        ranker = fitted(encoder, data, part, run, device)
        predicted = ranker.predict(data.table.archs[part.test])
        best = best_epoch(ranker.validation_taus)
    seconds = time.monotonic() - began
    return RunScores(
        labelled=len(part.labelled),
        validation=len(part.validation),
        test=len(part.test),
        **asdict(scores_of(data.accuracy[part.test], predicted)),
        validation_tau=best[0] if best else None,
        best_epoch=best[1] if best else None,
        seconds=seconds,
    )


def fitted(encoder: Encoder, data: LabelledTable, part: Split, run: Run, device: str) -> Ranker:
    """A ranker on a copy of the encoder, fitted on the labels of a split."""
    archs, accuracy = data.table.archs, data.accuracy
    ranker = Ranker(encoder, seed=run.seed, device=device, **asdict(run.head_settings))
    return ranker.fit(
        archs[part.labelled], accuracy[part.labelled], (archs[part.validation], accuracy[part.validation])
    )


def best_epoch(taus: list[float]) -> tuple[float, int]:
    """The highest validation τ and its epoch, counted from 1; the last epoch if τ is NaN in all of them."""
    found = np.array(taus)
    best = len(found) - 1 if np.isnan(found).all() else int(np.nanargmax(found))
    return float(found[best]), best + 1
