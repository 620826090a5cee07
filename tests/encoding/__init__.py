"""Helpers for the tests of encoders: small models, graphs without edges, and comparisons with references."""

import torch
from torch import nn

from archflow.archs.batch import ArchBatch
from archflow.encoding.base import NodeEncoder
from archflow.encoding.registry import ENCODERS, encoder, encoders
from tests.strategies import VOCABULARY

ISOLATED = [(["input", "conv", "output"], []), (["input"], []), (["pool", "input", "input"], [(2, 0)])]
CPU = torch.device("cpu")
SMALL = {name: {"hidden": 8, "layers": 3} for name in encoders()}
SMALL["mlp"] |= {"nodes": 12}
SMALL["transformer"] |= {"layers": 2, "heads": 2, "nodes": 12}
SMALL["flowerformer"] |= {"layers": 2, "heads": 2, "dropout": 0.0}
"""Settings of small encoders, for architectures of up to 12 nodes."""
OF_NODES = [name for name in encoders() if issubclass(ENCODERS[name], NodeEncoder)]
READ_THE_NUMBERING = ["mlp", "transformer"]


def batch_of(graphs):
    return ArchBatch.from_graphs(graphs, VOCABULARY)


def new(name, vocabulary=VOCABULARY, seed=0, dtype=torch.float64, **settings):
    """A small encoder in evaluation mode, with batch norm, if any, away from its initial state."""
    torch.manual_seed(seed)
    model = encoder(name, vocabulary, **{**SMALL[name], **settings}).to(dtype).eval()
    for part in model.modules():
        if isinstance(part, nn.BatchNorm1d):
            for tensor in (part.weight, part.running_var):
                tensor.data.uniform_(0.5, 2)
            for tensor in (part.bias, part.running_mean):
                tensor.data.normal_(0, 0.3)
    return model


def assert_near(found, expected, tolerance=1e-9):
    """Equal up to a tolerance relative to the largest number, or to 1 if all are smaller."""
    assert found.shape == expected.shape
    assert found.dtype == expected.dtype
    found, expected = found.detach(), expected.detach()
    assert (found - expected).abs().max() <= tolerance * max(1.0, float(expected.abs().max()))


def weighed(output):
    """A loss with a different weight for every number."""
    weights = torch.randn(output.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return (weights.to(output) * output).sum()


def gradients(parameters, output):
    """Gradients of the loss; 0 for inputs that the output does not depend on."""
    parameters = list(parameters)
    found = torch.autograd.grad(weighed(output), parameters, allow_unused=True)
    return [torch.zeros_like(p) if each is None else each for each, p in zip(found, parameters, strict=True)]


def assert_equal_to(reference, model, archs, parameters, tolerance=1e-9):
    """Outputs and gradients; ``parameters`` are the reference's in the order of the model's."""
    found, expected = model(archs), reference(archs)
    assert_near(found, expected, tolerance)
    pairs = zip(gradients(model.parameters(), found), gradients(parameters, expected), strict=True)
    for ours, theirs in pairs:
        assert_near(ours, theirs, tolerance)
