"""Distances that are as precise as Eq. 6 needs.

Those of a matrix product round with the norms of the points, not with the distances themselves; so
they are certified, and computed again where they do not suffice, at last as differences in float64.
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
"""At how many query points, by each of two rules, rounding is measured."""


def ways_of(precision: type, components: int, metric: str) -> list[tuple[type, bool]]:
    """How distances may be computed: in which precision, and whether by a product; the best last.

    Args:
        precision: in which to begin, float32 or float64.
        components: the most that a client has.
        metric: "euclidean" or "chebyshev".
    """
    multiply = metric == "euclidean" and components > FEW
    return list(dict.fromkeys([(precision, multiply), (np.float64, multiply), (np.float64, False)]))


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
    for every point, or as measured on some.

    Args:
        precision: in which to begin, float32 or float64.
        ties: how many samples repeat another.

    Returns:
        The terms of `local_terms`, and (pairs, len(ks)) by how many bits float32 moves each
        estimate, nan where float64 was used.
    """
    components = max(x.shape[1] for x in clients)
    if trees.worthwhile(repairing.n, repairing.m, components, max(ks)):
        terms, nearest = tree_terms(clients, repairing, ks=ks, metric=metric)
        rooted = metric == "euclidean" and components > 1
        check_separate(nearest[:, :, 0], ties, np.sqrt(LEAST_SQUARE) if rooted else 0.0)
        return terms, np.full(terms.shape[:2], np.nan)
    ways = ways_of(precision, components, metric)
    for dtype, product in ways:
        points = prepared(clients, dtype, centred=product)
        terms, nearest = local_terms(points, repairing, ks=ks, metric=metric, product=product)
        change = np.full(terms.shape[:2], np.nan)
        if (dtype, product) == ways[-1]:
            check_separate(nearest[:, :, 0], ties, 0.0 if metric == "chebyshev" else LEAST_SQUARE)
            break
        unclear = blur(points, repairing, nearest, metric, product)
        unresolved = unclear.mean(axis=-1).max()
        # Within r of a distance's square lie about r d / 2 of the points within it, in x and in y;
        # a sum over d components rounds by up to sqrt(d) eps or so.
        if dtype == np.float64 and 2 * components**1.5 * unresolved <= ROUNDING:
            break
        if unresolved <= ROUNDING:
            risk = unclear.max(axis=(0, 1, 2))
            moved = rounding_change(clients, repairing, terms[:, :, 0], risk, ks=ks, metric=metric)
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

    A product rounds the square of a distance to eps times the squared norms, differences to eps
    times itself. Distances of a far point crowd within what is usual between points, so there
    rounding is measured against that.

    Args and shape as `local_terms` has them; 1 as well where the distance has become zero.
    """
    if metric == "euclidean":
        nearest = np.sqrt(nearest)
    square = nearest**2
    if product:
        norms = [np.einsum("ij,ij->i", x, x)[repairing.order] for x in points]
        pairs, shifts = client_pairs(len(points)), range(1 + repairing.m)
        sums = [[norms[a] + np.roll(norms[b], -s) for s in shifts] for a, b in pairs]
        square = np.stack(sums)[:, None]
    resolved = np.minimum(nearest, np.median(nearest, axis=-1, keepdims=True))
    with np.errstate(divide="ignore", invalid="ignore"):
        part = np.finfo(points[0].dtype).eps * (square / nearest) / resolved
    return np.where(part < 1, part, 1)


def spot_checks(risk: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Points at which rounding is measured, and what part of all points each stands for.

    Ordered by risk the points are cut into strata, evenly and evenly in the logarithm of the rank,
    and one is drawn of each: so the few at most risk are all taken, and no share is passed over.
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

    The mean absolute change of the terms, which bounds the change of their mean, from some points
    at which they are computed from differences in float64.

    Args:
        terms: (pairs, len(ks), N) terms of Eq. 6 that rounded distances gave.
        risk: (N,) of the points that rounding changes theirs.
    """
    chosen, weights = spot_checks(risk)
    points, unpaired = prepared(clients, np.float64), Repairing(repairing.order, 0)
    exact, _ = local_terms(points, unpaired, ks=ks, metric=metric, queries=chosen)
    return np.abs(terms[:, :, chosen] - exact[:, :, 0]) @ weights


def check_separate(nearest: np.ndarray, ties: int, least: float) -> None:
    """Raise ValueError if distances have become zero at more points than repeat another.

    Args:
        nearest: (..., N) k-th joint distances of the samples as they are paired, in float64.
        least: distances up to it, of whose squares digits are lost, count as zero.
    """
    zero = (nearest <= least).sum(axis=-1).max()
    if zero > 2 * ties:
        raise ValueError(
            f"{zero} samples are nearer to their neighbours than float64 can tell beside the "
            'largest value; leave the far samples out, or pass scale="scores"'
        )
