"""KSG with SciPy's trees, in the usual way: max-norm everywhere, one pair at a time."""

from time import perf_counter

import numpy as np
from scipy.spatial import cKDTree
from scipy.special import psi

from benchmarks.estimation import CLIENTS, UNIT, samples
from benchmarks.work import Work
from fedmi.mi.result import client_pairs


def ksg_bits(x: np.ndarray, y: np.ndarray, k: int = 3, workers: int = 1) -> float:
    """Kraskov's first estimator, in bits, in the max-norm, with k-d trees."""
    n = len(x)
    z = np.hstack([x, y])
    distance = cKDTree(z).query(z, k + 1, p=np.inf, workers=workers)[0][:, -1]
    nearer = np.nextafter(distance, 0)  # the counts are of points strictly nearer
    counts = [
        cKDTree(a).query_ball_point(a, nearer, p=np.inf, workers=workers, return_length=True)
        for a in (x, y)
    ]  # each point counts itself, as psi(n_x + 1) asks for
    return float((psi(k) + psi(n) - sum(psi(c).mean() for c in counts)) / np.log(2))


def ksg(*, n: int, d: int, limit: float, workers: int) -> Work:
    """All three pairs at doubling N until a minute or so is over, then extrapolated to n.

    Args:
        n, d: number and dimension of the samples.
        limit: seconds that all of it may take.
        workers: threads.
    """
    clients = [x.astype(np.float64) for x in samples(n, d)]

    def once(size: int) -> float:
        started = perf_counter()
        for a, b in client_pairs(CLIENTS):
            ksg_bits(clients[a][:size], clients[b][:size], workers=workers)
        return perf_counter() - started

    def run() -> dict[str, float | str]:
        sizes = [64, 128]
        seconds = [once(size) for size in sizes]
        while 2 * sizes[-1] <= n and sum(seconds) + 4 * seconds[-1] <= limit:
            sizes.append(2 * sizes[-1])
            seconds.append(once(sizes[-1]))
        growth = np.polyfit(np.log(sizes[-3:]), np.log(seconds[-3:]), 1)[0]
        note = (
            f"SciPy's cKDTree, max-norm, {workers} thread(s); measured at N = {sizes[-1]:,} in "
            f"{seconds[-1]:.1f} s, extrapolated by its own growth, N^{growth:.2f}"
        )
        return dict(seconds=seconds[-1] * (n / sizes[-1]) ** growth, note=note)

    return Work(run, 1, UNIT)
