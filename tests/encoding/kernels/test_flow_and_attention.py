"""FlowerFormer's compiled loops equal the version with PyTorch's operations, which other devices use."""

import pytest
import torch

from archflow.encoding.flowerformer import Structure
from archflow.encoding.kernels.attention import attention, plain_attention
from archflow.encoding.kernels.flow import flow, plain_flow
from tests.encoding import CPU, ISOLATED, assert_near, batch_of, weighed
from tests.strategies import random_graphs


@pytest.mark.parametrize("backward", [False, True])
@pytest.mark.parametrize("scale", [1, 1000])
def test_the_flow(backward, scale):
    """Including logits whose exponentials would overflow."""
    batch = Structure.of(batch_of([*random_graphs(10, seed=1), *ISOLATED]), CPU)
    way = (batch.successors, batch.generations[::-1]) if backward else (batch.predecessors, batch.generations)
    shapes = [(len(batch.operations), 15), (15, 5), (15,), (5,)]
    results = []
    for call in (flow, plain_flow):
        rng = torch.Generator().manual_seed(0)
        inputs = [torch.randn(shape, generator=rng, dtype=torch.float64) for shape in shapes]
        inputs[3] *= scale
        for tensor in inputs:
            tensor.requires_grad_()
        values = call(*inputs, *way)
        weighed(values).backward()
        results.append([values, *(tensor.grad for tensor in inputs)])
    for found, expected in zip(*results, strict=True):
        assert_near(found, expected)


@pytest.mark.parametrize("scale", [1, 100])
def test_the_attention(scale):
    batch = Structure.of(batch_of([*random_graphs(10, seed=1, max_nodes=20), *ISOLATED]), CPU)
    results = []
    for call in (attention, plain_attention):
        rng = torch.Generator().manual_seed(0)
        projected = scale * torch.randn((len(batch.operations), 18), generator=rng, dtype=torch.float64)
        kept = 2 * (torch.rand((len(batch.related.values), 3), generator=rng) < 0.5).double()
        seen = call(projected.requires_grad_(), kept, batch.related, batch.members)
        weighed(seen).backward()
        results.append([seen, projected.grad])
    for found, expected in zip(*results, strict=True):
        assert_near(found, expected)
