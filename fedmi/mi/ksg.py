"""Mutual information by nearest neighbours (Eq. 6), after Kraskov, Stögbauer and Grassberger.

Phys. Rev. E 69, 066138 (2004), the first of their estimators, exactly: no neighbour is approximate,
and no N x N array is held. For up to three components SciPy's trees find the neighbours
(`fedmi.mi.trees`). For more, every distance is computed (`fedmi.mi.neighbours`), as precisely as
the estimate needs (`fedmi.mi.rounding`).
"""

from collections.abc import Callable, Mapping, Sequence
from math import log
from typing import Any, NamedTuple

import numpy as np
from scipy.special import psi

from fedmi.mi import trees
from fedmi.mi.null import Repairing
from fedmi.mi.result import PairEstimate, client_pairs
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
    in I(x; x), it may be k - 1 in both, and the first estimator reads psi(N) - psi(k).
    """
    return float((psi(n) - psi(k + 1)) / log(2))


class Scaled(NamedTuple):
    """What distances are taken of, and which.

    Attributes:
        points: of each client (N, p_q).
        ties: how many samples of each client repeat another.
    """

    points: list[np.ndarray]
    ties: list[int]
    ks: tuple[int, ...]
    metric: str

    def estimates(
        self, estimator: str, bits: Sequence[np.ndarray], rounding: np.ndarray
    ) -> list[PairEstimate]:
        """Of every pair for each k, from (len(ks), 1 + m) bits a pair and (pairs, len(ks))."""
        n = len(self.points[0])
        return [
            PairEstimate.uncorrected(
                (a, b),
                bits[p][i],
                float(rounding[p, i]),
                ceiling_bits=ceiling_bits(n, k),
                n=n,
                estimator=estimator,
                metric=self.metric,
                k=int(k),
                ties=self.ties[a] + self.ties[b],
            )
            for p, (a, b) in enumerate(client_pairs(len(self.points)))
            for i, k in enumerate(self.ks)
        ]


def scaled(
    clients: Mapping[str, np.ndarray], k: int | Sequence[int], metric: str, scale: str
) -> Scaled:
    """The clients in a scale, with every k.

    Raises:
        ValueError: options that cannot be used, or more ties than precision explains.
    """
    ks: tuple[Any, ...] = (k,) if isinstance(k, int) or np.ndim(k) == 0 else tuple(k)
    n = len(next(iter(clients.values())))
    if metric not in METRICS:
        raise ValueError(f"metric {metric!r} is not one of {', '.join(METRICS)}")
    if scale not in SCALES:
        raise ValueError(f"scale {scale!r} is not one of {', '.join(SCALES)}")
    if not ks:
        raise ValueError("k is empty; name at least one number of neighbours")
    for one in ks:
        whole = isinstance(one, int | np.integer) and not isinstance(one, bool)
        if not (whole and 1 <= one < n):
            raise ValueError(
                f"k is {one!r}; with {n} samples it must be a whole number, 1 to {n - 1}"
            )
    ties = [repeats_by_chance(x, name) for name, x in clients.items()]
    return Scaled([SCALES[scale](x, name) for name, x in clients.items()], ties, ks, metric)


def pairs(
    clients: Mapping[str, np.ndarray],
    repairing: Repairing,
    *,
    k: int | Sequence[int] = 3,
    metric: str = "euclidean",
    scale: str = "raw",
) -> list[PairEstimate]:
    """Estimate every pair for each k; a tile of distances serves all pairs, k and re-pairings."""
    asked = scaled(clients, k, metric, scale)
    # In so few components differences are quick in float64 too, and are what trees compare.
    few = max(x.shape[1] for x in asked.points) <= trees.MOST_COMPONENTS
    fine = few or any(x.dtype.itemsize > 4 for x in clients.values())
    precision = np.float64 if fine else np.float32
    terms, change = certified_terms(
        asked.points, repairing, precision, sum(asked.ties), ks=asked.ks, metric=metric
    )
    return asked.estimates("ksg", [of_pair.mean(axis=-1) for of_pair in terms], change)
