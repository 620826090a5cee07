"""The study ``operation-probe``: predict from the flow surrogate which operations an architecture contains."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from archflow.archs.batch import ArchBatch
from archflow.benchmarks.registry import published
from archflow.benchmarks.registry import space as make_space
from archflow.benchmarks.space import Space
from archflow.encoding.losses import mlp
from archflow.flow import FlowDraw, flow_surrogate, standardised
from archflow.pretraining.nodes import inner_operations
from archflow.studies.lines import by_space
from archflow.studies.runner import Measurement
from archflow.studies.tables import spread
from archflow.support.devices import resolve_device, seeded

MOST, HIDDEN, STEPS, BATCH = 20_000, 128, 3000, 256


def all_or_sample(space: Space, most: int, seed: int) -> ArchBatch:
    """All architectures of a space, or a random sample of ``most`` if there are more or their number is unknown."""
    return space.enumerate() if (space.size or most + 1) <= most else space.sample(most, seed)


@dataclass(frozen=True)
class ProbeRun(Measurement):
    """One probe of a flow draw on a space.

    Attributes:
        seed: fixes the draw, the training half and the probe's weights.
        device: "cpu", "cuda", …
    """

    seed: int
    device: str
    study = "operation-probe"

    def settings(self) -> dict[str, Any]:
        """Everything that the result depends on, except the device."""
        sizes = {"hidden": HIDDEN, "steps": STEPS, "batch": BATCH, "most": MOST}
        return {"space": self.space, "seed": self.seed, **sizes}

    def measure(self) -> dict[str, Any]:
        """Accuracy of the probe on held-out architectures, for each operation.

        The probe is an MLP with one hidden layer on the standardised surrogate. It is trained on half of the
        architectures, for all operations at once; those that every architecture has, or none, are left out.
        """
        space, device = make_space(self.space), resolve_device(self.device)
        archs = all_or_sample(space, MOST, self.seed)
        known = published(self.space)
        draw = FlowDraw.sample(len(space.vocabulary), known.k, known.std, self.seed)
        s = standardised(flow_surrogate(archs, draw).float())
        present = np.zeros((len(archs), len(space.vocabulary)), bool)
        present[archs.owners, archs.operations] = True
        asked = np.flatnonzero(inner_operations(archs) & present.any(0) & ~present.all(0))
        truth = torch.from_numpy(present[:, asked]).float().to(device)
        order = torch.from_numpy(np.random.default_rng(self.seed).permutation(len(archs)))
        learn_from, held_out = (part.to(device) for part in order.tensor_split(2))
        s = s.to(device)
        with seeded(self.seed):
            probe = mlp(s.shape[1], HIDDEN, len(asked)).to(device)
            optimizer = torch.optim.Adam(probe.parameters(), 3e-3)
            schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS)
            for _ in range(STEPS):
                batch = learn_from[torch.randint(len(learn_from), (BATCH,)).to(device)]
                optimizer.zero_grad()
                F.binary_cross_entropy_with_logits(probe(s[batch]), truth[batch]).backward()
                optimizer.step()
                schedule.step()
        with torch.no_grad():
            right = ((probe(s[held_out]) > 0) == truth[held_out].bool()).float().mean(0).tolist()
        common = truth[held_out].mean(0)
        names = [space.vocabulary[number] for number in asked]
        return {
            "architectures": len(archs),
            "accuracy": float(np.mean(right)),
            "operations": dict(zip(names, right, strict=True)),
            "more_common": dict(zip(names, torch.maximum(common, 1 - common).tolist(), strict=True)),
        }


def probe_table(lines: Iterable[dict[str, Any]]) -> str:
    """A Markdown table of mean accuracies over draws, beside always giving the more common answer."""
    rows = ["| space | operation | right, % | more common answer, % |", "| --- | --- | ---: | ---: |"]
    for space, group in by_space(lines).items():
        for name in group[0]["operations"]:
            right = np.array([line["operations"][name] for line in group])
            blind = np.array([line["more_common"][name] for line in group])
            rows.append(f"| {space} | {name} | {spread(100 * right)} | {100 * blind.mean():.1f} |")
        means = spread(100 * np.array([line["accuracy"] for line in group]))
        blind = np.array([np.mean(list(line["more_common"].values())) for line in group])
        rows.append(f"| {space} | **mean** (published: over 92) | **{means}** | {100 * blind.mean():.1f} |")
    return "\n".join(rows) + "\n"
