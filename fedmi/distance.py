"""Distances between two clients' samples (Eqs 7-9), and between seeds that do not belong together.

Each takes x and y of shape (N, p), row i of each from the same seed, measures the distance of the
two rows and returns its mean over seeds. Accumulated in float64.
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
    """Eq. 7: mean over seeds of the root of the summed squared differences.

    Args:
        x, y: (N, p).

    Raises:
        ValueError: unequal shapes, or arrays that are not samples.
    """
    return float(of_seeds(x, y, metric="euclidean").mean())


def manhattan(x: ArrayLike, y: ArrayLike) -> float:
    """Eq. 8: mean over seeds of the summed absolute differences.

    Args:
        x, y: (N, p).

    Raises:
        ValueError: unequal shapes, or arrays that are not samples.
    """
    return float(of_seeds(x, y, metric="manhattan").mean())


def chebyshev(x: ArrayLike, y: ArrayLike) -> float:
    """Eq. 9: mean over seeds of the largest absolute difference.

    Args:
        x, y: (N, p).

    Raises:
        ValueError: unequal shapes, or arrays that are not samples.
    """
    return float(of_seeds(x, y, metric="chebyshev").mean())


def mean_and_error(x: ArrayLike, y: ArrayLike, *, metric: str = "euclidean") -> tuple[float, float]:
    """The mean distance over seeds and its standard error, nan for a single seed.

    Args:
        x, y: (N, p).
        metric: "euclidean", "manhattan" or "chebyshev".

    Raises:
        ValueError: an unknown metric, unequal shapes, or arrays that are not samples.
    """
    return stats.mean_and_error(of_seeds(x, y, metric=metric))


METRICS = {"euclidean": euclidean, "manhattan": manhattan, "chebyshev": chebyshev}


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
        x, y: (N, p).
        metric: "euclidean", "manhattan" or "chebyshev".
        m: the number of re-pairings of `fedmi.mi.null`, at least 1.
        key: a JAX random key; `jax.random.key(0)` if none is given.

    Raises:
        ValueError: an unknown metric, m out of range, or what the distance refuses.
    """
    _check_metric(metric)
    if m < 1:
        raise ValueError(f"{m} re-pairings; the unmatched distance needs at least one")
    x, y = _checked(x, y)
    repairs = repairing(len(x), m, key)
    distances = [METRICS[metric](x, y[repairs.partners(s)]) for s in repairs.shifts]
    return float(np.mean(distances))


def of_seeds(x: ArrayLike, y: ArrayLike, *, metric: str = "euclidean") -> np.ndarray:
    """(N,) the distance in every seed.

    Args:
        x, y: (N, p).
        metric: "euclidean", "manhattan" or "chebyshev".

    Raises:
        ValueError: an unknown metric, unequal shapes, or arrays that are not samples.
    """
    _check_metric(metric)
    x, y = _checked(x, y)
    norm = NORMS[metric]
    parts = [slice(start, start + ROWS) for start in range(0, len(x), ROWS)]
    return np.concatenate([norm(np.subtract(x[p], y[p], dtype=np.float64)) for p in parts])


def _check_metric(metric: str) -> None:
    if metric not in NORMS:
        raise ValueError(f"metric {metric!r} is not one of {', '.join(NORMS)}")


def _checked(x: ArrayLike, y: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    x, y = as_pair(x, y)
    if x.shape[1] != y.shape[1]:
        raise ValueError(
            f"x has {x.shape[1]} components and y {y.shape[1]}; a distance needs the same "
            "parameters in both"
        )
    return x, y
