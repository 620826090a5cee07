"""FlowerFormer beside the field's pipeline: per-graph ``Data``, ``DataLoader``, a loop over the generations of a batch.

This is how its authors run it, scoring 128 architectures at a time. ResGatedGCN is compared with that pipeline, and
with our own FlowerFormer, to show the cost of modelling flow. The time to find its equal neighbourhoods counts for
scoring, but not for training. All models have the published sizes.
"""

from __future__ import annotations

from collections.abc import Callable
from statistics import median

import torch
from torch_geometric.loader import DataLoader

import archflow
from archflow.encoding.registry import encode
from bench.measure import Row, shuffled, timed, train
from tests.encoding.flowerformer_reference import EdgeListFlowerFormer, as_data

BATCH, STEPS, ROUNDS = 256, 5, 3
SCORED = 128
"""Architectures that the pipeline scores at once."""


def rows() -> list[Row]:
    space = archflow.space("nasbench201")
    archs = space.enumerate()
    fresh = iter([space.enumerate() for _ in range(ROUNDS)])
    torch.manual_seed(0)
    gated = archflow.encoder("resgatedgcn", archs.vocabulary)
    gated.prepare(archs)
    ours = archflow.encoder("flowerformer", archs.vocabulary)
    theirs = EdgeListFlowerFormer(ours)
    # The pipeline's speed does not depend on the cells, so a part of them is enough.
    data = [as_data(*archs.graph(index), list(archs.vocabulary)) for index in range(0, len(archs), 8)]

    @torch.no_grad()
    def score_theirs() -> None:
        theirs.eval()
        for batch in DataLoader(data, SCORED):
            theirs(batch)

    trained = STEPS * BATCH
    measured: dict[str, tuple[int, Callable[[], object]]] = {
        "train ours": (trained, lambda: train(ours, shuffled(archs, BATCH), STEPS)),
        "train gated": (trained, lambda: train(gated, shuffled(archs, BATCH), STEPS)),
        "train theirs": (trained, lambda: train(theirs, DataLoader(data, BATCH, shuffle=True), STEPS)),
        "score ours": (len(archs), lambda: encode(ours, archs)),
        "score gated": (len(archs), lambda: encode(gated, next(fresh))),
        "score theirs": (len(data), score_theirs),
    }
    for model in (ours, gated):
        train(model, shuffled(archs, BATCH), 1)  # compiles
    rates: dict[str, list[float]] = {name: [] for name in measured}
    for _ in range(ROUNDS):
        for name, (cells, call) in measured.items():
            rates[name].append(cells / timed(call))
    middle = {name: median(values) for name, values in rates.items()}
    loop, fast = "FlowerFormer, Data, DataLoader, loop over generations", "our FlowerFormer"
    return [
        Row("FlowerFormer training steps, batch 256", loop, middle["train ours"], middle["train theirs"], 2),
        Row("FlowerFormer scoring the whole space", loop, middle["score ours"], middle["score theirs"], 2),
        Row("ResGatedGCN training steps, batch 256", loop, middle["train gated"], middle["train theirs"], 5),
        Row("ResGatedGCN training steps, batch 256", fast, middle["train gated"], middle["train ours"], 1),
        Row("ResGatedGCN scoring the whole space", loop, middle["score gated"], middle["score theirs"], 57),
        Row("ResGatedGCN scoring the whole space", fast, middle["score gated"], middle["score ours"], 1),
    ]
