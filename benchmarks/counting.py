"""Counting how often something holds: many runs of one function, spread over processes."""

from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from fedmi.progress import track

Each = Callable[[Callable[[int], object], int], Iterator]
"""(function, count) -> its values for 0 .. count - 1, in order."""


@contextmanager
def spread(workers: int, unit: str) -> Iterator[Each]:
    """`Each`, by so many processes.

    Args:
        workers: processes.
        unit: what is counted while it runs.
    """
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:

        def each(function: Callable[[int], object], count: int) -> Iterator:
            found = pool.map(function, range(count), chunksize=max(count // (8 * workers), 1))
            return track(found, total=count, what="measuring", unit=unit)

        yield each


def share(held: ArrayLike, name: str) -> dict[str, float]:
    """How often something held, with Wilson's interval, as columns of that name."""
    held = np.asarray(held)
    bound = stats.binomtest(int(held.sum()), len(held)).proportion_ci(method="wilson")
    return {name: held.mean(), f"{name}_low": bound.low, f"{name}_high": bound.high}
