"""Mutual information by nearest neighbours (Eq. 6), after Kraskov, Stögbauer and Grassberger.

Phys. Rev. E 69, 066138 (2004), both of their estimators, exactly: every distance is computed, and
no N x N array is held. Distances follow the precision of the samples; float32 ones
are checked against float64 on some query points, and where that shows, all are computed again.
"""

from collections.abc import Sequence
from functools import partial
from math import log

import jax
import jax.numpy as jnp
import numpy as np
from scipy.special import psi

from fedmi import devices
from fedmi.mi.neighbours import tile_counts
from fedmi.mi.null import Repairing
from fedmi.mi.result import Estimate, PairEstimate, client_pairs
from fedmi.mi.samples import standardised

METRICS = ("euclidean", "chebyshev")
VARIANTS = {1: "ksg", 2: "ksg2"}
"""Kraskov's first and second estimator, and what they are called."""

FEW = 8
"""Up to this many components, Euclidean distances come from differences, not from a product."""

CPU_TILE, LARGEST_TILE = 64, 4096
"""Query points a tile: on a CPU few enough that three clients' distances stay in its cache."""

ROUNDING = 1e-3
"""Where float32 moves an estimate by more bits than this, it is computed again in float64."""


def ceiling_bits(n: int, k: int) -> float:
    """psi(N) - psi(k + 1): what Eq. 6 reads when x and y order their neighbours alike."""
    return float((psi(n) - psi(k + 1)) / log(2))


def check(
    clients: Sequence[np.ndarray],
    names: Sequence[str],
    ks: Sequence[int],
    metric: str,
    variant: int,
) -> None:
    """Raise ValueError if the neighbours of these samples are not well defined."""
    n = len(clients[0])
    if variant not in VARIANTS:
        raise ValueError(f"variant is {variant!r}; Kraskov's estimators are 1 and 2")
    if metric not in METRICS:
        raise ValueError(f"metric {metric!r} is not one of {', '.join(METRICS)}")
    if not ks:
        raise ValueError("k is empty; name at least one number of neighbours")
    for k in ks:
        whole = isinstance(k, int | np.integer) and not isinstance(k, bool)
        if not (whole and 1 <= k < n):
            raise ValueError(
                f"k is {k!r}; with {n} samples it must be a whole number, 1 to {n - 1}"
            )
    for x, name in zip(clients, names, strict=True):
        # Adding zero turns -0.0 into 0.0, which is the same number in other bytes.
        duplicates = n - len({row.tobytes() for row in x + x.dtype.type(0)})
        if duplicates:
            raise ValueError(
                f"{name} holds {duplicates} duplicate samples among {n}: the neighbours of a "
                "repeated sample are at distance zero and Eq. 6 does not hold. Drop the "
                "repetitions, or, if the values are rounded or discrete, add noise well below "
                "their resolution or use the Gaussian estimator"
            )


def pairs(
    clients: Sequence[np.ndarray],
    names: Sequence[str],
    repairing: Repairing,
    *,
    k: int | Sequence[int] = 3,
    metric: str = "euclidean",
    variant: int = 1,
    standardise: bool = False,
) -> list[PairEstimate]:
    """Estimate every pair of clients; a tile of distances serves all pairs, k and re-pairings.

    Args:
        clients: Q arrays (N, p_q).
        names: of the clients in messages.
        repairing: of the seeds, for the null.
        k, metric, variant, standardise: see `fedmi.mi.ksg`.

    Returns:
        For every pair in turn an estimate for each k.
    """
    ks = (k,) if np.ndim(k) == 0 else tuple(k)
    check(clients, names, ks, metric, variant)
    n = repairing.n
    if standardise:
        clients = [standardised(x, name) for x, name in zip(clients, names, strict=True)]
    options = dict(ks=ks, metric=metric, variant=variant)
    points = [centre(x) for x in clients]
    terms = local_terms(points, repairing, **options)
    change = np.full(terms.shape[:2], np.nan)
    if points[0].dtype == np.float32:
        change = rounding_change(clients, repairing, terms[:, :, 0], **options)
        if change.max() > ROUNDING:
            points = [centre(x.astype(np.float64)) for x in clients]
            terms = local_terms(points, repairing, **options)
            change[:] = np.nan
    results = []
    for p, pair in enumerate(client_pairs(len(clients))):
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
            )
            results.append(PairEstimate(pair, estimate, bits[1:], float(change[p, i])))
    return results


def centre(x: np.ndarray) -> np.ndarray:
    """x less its mean, in float64 if it came so, else in float32."""
    dtype = np.float64 if x.dtype == np.float64 else np.float32
    return (x - x.mean(axis=0, dtype=np.float64)).astype(dtype)


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


def local_terms(
    points: Sequence[np.ndarray],
    repairing: Repairing,
    *,
    ks: Sequence[int],
    metric: str,
    variant: int = 1,
    queries: int | None = None,
) -> np.ndarray:
    """What each query point adds to Eq. 6, in bits: the estimate is the mean of its terms.

    Args:
        points: Q arrays (N, p_q); distances are computed in the wider of their precisions.
        repairing: of the seeds.
        ks: numbers of neighbours.
        metric, variant: see `fedmi.mi.ksg`.
        queries: how many query points to take, from the start of the re-pairing's order; by
            default all N.

    Returns:
        (pairs, len(ks), 1 + m, queries); index 0 of the third axis is the pairing as it is, index
        s re-pairing s.
    """
    n, m = repairing.n, repairing.m
    queries = queries or n
    double = any(x.dtype == np.float64 for x in points)
    tile = queries_a_tile(n, len(points), devices.memory())
    compute = partial(
        tile_counts,
        pairs=tuple(client_pairs(len(points))),
        m=m,
        ks=tuple(int(k) for k in ks),
        tile=tile,
        metric=metric,
        variant=variant,
        product=metric == "euclidean" and max(x.shape[1] for x in points) > FEW,
    )
    with jax.enable_x64(double):
        dtype = np.float64 if double else np.float32
        clients = tuple(jnp.asarray(repairing.extended(x), dtype) for x in points)
        tiles = [compute(clients, start) for start in range(0, queries, tile)]
        counts = np.concatenate([np.asarray(t) for t in tiles], axis=-1)[..., :queries]
    # psi of counts is looked up: they are small integers, and there are many of them. The first
    # estimator counts one point fewer than lie within the ball, the second all of them.
    table = psi(np.arange(1, n + 1))
    shift, k = variant - 1, np.array(ks)[:, None]
    local = psi(k) - shift / k + psi(n) - table[counts - shift].sum(axis=3)
    return local.swapaxes(1, 2) / log(2)


def rounding_change(
    clients: Sequence[np.ndarray],
    repairing: Repairing,
    terms: np.ndarray,
    *,
    ks: Sequence[int],
    metric: str,
    variant: int = 1,
    queries: int = 128,
) -> np.ndarray:
    """By how much float32 moves the estimate of each pair and k, (pairs, len(ks)) bits.

    Args:
        clients, ks, metric, variant: as estimated.
        repairing: in whose order the terms are.
        terms: (pairs, len(ks), N) terms of Eq. 6 from float32 distances.
        queries: the first so many query points are computed again in float64.

    Returns:
        The mean absolute change of these points' terms, which bounds the change of their mean.
    """
    exact = local_terms(
        [centre(x.astype(np.float64)) for x in clients],
        Repairing(repairing.order, 0),
        ks=ks,
        metric=metric,
        variant=variant,
        queries=min(queries, repairing.n),
    )[:, :, 0]
    return np.abs(terms[:, :, : exact.shape[2]] - exact).mean(axis=2)
