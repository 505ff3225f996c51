"""Distances between two clients' samples (Eqs 7-9), and between seeds that do not belong together.

Everywhere x and y are (N, p), row i of each from the same seed; `metric` is "euclidean",
"manhattan" or "chebyshev". Accumulated in float64. All raise ValueError for unequal shapes, an
unknown metric, or arrays that are not samples.
"""

from collections.abc import Callable

import jax
import numpy as np
from numpy.typing import ArrayLike

from fedmi import stats
from fedmi.mi.null import repairing
from fedmi.mi.samples import as_pair

NORMS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "euclidean": lambda d: np.sqrt(np.einsum("np,np->n", d, d)),
    "manhattan": lambda d: np.abs(d).sum(axis=1),
    "chebyshev": lambda d: np.abs(d).max(axis=1),
}
"""Name -> norms (n,) of differences (n, p)."""

ROWS = 2048
"""Seeds taken together: float64 differences of a whole client would be large for no use."""


def euclidean(x: ArrayLike, y: ArrayLike) -> float:
    """Eq. 7: mean over seeds of the root of the summed squared differences."""
    return float(of_seeds(x, y, metric="euclidean").mean())


def manhattan(x: ArrayLike, y: ArrayLike) -> float:
    """Eq. 8: mean over seeds of the summed absolute differences."""
    return float(of_seeds(x, y, metric="manhattan").mean())


def chebyshev(x: ArrayLike, y: ArrayLike) -> float:
    """Eq. 9: mean over seeds of the largest absolute difference."""
    return float(of_seeds(x, y, metric="chebyshev").mean())


METRICS = {"euclidean": euclidean, "manhattan": manhattan, "chebyshev": chebyshev}


def mean_and_error(x: ArrayLike, y: ArrayLike, *, metric: str = "euclidean") -> tuple[float, float]:
    """The mean distance over seeds and its standard error, nan for a single seed."""
    return stats.mean_and_error(of_seeds(x, y, metric=metric))


def unmatched(
    x: ArrayLike,
    y: ArrayLike,
    *,
    metric: str = "euclidean",
    m: int = 20,
    key: jax.Array | None = None,
) -> float:
    """The same distance between clients of different seeds: the mean over m re-pairings.

    What two clients are apart that share nothing but their laws; "closer" means closer than this.

    Args:
        m: the number of re-pairings, from 1 to N - 1.
        key: a JAX random key; `jax.random.key(0)` if none is given.

    Raises:
        ValueError: m out of range, or what the distance refuses.
    """
    if m < 1:
        raise ValueError(f"{m} re-pairings; the unmatched distance needs at least one")
    x, y = _checked(x, y, metric)
    repairs = repairing(len(x), m, key)
    return float(np.mean([METRICS[metric](x, y[repairs.partners(s)]) for s in repairs.shifts]))


def of_seeds(x: ArrayLike, y: ArrayLike, *, metric: str = "euclidean") -> np.ndarray:
    """(N,) the distance in every seed."""
    x, y = _checked(x, y, metric)
    parts = [slice(start, start + ROWS) for start in range(0, len(x), ROWS)]
    norm = NORMS[metric]
    return np.concatenate([norm(np.subtract(x[p], y[p], dtype=np.float64)) for p in parts])


def _checked(x: ArrayLike, y: ArrayLike, metric: str) -> tuple[np.ndarray, np.ndarray]:
    if metric not in NORMS:
        raise ValueError(f"metric {metric!r} is not one of {', '.join(NORMS)}")
    x, y = as_pair(x, y)
    if x.shape[1] != y.shape[1]:
        raise ValueError(
            f"x has {x.shape[1]} components and y {y.shape[1]}; a distance needs the same "
            "parameters in both"
        )
    return x, y
