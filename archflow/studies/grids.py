"""The studies of the FGP paper: which runs each is made of, and what was published.

A study is a grid: every value of each of its axes with every value of the others. What the values mean (widths, epochs,
settings of a pre-training) is said once, in the tables below.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, Literal

from archflow.encoding.registry import encoder_kind, encoders
from archflow.pretraining.registry import task_kind, tasks
from archflow.studies.runs import Cell, Place
from archflow.support.plugins import code_of

PRETEXTS: dict[str, tuple[str, dict[str, Any]]] = {
    "none": ("none", {}),
    "graphcl": ("graphcl", {}),
    "arch2vec": ("arch2vec", {}),
    "gmae": ("gmae", {}),
    "zero-cost": ("zero-cost", {}),
    "fgp": ("fgp", {}),
    "fgp-without-reconstruction": ("fgp", {"lambda1": 0.0}),
    "fgp-without-proxy": ("fgp", {"lambda2": 0.0}),
    "fgp-without-forward": ("fgp", {"passes": "backward"}),
    "fgp-without-backward": ("fgp", {"passes": "forward"}),
    "fgp-2-rounds": ("fgp", {"rounds": 2}),
    "fgp-5-draws": ("fgp", {"draws": 5}),
    **{f"fgp-draw-{number}": ("fgp", {"draw_seed": 1000 + number}) for number in range(5)},
}
"""What a study calls a pre-training: the task, and its settings. The name of any other task is that task."""

PROXIES = {"nasbench201": "measured/jacov", "nasbench-graph": "cora/para"}
"""The proxies of a space, the same for all methods; all that it knows in closed form where none is named.

jacov has the best validation τ of the thirteen that were measured on NAS-Bench-201 (experiments/proxies).
"""


@dataclass(frozen=True)
class Budget:
    """How large encoders are and how long they learn; the same for all methods.

    Attributes:
        epochs: of pre-training.
        sizes: for an encoder's name its settings; those of others are its own defaults.
        tuning: for a space's name the settings of fine-tuning; those of others are the ranker's own defaults.
        wide: spaces for which ResGatedGCN and GIN are 256 wide, unless ``sizes`` has them.
    """

    epochs: int
    sizes: dict[str, dict[str, Any]]
    tuning: dict[str, dict[str, Any]]
    wide: Sequence[str] = ()


_TUNING = {"nasbench101": {"epochs": 200, "max_pairs": 128}, "darts": {"epochs": 300, "max_pairs": 128}}
BUDGETS = {
    "published": Budget(200, {}, _TUNING, wide=("nasbench101", "darts")),
    "two-cores": Budget(20, {"flowerformer": {"hidden": 32, "layers": 3, "heads": 4}}, _TUNING),
}
"""METHOD's settings, and some that two cores can afford."""


@dataclass(frozen=True)
class Study:
    """A grid of runs.

    Attributes:
        about: what it asks, in a line.
        spaces: their names, and so on for each axis.
        x: the axis that a plot is drawn over; a bar a row if there is none.
    """

    about: str
    spaces: Sequence[str] = ("nasbench101", "nasbench201", "darts")
    encoders: Sequence[str] = ("resgatedgcn",)
    pretexts: Sequence[str] = ("none", "fgp")
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
        "how much of the space must be pre-trained on",
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
        "encoders that know nothing of flow",
        encoders=("digcn", "mlp", "transformer"),
        pretexts=("none", "zero-cost", "fgp"),
    ),
    "domains": Study("graph networks and language models", spaces=("nasbench-graph", "nasbench-nlp")),
    "draws": Study(
        "whether it matters which random vectors flow",
        spaces=("nasbench101", "nasbench201"),
        pretexts=tuple(f"fgp-draw-{number}" for number in range(5)),
    ),
}
"""The studies that rank; ``operation-probe`` and ``speed`` stand in files of their own."""


@dataclass(frozen=True)
class Published:
    """What a paper gives for one row: τ and Precision@1%, ×100; None where METHOD does not have it."""

    tau: float
    p_at_1: float | None = None


PUBLISHED = {
    ("nasbench101", "resgatedgcn", "none"): Published(65.0, 18.2),
    ("nasbench201", "resgatedgcn", "none"): Published(73.4, 29.7),
    ("nasbench101", "resgatedgcn", "zero-cost"): Published(68.3, 26.2),
    ("nasbench201", "resgatedgcn", "zero-cost"): Published(79.9, 44.3),
    ("nasbench101", "resgatedgcn", "fgp"): Published(74.8, 37.5),
    ("nasbench201", "resgatedgcn", "fgp"): Published(82.2, 48.9),
    ("nasbench101", "gin", "none"): Published(62.8, 26.9),
    ("nasbench201", "gin", "none"): Published(65.7, 25.0),
    ("nasbench101", "gin", "fgp"): Published(67.8, 33.2),
    ("nasbench201", "gin", "fgp"): Published(79.2, 35.6),
    ("nasbench101", "flowerformer", "none"): Published(74.0, 35.3),
    ("nasbench201", "flowerformer", "none"): Published(77.3, 35.6),
    ("nasbench101", "flowerformer", "fgp"): Published(76.3, 40.6),
    ("nasbench201", "flowerformer", "fgp"): Published(83.6, 48.3),
    ("nasbench101", "resgatedgcn", "fgp-without-reconstruction"): Published(68.3, 26.2),
    ("nasbench201", "resgatedgcn", "fgp-without-reconstruction"): Published(79.9),
    ("nasbench101", "resgatedgcn", "fgp-without-proxy"): Published(71.5, 35.6),
    ("nasbench201", "resgatedgcn", "fgp-without-proxy"): Published(74.5),
    ("nasbench101", "resgatedgcn", "fgp-without-forward"): Published(73.5, 36.3),
    ("nasbench201", "resgatedgcn", "fgp-without-forward"): Published(81.4),
    ("nasbench101", "resgatedgcn", "fgp-without-backward"): Published(72.4, 31.0),
    ("nasbench201", "resgatedgcn", "fgp-without-backward"): Published(81.4),
}
"""With 1 % labels and the whole space pre-trained on (NeurIPS 2025, arXiv:2510.18360)."""


@dataclass(frozen=True)
class Point(Place):
    """A place whose table is not read yet."""

    def cell(
        self, table: str, data: str, budget: Budget, epochs: int | None = None, finetune_epochs: int | None = None
    ) -> Cell:
        """With what the values mean in a budget, and with other epochs than the budget's, where they are given."""
        task, task_settings = PRETEXTS.get(self.pretext, (self.pretext, {}))
        wide = self.encoder in ("resgatedgcn", "gin") and self.space in budget.wide
        size = budget.sizes.get(self.encoder, {"hidden": 256} if wide else {})
        return Cell(
            **vars(self),
            table=table,
            data=data,
            encoder_settings=size,
            task=task,
            task_settings=task_settings,
            proxy=PROXIES.get(self.space, "closed-form"),
            code=code_of(encoder_kind(self.encoder), *([] if task == "none" else [task_kind(task)])),
            pretraining={"epochs": epochs or budget.epochs},
            fine_tuning=budget.tuning.get(self.space, {}) | ({"epochs": finetune_epochs} if finetune_epochs else {}),
        )


def points(study: Study, added: dict[str, list[str]], seeds: Sequence[int], splits: int) -> Iterator[Point]:
    """All places in a study's grid, those of one pre-trained encoder side by side.

    Args:
        study: one of ``STUDIES``.
        added: more values for the axes "space", "encoder" and "pretext", by name.
        seeds: values of the axis "seed".
        splits: how many permutations there are.
    """
    for axis, known in (("encoder", encoders()), ("pretext", [*PRETEXTS, *tasks()])):
        for name in added.get(axis, []):
            if name not in known:
                raise ValueError(f"unknown {axis} '{name}'; known: {', '.join(dict.fromkeys(known))}")
    axes = (
        dict.fromkeys([*study.spaces, *added.get("space", [])]),
        dict.fromkeys([*study.encoders, *added.get("encoder", [])]),
        dict.fromkeys([*study.pretexts, *added.get("pretext", [])]),
        study.shares,
        seeds,
        study.labels,
        range(splits),
    )
    for space, encoder, pretext, share, seed, labels, number in product(*axes):
        if not (pretext == "none" and share != study.shares[-1]):  # without pre-training there is nothing to share
            yield Point(space, encoder, pretext, labels, share, seed, number)
