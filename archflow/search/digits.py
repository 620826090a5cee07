"""Real training without a download: the networks of a benchmark on scikit-learn's images of handwritten digits.

The 1,797 images of 8 × 8 pixels are split at random into thirds, for training, validation and test. The network is the
benchmark's own, with few channels and one cell per stage, trained by stochastic gradient descent with Nesterov's
momentum and a cosine learning rate, the recipe of NAS-Bench-201 at a small scale: about a second per architecture.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import cross_entropy

from archflow.benchmarks.network import Network
from archflow.benchmarks.networks import network
from archflow.benchmarks.space import Space
from archflow.search.objective import Report, no_report
from archflow.support.devices import seeded

Part = Literal["train", "validation", "test"]

_SPACES = ("nasbench101", "nasbench201")
"""Spaces whose networks fit images of 8 × 8 pixels: they halve them twice."""
_THIRD = 599
_ONE_AT_A_TIME = threading.Lock()
"""Threads share PyTorch's global generator and its number of threads; workers that train at once are processes."""


@dataclass(frozen=True)
class DigitsSettings:
    """How a network is trained.

    Attributes:
        epochs: passes over the training images.
        width: channels of the first cells; NAS-Bench-101 needs as many as its output joins vertices, up to four.
        depth: cells per stage or stack.
        batch_size: images per step.
        learning_rate: at the beginning; it falls to zero along half a cosine.
        momentum: Nesterov's.
        weight_decay: of all weights.
    """

    epochs: int = 3
    width: int = 8
    depth: int = 1
    batch_size: int = 32
    learning_rate: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 5e-4


class Digits:
    """Trains an architecture on digits; its score is the accuracy on the validation images, a fraction.

    >>> digits = Digits(archflow.space("nasbench201"))
    >>> digits(architecture)                          # validation accuracy
    >>> digits.test_accuracy(architecture)            # of the same network, on images that no choice has seen

    The same architecture, seed and settings give the same network on the same machine.

    Args:
        space: NAS-Bench-201 or NAS-Bench-101.
        seed: of the split, the initial weights and the order of the images.
        settings: how to train.

    Raises:
        ValueError: another space.
        ModuleNotFoundError: scikit-learn is not installed.
    """

    def __init__(self, space: Space, seed: int = 0, settings: DigitsSettings | None = None) -> None:
        if space.name not in _SPACES:
            raise ValueError(f"digits are for the spaces {' and '.join(_SPACES)}, not {space.name}")
        self.space, self.seed, self.settings = space, seed, settings or DigitsSettings()
        self._images, self._labels = _digits()
        order = torch.randperm(len(self._labels), generator=torch.Generator().manual_seed(seed))
        self._parts = dict(zip(("train", "validation", "test"), order.split(_THIRD), strict=True))

    def __call__(self, architecture: str, report: Report = no_report) -> float:
        """Train, reporting the validation accuracy after each epoch, and return the last one.

        Raises:
            ValueError: the string denotes no architecture of the space.
        """
        return self.accuracy(self.train(architecture, report), "validation")

    def test_accuracy(self, architecture: str) -> float:
        """The accuracy on the test images of the network whose validation accuracy is the score; it is trained again.

        Raises:
            ValueError: the string denotes no architecture of the space.
        """
        return self.accuracy(self.train(architecture), "test")

    def train(self, architecture: str, report: Report = no_report) -> Network:
        """The trained network, in evaluation mode; ``report`` is told the validation accuracy after each epoch.

        Raises:
            ValueError: the string denotes no architecture of the space.
        """
        arch, settings = self.space.parse([architecture]), self.settings
        training = self._parts["train"]
        shuffling = torch.Generator().manual_seed(self.seed)
        with _one_thread(), seeded(self.seed):
            model = network(self.space.name, arch, width=settings.width, depth=settings.depth, classes=10)
            optimizer = torch.optim.SGD(
                model.parameters(),
                settings.learning_rate,
                settings.momentum,
                weight_decay=settings.weight_decay,
                nesterov=settings.momentum > 0,
            )
            steps = settings.epochs * len(training.split(settings.batch_size))
            schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
            for epoch in range(1, settings.epochs + 1):
                model.train()
                order = torch.randperm(len(training), generator=shuffling)
                for rows in training[order].split(settings.batch_size):
                    optimizer.zero_grad()
                    cross_entropy(model(self._images[rows]), self._labels[rows]).backward()
                    optimizer.step()
                    schedule.step()
                model.eval()
                report(epoch, self.accuracy(model, "validation"))
        return model

    def accuracy(self, model: Network, part: Part) -> float:
        """The share of the images of a part whose digit a network recognises."""
        rows = self._parts[part]
        with torch.no_grad():
            return (model(self._images[rows]).argmax(dim=1) == self._labels[rows]).float().mean().item()


@cache
def _digits() -> tuple[Float[Tensor, "1797 3 8 8"], Int[Tensor, " 1797"]]:
    """The images, grey in three channels, of mean 0 and variance 1; and their digits."""
    try:
        from sklearn.datasets import load_digits
    except ModuleNotFoundError:
        raise ModuleNotFoundError("the digits come with scikit-learn: pip install 'archflow[search]'") from None
    pixels, digits = load_digits(return_X_y=True)
    images = torch.from_numpy(pixels).float().reshape(-1, 1, 8, 8)
    return ((images - images.mean()) / images.std()).expand(-1, 3, -1, -1).contiguous(), torch.from_numpy(digits)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Compute with one thread, so that results do not depend on their number."""
    with _ONE_AT_A_TIME:
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            yield
        finally:
            torch.set_num_threads(threads)
