"""KSG as one would write it with NumPy and with scikit-learn, and with NPEET, a pair at a time."""

from collections.abc import Callable

import numpy as np
from scipy.special import psi

from benchmarks.estimation import CLIENTS, UNIT, samples
from benchmarks.work import Work
from fedmi import mi
from fedmi.mi.result import client_pairs

K = 3
ROWS = 1024
"""Query points a block of distances."""


def euclidean(x: np.ndarray, queries: np.ndarray) -> np.ndarray:
    """(B, N) Euclidean distances from one matrix product, as every BLAS user writes them."""
    squares = (queries**2).sum(axis=1)[:, None] + (x**2).sum(axis=1)
    return np.sqrt(np.maximum(squares - 2 * queries @ x.T, 0))


def by_numpy(x: np.ndarray, y: np.ndarray) -> float:
    """Kraskov's first estimator, in bits, from all distances, a block of points at a time."""
    n, total = len(x), 0.0
    for start in range(0, n, ROWS):
        block = np.arange(start, min(start + ROWS, n))
        far = [euclidean(a, a[block]) for a in (x, y)]
        for distances in far:
            distances[block - start, block] = np.inf
        nearest = np.partition(np.maximum(*far), K - 1, axis=1)[:, K - 1 : K]
        total += sum(psi((distances < nearest).sum(axis=1) + 1).sum() for distances in far)
    return float((psi(K) + psi(n) - total / n) / np.log(2))


def by_scikit_learn(x: np.ndarray, y: np.ndarray) -> float:
    """The same in the max-norm, with its nearest neighbours by brute force."""
    from sklearn.neighbors import NearestNeighbors

    def neighbours(points: np.ndarray) -> NearestNeighbors:
        return NearestNeighbors(metric="chebyshev", algorithm="brute", n_jobs=-1).fit(points)

    distance = neighbours(np.hstack([x, y])).kneighbors(n_neighbors=K)[0][:, -1]
    nearer = np.nextafter(distance, 0)  # the counts are of points strictly nearer
    total = 0.0
    for points in (x, y):
        searched = neighbours(points)
        for start in range(0, len(x), ROWS):
            rows = slice(start, start + ROWS)
            far = searched.kneighbors(points[rows], len(x), return_distance=True)[0]
            total += psi((far <= nearer[rows, None]).sum(axis=1)).sum()  # itself included
    return float((psi(K) + psi(len(x)) - total / len(x)) / np.log(2))


def by_npeet(x: np.ndarray, y: np.ndarray) -> float:
    """NPEET's own, which is the same estimator in the max-norm."""
    from npeet_plus import mi as npeet

    return float(npeet(x, y, k=K))


WAYS: dict[str, Callable[[np.ndarray, np.ndarray], float]] = {
    "euclidean": by_numpy,
    "chebyshev": by_scikit_learn,
    "npeet": by_npeet,
}


def ksg(*, n: int, d: int, way: str) -> Work:
    """All three pairs by one of the ways, which first has to read what fedmi reads."""
    clients, estimate = samples(n, d), WAYS[way]
    few = [x[:200] for x in clients[:2]]
    metric = "euclidean" if way == "euclidean" else "chebyshev"
    apart = abs(estimate(*few) - mi.ksg(*few, metric=metric).bits)
    if not apart < 1e-3:
        raise ArithmeticError(f"{way} reads {apart:.2g} bits more or less than fedmi")

    def run() -> None:
        for a, b in client_pairs(CLIENTS):
            estimate(clients[a], clients[b])

    return Work(run, 1, UNIT, f"k = {K}, {metric}")
