"""Wilks' Lambda: what the Gaussian formula reads when x and y are independent.

With N samples of ranks p and q, the plug-in of Eq. 5 is -1/2 log Lambda nats, where
Lambda = det(S_z) / (det(S_x) det(S_y)). For independent Gaussian samples Lambda is a product of
independent beta variables, Beta((N - q - i) / 2, q / 2) for i = 1..p, whatever the covariances are
(Anderson, An Introduction to Multivariate Statistical Analysis, 3rd ed., section 9.3). Everything
here follows from that. Ranks count directions of the centred samples, so N - 1 degrees of freedom
are already allowed for.
"""

import numpy as np
from scipy.special import gammaincc, polygamma, psi


def _arguments(n: int, p: int, q: int) -> tuple[np.ndarray, np.ndarray]:
    """The halved degrees of freedom (N - i) / 2 and (N - q - i) / 2, for i = 1..p."""
    i = np.arange(1, p + 1)
    return (n - i) / 2, (n - q - i) / 2


def null_mean(n: int, p: int, q: int) -> float:
    """Mean of the plug-in estimate over independent Gaussian samples, in nats: its bias."""
    whole, within = _arguments(n, p, q)
    return float(0.5 * (psi(whole) - psi(within)).sum())


def null_variance(n: int, p: int, q: int) -> float:
    """Variance of the plug-in estimate over independent Gaussian samples, in nats squared."""
    whole, within = _arguments(n, p, q)
    return float(0.25 * (polygamma(1, within) - polygamma(1, whole)).sum())


def p_value(nats: float, n: int, p: int, q: int) -> float:
    """Probability that independent Gaussian samples read at least `nats`.

    A shifted gamma law with the exact first three cumulants of -1/2 log Lambda. Unlike Bartlett's
    or Rao's approximations, it still holds where p + q comes close to N.
    """
    if np.isinf(nats):
        return 0.0
    whole, within = _arguments(n, p, q)
    third = 0.125 * (polygamma(2, whole) - polygamma(2, within)).sum()
    variance = null_variance(n, p, q)
    scale = third / (2 * variance)
    shape = variance / scale**2
    shift = null_mean(n, p, q) - shape * scale
    return float(gammaincc(shape, max(nats - shift, 0.0) / scale))
