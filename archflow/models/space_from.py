"""``archflow.space_from``: a function's space, known by its name, and its networks for measured zero-cost proxies."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from archflow.archs.batch import ArchBatch
from archflow.benchmarks.network import Network
from archflow.benchmarks.networks import NETWORKS
from archflow.benchmarks.record import NetworkFamily
from archflow.benchmarks.registry import SPACES
from archflow.models.built import Build
from archflow.models.function_space import FunctionSpace


def space_from(build: Build, example_input: Tensor | tuple[Any, ...], name: str = "models") -> FunctionSpace:
    """The search space of the models that a function builds.

    >>> def build(choose):
    ...     width = choose.integer("width", 8, 64)
    ...     kernel = choose.categorical("kernel", [3, 5, 7])
    ...     layers = [nn.Conv2d(3, width, kernel), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    ...     return nn.Sequential(*layers, nn.Linear(width, 10))
    >>> space = archflow.space_from(build, torch.zeros(1, 3, 32, 32), name="mine")
    >>> archs = space.sample(100)
    >>> archflow.Ranker(None, space=space).fit(archs[:20], accuracy)

    The space is registered under its name, so saved rankers and the command line (``--plugin FILE``) find it. Where
    the models take square images of 1 or 3 channels and end in a linear layer, ``archflow.proxies(name, archs)``
    measures them.

    Args:
        build: makes an ``nn.Module`` from the answers of ``choose``: :class:`archflow.models.choices.Choices`.
        example_input: a tensor, or a tuple of what the models take; only its shape and type matter, not its values.
        name: of the space.

    Raises:
        ValueError: archflow has a space of that name; the function asks for no choice, for one with options that are no
            strings, numbers or truth values, or for other ones when it is called again; or nearly all models fail.
    """
    if name in SPACES.own:
        raise ValueError(f"archflow already has a space '{name}'; choose another name")
    space = FunctionSpace(build, example_input, name)
    SPACES.register(name, lambda: space)
    NETWORKS.pop(name, None)
    if isinstance(example_input, Tensor) and example_input.dim() == 4:
        _, channels, height, width = example_input.shape
        model = space.model(space.sample(1))
        linear = [part for part in model.modules() if isinstance(part, nn.Linear)]
        if height == width and channels in (1, 3) and linear:
            family = NetworkFamily(partial(_network, space), _itself, 1, 1, linear[-1].out_features, height)
            NETWORKS.register(name, family)
    return space


class ModelNetwork(Network):
    """A model as the proxies see it: its last linear layer is the classifier, what that reads are the features."""

    def __init__(self, model: nn.Module, channels: int) -> None:
        super().__init__()
        linear = [part for part in model.modules() if isinstance(part, nn.Linear)]
        if not linear:
            raise ValueError("the model has no linear layer to take for its classifier")
        self.model, self.channels = model, channels
        self.classifier = linear[-1]

    def features(self, images: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, batch * shape]:
        """What the classifier reads."""
        read: list[Tensor] = []
        handle = self.classifier.register_forward_pre_hook(lambda _, inputs: read.append(inputs[0]))
        try:
            self(images)
        finally:
            handle.remove()
        return read[-1]

    def forward(self, images: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch classes"]:
        """The model's output."""
        logits: Tensor = self.model(images[:, : self.channels])
        return logits


def _network(space: FunctionSpace, arch: ArchBatch, width: int, depth: int, classes: int) -> Network:
    """The model of an architecture; its sizes are its choices, so width, depth and classes are not used."""
    assert isinstance(space.example_input, torch.Tensor)
    return ModelNetwork(space.model(arch), space.example_input.shape[1])


def _itself(archs: ArchBatch) -> ArchBatch:
    return archs
