"""Mutual information by nearest neighbours (Eq. 6), after Kraskov, Stögbauer and Grassberger.

Phys. Rev. E 69, 066138 (2004), the first of their two estimators, exactly: every distance is
computed, and no N x N array is held. Distances follow the precision of the samples; float32 ones
are checked against float64 on some query points, and where that shows, all are computed again.
"""

from collections.abc import Sequence
from functools import partial
from math import log

import jax
import jax.numpy as jnp
import numpy as np
from scipy.special import psi

from fedmi.mi.neighbours import tile_counts
from fedmi.mi.null import Repairing
from fedmi.mi.result import Estimate, PairEstimate, client_pairs

METRICS = ("euclidean", "chebyshev")

FEW = 8
"""Up to this many components, Euclidean distances come from differences, not from a product."""

CPU_TILE, GPU_TILE = 64, 1024
"""Query points a tile: on a CPU few enough that three clients' distances stay in its cache."""

ROUNDING = 1e-3
"""Where float32 moves an estimate by more bits than this, it is computed again in float64."""


def ceiling_bits(n: int, k: int) -> float:
    """psi(N) - psi(k + 1): what Eq. 6 reads when x and y order their neighbours alike."""
    return float((psi(n) - psi(k + 1)) / log(2))


def check(clients: Sequence[np.ndarray], names: Sequence[str], k: int, metric: str) -> None:
    """Raise ValueError if the neighbours of these samples are not well defined."""
    n = len(clients[0])
    if metric not in METRICS:
        raise ValueError(f"metric {metric!r} is not one of {', '.join(METRICS)}")
    if not (isinstance(k, (int, np.integer)) and 1 <= k < n):
        raise ValueError(f"k is {k!r}; with {n} samples it must be a whole number, 1 to {n - 1}")
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
    k: int = 3,
    metric: str = "euclidean",
) -> list[PairEstimate]:
    """Estimate every pair of clients; each tile of distances serves all pairs and re-pairings.

    Args:
        clients: Q arrays (N, p_q).
        names: of the clients in messages.
        repairing: of the seeds, for the null.
        k, metric: see `fedmi.mi.ksg`.
    """
    check(clients, names, k, metric)
    n = repairing.n
    ceiling = ceiling_bits(n, k)
    points = [centre(x) for x in clients]
    terms = local_terms(points, repairing, k=k, metric=metric)
    change = np.full(len(terms), np.nan)
    if points[0].dtype == np.float32:
        change = rounding_change(clients, repairing, terms[:, 0], k=k, metric=metric)
        if change.max() > ROUNDING:
            points = [centre(x.astype(np.float64)) for x in clients]
            terms = local_terms(points, repairing, k=k, metric=metric)
            change[:] = np.nan
    results = []
    for pair, values, rounding in zip(
        client_pairs(len(clients)), terms.mean(axis=2), change, strict=True
    ):
        estimate = Estimate(
            bits=float(values[0]),
            raw_bits=float(values[0]),
            finite_bits=float(values[0]),
            ceiling_bits=ceiling,
            n=n,
            estimator="ksg",
            metric=metric,
            k=int(k),
        )
        results.append(PairEstimate(pair, estimate, values[1:], float(rounding)))
    return results


def centre(x: np.ndarray) -> np.ndarray:
    """x less its mean, in float64 if it came so, else in float32."""
    dtype = np.float64 if x.dtype == np.float64 else np.float32
    return (x - x.mean(axis=0, dtype=np.float64)).astype(dtype)


def local_terms(
    points: Sequence[np.ndarray],
    repairing: Repairing,
    *,
    k: int,
    metric: str,
    queries: int | None = None,
) -> np.ndarray:
    """What each query point adds to Eq. 6, in bits: the estimate is the mean of its terms.

    Args:
        points: Q arrays (N, p_q); distances are computed in the wider of their precisions.
        repairing: of the seeds.
        k, metric: see `fedmi.mi.ksg`.
        queries: how many query points to take, from the start of the re-pairing's order; by
            default all N.

    Returns:
        (pairs, 1 + m, queries); index 0 of the second axis is the pairing as it is, index s
        re-pairing s.
    """
    n, m = repairing.n, repairing.m
    queries = queries or n
    double = any(x.dtype == np.float64 for x in points)
    tile = min(CPU_TILE if jax.default_backend() == "cpu" else GPU_TILE, n)
    compute = partial(
        tile_counts,
        pairs=tuple(client_pairs(len(points))),
        m=m,
        k=int(k),
        tile=tile,
        metric=metric,
        product=metric == "euclidean" and max(x.shape[1] for x in points) > FEW,
    )
    with jax.enable_x64(double):
        dtype = np.float64 if double else np.float32
        clients = tuple(jnp.asarray(repairing.extended(x), dtype) for x in points)
        tiles = [compute(clients, start) for start in range(0, queries, tile)]
        counts = np.concatenate([np.asarray(t) for t in tiles], axis=-1)[..., :queries]
    # psi(count + 1) is looked up: counts are small integers, and there are many of them.
    table = psi(np.arange(1, n + 1))
    return (psi(k) + psi(n) - table[counts].sum(axis=2)) / log(2)


def rounding_change(
    clients: Sequence[np.ndarray],
    repairing: Repairing,
    terms: np.ndarray,
    *,
    k: int,
    metric: str,
    queries: int = 128,
) -> np.ndarray:
    """By how much float32 moves the estimate of each pair, (pairs,) bits.

    Args:
        clients, k, metric: as estimated.
        repairing: in whose order the terms are.
        terms: (pairs, N) terms of Eq. 6 from float32 distances.
        queries: the first so many query points are computed again in float64.

    Returns:
        The mean absolute change of these points' terms, which bounds the change of their mean.
    """
    exact = local_terms(
        [centre(x.astype(np.float64)) for x in clients],
        Repairing(repairing.order, 0),
        k=k,
        metric=metric,
        queries=min(queries, repairing.n),
    )[:, 0]
    return np.abs(terms[:, : exact.shape[1]] - exact).mean(axis=1)
