"""Mutual information by nearest neighbours (Eq. 6), after Kraskov, Stögbauer and Grassberger.

Phys. Rev. E 69, 066138 (2004), the first of their two estimators, exactly: every distance is
computed, and no N x N array is held.
"""

from collections.abc import Sequence
from math import log

import jax
import jax.numpy as jnp
import numpy as np
from scipy.special import psi

from fedmi.mi.neighbours import tile_counts
from fedmi.mi.null import Repairing
from fedmi.mi.result import Estimate, PairEstimate

METRICS = ("euclidean", "chebyshev")

FEW = 8
"""Up to this many components, Euclidean distances come from differences, not from a product."""

TILE = 64
"""Query points a tile."""


def ceiling_bits(n: int, k: int) -> float:
    """psi(N) - psi(k + 1): what Eq. 6 reads when x and y order their neighbours alike."""
    return float((psi(n) - psi(k + 1)) / log(2))


def check(clients: Sequence[np.ndarray], names: Sequence[str], k: int, metric: str) -> None:
    """Raise ValueError if the neighbours of these samples are not well defined."""
    n = len(clients[0])
    if metric not in METRICS:
        raise ValueError(f"metric {metric!r} is not one of {', '.join(METRICS)}")
    if not (isinstance(k, (int, np.integer)) and 1 <= k < n):
        raise ValueError(f"k is {k!r}; with {n} samples it must be a whole number from 1 to {n - 1}")
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
    combinations = repairing.pairs(len(clients))
    counts = neighbour_counts(clients, repairing, k=k, metric=metric)
    # psi(n + 1) at index n, for all counts that can occur.
    table = psi(np.arange(1, n + 1))
    local = table[counts].sum(axis=2)
    bits = (psi(k) - local.mean(axis=2) + psi(n)) / log(2)
    ceiling = ceiling_bits(n, k)
    return [
        PairEstimate(
            pair,
            Estimate(
                bits=float(values[0]),
                raw_bits=float(values[0]),
                finite_bits=float(values[0]),
                ceiling_bits=ceiling,
                n=n,
                estimator="ksg",
                metric=metric,
                k=int(k),
            ),
            values[1:],
        )
        for pair, values in zip(combinations, bits, strict=True)
    ]


def neighbour_counts(
    clients: Sequence[np.ndarray], repairing: Repairing, *, k: int, metric: str
) -> np.ndarray:
    """Counts n_x(i) and n_y(i) of Eq. 6, (pairs, 1 + m, 2, N), queries in the re-pairing's order.

    float64 samples are computed in float64, others in float32.
    """
    n, m = repairing.n, repairing.m
    double = any(x.dtype == np.float64 for x in clients)
    dtype = np.float64 if double else np.float32
    tile = min(TILE, n)
    product = metric == "euclidean" and max(x.shape[1] for x in clients) > FEW
    with jax.enable_x64(double):
        points = tuple(
            jnp.asarray(repairing.extended((x - x.mean(axis=0, dtype=np.float64)).astype(dtype)))
            for x in clients
        )
        tiles = [
            tile_counts(
                points,
                start,
                pairs=tuple(repairing.pairs(len(clients))),
                m=m,
                k=int(k),
                tile=tile,
                metric=metric,
                product=product,
            )
            for start in range(0, n, tile)
        ]
        return np.concatenate([np.asarray(t) for t in tiles], axis=-1)[..., :n]
