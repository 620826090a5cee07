"""The compiled layer equals the version with PyTorch's operations, which other devices use."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
import torch

from archflow.archs.ragged import Ragged, offsets_of
from archflow.encoding.kernels.gated import gated_layer, plain_gated_layer


def random_layer(seed, inputs=30, outputs=50, operations=4):
    rng = np.random.default_rng(seed)
    offsets = offsets_of(rng.integers(0, 5, outputs))
    own, operation = (torch.from_numpy(rng.integers(most, size=outputs)) for most in (inputs, operations))
    return own, operation, Ragged(rng.integers(inputs, size=offsets[-1]), offsets).to("cpu")


def run(function, layer, scale, dtype, hidden=70):
    torch.manual_seed(0)
    embedded = torch.randn(4, hidden, dtype=dtype, requires_grad=True)
    projected = (scale * torch.randn(30, 4 * hidden, dtype=dtype)).requires_grad_()
    out = function(embedded, projected.clone(), *layer)
    (out * torch.randn(out.shape, dtype=dtype)).sum().backward()
    return out.detach(), embedded.grad, projected.grad


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("scale", [0.1, 1, 30])
def test_outputs_and_gradients(seed, scale):
    layer = random_layer(seed)
    for found, expected in zip(
        *(run(f, layer, scale, torch.float64) for f in (gated_layer, plain_gated_layer)), strict=True
    ):
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("scale", [1, 10, 1000])
def test_no_gate_overflows_in_single_precision(scale):
    layer = random_layer(0)
    found, expected = (run(f, layer, scale, torch.float32)[0] for f in (gated_layer, plain_gated_layer))
    assert torch.isfinite(found).all()
    if scale <= 10:
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-4)


def test_deterministic():
    layer = random_layer(1)
    for first, second in zip(*(run(gated_layer, layer, 1, torch.float32) for _ in range(2)), strict=True):
        assert torch.equal(first, second)


SCRIPT = """
import torch, archflow
archs = archflow.space("nasbench201").sample(20)
for name, threads in ("resgatedgcn", None), ("flowerformer", 2), ("resgatedgcn", 1):
    if threads:
        torch.set_num_threads(threads)
    archflow.encoder(name, archs.vocabulary, hidden=8, layers=1)(archs).sum().backward()
    import numba
    print(torch.get_num_threads(), numba.get_num_threads())
"""


def test_numba_uses_as_many_threads_as_pytorch():
    """In a separate process, as Numba starts its threads only once."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "3"}
    printed = subprocess.run(
        [sys.executable, "-c", SCRIPT], env=environment, check=True, capture_output=True, text=True
    )
    assert printed.stdout.split() == ["1", "1", "2", "2", "1", "1"]
