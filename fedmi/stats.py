"""p-values of many tests at once: of all pairs of clients at all checkpoints.

Of eighteen estimates without any dependence, one lies beyond its own 95 % in most studies. What
guards against it is to compare each with the *largest* of all: the single-step maxT method of
Westfall and Young, Resampling-Based Multiple Testing (Wiley, 1993), section 2.6.
"""

import numpy as np
from scipy.special import ndtri


def family_p_values(bits: np.ndarray, permuted: np.ndarray) -> np.ndarray:
    """p-values adjusted for all tests of a family, from the re-pairings of each.

    The probability that any of them is at most alpha is at most alpha if no pair is dependent. Each
    test's m + 1 values are first put on one scale, by their own mean and standard deviation, the
    estimate included, so that the estimate is treated as any re-pairing is. (A shift of seeds is
    one re-pairing of two clients, and nearly so of three.) No value is below 1 / (m + 1): twenty
    re-pairings can just tell at 5 %, and only if none of them reads as much anywhere.

    Args:
        bits: (J,) estimates; infinite ones are beyond whatever re-pairing reads.
        permuted: (J, m) the same over re-paired seeds, column s by the same re-pairing.

    Returns:
        (J,) the values (r + 1) / (m + 1), where r of m re-pairings read, at their largest over the
        family, at least as much as the estimate; nan without re-pairings.
    """
    m = permuted.shape[1]
    if not m:
        return np.full(len(bits), np.nan)
    finite = np.where(np.isfinite(bits), bits, permuted.max(axis=1))
    values = np.column_stack([finite, permuted])
    spread = values.std(axis=1, keepdims=True)
    scores = (values - values.mean(axis=1, keepdims=True)) / np.where(spread > 0, spread, 1)
    largest = scores[:, 1:].max(axis=0)
    own = np.where(np.isfinite(bits), scores[:, 0], np.inf)
    return (1 + (largest >= own[:, None]).sum(axis=1)) / (1 + m)


def bonferroni_limit(tests: int) -> float:
    """How many standard errors away one of so many estimates has to be, at 5 % for all together."""
    return float(-ndtri(0.025 / tests))
