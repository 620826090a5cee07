"""Means over the several trainings of one network."""

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray


def mean_of_each(
    network: Int[ndarray, " trainings"], numbers: Float[ndarray, " trainings"]
) -> Float[ndarray, " networks"]:
    """The mean of each network's numbers that are not NaN; NaN where there are none."""
    there = ~np.isnan(numbers)
    size = int(network.max()) + 1
    sums = np.bincount(network[there], weights=numbers[there], minlength=size)
    counts = np.bincount(network[there], minlength=size)
    return np.divide(sums, counts, out=np.full(size, np.nan), where=counts > 0)
