"""NAS-Bench-Macro (Su et al., CVPR 2021): 6,561 chains of eight blocks for CIFAR-10.

Each block is the identity or one of two inverted bottlenecks of MobileNetV2. The blocks form stages of 2, 3 and 3; the
first block of a stage doubles the channels and halves the resolution, and there the identity is a 1x1 convolution.
``20120100`` gives the block in each place as a position in ``OPERATIONS``.

Elsewhere the identity changes nothing, so 6,561 strings denote 3,969 networks. The benchmark trained each of these once
and lists its numbers under every string.
"""

from __future__ import annotations

import re

import numpy as np
from jaxtyping import Int
from numpy import ndarray

from archflow.archs.batch import ArchBatch
from archflow.benchmarks.skeleton import SharedSkeleton
from archflow.benchmarks.space import Decision

OPERATIONS = ("identity", "mb3_k3", "mb6_k5")
"""The identity; a bottleneck of expansion 3 and kernel 3; one of expansion 6 and kernel 5."""
STAGES = (2, 3, 3)
"""Blocks in each stage."""

_BLOCKS = sum(STAGES)
_BOTTLENECKS = ((3, 3), (6, 5))
"""Expansion and kernel of the operations 1 and 2."""


class NASBenchMacro(SharedSkeleton):
    """The space ``nasbench-macro``: 6,561 chains of 10 nodes over a vocabulary of 5.

    The choices are the block in each place. The benchmark lists every string separately, so each has its own key.
    """

    name = "nasbench-macro"
    vocabulary = ("input", *OPERATIONS, "output")
    decisions = tuple(Decision(f"block {number}", OPERATIONS) for number in range(1, _BLOCKS + 1))
    skeleton = tuple((node, node + 1) for node in range(_BLOCKS + 1))
    form = f"its nodes must be the input, {_BLOCKS} blocks and the output, in a chain"
    proxies = ("parameters", "flops")

    def format(self, archs: ArchBatch) -> list[str]:
        """Each chain as eight digits, e.g. ``20120100``."""
        return ["".join(map(str, chain)) for chain in self.encode(archs).tolist()]

    def parse_one(self, string: str) -> list[int]:
        """The blocks of the chain that a string denotes."""
        if not re.fullmatch(f"[0-2]{{{_BLOCKS}}}", string.strip()):
            raise ValueError(f"a network is written as {_BLOCKS} digits from 0 to 2")
        return [int(digit) for digit in string.strip()]

    def parameters(self, archs: ArchBatch) -> Int[ndarray, " archs"]:
        """Trainable parameters of the CIFAR-10 network; 387,882 to 2,932,586."""
        return self._sizes(archs)[0]

    def flops(self, archs: ArchBatch) -> Int[ndarray, " archs"]:
        """Multiply-accumulates of the CIFAR-10 network for one image; 7,713,280 to 105,660,928.

        Counted as the benchmark's own "flops" are: convolutions and the classifier without its bias, nothing else.
        """
        return self._sizes(archs)[1]

    def _sizes(self, archs: ArchBatch) -> Int[ndarray, "2 archs"]:
        """Parameters and multiply-accumulates."""
        total: Int[ndarray, "2 archs"] = _SIZES[:, np.arange(_BLOCKS), self.encode(archs)].sum(axis=-1)
        return total + _STEM_AND_HEAD[:, None]


def _sizes_in_each_place() -> Int[ndarray, "2 8 3"]:
    """Parameters and multiply-accumulates of each operation in each place."""
    sizes, channels, width = [], 32, 32
    for blocks in STAGES:
        for block in range(blocks):
            before, read = channels, width
            if block == 0:
                channels, width = 2 * channels, width // 2
            area, shortcut = width * width, before * channels if block == 0 else 0
            options = [(shortcut + 2 * channels if shortcut else 0, shortcut * area)]
            for expansion, kernel in _BOTTLENECKS:
                hidden = before * expansion
                expand, depthwise, project = before * hidden, hidden * kernel**2, hidden * channels
                norms = 4 * hidden + 2 * channels
                options.append(
                    (expand + depthwise + project + norms, expand * read * read + (depthwise + project) * area)
                )
            sizes.append(options)
    return np.array(sizes).transpose(2, 0, 1)


_SIZES = _sizes_in_each_place()
_STEM_AND_HEAD = np.array(
    [
        3 * 32 * 9 + 2 * 32 + 256 * 1280 + 2 * 1280 + 1280 * 10 + 10,
        3 * 32 * 9 * 32 * 32 + 256 * 1280 * 4 * 4 + 1280 * 10,
    ]
)
"""A 3x3 convolution from the image, then a 1x1 convolution to 1,280 channels and a linear classifier."""
