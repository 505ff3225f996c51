"""Mutual information by nearest neighbours (Eq. 6), after Kraskov, Stögbauer and Grassberger.

Phys. Rev. E 69, 066138 (2004), both of their estimators, exactly: no neighbour is approximate, and
no N x N array is held. For up to three components SciPy's trees find them. For more, every distance
is computed, the quick way first: by a matrix product in the precision of the samples. Such
distances round with the norms of the points, not with the distances themselves; so they are
certified (`certified_terms`), and computed again where they do not suffice, at last as differences
in float64.
"""

from collections.abc import Callable, Sequence
from functools import partial
from math import log, log2

import jax
import jax.numpy as jnp
import numpy as np
from scipy.special import gammainc, psi

from fedmi import devices
from fedmi.mi import trees
from fedmi.mi.neighbours import tile_counts
from fedmi.mi.null import Repairing
from fedmi.mi.result import Estimate, PairEstimate, client_pairs
from fedmi.mi.samples import repeats, standardised
from fedmi.mi.variants.copula import normal_scores

METRICS = ("euclidean", "chebyshev")
VARIANTS = {1: "ksg", 2: "ksg2"}
"""Kraskov's first and second estimator, and what they are called."""

SCALES: dict[str, Callable[[np.ndarray, str], np.ndarray]] = {
    "raw": lambda x, name: x,
    "standardised": lambda x, name: standardised(x.astype(np.float64), name),
    "scores": lambda x, name: normal_scores(x, name, ties="average"),
}
"""What distances are taken of. A constant component has constant scores, which add nothing."""

FEW = 8
"""Up to this many components, Euclidean distances come from differences, not from a product."""

CPU_TILE, LARGEST_TILE = 64, 4096
"""Query points a tile: on a CPU few enough that three clients' distances stay in its cache."""

ROUNDING = 1e-3
"""Where the rounding of distances moves an estimate by more bits, they are computed again."""

LEAST_SQUARE = 2.0**20 * np.finfo(np.float64).tiny
"""Below this a squared distance is unsure by a millionth: terms that small may count as zero."""

SPOT_CHECKS = 64
"""At how many query points, by each of two rules, rounding is measured (`spot_checks`)."""

GENERATORS = 16
"""Generators draw from so many fewer numbers than the precision has (JAX's normals: a sixth)."""

CHANCE, MOST_TIES = 1e-3, 0.05
"""Repeated samples are refused where as many have less than this chance, or above this share."""


def ceiling_bits(n: int, k: int) -> float:
    """psi(N) - psi(k + 1): the most that Eq. 6 reads where no distance in x equals one in y.

    Every point then has at least k - 1 others nearer than its k-th joint neighbour in x and in y,
    and at least k in one of the two. Where x and y are the same up to a rotation and a shift, as
    in I(x; x), it may be k - 1 in both, and the first estimator reads 1/k nats more,
    psi(N) - psi(k).
    """
    return float((psi(n) - psi(k + 1)) / log(2))


def check(
    clients: Sequence[np.ndarray],
    names: Sequence[str],
    ks: Sequence[int],
    metric: str,
    variant: int,
    scale: str,
) -> list[int]:
    """How many samples of each client repeat another by chance.

    Raises:
        ValueError: unknown options, or samples whose neighbours are not well defined.
    """
    n = len(clients[0])
    if variant not in VARIANTS:
        raise ValueError(f"variant is {variant!r}; Kraskov's estimators are 1 and 2")
    if metric not in METRICS:
        raise ValueError(f"metric {metric!r} is not one of {', '.join(METRICS)}")
    if scale not in SCALES:
        raise ValueError(f"scale {scale!r} is not one of {', '.join(SCALES)}")
    if not ks:
        raise ValueError("k is empty; name at least one number of neighbours")
    for k in ks:
        whole = isinstance(k, int | np.integer) and not isinstance(k, bool)
        if not (whole and 1 <= k < n):
            raise ValueError(
                f"k is {k!r}; with {n} samples it must be a whole number, 1 to {n - 1}"
            )
    ties = []
    for x, name in zip(clients, names, strict=True):
        duplicates = repeats(x)
        # The chance of as many, Poisson, if samples meet where their precision is all that is left.
        by_chance = duplicates and gammainc(duplicates, GENERATORS * expected_ties(x))
        if duplicates and (by_chance < CHANCE or duplicates > MOST_TIES * n):
            raise ValueError(
                f"{name} holds {duplicates} duplicate samples among {n}, which is more than their "
                "precision explains: the neighbours of a repeated sample are at distance zero and "
                "Eq. 6 does not hold. Drop the repetitions, or, if the values are rounded or "
                "discrete, add noise well below their resolution or use the Gaussian estimator"
            )
        ties.append(duplicates)
    return ties


def expected_ties(x: np.ndarray) -> float:
    """How many of the samples (N, p) would equal another by the rounding of their precision alone.

    Two draws of density f, rounded to steps u, are equal with probability <f u>; f is estimated
    from the distance of order statistics that are sqrt(N) apart. Components are taken to be
    independent. Values that float32 can hold are taken to be of that precision.
    """
    if x.dtype.itemsize > 4:
        with np.errstate(over="ignore"):
            single = x.astype(np.float32)
        x = single if (single == x).all() else x
    n = len(x)
    apart = int(np.ceil(np.sqrt(n)))
    ordered = np.sort(x, axis=0)
    low, high = ordered[:-apart], ordered[apart:]
    step = np.spacing(np.maximum(np.abs(low), np.abs(high))).astype(np.float64)
    with np.errstate(divide="ignore"):
        crowding = apart / n * step / (high.astype(np.float64) - low)
    return n**2 / 2 * float(np.minimum(crowding, 1).mean(axis=0).prod())


def pairs(
    clients: Sequence[np.ndarray],
    names: Sequence[str],
    repairing: Repairing,
    *,
    k: int | Sequence[int] = 3,
    metric: str = "euclidean",
    variant: int = 1,
    scale: str = "raw",
) -> list[PairEstimate]:
    """Estimate every pair of clients; a tile of distances serves all pairs, k and re-pairings.

    Args:
        clients: Q arrays (N, p_q).
        names: of the clients in messages.
        repairing: of the seeds, for the null.
        k, metric, variant, scale: see `fedmi.mi.ksg`.

    Returns:
        For every pair in turn an estimate for each k.
    """
    ks = (k,) if np.ndim(k) == 0 else tuple(k)
    ties = check(clients, names, ks, metric, variant, scale)
    n, components = repairing.n, max(x.shape[1] for x in clients)
    # In so few components differences are quick in float64 too, and are what trees compare.
    double = components <= trees.MOST_COMPONENTS or any(x.dtype.itemsize > 4 for x in clients)
    clients = [SCALES[scale](x, name) for x, name in zip(clients, names, strict=True)]
    options = dict(ks=ks, metric=metric, variant=variant)
    if trees.worthwhile(n, repairing.m, components, max(ks)):
        terms, nearest = tree_terms(clients, repairing, **options)
        single = metric == "chebyshev" or components == 1
        check_separate(nearest, sum(ties), 0.0 if single else np.sqrt(LEAST_SQUARE))
        change = np.full(terms.shape[:2], np.nan)
    else:
        terms, change = certified_terms(
            clients, repairing, np.float64 if double else np.float32, sum(ties), **options
        )
    results = []
    for p, (a, b) in enumerate(client_pairs(len(clients))):
        for i, neighbours in enumerate(ks):
            bits = terms[p, i].mean(axis=1)
            estimate = Estimate(
                bits=float(bits[0]),
                raw_bits=float(bits[0]),
                finite_bits=float(bits[0]),
                ceiling_bits=ceiling_bits(n, neighbours),
                n=n,
                estimator=VARIANTS[variant],
                metric=metric,
                k=int(neighbours),
                ties=ties[a] + ties[b],
            )
            results.append(PairEstimate((a, b), estimate, bits[1:], float(change[p, i])))
    return results


def prepared(
    clients: Sequence[np.ndarray], dtype: type, *, centred: bool = False
) -> list[np.ndarray]:
    """The samples in a common unit, a power of two, in which no squared distance overflows.

    Args:
        clients: Q arrays (N, p_q).
        dtype: of the result, in which the largest squares just fit, for small ones need the room.
        centred: whether each client is moved to its componentwise median (of a thousand samples,
            as it need not be exact): a mean would follow a single far sample.
    """
    moved = []
    for x in clients:
        x = x.astype(np.float64) / 4  # so that no difference overflows
        if centred:
            x -= np.median(x[:: max(1, len(x) // 1000)], axis=0)
        moved.append(x)
    largest = max(np.abs(x).max() for x in moved)
    components = max(x.shape[1] for x in moved)
    room = int(np.finfo(dtype).maxexp - 3 - log2(components)) // 2
    return [np.ldexp(x, room - np.frexp(largest)[1]).astype(dtype) for x in moved]


def queries_a_tile(n: int, clients: int, memory: int | None) -> int:
    """How many query points are taken together; no count depends on it.

    Args:
        n: number of points.
        clients: whose distances are held at once.
        memory: of the device in bytes, of which at most a quarter is taken; None for a CPU.
    """
    if memory is None:
        return min(CPU_TILE, n)
    a_query = 8 * n * (clients + 2)  # every client's distances, and what a pair makes of them
    return min(devices.power_of_two(memory // 4 // a_query), LARGEST_TILE, n)


def certified_terms(
    clients: Sequence[np.ndarray],
    repairing: Repairing,
    precision: type,
    ties: int,
    *,
    ks: Sequence[int],
    metric: str,
    variant: int = 1,
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
        ks, metric, variant: see `fedmi.mi.ksg`.

    Returns:
        The terms of `local_terms`, and (pairs, len(ks)) by how many bits float32 moves each
        estimate, nan where float64 was used.
    """
    options = dict(ks=ks, metric=metric, variant=variant)
    components = max(x.shape[1] for x in clients)
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


def local_terms(
    points: Sequence[np.ndarray],
    repairing: Repairing,
    *,
    ks: Sequence[int],
    metric: str,
    variant: int = 1,
    product: bool = False,
    queries: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """What each query point adds to Eq. 6, in bits: the estimate is the mean of its terms.

    Args:
        points: Q arrays (N, p_q) of one precision, in which distances are computed.
        repairing: of the seeds.
        ks: numbers of neighbours.
        metric, variant: see `fedmi.mi.ksg`.
        product: whether Euclidean distances come from a product, for which pass centred points.
        queries: places of query points in the re-pairing's order, by default all; without
            re-pairings these may be any.

    Returns:
        (pairs, len(ks), 1 + m, queries) terms, and as many k-th joint distances (squared for metric
        "euclidean"); index 0 of the third axis is the pairing as it is, index s re-pairing s.
    """
    n, m = repairing.n, repairing.m
    queries = np.arange(n) if queries is None else queries
    tile = min(queries_a_tile(n, len(points), devices.memory()), len(queries))
    compute = partial(
        tile_counts,
        pairs=tuple(client_pairs(len(points))),
        m=m,
        ks=tuple(int(k) for k in ks),
        metric=metric,
        variant=variant,
        product=product,
    )
    with jax.enable_x64(points[0].dtype == np.float64):
        clients = tuple(jnp.asarray(repairing.extended(x)) for x in points)
        tiles = [
            compute(clients, np.take(queries, np.arange(start, start + tile + m), mode="wrap"))
            for start in range(0, len(queries), tile)
        ]
        counts, nearest = (
            np.concatenate([np.asarray(part) for part in parts], axis=-1)[..., : len(queries)]
            for parts in zip(*tiles, strict=True)
        )
    return terms_of(counts, n, ks, variant), nearest.swapaxes(1, 2)


def tree_terms(
    clients: Sequence[np.ndarray],
    repairing: Repairing,
    *,
    ks: Sequence[int],
    metric: str,
    variant: int = 1,
) -> tuple[np.ndarray, np.ndarray]:
    """What `local_terms` returns for all queries (distances not squared), by trees in float64."""
    counts, nearest = trees.tree_counts(
        prepared(clients, np.float64),
        repairing,
        pairs=client_pairs(len(clients)),
        ks=ks,
        metric=metric,
        variant=variant,
    )
    return terms_of(counts, repairing.n, ks, variant), nearest.swapaxes(1, 2)


def terms_of(counts: np.ndarray, n: int, ks: Sequence[int], variant: int) -> np.ndarray:
    """Eq. 6's terms in bits, (pairs, len(ks), 1 + m, queries), from the counts of `tile_counts`."""
    # psi of counts is looked up: they are small integers, and there are many of them. The first
    # estimator counts one point fewer than lie within the ball, the second all of them, which are
    # at least the k neighbours.
    table = psi(np.arange(1, n + 1))
    shift, k = variant - 1, np.array(ks)[:, None]
    places = counts - shift
    if variant == 2:
        places = np.maximum(places, k[..., None] - 1)
    local = psi(k) - shift / k + psi(n) - table[places].sum(axis=3)
    return local.swapaxes(1, 2) / log(2)


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
    variant: int = 1,
) -> np.ndarray:
    """By how much rounding moves the estimate of each pair and k, (pairs, len(ks)) bits.

    Args:
        clients, ks, metric, variant: as estimated.
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
        variant=variant,
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
