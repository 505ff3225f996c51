"""Kraskov's second estimator: rectangles around the k nearest where the first has squares.

I = psi(k) - 1/k - <psi(n_x) + psi(n_y)> + psi(N) nats (Kraskov, Stögbauer and Grassberger, Phys.
Rev. E 69, 066138 (2004), Eq. 9), where n_x(i) counts the points at most as far from x_i as the
farthest, in x, of the k joint neighbours. Its systematic error is smaller than the first one's, its
statistical error larger. Written down as it stands, in float64: no quick distances as in
`fedmi.mi.ksg`, and every re-pairing takes as long as the estimate.
"""

from collections.abc import Mapping, Sequence
from math import log, nan
from typing import Literal

import numpy as np
from scipy.spatial.distance import cdist
from scipy.special import psi

from fedmi.mi.ksg import scaled
from fedmi.mi.null import Repairing
from fedmi.mi.result import PairEstimate, client_pairs
from fedmi.mi.rounding import LEAST_SQUARE, check_separate
from fedmi.mi.terms import prepared

Norm = Literal["euclidean", "chebyshev"]

DISTANCES = 2**22
"""So many distances in x, and in y, are held at once."""


def pairs(
    clients: Mapping[str, np.ndarray],
    repairing: Repairing,
    *,
    k: int | Sequence[int] = 3,
    metric: str = "euclidean",
    scale: str = "raw",
) -> list[PairEstimate]:
    """Estimates every pair of clients for each k; options as `fedmi.mi.ksg` has them."""
    asked = scaled(clients, k, metric, scale)
    points = prepared(asked.points, np.float64)
    # Of one component they are the same, and need no squares.
    several = max(x.shape[1] for x in points) > 1
    norm = "euclidean" if several and metric == "euclidean" else "chebyshev"
    bits = []
    for a, b in client_pairs(len(points)):
        both = asked.ties[a] + asked.ties[b]
        others = (points[b][order] for order in repairing.pairings)
        bits.append(np.stack([_bits(points[a], y, asked.ks, norm, both) for y in others], axis=1))
    return asked.estimates("ksg2", bits, np.full((len(bits), len(asked.ks)), nan))


def _bits(x: np.ndarray, y: np.ndarray, ks: Sequence[int], norm: Norm, ties: int) -> np.ndarray:
    """The estimate for every k, (len(ks),)."""
    n, places = len(x), np.array(ks) - 1
    nearest, counts = np.empty((len(ks), n)), np.empty((len(ks), 2, n), int)
    rows = max(1, DISTANCES // n)
    for part in (np.arange(n)[start : start + rows] for start in range(0, n, rows)):
        far = np.stack([cdist(z[part], z, norm) for z in (x, y)])
        far[:, np.arange(len(part)), part] = np.inf
        joint = far.max(axis=0)
        nearest[:, part] = np.partition(joint, places, axis=1)[:, places].T
        for i, bound in enumerate(nearest[:, part]):
            reach = np.where(joint <= bound[:, None], far, 0).max(axis=2, keepdims=True)
            counts[i][:, part] = (far <= reach).sum(axis=2)
    check_separate(nearest, ties, np.sqrt(LEAST_SQUARE) if norm == "euclidean" else 0.0)
    k = np.array(ks)
    local = psi(counts).sum(axis=1).mean(axis=1)
    return (psi(k) - 1 / k - local + psi(n)) / log(2)
