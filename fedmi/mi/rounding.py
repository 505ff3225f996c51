"""Distances that are as precise as Eq. 6 needs.

The quick way comes first: a matrix product in the precision of the samples. Such distances round
with the norms of the points, not with the distances themselves; so they are certified, and computed
again where they do not suffice, at last as differences in float64.
"""

from collections.abc import Sequence

import numpy as np

from fedmi.mi import trees
from fedmi.mi.null import Repairing
from fedmi.mi.result import client_pairs
from fedmi.mi.terms import local_terms, prepared, tree_terms

FEW = 8
"""Up to this many components, Euclidean distances come from differences, not from a product."""

ROUNDING = 1e-3
"""Where the rounding of distances moves an estimate by more bits, they are computed again."""

LEAST_SQUARE = 2.0**20 * np.finfo(np.float64).tiny
"""Below this a squared distance is unsure by a millionth: terms that small may count as zero."""

SPOT_CHECKS = 64
"""At how many query points, by each of two rules, rounding is measured (`spot_checks`)."""


def certified_terms(
    clients: Sequence[np.ndarray],
    repairing: Repairing,
    precision: type,
    ties: int,
    *,
    ks: Sequence[int],
    metric: str,
) -> tuple[np.ndarray, np.ndarray]:
    """What each point adds to Eq. 6, from distances that are as precise as the estimate needs.

    The quick ways come first: float32 if the samples are, and a product of matrices. What they give
    is used where rounding moves an estimate by at most `ROUNDING` bits: by theory, in float64 and
    for every point, or as measured on some. Where distances are not resolved at all at more than
    that share of the points, nothing is measured.

    Args:
        clients: Q arrays (N, p_q).
        repairing: of the seeds.
        precision: in which to begin, float32 or float64.
        ties: how many samples repeat another.
        ks: numbers of neighbours.
        metric: within x and within y, "euclidean" or "chebyshev".

    Returns:
        The terms of `local_terms`, and (pairs, len(ks)) by how many bits float32 moves each
        estimate, nan where float64 was used.
    """
    options = dict(ks=ks, metric=metric)
    components = max(x.shape[1] for x in clients)
    if trees.worthwhile(repairing.n, repairing.m, components, max(ks)):
        terms, nearest = tree_terms(clients, repairing, **options)
        rooted = metric == "euclidean" and components > 1
        check_separate(nearest, ties, np.sqrt(LEAST_SQUARE) if rooted else 0.0)
        return terms, np.full(terms.shape[:2], np.nan)
    multiply = metric == "euclidean" and components > FEW
    ways = [(precision, multiply), (np.float64, multiply), (np.float64, False)]
    for dtype, product in dict.fromkeys(ways):
        points = prepared(clients, dtype, centred=product)
        terms, nearest = local_terms(points, repairing, product=product, **options)
        change = np.full(terms.shape[:2], np.nan)
        if (dtype, product) == ways[-1]:
            check_separate(nearest, ties, 0.0 if metric == "chebyshev" else LEAST_SQUARE)
            break
        unclear = blur(points, repairing, nearest, metric, product)
        unresolved = unclear.mean(axis=-1).max()
        # Within r of a distance's square lie about r d / 2 of the points within it, in x and in y;
        # a sum over d components rounds by up to sqrt(d) eps or so.
        if dtype == np.float64 and 2 * components**1.5 * unresolved <= ROUNDING:
            break
        if unresolved <= ROUNDING:
            risk = unclear.max(axis=(0, 1, 2))
            moved = rounding_change(clients, repairing, terms[:, :, 0], risk, **options)
            if moved.max() <= ROUNDING:
                change = moved if dtype == np.float32 else change
                break
    return terms, change


def blur(
    points: Sequence[np.ndarray],
    repairing: Repairing,
    nearest: np.ndarray,
    metric: str,
    product: bool,
) -> np.ndarray:
    """The rounding of distances near the k-th joint one, as a part of it; 1 where it is all of it.

    A product rounds the square of a distance to eps times the squared norms, differences round it
    to eps times itself. The distances of a far point crowd within what is usual between points, so
    there rounding is measured against that.

    Args:
        points, repairing, metric, product: as `local_terms` takes them.
        nearest: the distances that it returns.

    Returns:
        Of the same shape; 1 as well where the distance has become zero.
    """
    if metric == "euclidean":
        nearest = np.sqrt(nearest)
    square = nearest**2
    if product:
        norms = [np.einsum("ij,ij->i", x, x)[repairing.order] for x in points]
        square = np.stack(
            [
                [norms[a] + np.roll(norms[b], -s) for s in range(1 + repairing.m)]
                for a, b in client_pairs(len(points))
            ]
        )[:, None]
    resolved = np.minimum(nearest, np.median(nearest, axis=-1, keepdims=True))
    with np.errstate(divide="ignore", invalid="ignore"):
        part = np.finfo(points[0].dtype).eps * (square / nearest) / resolved
    return np.where(part < 1, part, 1)


def spot_checks(risk: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Points at which rounding is measured, and what part of all points each stands for.

    The points are ordered by risk and cut into strata, of each of which one is drawn: half of the
    cuts are evenly spaced, and half evenly in the logarithm of the rank, so that the few points at
    most risk are all taken and no smaller or larger share of points at risk is passed over.
    """
    n, draw = len(risk), np.random.default_rng(0)
    order = draw.permutation(n)
    order = order[np.argsort(-risk[order], kind="stable")]
    even = np.linspace(0, n, SPOT_CHECKS + 1)
    cuts = np.unique(np.r_[even, np.geomspace(1, n, SPOT_CHECKS)].astype(int))
    return order[draw.integers(cuts[:-1], cuts[1:])], np.diff(cuts) / n


def rounding_change(
    clients: Sequence[np.ndarray],
    repairing: Repairing,
    terms: np.ndarray,
    risk: np.ndarray,
    *,
    ks: Sequence[int],
    metric: str,
) -> np.ndarray:
    """By how much rounding moves the estimate of each pair and k, (pairs, len(ks)) bits.

    Args:
        clients, ks, metric: as estimated.
        repairing: in whose order the terms are.
        terms: (pairs, len(ks), N) terms of Eq. 6 that rounded distances gave.
        risk: (N,) of the points that rounding changes theirs.

    Returns:
        The mean absolute change of the terms, which bounds the change of their mean, from some
        points at which they are computed from differences in float64.
    """
    chosen, weights = spot_checks(risk)
    exact, _ = local_terms(
        prepared(clients, np.float64),
        Repairing(repairing.order, 0),
        ks=ks,
        metric=metric,
        queries=chosen,
    )
    return np.abs(terms[:, :, chosen] - exact[:, :, 0]) @ weights


def check_separate(nearest: np.ndarray, ties: int, least: float = 0.0) -> None:
    """Raise ValueError if distances have become zero at more points than repeat another.

    Args:
        nearest: k-th joint distances, in float64.
        ties: how many samples repeat another.
        least: distances up to it, of whose squares digits are lost, count as zero.
    """
    zero = (nearest[:, :, 0] <= least).sum(axis=-1).max()
    if zero > 2 * ties:
        raise ValueError(
            f"{zero} samples are nearer to their neighbours than float64 can tell beside the "
            'largest value; leave the far samples out, or pass scale="scores"'
        )
