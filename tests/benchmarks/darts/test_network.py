import numpy as np
import torch
from torch import nn

from archflow.archs.batch import ArchBatch
from archflow.benchmarks.darts.space import DARTS
from archflow.benchmarks.networks import network
from tests.benchmarks.network_references import each

SPACE = DARTS()


def multiply_accumulates(network: nn.Module, size: int) -> int:
    """By the convention of ``DARTS.flops``, from the inputs and outputs of each layer."""
    counted = []

    def count(layer, inputs, output):
        made = output.numel()
        match layer:
            case nn.Conv2d():
                counted.append(made * layer.in_channels // layer.groups * layer.kernel_size[0] ** 2)
            case nn.BatchNorm2d():
                counted.append(made * (2 if layer.affine else 1))
            case nn.ReLU():
                counted.append(made)
            case nn.MaxPool2d() | nn.AvgPool2d():
                counted.append(made * 9)
            case nn.AdaptiveAvgPool2d():
                counted.append(made * (inputs[0].shape[2] + 1) * (inputs[0].shape[3] + 1))
            case nn.Linear():
                counted.append(layer.in_features * layer.out_features)
            case nn.Identity():
                pass
            case _:
                assert list(layer.children()), f"a layer that is not counted: {layer}"

    for layer in network.modules():
        layer.register_forward_hook(count)
    with torch.no_grad():
        network(torch.zeros(1, 3, size, size, device="meta"))
    return sum(counted)


def test_flops_are_those_in_closed_form():
    extremes = [[[(0, op), (1, op)] * 4] * 2 for op in range(7)]
    archs = ArchBatch.concatenate([SPACE.from_edges(np.array(extremes)), SPACE.sample(16, seed=1)])
    with torch.device("meta"):
        networks = [network("darts", arch) for arch in each(archs)]

    assert [multiply_accumulates(network, 32) for network in networks] == SPACE.flops(archs).tolist()
