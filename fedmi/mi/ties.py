"""Repeated samples: how many there are, and how many rounding alone explains."""

import numpy as np
from scipy.special import gammainc

GENERATORS = 16
"""Generators draw from so many fewer numbers than the precision has (JAX's normals: a sixth)."""

CHANCE, MOST = 1e-3, 0.05
"""Repeated samples are refused where as many have less than this chance, or above this share."""


def repeats(array: np.ndarray) -> int:
    """How many of the samples (N, p) repeat another."""
    values, where, often = np.unique(array[:, 0], return_inverse=True, return_counts=True)
    if len(values) == len(array):
        return 0
    array = array[often[where] > 1]  # others have a first number that no other has
    # Adding zero turns -0.0 into 0.0, which is the same number in other bytes.
    return len(array) - len({row.tobytes() for row in array + array.dtype.type(0)})


def repeats_by_chance(x: np.ndarray, name: str) -> int:
    """How many samples repeat another; raises ValueError if more than their precision explains."""
    n, found = len(x), repeats(x)
    # The chance of as many, Poisson, if samples meet where their precision is all that is left.
    by_chance = found and gammainc(found, GENERATORS * expected_ties(x))
    if found and (by_chance < CHANCE or found > MOST * n):
        raise ValueError(
            f"{name} holds {found} duplicate samples among {n}, which is more than their precision "
            "explains: the neighbours of a repeated sample are at distance zero and Eq. 6 does not "
            "hold. Drop the repetitions, or, if the values are rounded or discrete, add noise well "
            "below their resolution or use the Gaussian estimator"
        )
    return found


def expected_ties(x: np.ndarray) -> float:
    """How many of the samples (N, p) would equal another by the rounding of their precision alone.

    Two draws of density f, rounded to steps u, are equal with probability <f u>; f is estimated
    from order statistics sqrt(N) apart, for independent components. Values that float32 can hold
    are taken to be of that precision.
    """
    if x.dtype.itemsize > 4:
        with np.errstate(over="ignore"):
            single = x.astype(np.float32)
        x = single if (single == x).all() else x
    n = len(x)
    apart = int(np.ceil(np.sqrt(n)))
    ordered = np.sort(x, axis=0)
    low, high = ordered[:-apart], ordered[apart:]
    step = np.spacing(np.maximum(np.abs(low), np.abs(high))).astype(np.float64)
    with np.errstate(divide="ignore"):
        crowding = apart / n * step / (high.astype(np.float64) - low)
    return n**2 / 2 * float(np.minimum(crowding, 1).mean(axis=0).prod())
