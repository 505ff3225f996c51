"""Samples of dependent clients, and Eq. 6 as it stands."""

import numpy as np
from scipy.spatial import cKDTree
from scipy.spatial.distance import cdist
from scipy.special import psi

METRICS = ["euclidean", "chebyshev"]


def correlated(seed, n, p, q, dtype=np.float64):
    rng = np.random.default_rng(seed)
    common = rng.standard_normal((n, 1))
    x = rng.standard_normal((n, p)) + common
    y = rng.standard_normal((n, q)) + common
    return x.astype(dtype), y.astype(dtype)


def distances(x, y, metric):
    """Within x and within y, (N, N) float64 each, of a point to itself infinite."""
    both = [cdist(z, z, metric) for z in (x.astype(float), y.astype(float))]
    for far in both:
        np.fill_diagonal(far, np.inf)
    return both


def ksg_bits(x, y, k, metric):
    """Kraskov's first estimator from the full distance matrices, in float64."""
    dx, dy = distances(x, y, metric)
    nearest = np.sort(np.maximum(dx, dy), axis=1)[:, k - 1, None]
    terms = psi((dx < nearest).sum(axis=1) + 1) + psi((dy < nearest).sum(axis=1) + 1)
    return (psi(k) - terms.mean() + psi(len(x))) / np.log(2)


def tree_bits(x, y, k):
    """The same in the max norm by SciPy's trees, as it is usually done."""
    n = len(x)
    radius = cKDTree(np.hstack([x, y])).query(np.hstack([x, y]), k + 1, p=np.inf)[0][:, -1]
    inside = np.nextafter(radius, 0)
    nx, ny = (cKDTree(z).query_ball_point(z, inside, p=np.inf, return_length=True) for z in (x, y))
    return (psi(k) - (psi(nx) + psi(ny)).mean() + psi(n)) / np.log(2)
