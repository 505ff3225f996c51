"""Neighbour counts of KSG, exactly, from SciPy's k-d trees: for few components.

Trees answer in the max norm or the Euclidean one, but the joint distance (the larger of those
within x and within y) is neither where these are Euclidean. It is at least the max norm of all
components, though. So the points nearest in that norm are taken, ever more of them, until the next
one would be farther than the k-th joint neighbour among them; all distances that decide are then
computed as differences, in float64.
"""

from collections.abc import Sequence

import numpy as np
from scipy.spatial import cKDTree

from fedmi.mi.null import Repairing

MOST_COMPONENTS, MOST_NEIGHBOURS = 3, 30
"""Up to so many components of each client, and to this k, trees are used."""

REPAIRED_FROM = {1: 2_000, 2: 6_000, 3: 40_000}
"""From so many samples on they are quicker for re-pairings too, by number of components.

Without re-pairings they take a few milliseconds where all distances do, and a twentieth to a third
of the time at N = 10,000. Every re-pairing needs a tree of its own, while one tile of distances
serves them all.
"""

HAIR = 4 * np.finfo(float).eps
"""A Euclidean radius is drawn in or out by this part of it, just above its rounding."""


def worthwhile(n: int, m: int, components: int, k: int) -> bool:
    """Whether trees are quicker than all distances.

    Args:
        n, m: numbers of samples and of re-pairings.
        components: of the client that has most.
        k: the largest number of neighbours.
    """
    few = components <= MOST_COMPONENTS and k <= MOST_NEIGHBOURS
    return few and (not m or n >= REPAIRED_FROM[components])


def tree_counts(
    points: Sequence[np.ndarray],
    repairing: Repairing,
    *,
    pairs: Sequence[tuple[int, int]],
    ks: Sequence[int],
    metric: str,
    variant: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Neighbours in x and in y alone of all points, as `fedmi.mi.neighbours.tile_counts` has them.

    Args:
        points: each (N, p_q) float64.
        repairing: of the seeds.
        pairs, ks, metric, variant: as there.

    Returns:
        (pairs, 1 + m, len(ks), 2, N) counts n_x and n_y, and (pairs, 1 + m, len(ks), N) the k-th
        joint distances (not squared).
    """
    points = [x[repairing.order] for x in points]
    trees = [cKDTree(x) for x in points]
    shape = (len(pairs), 1 + repairing.m, len(ks))
    counts = np.empty((*shape, 2, repairing.n), int)
    nearest = np.empty((*shape, repairing.n))
    for p, (a, b) in enumerate(pairs):
        for s in (0, *repairing.shifts):
            x, y = points[a], np.roll(points[b], -s, axis=0)
            nearest[p, s], reach = _joint_neighbours(x, y, ks, metric)
            for i in range(len(ks)):
                for side, (tree, z) in enumerate(((trees[a], x), (trees[b], y))):
                    bound = nearest[p, s, i] if variant == 1 else reach[i, side]
                    within = _count(tree, z, bound, metric, closed=variant == 2)
                    counts[p, s, i, side] = within
    return counts, nearest


def _norm(differences: np.ndarray, metric: str) -> np.ndarray:
    if metric == "chebyshev" or differences.shape[-1] == 1:
        return np.abs(differences).max(axis=-1)
    return np.sqrt((differences**2).sum(axis=-1))


def _joint_neighbours(
    x: np.ndarray, y: np.ndarray, ks: Sequence[int], metric: str
) -> tuple[np.ndarray, np.ndarray]:
    """The k-th joint distance of every point, (len(ks), N), and how far its neighbours reach.

    The latter is (len(ks), 2, N): the largest distance in x, and in y, of the points whose joint
    distance is at most the k-th.
    """
    n, places = len(x), np.array(ks) - 1
    z = np.hstack([x, y])
    tree = cKDTree(z)
    nearest, reach = np.empty((len(ks), n)), np.empty((len(ks), 2, n))
    # The point itself, k neighbours, and one to see that there is none nearer.
    left, width = np.arange(n), max(ks) + 2
    while left.size:
        width = min(width, n)
        unsettled = []
        for part in np.array_split(left, -(-left.size * width // 2**20)):
            far, who = tree.query(z[part], width, p=np.inf, workers=-1)
            in_x, in_y = (_norm(a[who] - a[part, None], metric) for a in (x, y))
            joint = np.maximum(in_x, in_y)
            joint[who == part[:, None]] = np.inf
            kth = np.partition(joint, places, axis=1)[:, places]
            inside = joint[:, None] <= kth[..., None]
            nearest[:, part] = kth.T
            for side, within in enumerate((in_x, in_y)):
                reach[:, side, part] = np.where(inside, within[:, None], 0).max(axis=2).T
            unsettled.append(part[(far[:, -1] <= kth.max(axis=1)) & (width < n)])
        left, width = np.concatenate(unsettled), 2 * width
    return nearest, reach


def _count(
    tree: cKDTree, z: np.ndarray, bound: np.ndarray, metric: str, closed: bool
) -> np.ndarray:
    """How many other points are nearer than the bound, or at most as far where it is closed."""
    exact = metric == "chebyshev" or z.shape[1] == 1
    if exact:
        radius = bound if closed else np.nextafter(bound, 0)
    else:
        radius = bound * (1 + HAIR if closed else 1 - HAIR)
    norm = np.inf if exact else 2
    found = tree.query_ball_point(z, radius, p=norm, return_length=True, workers=-1) - 1
    return found if closed else np.where(bound > 0, found, 0)
