"""Errors of means, what is beyond chance, and p-values of many tests at once."""

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import ndtri

Z95 = 1.96
"""Standard errors on either side that hold 95 % of a normal law."""

Sign = Literal["yes", "no", "open"]


def mean_and_error(values: ArrayLike) -> tuple[float, float]:
    """The mean of (N,) independent values and its standard error, nan for a single one."""
    array = np.asarray(values, np.float64)
    n = len(array)
    return float(array.mean()), float(array.std(ddof=1) / np.sqrt(n)) if n > 1 else np.nan


def ratio_and_error(part: ArrayLike, whole: ArrayLike) -> tuple[float, float]:
    """A ratio of means over N seeds and its standard error, by the delta method.

    Both are nan where the mean of `whole` is not above zero.

    Args:
        part, whole: (N,), entry i of each from the same seed.
    """
    part, whole = np.asarray(part, np.float64), np.asarray(whole, np.float64)
    below = whole.mean()
    if not below > 0:
        return np.nan, np.nan
    ratio = part.mean() / below
    return float(ratio), mean_and_error(part - ratio * whole)[1] / float(below)


def sign(change: float, error: float, limit: float = Z95) -> Sign:
    """Whether a change is above zero: "yes", "no" if it is below, "open" if it may be chance.

    Args:
        error: the standard error of `change`.
        limit: how many of these are beyond chance.
    """
    if abs(change) <= limit * error:
        return "open"
    return "yes" if change > 0 else "no"


def bonferroni_limit(tests: int) -> float:
    """How many standard errors away one of so many estimates has to be, at 5 % for all together."""
    return float(-ndtri(0.025 / tests))


def holm(p_values: ArrayLike) -> np.ndarray:
    """(J,) p-values adjusted for J tests, whatever their dependence (Holm 1979).

    The probability that any test without an effect is at most alpha is at most alpha.
    """
    values = np.asarray(p_values, float)
    order = np.argsort(values)
    adjusted = np.maximum.accumulate(values[order] * np.arange(len(values), 0, -1))
    return np.minimum(adjusted, 1.0)[np.argsort(order)]


def family_p_values(bits: np.ndarray, permuted: np.ndarray) -> np.ndarray:
    """p-values adjusted for all tests of a family, from the re-pairings of each.

    Of eighteen estimates without any dependence, one lies beyond its own 95 % in most studies. Each
    is therefore compared with the *largest* of all: the single-step maxT method of Westfall and
    Young, Resampling-Based Multiple Testing (Wiley, 1993), section 2.6. The probability that any of
    them is at most alpha is at most alpha if no pair is dependent.

    Each test's m + 1 values are first put on one scale, by their own mean and standard deviation,
    the estimate included, so that it is treated as any re-pairing is. (A shift of seeds is one
    re-pairing of two clients, and nearly so of three.) No value is below 1 / (m + 1): twenty
    re-pairings can just tell at 5 %, and only if none of them reads as much anywhere. Infinite
    values, as of clients that share a direction, are beyond all finite ones; for the scale of their
    test each counts as its largest finite re-pairing.

    Args:
        bits: (J,) estimates.
        permuted: (J, m) the same over re-paired seeds, column s by the same re-pairing.

    Returns:
        (J,) the values (r + 1) / (m + 1), where r of m re-pairings read, at their largest over the
        family, at least as much as the estimate; nan without re-pairings.
    """
    m = permuted.shape[1]
    if not m:
        return np.full(len(bits), np.nan)
    values = np.column_stack([bits, permuted])
    infinite = np.isinf(values)
    top = np.max(permuted, axis=1, where=~infinite[:, 1:], initial=-np.inf)
    values = np.where(infinite, np.where(np.isinf(top), 0, top)[:, None], values)
    spread = values.std(axis=1, keepdims=True)
    scores = (values - values.mean(axis=1, keepdims=True)) / np.where(spread > 0, spread, 1)
    scores[infinite] = np.inf
    own, largest = scores[:, :1], scores[:, 1:].max(axis=0)
    return (1 + (largest >= own).sum(axis=1)) / (1 + m)
