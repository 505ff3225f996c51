"""Mutual information by nearest neighbours (Eq. 6), after Kraskov, Stögbauer and Grassberger.

Phys. Rev. E 69, 066138 (2004), the first of their estimators, exactly: no neighbour is approximate,
and no N x N array is held. For up to three components SciPy's trees find the neighbours
(`fedmi.mi.trees`). For more, every distance is computed (`fedmi.mi.neighbours`), as precisely as
the estimate needs (`fedmi.mi.rounding`).
"""

from collections.abc import Callable, Sequence
from math import log

import numpy as np
from scipy.special import psi

from fedmi.mi import trees
from fedmi.mi.null import Repairing
from fedmi.mi.result import Estimate, PairEstimate, client_pairs
from fedmi.mi.rounding import certified_terms
from fedmi.mi.samples import normal_scores, standardised
from fedmi.mi.ties import repeats_by_chance

METRICS = ("euclidean", "chebyshev")

SCALES: dict[str, Callable[[np.ndarray, str], np.ndarray]] = {
    "raw": lambda x, name: x,
    "standardised": lambda x, name: standardised(x.astype(np.float64), name),
    "scores": lambda x, name: normal_scores(x, name, ties="average"),
}
"""What distances are taken of. A constant component has constant scores, which add nothing."""


def ceiling_bits(n: int, k: int) -> float:
    """psi(N) - psi(k + 1): the most that Eq. 6 reads where no distance in x equals one in y.

    Every point then has at least k - 1 others nearer than its k-th joint neighbour in x and in y,
    and at least k in one of the two. Where x and y are the same up to a rotation and a shift, as
    in I(x; x), it may be k - 1 in both, and the first estimator reads 1/k nats more,
    psi(N) - psi(k).
    """
    return float((psi(n) - psi(k + 1)) / log(2))


def check(ks: Sequence[int], n: int, metric: str, scale: str) -> None:
    """Raises ValueError for options that cannot be used with n samples."""
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


def pairs(
    clients: Sequence[np.ndarray],
    names: Sequence[str],
    repairing: Repairing,
    *,
    k: int | Sequence[int] = 3,
    metric: str = "euclidean",
    scale: str = "raw",
) -> list[PairEstimate]:
    """Estimate every pair of clients; a tile of distances serves all pairs, k and re-pairings.

    Args:
        clients: Q arrays (N, p_q).
        names: of the clients in messages.
        repairing: of the seeds, for the null.
        k, metric, scale: as `fedmi.mi.ksg` takes them.

    Returns:
        For every pair in turn an estimate for each k.
    """
    ks = (k,) if np.ndim(k) == 0 else tuple(k)
    check(ks, repairing.n, metric, scale)
    ties = [repeats_by_chance(x, name) for x, name in zip(clients, names, strict=True)]
    # In so few components differences are quick in float64 too, and are what trees compare.
    few = max(x.shape[1] for x in clients) <= trees.MOST_COMPONENTS
    precision = np.float64 if few or any(x.dtype.itemsize > 4 for x in clients) else np.float32
    clients = [SCALES[scale](x, name) for x, name in zip(clients, names, strict=True)]
    terms, change = certified_terms(clients, repairing, precision, sum(ties), ks=ks, metric=metric)
    results = []
    for p, (a, b) in enumerate(client_pairs(len(clients))):
        for i, neighbours in enumerate(ks):
            bits = terms[p, i].mean(axis=1)
            estimate = Estimate.uncorrected(
                float(bits[0]),
                ceiling_bits=ceiling_bits(repairing.n, neighbours),
                n=repairing.n,
                estimator="ksg",
                metric=metric,
                k=int(neighbours),
                ties=ties[a] + ties[b],
            )
            results.append(PairEstimate((a, b), estimate, bits[1:], float(change[p, i])))
    return results
