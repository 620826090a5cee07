"""The pre-training loop: an encoder learns a pretext task on all architectures of a space, without labels.

The minibatches are a function of the seed and the epoch alone, and the random numbers of a step (dropout, masks) a
function of the seed, the step and the process. So a run that was killed and resumed from its checkpoint continues
exactly as an uninterrupted one: on the CPU, its final weights are equal bit for bit.
"""

from __future__ import annotations

import copy
import math
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
import torch
from numpy import ndarray

from archflow.archs.batch import ArchBatch
from archflow.encoding.base import Encoder
from archflow.encoding.files import describe
from archflow.pretraining.state import State
from archflow.pretraining.task import Task
from archflow.support.devices import resolve_device, seeded
from archflow.support.progress import Progress, shown
from archflow.support.settings import check_range, check_types

if TYPE_CHECKING:
    from lightning_fabric import Fabric


Schedule = Literal["cosine", "constant"]


@dataclass(frozen=True)
class PretrainSettings:
    """The training settings; see :func:`pretrain`.

    Raises:
        ValueError: a setting is of the wrong type or out of range.
    """

    epochs: int = 200
    batch_size: int = 256
    lr: float = 1e-3
    weight_decay: float = 1e-6
    seed: int = 0
    precision: str = "32-true"
    processes: int = 1
    schedule: Schedule = "cosine"

    def __post_init__(self) -> None:
        check_types(self, "pre-training")
        check_range(self, "pre-training", 1, 10**6, "epochs")
        check_range(self, "pre-training", 1, 2**31, "batch_size")
        check_range(self, "pre-training", 1, 1024, "processes")
        check_range(self, "pre-training", 0, 2**63 - 1, "seed")
        if self.schedule not in get_args(Schedule):
            raise ValueError(f"unknown schedule '{self.schedule}'; known: {', '.join(get_args(Schedule))}")
        if not (0 < self.lr < math.inf and 0 <= self.weight_decay < math.inf):
            raise ValueError(f"lr must be above 0 and weight_decay at least 0, not {self.lr} and {self.weight_decay}")
        # 16-bit weights would lose Adam's small steps, and 16-bit proxy ranks above 256 would tie.
        if self.precision.endswith("16-true"):
            mixed = self.precision.replace("true", "mixed")
            raise ValueError(f"pre-training does not work in precision {self.precision}; try {mixed}")


@dataclass(frozen=True)
class Pretraining:
    """The record of a pre-training run.

    Attributes:
        settings: the encoder, the task and every setting, JSON-able.
        losses: for each term of the loss, its mean over each epoch.
        seconds: time spent, over all resumptions.
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
    schedule: Schedule = "cosine",
    checkpoint: str | Path | None = None,
    checkpoint_seconds: float = 30,
    resume: bool = False,
    progress: Progress | None = None,
) -> Pretraining:
    """Train ``encoder`` in place and leave it in evaluation mode; the defaults are the published settings.

    Args:
        encoder: any encoder over the architectures' vocabulary.
        archs: the architectures to pre-train on, such as all of the space.
        task: the pretext task, such as :class:`archflow.FGP`.
        epochs: number of passes over the architectures.
        batch_size: architectures per minibatch, over all processes together.
        lr: AdamW's initial learning rate.
        weight_decay: AdamW's weight decay.
        seed: fixes the order of the architectures, the heads' initial weights, and the random numbers of each step.
        device: "cpu", "cuda", …, or "auto".
        precision: a precision of Lightning Fabric, such as "32-true" or "bf16-mixed". The encoder is float32
            afterwards.
        processes: if more than one, each takes a part of every minibatch (distributed data parallel).
        schedule: of the learning rate: "cosine" lets it fall to 0 along a half cosine; "constant" is the published one.
        checkpoint: a file to which the state is written every ``checkpoint_seconds``, and on interruption.
        checkpoint_seconds: 0 writes after every step.
        resume: continue from ``checkpoint`` if it exists.
        progress: called with the number of architectures seen; with several processes it is pickled and called in the
            first of them. By default there is a bar on a terminal and in a notebook.

    Raises:
        ValueError: a setting is invalid, the device is missing, the loss is no longer finite, or the checkpoint is
            damaged or from another run.
        KeyboardInterrupt: on Ctrl-C, after the checkpoint is written.
    """
    from lightning_fabric import Fabric

    settings = PretrainSettings(epochs, batch_size, lr, weight_decay, seed, precision, processes, schedule)
    if resume and checkpoint is None:
        raise ValueError("there is nothing to resume from without a checkpoint file")
    archs.require_vocabulary(encoder.vocabulary, "the encoder's")
    record = {**describe(encoder), **task.describe(), "architectures": len(archs), **asdict(settings)}
    where = resolve_device(device)
    fabric = Fabric(
        accelerator=where.type,
        devices=processes if processes > 1 or where.index is None else [where.index],
        strategy="ddp_spawn" if processes > 1 else "auto",
        precision=precision,  # type: ignore[arg-type]  # any string; Fabric checks it
    )
    path = Path(checkpoint) if checkpoint else None
    with shown(progress) as told:
        loop = _Loop(encoder, archs, task, settings, record, path, checkpoint_seconds, resume, told)
        weights, losses, seconds = fabric.launch(loop.run)
    encoder.float().load_state_dict({name: torch.from_numpy(array) for name, array in weights.items()})
    encoder.eval()
    return Pretraining(record, losses, seconds)


@dataclass(frozen=True)
class _Loop:
    encoder: Encoder
    archs: ArchBatch
    task: Task
    settings: PretrainSettings
    record: dict[str, Any]
    checkpoint: Path | None
    checkpoint_seconds: float
    resume: bool
    progress: Progress

    def run(self, fabric: Fabric) -> tuple[dict[str, ndarray], dict[str, list[float]], float]:
        """Train; returns the encoder's weights, the losses and the seconds.

        The result may be sent from a process that ends to the caller's, so it is plain NumPy and Python.
        """
        # Spawned processes receive the encoder in shared memory, but each must train its own.
        encoder = copy.deepcopy(self.encoder) if fabric.world_size > 1 else self.encoder
        seed, count = self.settings.seed, len(self.archs)
        with seeded(seed):
            objective = self.task.build(encoder, self.archs).train()
        lr, decay = self.settings.lr, self.settings.weight_decay
        optimizer = torch.optim.AdamW(objective.parameters(), lr=lr, weight_decay=decay, fused=True)
        distributed, stepper = fabric.setup(objective, optimizer)
        # Persistent buffers, such as batch norm's averages, change with the weights; the others are targets.
        persistent = objective.state_dict()
        targets = [buffer.cpu().numpy() for name, buffer in objective.named_buffers() if name not in persistent]
        size, epochs = self.settings.batch_size, self.settings.epochs
        steps = math.ceil(count / size)
        state = State(objective, optimizer, {**self.record, "data": self.archs.digest(*targets)}, steps)

        with _deferred_interrupt() as interrupted, seeded(seed), encoder.threads(self.archs, size):
            if self.resume and self.checkpoint and self.checkpoint.exists():
                state.load(self.checkpoint)
            started, saved = time.monotonic() - state.seconds, time.monotonic()
            while state.step < epochs * steps:
                epoch, step = divmod(state.step, steps)
                order = np.random.default_rng([seed, epoch]).permutation(count)
                batch = order[step * size : (step + 1) * size]
                batch = np.resize(batch, max(len(batch), fabric.world_size))[fabric.global_rank :: fabric.world_size]
                for group in optimizer.param_groups if self.settings.schedule == "cosine" else ():
                    group["lr"] = lr * 0.5 * (1 + math.cos(math.pi * state.step / (epochs * steps)))
                _seed(fabric.device, seed, state.step, fabric.global_rank)
                terms = distributed(batch)
                optimizer.zero_grad()
                fabric.backward(sum(terms.values()))
                stepper.step()
                if fabric.world_size > 1:
                    terms = fabric.all_reduce({name: term.detach() for name, term in terms.items()}, reduce_op="mean")
                state.count(terms, weight=min(size, count - step * size) / count)
                state.seconds = time.monotonic() - started
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
            # A gloo thread needs Python to release the last tensors; if Python exits first, the process aborts.
            time.sleep(0.3)
        return weights, state.losses, state.seconds


def _seed(device: torch.device, seed: int, step: int, rank: int) -> None:
    """Seed PyTorch's global generators, of the CPU and the device, from the seed, the step and the process."""
    number = int(np.random.SeedSequence(seed, spawn_key=(step, rank)).generate_state(1, np.uint64)[0])
    # torch.manual_seed seeds all devices, but takes milliseconds on machines without a GPU.
    torch.default_generator.manual_seed(number)
    if device.type != "cpu":
        torch.get_device_module(device).manual_seed(number)


@contextmanager
def _deferred_interrupt() -> Iterator[threading.Event]:
    """Turn Ctrl-C into an event that is checked between steps, so that no step is left half done."""
    interrupted = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield interrupted
        return
    previous = signal.signal(signal.SIGINT, lambda *_: interrupted.set())
    try:
        yield interrupted
    finally:
        signal.signal(signal.SIGINT, previous)
