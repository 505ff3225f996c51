"""Neighbour counts of KSG, exactly, from SciPy's k-d trees: for few components.

Trees answer in the max norm or the Euclidean one, but the joint distance (the larger of those
within x and within y) is neither where these are Euclidean. It is at least the max norm of all
components, though. So the points nearest in that norm are taken, ever more of them, until the next
one would be farther than the k-th joint neighbour among them; all distances that decide are then
computed as differences, in float64.
"""

from collections.abc import Sequence

import numpy as np
from scipy.spatial import KDTree

from fedmi.mi.null import Repairing
from fedmi.mi.result import client_pairs

MOST_COMPONENTS, MOST_NEIGHBOURS = 3, 30
"""Up to so many components of each client, and to this k, trees are used."""

REPAIRED_FROM = {1: 2_000, 2: 6_000, 3: 40_000}
"""From so many samples on they are quicker for re-pairings too, by number of components.

Without re-pairings they take a few milliseconds where all distances do, and a twentieth to a third
of the time at N = 10,000. Every re-pairing needs a tree of its own, while one tile of distances
serves them all.
"""

HAIR = 4 * np.finfo(float).eps
"""A Euclidean radius is drawn in by this part of it, just above its rounding."""


def worthwhile(n: int, m: int, components: int, k: int) -> bool:
    """Whether trees are quicker than all distances, for so many components and at most k."""
    few = components <= MOST_COMPONENTS and k <= MOST_NEIGHBOURS
    return few and (not m or n >= REPAIRED_FROM[components])


def tree_counts(
    points: Sequence[np.ndarray], repairing: Repairing, *, ks: Sequence[int], metric: str
) -> tuple[np.ndarray, np.ndarray]:
    """Neighbours in x and in y alone, strictly nearer than the k-th joint one, of all points.

    What `fedmi.mi.neighbours.tile_counts` returns, but distances are not squared.
    """
    points = [x[repairing.order] for x in points]
    trees = [KDTree(x) for x in points]
    pairs = client_pairs(len(points))
    nearest = np.empty((len(pairs), 1 + repairing.m, len(ks), repairing.n))
    counts = np.empty((*nearest.shape[:3], 2, repairing.n), int)
    for p, (a, b) in enumerate(pairs):
        for s in range(1 + repairing.m):
            x, y = points[a], np.roll(points[b], -s, axis=0)
            nearest[p, s] = _joint_kth(x, y, ks, metric)
            for i, bound in enumerate(nearest[p, s]):
                counts[p, s, i, 0] = _nearer(trees[a], x, bound, metric)
                counts[p, s, i, 1] = _nearer(trees[b], y, bound, metric)
    return counts, nearest


def _norm(differences: np.ndarray, metric: str) -> np.ndarray:
    if metric == "chebyshev" or differences.shape[-1] == 1:
        return np.abs(differences).max(axis=-1)
    return np.sqrt((differences**2).sum(axis=-1))


def _joint_kth(x: np.ndarray, y: np.ndarray, ks: Sequence[int], metric: str) -> np.ndarray:
    """The k-th joint distance of every point, (len(ks), N)."""
    n, places = len(x), np.array(ks) - 1
    z = np.hstack([x, y])
    tree = KDTree(z)
    nearest = np.empty((len(ks), n))
    # The point itself, k neighbours, and one to see that there is none nearer.
    left, width = np.arange(n), max(ks) + 2
    while left.size:
        width = min(width, n)
        unsettled = []
        for part in np.array_split(left, -(-left.size * width // 2**20)):
            far, who = tree.query(z[part], width, p=np.inf, workers=-1)
            joint = np.maximum(*(_norm(a[who] - a[part, None], metric) for a in (x, y)))
            joint[who == part[:, None]] = np.inf
            kth = np.partition(joint, places, axis=1)[:, places]
            nearest[:, part] = kth.T
            unsettled.append(part[(far[:, -1] <= kth.max(axis=1)) & (width < n)])
        left, width = np.concatenate(unsettled), 2 * width
    return nearest


def _nearer(tree: KDTree, z: np.ndarray, bound: np.ndarray, metric: str) -> np.ndarray:
    """How many other points are nearer than the bound, (N,)."""
    exact = metric == "chebyshev" or z.shape[1] == 1
    radius, norm = (np.nextafter(bound, 0), np.inf) if exact else (bound * (1 - HAIR), 2)
    found = tree.query_ball_point(z, radius, p=norm, return_length=True, workers=-1) - 1
    return np.where(bound > 0, found, 0)
