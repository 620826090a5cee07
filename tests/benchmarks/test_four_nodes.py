"""Stand-ins of cells; which those of a space are, the tests of its networks say."""

import pytest

import archflow
from archflow.archs.batch import ArchBatch
from archflow.benchmarks.networks import family


@pytest.mark.parametrize("space", ["nasbench201", "transnas101-micro"])
def test_representatives_do_not_depend_on_the_batch(space):
    archs, representatives = archflow.space(space).sample(50, seed=3), family(space).representatives
    together = representatives(archs)
    assert ArchBatch.concatenate([representatives(archs[[row]]) for row in range(50)]) == together
    assert representatives(together) == together
