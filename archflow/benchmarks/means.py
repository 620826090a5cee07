"""Means over the repeated trainings of a network."""

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray


def mean_of_each(
    network: Int[ndarray, " trainings"], numbers: Float[ndarray, " trainings"]
) -> Float[ndarray, " networks"]:
    """The mean of each network's numbers, ignoring NaN; NaN where nothing else is left."""
    known = ~np.isnan(numbers)
    size = int(network.max()) + 1
    sums = np.bincount(network[known], weights=numbers[known], minlength=size)
    counts = np.bincount(network[known], minlength=size)
    return np.divide(sums, counts, out=np.full(size, np.nan), where=counts > 0)
