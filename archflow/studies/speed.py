"""The study ``speed``: how fast each encoder encodes a whole space."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

import torch

from archflow.benchmarks.registry import space as make_space
from archflow.encoding.registry import encode, seeded_encoder
from archflow.studies.lines import by_space
from archflow.studies.probe import all_or_sample
from archflow.studies.runner import Measurement
from archflow.support.devices import resolve_device

ROUNDS, MOST = 3, 20_000
PUBLISHED_TIMES = {"flowerformer": "up to 57, on a GPU"}


@dataclass(frozen=True)
class SpeedRun(Measurement):
    """One encoder with its default settings, on all architectures of a space or a random sample of them.

    Attributes:
        encoder: name of the encoder.
        seed: fixes its weights and the sample.
        device: "cpu", "cuda", …
    """

    encoder: str
    seed: int
    device: str
    study = "speed"

    def settings(self) -> dict[str, Any]:
        """Everything that the result depends on."""
        return {"rounds": ROUNDS, "most": MOST, **asdict(self)}

    def measure(self) -> dict[str, Any]:
        """Median seconds for all architectures; on a CPU, with one thread."""
        space = make_space(self.space)
        archs = all_or_sample(space, MOST, self.seed)
        device = resolve_device(self.device)
        model = seeded_encoder(self.encoder, archs.vocabulary, self.seed, {}).to(device)
        model.prepare(archs)
        taken = []
        for _ in range(1 + ROUNDS):  # the first compiles, and is not counted
            started = time.monotonic()
            encode(model, archs)
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            taken.append(time.monotonic() - started)
        seconds = median(taken[1:])
        return {"architectures": len(archs), "seconds": seconds, "threads": torch.get_num_threads()}


def speed_table(lines: Iterable[dict[str, Any]]) -> str:
    """A Markdown table of encoders for each space, fastest first, with their time relative to ResGatedGCN's."""
    rows = ["| space | encoder | architectures/s | × ResGatedGCN’s time | published |"]
    rows.append("| --- | --- | ---: | ---: | ---: |")
    for space, group in by_space(lines).items():
        found = fastest_first(group)
        mark = dict(found).get("resgatedgcn")
        for encoder, rate in found:
            times = f"{mark / rate:.1f}" if mark else ""
            rows.append(f"| {space} | {encoder} | {rate:,.0f} | {times} | {PUBLISHED_TIMES.get(encoder, '')} |")
    return "\n".join(rows) + "\n"


def fastest_first(lines: Iterable[dict[str, Any]]) -> list[tuple[str, float]]:
    """The encoders with their architectures per second, fastest first."""
    rates = [(line["encoder"], line["architectures"] / line["seconds"]) for line in lines]
    return sorted(rates, key=lambda each: -each[1])
