"""Laws whose mutual information is known exactly, to hold estimators against."""

from dataclasses import dataclass
from math import log

import jax
import numpy as np
from scipy.special import gammaln, psi


@dataclass(frozen=True)
class Normal:
    """A joint normal law of x (p components) and y (the others), of mean zero.

    Attributes:
        covariance: (p + q, p + q), positive definite.
        p: the number of components of x.
    """

    covariance: np.ndarray
    p: int

    @property
    def mi_bits(self) -> float:
        """The determinant formula, Eqs 2-5."""
        x, y = self.covariance[: self.p, : self.p], self.covariance[self.p :, self.p :]
        halves = [np.linalg.slogdet(c)[1] / 2 for c in (x, y, self.covariance)]
        return float((halves[0] + halves[1] - halves[2]) / log(2))

    def sample(self, key: jax.Array, n: int) -> tuple[np.ndarray, np.ndarray]:
        """Draw n samples: x (n, p) and y (n, q), float64."""
        with jax.enable_x64(True):
            white = np.asarray(jax.random.normal(key, (n, len(self.covariance)), float))
        z = white @ np.linalg.cholesky(self.covariance).T
        return z[:, : self.p], z[:, self.p :]


@dataclass(frozen=True)
class StudentT:
    """A joint multivariate Student-t law of x (p components) and y (the others), of mean zero.

    A normal vector over the root of a chi-squared variable that x and y share, so that they are
    dependent through their size even where `scale` is diagonal.

    Attributes:
        scale: (p + q, p + q), positive definite.
        p: the number of components of x.
        df: degrees of freedom, > 0; the fewer the heavier the tails.
    """

    scale: np.ndarray
    p: int
    df: float

    @property
    def mi_bits(self) -> float:
        """The normal's value plus the entropies' excess, which does not depend on `scale`."""
        p, q = self.p, len(self.scale) - self.p
        excess = self._entropy_excess(p) + self._entropy_excess(q) - self._entropy_excess(p + q)
        return Normal(self.scale, p).mi_bits + excess / log(2)

    def _entropy_excess(self, d: int) -> float:
        """Entropy of a d-dimensional t law in nats, less terms that cancel in Eq. 5."""
        a, b = self.df / 2, (self.df + d) / 2
        return float(gammaln(a) - gammaln(b) + b * (psi(b) - psi(a)))

    def sample(self, key: jax.Array, n: int) -> tuple[np.ndarray, np.ndarray]:
        """Draw n samples: x (n, p) and y (n, q), float64."""
        normal_key, size_key = jax.random.split(key)
        x, y = Normal(self.scale, self.p).sample(normal_key, n)
        with jax.enable_x64(True):
            chi2 = 2 * np.asarray(jax.random.gamma(size_key, self.df / 2, (n, 1), float))
        shrink = np.sqrt(self.df / chi2)
        return x * shrink, y * shrink


def paired(correlations: np.ndarray) -> np.ndarray:
    """The covariance of x and y of unit variances, (2 d, 2 d), with cov(x_i, y_i) given, (d,)."""
    correlations = np.asarray(correlations, float)
    cross = np.diag(correlations)
    return np.block([[np.eye(len(cross)), cross], [cross, np.eye(len(cross))]])
