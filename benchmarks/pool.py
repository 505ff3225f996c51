"""Many runs of one function, spread over processes."""

from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context

from fedmi.progress import track

Each = Callable[[Callable[[int], object], int], Iterator]


@contextmanager
def spread(workers: int, unit: str) -> Iterator[Each]:
    """A function (function, count) -> its values for 0 .. count - 1, in order.

    Args:
        workers: processes.
        unit: what is counted while it runs.
    """
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:

        def each(function: Callable[[int], object], count: int) -> Iterator:
            found = pool.map(function, range(count), chunksize=max(count // (8 * workers), 1))
            return track(found, total=count, what="measuring", unit=unit)

        yield each
