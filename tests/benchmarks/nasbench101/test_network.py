import math

import pytest
import torch
from torch import nn

from archflow.archs.batch import ArchBatch
from archflow.benchmarks.nasbench101 import network as nasbench101
from archflow.benchmarks.nasbench101.space import NASBench101
from archflow.benchmarks.networks import network
from tests import shared_data
from tests.benchmarks.network_references import each
from tests.benchmarks.test_every_network import FOUR_BESIDE_EACH_OTHER, shapes

SPACE = NASBench101()


def test_channels_are_shared_out_and_what_reads_them_takes_the_first():
    # Vertices 1, 3 and 4 end in the output; 2 has as many channels as 3, the larger of its readers.
    sources = [[], [0], [0], [1, 2], [2, 3], [0, 1, 3, 4]]
    assert nasbench101.vertex_channels(sources, 128) == [0, 43, 43, 43, 42, 128]
    assert nasbench101.vertex_channels(sources, 4) == [0, 2, 1, 1, 1, 4]
    assert nasbench101.vertex_channels(sources, 3) == [0, 1, 1, 1, 1, 3]
    assert nasbench101.vertex_channels([[], [0]], 5) == [0, 5]


def test_fewer_channels_than_the_output_joins_are_refused():
    for string, least in (("0100:", 1), ("010001000:maxpool3x3", 1), (FOUR_BESIDE_EACH_OTHER, 4)):
        arch = SPACE.parse([string])
        assert shapes("nasbench101", arch, width=least)
        if least > 1:
            with pytest.raises(ValueError, match="3 channels are too few for a cell whose output joins 4 vertices"):
                shapes("nasbench101", arch, width=3)


def test_an_architecture_that_is_not_of_the_space_is_refused():
    loose = ArchBatch.from_graphs([(["input", "conv3x3-bn-relu", "output"], [(0, 2)])], SPACE.vocabulary)
    with pytest.raises(ValueError, match="architecture 0 is not of nasbench101: every vertex must lie on a path"):
        network("nasbench101", loose)


def test_norms_of_initial_weights_are_the_published_ones():
    rows = sorted(shared_data.rows("nasbench101_proxies"), key=lambda row: float(row["params"]))[:300:25]
    for row, arch in zip(rows, each(SPACE.parse([row["naslib_arch"] for row in rows])), strict=True):
        torch.manual_seed(0)
        built = network("nasbench101", arch)
        layers = [layer for layer in built.modules() if isinstance(layer, nn.Conv2d | nn.Linear)]
        # Two independent draws; the norm of normal weights of variance 2 / n has about the variance 1 / n.
        deviation = math.sqrt(2 * sum(1 / (layer.out_channels * layer.kernel_size[0] ** 2) for layer in layers[:-1]))
        norms = sum(layer.weight.norm().item() for layer in layers)
        assert norms == pytest.approx(float(row["l2_norm"]), abs=4 * deviation)
