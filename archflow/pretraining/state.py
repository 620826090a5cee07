"""The state of a pre-training run, and its checkpoint file."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from archflow.support.documents import plain
from archflow.support.files import load_tensors, save_tensors
from archflow.support.settings import check_types, short

_MAX_NAMED = 8
"""Maximum number of differing settings that a message names."""


@dataclass(frozen=True)
class _Progress:
    """The progress of a run, as stored in a checkpoint."""

    step: int
    seconds: float
    losses: dict[str, list[float]]

    def __post_init__(self) -> None:
        check_types(self, "progress")
        if self.step < 0 or not 0 <= self.seconds < math.inf:
            raise ValueError(f"step {self.step} after {self.seconds} seconds")
        if not isinstance(self.losses, dict):
            raise ValueError("its losses are not an object")
        for name, losses in self.losses.items():
            if not isinstance(losses, list) or not all(isinstance(loss, float) for loss in losses):
                raise ValueError(f"its losses {short(name)} are not a list of numbers")


class State:
    """Everything needed to resume a run: weights, optimiser moments, the number of steps, and the losses so far.

    Args:
        objective: the module to train.
        optimizer: AdamW on the objective's parameters.
        settings: of the run; a checkpoint with other settings is refused.
        steps: minibatches per epoch.
    """

    def __init__(
        self, objective: nn.Module, optimizer: torch.optim.Optimizer, settings: dict[str, Any], steps: int
    ) -> None:
        self.objective, self.optimizer, self.settings, self.steps = objective, optimizer, plain(settings), steps
        self.step, self.seconds = 0, 0.0
        self.losses: dict[str, list[float]] = {}
        self._sums: dict[str, Tensor] = {}

    def count(self, terms: dict[str, Tensor], weight: float) -> None:
        """Record a step and its loss; ``weight`` is its share of the epoch.

        Raises:
            ValueError: the epoch is complete, and its loss is not finite.
        """
        self.step += 1
        for name, term in terms.items():
            self._sums[name] = self._sums.get(name, torch.zeros((), device=term.device)) + weight * term.detach()
        if self.step % self.steps == 0:
            for name, total in self._sums.items():
                self.losses.setdefault(name, []).append(float(total))
                if not math.isfinite(float(total)):
                    raise ValueError(f"pre-training diverged: the {name} loss is {float(total)}; try a smaller lr")
            self._sums = {}

    def save(self, path: Path) -> None:
        """Write the state to one file."""
        tensors = {f"objective.{name}": tensor for name, tensor in self.objective.state_dict().items()}
        for index, moments in self.optimizer.state_dict()["state"].items():
            tensors.update({f"optimizer.{index}.{name}": tensor for name, tensor in moments.items()})
        tensors.update({f"sums.{name}": tensor for name, tensor in self._sums.items()})
        run = {"run": self.settings, "threads": torch.get_num_threads()}
        progress = {"step": self.step, "seconds": self.seconds, "losses": self.losses}
        save_tensors(path, "pretraining", tensors, {**run, "progress": progress})

    def load(self, path: Path) -> None:
        """Restore the state from a file; nothing changes if the file is refused.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: the file is damaged, or from a run with other settings.
        """
        tensors, found = load_tensors(path, "pretraining")
        run = found.get("run")
        if not isinstance(run, dict):
            raise ValueError(f"{path} is damaged: it does not say which run it is from")
        differing = [name for name in self.settings if run.get(name) != self.settings[name]]
        if differing:
            what = ", ".join(
                f"{name} was {short(run.get(name))}, is {short(self.settings[name])}" for name in differing[:_MAX_NAMED]
            )
            more = f", and {len(differing) - _MAX_NAMED} more" if len(differing) > _MAX_NAMED else ""
            raise ValueError(f"{path} is the checkpoint of another run: {what}{more}")
        try:
            progress = _Progress(**found["progress"])
            parts = _parts(tensors)
            self._require_fitting(progress, parts)
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{path} is damaged: {short(str(error))}") from None
        self.objective.load_state_dict(parts["objective"])
        moments: dict[int, dict[str, Tensor]] = {}
        for name, tensor in parts["optimizer"].items():
            index, _, moment = name.partition(".")
            moments.setdefault(int(index), {})[moment] = tensor
        self.optimizer.load_state_dict({**self.optimizer.state_dict(), "state": moments})
        device = next(self.objective.parameters()).device
        before, now = found.get("threads"), torch.get_num_threads()
        if device.type == "cpu" and isinstance(before, int) and before != now:
            warnings.warn(
                f"{path} was computed with {before} threads, and goes on with {now}: the last digits of the result "
                f"differ from those of an uninterrupted run; OMP_NUM_THREADS={before} avoids it",
                stacklevel=2,
            )
        self._sums = {name: tensor.to(device) for name, tensor in parts["sums"].items()}
        self.step, self.seconds, self.losses = progress.step, progress.seconds, progress.losses

    def _require_fitting(self, progress: _Progress, parts: dict[str, dict[str, Tensor]]) -> None:
        """Raise ValueError unless a checkpoint's tensors have the names, shapes and dtypes of this run's."""
        _require_like(parts["objective"], self.objective.state_dict())
        moments: dict[str, Tensor] = {}
        for index, parameter in enumerate(self.objective.parameters()):
            if any(name.startswith(f"{index}.") for name in parts["optimizer"]):
                moments[f"{index}.step"] = torch.zeros(())
                moments |= {f"{index}.{moment}": parameter for moment in ("exp_avg", "exp_avg_sq")}
        _require_like(parts["optimizer"], moments)
        _require_like(parts["sums"], dict.fromkeys(parts["sums"], torch.zeros(())))
        epochs = [len(losses) for losses in progress.losses.values()]
        if any(count != progress.step // self.steps for count in epochs) or not (epochs or progress.step < self.steps):
            raise ValueError(f"step {progress.step} does not fit losses of {epochs} epochs")


def _parts(tensors: dict[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    parts: dict[str, dict[str, Tensor]] = {"objective": {}, "optimizer": {}, "sums": {}}
    for name, tensor in tensors.items():
        part, _, rest = name.partition(".")
        parts[part][rest] = tensor
    return parts


def _require_like(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    for name in sorted(found.keys() ^ expected.keys()):
        raise ValueError(f"tensor {short(name)} is {'missing' if name in expected else 'unknown'}")
    for name, tensor in expected.items():
        if (found[name].shape, found[name].dtype) != (tensor.shape, tensor.dtype):
            raise ValueError(f"tensor {name} is {found[name].dtype} of shape {tuple(found[name].shape)}")
