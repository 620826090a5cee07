"""ResGatedGCN beside the field's pipeline: per-graph ``Data``, ``DataLoader``, PyTorch Geometric's convolutions."""

from __future__ import annotations

from statistics import median

import torch
from torch_geometric.loader import DataLoader

import archflow
from archflow.encoding.registry import encode
from bench.measure import Row, shuffled, timed, train
from tests.encoding.pyg_pipeline import PyGResGatedGCN, as_data

HIDDEN, LAYERS, BATCH, STEPS, ROUNDS = 128, 3, 256, 30, 5


def rows() -> list[Row]:
    archs = archflow.space("nasbench201").enumerate()
    archs.neighbourhoods(LAYERS - 1)
    torch.manual_seed(0)
    ours = archflow.encoder("resgatedgcn", archs.vocabulary, hidden=HIDDEN, layers=LAYERS)
    theirs = PyGResGatedGCN(len(archs.vocabulary), HIDDEN, LAYERS).load_from(ours)
    data = [as_data(*archs.graph(index), list(archs.vocabulary)) for index in range(len(archs))]

    @torch.no_grad()
    def score_theirs() -> None:
        for batch in DataLoader(data, BATCH):
            theirs(batch)

    def score_ours(batch: archflow.ArchBatch) -> None:
        encode(ours, batch)

    rates = {name: [] for name in ("train ours", "train theirs", "score first", "score again", "score theirs")}
    for _ in range(ROUNDS):
        rates["train ours"].append(STEPS * BATCH / timed(lambda: train(ours, shuffled(archs, BATCH), STEPS)))
        rates["train theirs"].append(
            STEPS * BATCH / timed(lambda: train(theirs, DataLoader(data, BATCH, shuffle=True), STEPS))
        )
        batch = archflow.space("nasbench201").enumerate()  # a new one, so that finding equal neighbourhoods is timed
        rates["score first"].append(len(archs) / timed(lambda batch=batch: score_ours(batch)))
        rates["score again"].append(len(archs) / timed(lambda batch=batch: score_ours(batch)))
        rates["score theirs"].append(len(archs) / timed(score_theirs))
    middle = {name: median(values) for name, values in rates.items()}
    pipeline = "Data, DataLoader, PyG stack"
    return [
        Row("ResGatedGCN training steps, batch 256", pipeline, middle["train ours"], middle["train theirs"], 3),
        Row("ResGatedGCN scoring the whole space", pipeline, middle["score first"], middle["score theirs"], 10),
        Row("ResGatedGCN scoring it with other weights", pipeline, middle["score again"], middle["score theirs"], 10),
    ]
