"""The studies of the FGP paper: the runs of each, and the published scores.

A study is a grid: every value of each axis is combined with every value of the others. Pretexts are defined in
:mod:`archflow.studies.methods`, the settings of a benchmark in its record, sizes and epochs in a budget.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from typing import Any, Literal, NamedTuple

from archflow.benchmarks.registry import published
from archflow.benchmarks.registry import space as make_space
from archflow.benchmarks.space import Space
from archflow.encoding.registry import ENCODERS, encoders
from archflow.pretraining.loop import PretrainSettings
from archflow.pretraining.registry import TASKS
from archflow.ranking.finetune import FinetuneSettings
from archflow.studies.methods import head_code, head_proxies, head_settings, pretext, ranks_alone, takes_encoder
from archflow.studies.preset import preset
from archflow.studies.protocol import GridPoint, Run, Source, changed
from archflow.support.digests import digest_sources

MOST_RUNS = 100_000
"""Of a study, whose plan is held in memory; a year has half a million minutes."""


def require_size(*counts: int) -> None:
    """Raise ValueError if a study would have more runs than anyone waits for: the product of the counts."""
    if (runs := math.prod(counts)) > MOST_RUNS:
        raise ValueError(f"the study would have {runs:,} runs, more than {MOST_RUNS:,}; ask for fewer seeds or splits")


class Proxies(NamedTuple):
    """Names of the proxies that a run is pre-trained on, and of those that its head reads; "none" for none."""

    proxies: str
    head_proxies: str


@dataclass(frozen=True)
class Budget:
    """Sizes of the encoders and lengths of training, the same for all methods.

    Attributes:
        pretrain_epochs: epochs of pre-training.
        finetune_epochs: epochs of fine-tuning; as published for the benchmark if None.
        hidden: width of ResGatedGCN and GIN; as published for the benchmark if None.
        sizes: keyword arguments of other encoders by name; encoders that are not listed keep their defaults.
        proxies: names of the proxies; as published for the benchmark if None.
        preset: name of one of :data:`archflow.studies.preset.NAMES`, which has all other settings; our own if "".
    """

    pretrain_epochs: int
    finetune_epochs: int | None = None
    hidden: int | None = None
    sizes: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    proxies: str | None = None
    preset: str = ""

    def proxies_at(self, point: GridPoint) -> Proxies:
        """The proxy names of the run at a grid point."""
        return proxies_at(point, make_space(point.space), self.proxies or published(point.space).proxies)

    def with_epochs(self, pretrain: int | None, finetune: int | None) -> Budget:
        """The budget with these numbers of epochs; None keeps the current one."""
        return replace(
            self,
            pretrain_epochs=self.pretrain_epochs if pretrain is None else pretrain,
            finetune_epochs=self.finetune_epochs if finetune is None else finetune,
        )


BUDGETS = {
    "published": Budget(200),
    "paper": Budget(200, preset="paper"),
    "two-cores": Budget(20, hidden=128, sizes={"flowerformer": {"hidden": 32, "layers": 3, "heads": 4}}),
}
"""The published sizes and epochs; with them, all published settings to the letter; sizes that two cores can afford."""


@dataclass(frozen=True)
class Study:
    """A grid of runs.

    Attributes:
        about: the question that it answers, in one line.
        spaces: names of the spaces; the other axes likewise.
        x: the axis along which results are plotted; None for a plot with one row for each method.
    """

    about: str
    spaces: Sequence[str] = ("nasbench101", "nasbench201", "darts")
    encoders: Sequence[str] = ("resgatedgcn",)
    pretexts: Sequence[str] = ("none", "fgp")
    heads: Sequence[str] = ("finetune",)
    labels: Sequence[float] = (0.01,)
    shares: Sequence[float | Literal["pool"]] = (1.0,)
    x: Literal["labels", "share"] | None = None


STUDIES = {
    "table1": Study(
        "encoders, each pre-trained by each task",
        encoders=("resgatedgcn", "gin", "flowerformer"),
        pretexts=("none", "graphcl", "arch2vec", "gmae", "zero-cost", "fgp"),
    ),
    "label-ratio": Study(
        "with how many labels pre-training helps",
        pretexts=("none", "zero-cost", "fgp"),
        labels=(0.01, 0.05, 0.1),
        x="labels",
    ),
    "pretrain-ratio": Study(
        "how much of the space pre-training needs",
        pretexts=("fgp",),
        shares=(0.2, 0.4, 0.6, 0.8, 1.0),
        x="share",
    ),
    "pool-only": Study(
        "pre-training on the training pool alone",
        pretexts=("none", "zero-cost", "fgp"),
        shares=("pool", 1.0),
    ),
    "ablation": Study(
        "FGP without one of its parts",
        spaces=("nasbench101", "nasbench201"),
        pretexts=(
            "fgp-without-reconstruction",
            "fgp-without-proxy",
            "fgp-without-forward",
            "fgp-without-backward",
            "fgp",
            "fgp-2-rounds",
            "fgp-5-draws",
        ),
    ),
    "encoders": Study(
        "encoders that do not model information flow",
        encoders=("digcn", "mlp", "transformer"),
        pretexts=("none", "zero-cost", "fgp"),
    ),
    "domains": Study("graph networks and language models", spaces=("nasbench-graph", "nasbench-nlp")),
    "draws": Study(
        "whether the choice of random vectors matters",
        spaces=("nasbench101", "nasbench201"),
        pretexts=tuple(f"fgp-draw-{number}" for number in range(5)),
    ),
}
"""The ranking studies; ``operation-probe`` and ``speed`` have their own files."""


@dataclass(frozen=True)
class PublishedScores:
    """The paper's τ and Precision@1% for one row, ×100; None where we do not know the value."""

    tau: float
    p_at_1: float | None = None


PUBLISHED = {
    ("nasbench101", "resgatedgcn", "none"): PublishedScores(65.0, 18.2),
    ("nasbench201", "resgatedgcn", "none"): PublishedScores(73.4, 29.7),
    ("nasbench101", "resgatedgcn", "zero-cost"): PublishedScores(68.3, 26.2),
    ("nasbench201", "resgatedgcn", "zero-cost"): PublishedScores(79.9, 44.3),
    ("nasbench101", "resgatedgcn", "fgp"): PublishedScores(74.8, 37.5),
    ("nasbench201", "resgatedgcn", "fgp"): PublishedScores(82.2, 48.9),
    ("nasbench101", "gin", "none"): PublishedScores(62.8, 26.9),
    ("nasbench201", "gin", "none"): PublishedScores(65.7, 25.0),
    ("nasbench101", "gin", "fgp"): PublishedScores(67.8, 33.2),
    ("nasbench201", "gin", "fgp"): PublishedScores(79.2, 35.6),
    ("nasbench101", "flowerformer", "none"): PublishedScores(74.0, 35.3),
    ("nasbench201", "flowerformer", "none"): PublishedScores(77.3, 35.6),
    ("nasbench101", "flowerformer", "fgp"): PublishedScores(76.3, 40.6),
    ("nasbench201", "flowerformer", "fgp"): PublishedScores(83.6, 48.3),
    ("nasbench101", "resgatedgcn", "fgp-without-reconstruction"): PublishedScores(68.3, 26.2),
    ("nasbench201", "resgatedgcn", "fgp-without-reconstruction"): PublishedScores(79.9),
    ("nasbench101", "resgatedgcn", "fgp-without-proxy"): PublishedScores(71.5, 35.6),
    ("nasbench201", "resgatedgcn", "fgp-without-proxy"): PublishedScores(74.5),
    ("nasbench101", "resgatedgcn", "fgp-without-forward"): PublishedScores(73.5, 36.3),
    ("nasbench201", "resgatedgcn", "fgp-without-forward"): PublishedScores(81.4),
    ("nasbench101", "resgatedgcn", "fgp-without-backward"): PublishedScores(72.4, 31.0),
    ("nasbench201", "resgatedgcn", "fgp-without-backward"): PublishedScores(81.4),
}
"""With 1 % labels and pre-training on the whole space (NeurIPS 2025, arXiv:2510.18360)."""


def grid(study: Study, added: Mapping[str, Sequence[str]], seeds: Sequence[int], splits: int) -> Iterator[GridPoint]:
    """All points of a study's grid; points that share a pre-trained encoder are adjacent.

    Without pre-training the share has no meaning, so such points appear once, with the study's last share. A head that
    can rank without an encoder also appears without one.

    Args:
        study: one of ``STUDIES``.
        added: extra values for the axes "space", "encoder", "pretext" and "head".
        seeds: values of the axis "seed".
        splits: number of splits.

    Raises:
        ValueError: an encoder, pretext or head is unknown.
    """
    for name in added.get("encoder", []):
        if name not in encoders():
            raise ValueError(f"unknown encoder '{name}'; known: {', '.join(encoders())}")

    def values(axis: str, own: Sequence[str]) -> list[str]:
        return list(dict.fromkeys([*own, *added.get(axis, [])]))

    pretexts, heads = values("pretext", study.pretexts), values("head", study.heads)
    for name in pretexts:
        pretext(name)
    on_encoders = [head for head in heads if takes_encoder(head)]
    alone = [head for head in heads if ranks_alone(head)]
    last = study.shares[-1]
    for space in values("space", study.spaces):
        methods = [
            *product(values("encoder", study.encoders) if on_encoders else (), pretexts, on_encoders),
            *(("none", "none", head) for head in alone),
        ]
        for encoder, pretext_name, head in methods:
            shares = (last,) if pretext_name == "none" else study.shares
            for share, seed, labels, number in product(shares, seeds, study.labels, range(splits)):
                yield GridPoint(space, encoder, pretext_name, head, labels, share, seed, number)


def run_at(point: GridPoint, source: Source, budget: Budget) -> Run:
    """The run at a grid point, on the data of a source and with the settings of a budget."""
    chosen, known = pretext(point.pretext), published(point.space)
    size = budget.sizes.get(point.encoder, {})
    if point.encoder in ("resgatedgcn", "gin") and not size:
        size = {"hidden": budget.hidden or known.hidden}
    epochs = budget.finetune_epochs or known.finetune_epochs
    if budget.preset:
        exact = preset(budget.preset, point.space)
        return configured(
            point,
            source,
            make_space(point.space),
            encoder_settings=exact.encoder_settings(point.encoder),
            task=chosen.task,
            task_settings={**exact.task_settings(chosen.task), **chosen.settings},
            pretraining=replace(exact.pretraining, epochs=budget.pretrain_epochs),
            finetuning=replace(exact.finetuning, epochs=epochs),
        )
    return configured(
        point,
        source,
        make_space(point.space),
        encoder_settings=size,
        task=chosen.task,
        task_settings=chosen.settings,
        pretraining=PretrainSettings(epochs=budget.pretrain_epochs),
        finetuning=FinetuneSettings(epochs=epochs, max_pairs=known.max_pairs),
    )


def proxies_at(point: GridPoint, space: Space, names: str) -> Proxies:
    """The proxy names of the run at a grid point, given the names for pre-training."""
    return Proxies("none" if point.pretext == "none" else names, head_proxies(point.head, space, names))


def configured(
    point: GridPoint,
    source: Source,
    space: Space,
    *,
    encoder_settings: Mapping[str, Any],
    task: str,
    task_settings: Mapping[str, Any],
    pretraining: PretrainSettings,
    finetuning: FinetuneSettings,
) -> Run:
    """The run at a grid point, with those of the settings that apply to it.

    Raises:
        ValueError: a setting of the encoder is unknown or invalid.
    """
    size: dict[str, Any] = {}
    kinds: list[type[Any]] = [type(space)]
    if point.encoder != "none":
        kinds.append(ENCODERS.find(point.encoder))
        size = changed(kinds[-1].Settings(**encoder_settings))
    if task != "none":
        kinds.append(TASKS.find(task))
    return Run(
        **vars(point),
        source=source,
        encoder_settings=size,
        task=task,
        task_settings=task_settings,
        pretraining=replace(pretraining, seed=point.seed),
        head_settings=finetuning if point.head == "finetune" else head_settings(point.head),
        code=digest_sources(*kinds),
        head_code=head_code(point.head),
    )
