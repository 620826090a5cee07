"""The one pre-training loop: an encoder learns a task on all architectures of a space, without a label.

What a minibatch holds is a function of the seed and the epoch alone, and the random numbers of a step (dropout, masks)
are one of the seed, the step and the process. So a run that was killed and resumed from its checkpoint goes on exactly
as the run that was not: on the CPU its final weights are equal bit for bit.
"""

from __future__ import annotations

import copy
import hashlib
import json
import math
import signal
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from numpy import ndarray
from torch import Tensor, nn

from archflow.archs.batch import ArchBatch
from archflow.encoding.base import Encoder
from archflow.encoding.files import describe, load_weights
from archflow.pretraining.task import Task
from archflow.support.devices import resolve_device, seeded
from archflow.support.files import load_tensors, save_tensors
from archflow.support.progress import Progress, silent


@dataclass(frozen=True)
class Pretraining:
    """What a pre-training run was, and how it went.

    Attributes:
        settings: the encoder, the task and every setting, JSON-able.
        losses: for each term of the loss its mean over each epoch.
        seconds: time spent, over all sittings.
    """

    settings: dict[str, Any]
    losses: dict[str, list[float]] = field(default_factory=dict)
    seconds: float = 0.0


def pretrain(
    encoder: Encoder,
    archs: ArchBatch,
    task: Task,
    *,
    epochs: int = 200,
    batch_size: int = 256,
    lr: float = 1e-3,
    weight_decay: float = 1e-6,
    seed: int = 0,
    device: str = "auto",
    precision: str = "32-true",
    processes: int = 1,
    checkpoint: str | Path | None = None,
    checkpoint_seconds: float = 30,
    resume: bool = False,
    progress: Progress = silent,
) -> Pretraining:
    """Train ``encoder`` in place, and leave it in evaluation mode; the defaults are METHOD's settings.

    Args:
        encoder: any encoder over the architectures' vocabulary.
        archs: all architectures of the space, or those to be pre-trained on.
        task: what to learn, e.g. :class:`archflow.FGP`.
        epochs: how many times to go through the architectures.
        batch_size: architectures in a minibatch, over all processes together.
        lr: AdamW's highest learning rate; it falls to 0 along a half cosine, which METHOD leaves open.
        weight_decay: AdamW's.
        seed: fixes the order of the architectures, the heads' first weights, and the random numbers of each step.
        device: "cpu", "cuda", …, or "auto".
        precision: Lightning Fabric's name of one, e.g. "32-true" or "bf16-mixed". The encoder is float32 afterwards.
        processes: with more than one, each takes a part of every minibatch (distributed data parallel).
        checkpoint: a file to which the state is written every ``checkpoint_seconds``, and when the run is interrupted.
        checkpoint_seconds: 0 writes after every step.
        resume: go on from ``checkpoint`` if it is there.
        progress: told how many architectures have been seen; with several processes by the first of them, to which it
            is pickled.

    Raises:
        ValueError: a setting makes no sense, the device is absent, the loss is no longer finite, or the checkpoint is
            damaged or of another run.
        KeyboardInterrupt: passed on after the checkpoint is written.
    """
    if resume and checkpoint is None:
        raise ValueError("there is nothing to resume from without a checkpoint file")
    if epochs < 1 or batch_size < 1 or processes < 1 or not lr > 0:
        raise ValueError("epochs, batch_size, processes and lr must be above 0")
    if precision.endswith("16-true"):  # weights would lose Adam's small steps, and a proxy's ranks above 256 merge
        raise ValueError(f"pre-training does not work in precision {precision}; try {precision[:-5]}-mixed")
    archs.require_vocabulary(encoder.vocabulary, "the encoder's")
    settings = {
        **describe(encoder),
        **task.describe(),
        "architectures": len(archs),
        **{"epochs": epochs, "batch_size": batch_size, "lr": lr, "weight_decay": weight_decay},
        **{"seed": seed, "precision": precision, "processes": processes},
    }
    where = resolve_device(device)
    fabric = Fabric(
        accelerator=where.type,
        devices=processes if processes > 1 or where.index is None else [where.index],
        strategy="ddp_spawn" if processes > 1 else "auto",
        precision=precision,  # type: ignore[arg-type]  # any string; Fabric checks it
    )
    path = Path(checkpoint) if checkpoint else None
    loop = _Loop(encoder, archs, task, settings, path, checkpoint_seconds, resume, progress)
    weights, losses, seconds = fabric.launch(loop.run)
    encoder.float().load_state_dict({name: torch.from_numpy(array) for name, array in weights.items()})
    encoder.eval()
    return Pretraining(settings, losses, seconds)


@dataclass(frozen=True)
class _Loop:
    encoder: Encoder
    archs: ArchBatch
    task: Task
    settings: dict[str, Any]
    checkpoint: Path | None
    checkpoint_seconds: float
    resume: bool
    progress: Progress

    def run(self, fabric: Fabric) -> tuple[dict[str, ndarray], dict[str, list[float]], float]:
        """Train; returns the encoder's weights, the losses and the seconds.

        What is returned crosses from a process that ends to the caller's, so it is plain NumPy and Python.
        """
        # Spawned processes are handed the encoder in shared memory; each must train its own.
        encoder = copy.deepcopy(self.encoder) if fabric.world_size > 1 else self.encoder
        seed, count = self.settings["seed"], len(self.archs)
        with seeded(seed):
            objective = self.task.build(encoder, self.archs).train()
        lr, decay = self.settings["lr"], self.settings["weight_decay"]
        optimizer = torch.optim.AdamW(objective.parameters(), lr=lr, weight_decay=decay, fused=True)
        distributed, stepper = fabric.setup(objective, optimizer)
        # What is kept with the weights changes with them, as batch norm's averages do; targets are not kept.
        kept = objective.state_dict()
        targets = [buffer.cpu().numpy() for name, buffer in objective.named_buffers() if name not in kept]
        state = _State(objective, optimizer, {**self.settings, "data": fingerprint(self.archs, targets)})
        if self.resume and self.checkpoint and self.checkpoint.exists():
            state.load(self.checkpoint)

        size, epochs = self.settings["batch_size"], self.settings["epochs"]
        steps = math.ceil(count / size)
        begun, saved = time.monotonic() - state.seconds, time.monotonic()
        with _deferred_interrupt() as interrupted, seeded(seed):
            while state.step < epochs * steps:
                epoch, step = divmod(state.step, steps)
                order = np.random.default_rng([seed, epoch]).permutation(count)
                batch = order[step * size : (step + 1) * size]
                batch = np.resize(batch, max(len(batch), fabric.world_size))[fabric.global_rank :: fabric.world_size]
                for group in optimizer.param_groups:
                    group["lr"] = lr * 0.5 * (1 + math.cos(math.pi * state.step / (epochs * steps)))
                _seed(fabric.device, seed, state.step, fabric.global_rank)
                terms = distributed(batch)
                optimizer.zero_grad()
                fabric.backward(sum(terms.values()))
                stepper.step()
                if fabric.world_size > 1:
                    terms = fabric.all_reduce({name: term.detach() for name, term in terms.items()}, reduce_op="mean")
                state.count(terms, weight=min(size, count - step * size) / count, last_of_epoch=step == steps - 1)
                state.seconds = time.monotonic() - begun
                if fabric.is_global_zero:
                    self.progress("pre-training", epoch * count + min(count, (step + 1) * size), epochs * count)
                stop = interrupted.is_set()
                due = stop or time.monotonic() - saved >= self.checkpoint_seconds
                if due and self.checkpoint and fabric.is_global_zero:
                    state.save(self.checkpoint)
                    saved = time.monotonic()
                if stop:
                    raise KeyboardInterrupt
        weights = {name: tensor.detach().cpu().numpy() for name, tensor in encoder.state_dict().items()}
        if fabric.world_size > 1:
            # A thread of gloo's needs Python to let go of the last tensors; if Python ends first, the process aborts.
            time.sleep(0.3)
        return weights, state.losses, state.seconds


class _State:
    """Everything that a run needs to go on: weights, optimiser moments, the number of steps, and the losses so far."""

    def __init__(self, objective: nn.Module, optimizer: torch.optim.Optimizer, settings: dict[str, Any]) -> None:
        self.objective, self.optimizer, self.settings = objective, optimizer, settings
        self.step, self.seconds = 0, 0.0
        self.losses: dict[str, list[float]] = {}
        self._sums: dict[str, Tensor] = {}

    def count(self, terms: dict[str, Tensor], weight: float, last_of_epoch: bool) -> None:
        """Note that one more step is done, and what it lost; ``weight`` is its share of the epoch."""
        self.step += 1
        for name, term in terms.items():
            self._sums[name] = self._sums.get(name, torch.zeros((), device=term.device)) + weight * term.detach()
        if last_of_epoch:
            for name, total in self._sums.items():
                self.losses.setdefault(name, []).append(float(total))
                if not math.isfinite(float(total)):
                    raise ValueError(f"pre-training diverged: the {name} loss is {float(total)}; try a smaller lr")
            self._sums = {}

    def save(self, path: Path) -> None:
        tensors = {f"objective.{name}": tensor for name, tensor in self.objective.state_dict().items()}
        for index, moments in self.optimizer.state_dict()["state"].items():
            tensors.update({f"optimizer.{index}.{name}": tensor for name, tensor in moments.items()})
        tensors.update({f"sums.{name}": tensor for name, tensor in self._sums.items()})
        progress = {"step": self.step, "seconds": self.seconds, "losses": self.losses}
        save_tensors(path, "pretraining", tensors, {"run": self.settings, "progress": progress})

    def load(self, path: Path) -> None:
        """Raises ValueError if the file is damaged, or of a run with other settings."""
        tensors, found = load_tensors(path, "pretraining")
        run = json.loads(json.dumps(self.settings))
        differing = [name for name in run if found["run"].get(name) != run[name]]
        if differing:
            what = ", ".join(f"{name} was {found['run'].get(name)!r}, is {run[name]!r}" for name in differing)
            raise ValueError(f"{path} is the checkpoint of another run: {what}")
        parts: dict[str, dict[str, Tensor]] = {"objective": {}, "optimizer": {}, "sums": {}}
        for name, tensor in tensors.items():
            part, _, rest = name.partition(".")
            parts[part][rest] = tensor
        load_weights(self.objective, parts["objective"], path)
        moments: dict[int, dict[str, Tensor]] = {}
        for name, tensor in parts["optimizer"].items():
            index, _, moment = name.partition(".")
            moments.setdefault(int(index), {})[moment] = tensor
        self.optimizer.load_state_dict({**self.optimizer.state_dict(), "state": moments})
        device = next(self.objective.parameters()).device
        self._sums = {name: tensor.to(device) for name, tensor in parts["sums"].items()}
        progress = found["progress"]
        self.step, self.seconds, self.losses = progress["step"], progress["seconds"], progress["losses"]


def fingerprint(archs: ArchBatch, columns: Iterable[ndarray]) -> str:
    """A digest of architectures and of what is known of them."""
    digest = hashlib.sha256()
    for array in (archs.operations, archs.node_offsets, archs.edges, archs.edge_offsets, *columns):
        digest.update(array.tobytes())
    return digest.hexdigest()[:16]


def _seed(device: torch.device, seed: int, step: int, rank: int) -> None:
    """Begin PyTorch's global generators, the CPU's and the device's, at what is this step's and this process's."""
    number = int(np.random.SeedSequence(seed, spawn_key=(step, rank)).generate_state(1, np.uint64)[0])
    # torch.manual_seed does it for all devices, but takes milliseconds where there is no GPU.
    torch.default_generator.manual_seed(number)
    if device.type != "cpu":
        torch.get_device_module(device).manual_seed(number)


@contextmanager
def _deferred_interrupt() -> Iterator[threading.Event]:
    """Turn Ctrl-C into an event, to be looked at between steps, so that no step is left half done."""
    interrupted = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield interrupted
        return
    previous = signal.signal(signal.SIGINT, lambda *_: interrupted.set())
    try:
        yield interrupted
    finally:
        signal.signal(signal.SIGINT, previous)
