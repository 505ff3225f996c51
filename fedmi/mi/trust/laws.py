"""Laws whose mutual information is known exactly, to hold estimators against.

Each has `sample(key, n) -> (x, y)`, float64 arrays of n rows, and `mi_bits`. The choice of laws
follows Czyż, Grabowski, Vogt, Beerenwinkel and Marx, "Beyond Normal: On the Evaluation of Mutual
Information Estimators", NeurIPS 2023, where the formulas are proved; formulas are in nats there.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import log
from typing import Protocol

import jax
import numpy as np
from scipy import linalg
from scipy.optimize import root_scalar
from scipy.special import gammaln, psi

Pair = tuple[np.ndarray, np.ndarray]

MOST_BITS = 12.0
"""What one direction may carry: beyond, rounding of its correlation takes the rest."""


class Law(Protocol):
    """A joint law of x and y."""

    @property
    def mi_bits(self) -> float:
        """I(X, Y), exactly."""
        ...

    def sample(self, key: jax.Array, n: int) -> Pair:
        """Draws n samples: x (n, p) and y (n, q), float64."""
        ...


@dataclass(frozen=True)
class Normal:
    """A joint normal law of x (p components) and y (the others), of mean zero.

    The covariance is (p + q, p + q), positive definite.
    """

    covariance: np.ndarray
    p: int

    def __post_init__(self) -> None:
        check_dispersion(self.covariance, self.p, "covariance")

    @property
    def mi_bits(self) -> float:
        """The determinant formula, Eqs 2-5."""
        x, y = self.covariance[: self.p, : self.p], self.covariance[self.p :, self.p :]
        halves = [np.linalg.slogdet(c)[1] / 2 for c in (x, y, self.covariance)]
        return float((halves[0] + halves[1] - halves[2]) / log(2))

    def sample(self, key: jax.Array, n: int) -> Pair:
        z = normals(key, (n, len(self.covariance))) @ np.linalg.cholesky(self.covariance).T
        return z[:, : self.p], z[:, self.p :]


@dataclass(frozen=True)
class StudentT:
    """A joint multivariate Student-t law of x (p components) and y (the others), of mean zero.

    A normal vector over the root of a chi-squared variable that x and y share, so that they are
    dependent through their size even where `scale` is diagonal.

    Attributes:
        scale: (p + q, p + q), positive definite, the dispersion.
        df: degrees of freedom, > 0; the fewer the heavier the tails.
    """

    scale: np.ndarray
    p: int
    df: float

    def __post_init__(self) -> None:
        check_dispersion(self.scale, self.p, "scale")
        if not 0 < self.df < np.inf:
            raise ValueError(f"df: {self.df} is not a positive number")

    @property
    def mi_bits(self) -> float:
        """The normal's value plus what the shared size adds, which does not depend on `scale`.

        Arellano-Valle, Contreras-Reyes and Genton, Scandinavian Journal of Statistics 40 (2013),
        42-62.
        """
        p, q = self.p, len(self.scale) - self.p
        excess = self._entropy_excess(p) + self._entropy_excess(q) - self._entropy_excess(p + q)
        return Normal(self.scale, p).mi_bits + excess / log(2)

    def _entropy_excess(self, d: int) -> float:
        """Entropy of a d-dimensional t law in nats, less terms that cancel in Eq. 5."""
        a, b = self.df / 2, (self.df + d) / 2
        return float(gammaln(a) - gammaln(b) + b * (psi(b) - psi(a)))

    def sample(self, key: jax.Array, n: int) -> Pair:
        normal_key, size_key = jax.random.split(key)
        x, y = Normal(self.scale, self.p).sample(normal_key, n)
        with jax.enable_x64(True):
            # A gamma variable of a small shape can underflow; its logarithm cannot.
            log_half_chi2 = np.asarray(jax.random.loggamma(size_key, self.df / 2, (n, 1), float))
        grow = np.exp((np.log(self.df / 2) - log_half_chi2) / 2)
        return x * grow, y * grow


@dataclass(frozen=True)
class UniformNoise:
    """x uniform on (0, 1) and y = x + a uniform variable on (-width, width), in d components.

    Components are independent, so that their mutual informations add up.
    """

    width: float
    d: int = 1

    def __post_init__(self) -> None:
        if not 0 < self.width < np.inf:
            raise ValueError(f"width: {self.width} is not a positive number")

    @property
    def mi_bits(self) -> float:
        """h(Y) - log(2 width), where Y is trapezoidal (Czyż et al. 2023, Appendix A)."""
        w = self.width
        nats = w - log(2 * w) if w <= 0.5 else 1 / (4 * w)
        return self.d * nats / log(2)

    def sample(self, key: jax.Array, n: int) -> Pair:
        with jax.enable_x64(True):
            u = np.array(jax.random.uniform(key, (2, n, self.d), float))
        return u[0], u[0] + self.width * (2 * u[1] - 1)


@dataclass(frozen=True)
class Mapped:
    """A law seen through invertible maps of x and of y, which leave its MI as it is.

    `of_x` and `of_y` take (n, p) and (n, q) arrays, and are invertible row by row.
    """

    law: Law
    of_x: Callable[[np.ndarray], np.ndarray]
    of_y: Callable[[np.ndarray], np.ndarray]

    @property
    def mi_bits(self) -> float:
        """That of the law itself (Kraskov et al. 2004, Eq. 2 and the appendix)."""
        return self.law.mi_bits

    def sample(self, key: jax.Array, n: int) -> Pair:
        x, y = self.law.sample(key, n)
        return self.of_x(x), self.of_y(y)


def paired(correlations: np.ndarray) -> np.ndarray:
    """The covariance of x and y of unit variances, (2 d, 2 d), with cov(x_i, y_i) given, (d,)."""
    cross, unit = np.diag(np.asarray(correlations, float)), np.eye(len(correlations))
    return np.block([[unit, cross], [cross, unit]])


def sparse(d: int, pairs: int, mi_bits: float) -> np.ndarray:
    """A covariance (2 d, 2 d) in which only `pairs` components of x have a partner in y.

    All with one correlation r, so that the MI is -pairs / 2 log2(1 - r^2).
    """
    if not 1 <= pairs <= d:
        raise ValueError(f"pairs: {pairs} is not one of 1 to {d}")
    return paired(np.where(np.arange(d) < pairs, correlation(mi_bits / pairs), 0.0))


def dense(d: int, mi_bits: float) -> np.ndarray:
    """A covariance (2 d, 2 d) in which every component correlates alike with every other, by r.

    Within x, within y and between them. With equicorrelation x and y depend on each other through
    their sums alone, whose correlation is d r / (1 + (d - 1) r).
    """
    sums = correlation(mi_bits)
    gap = 2.0 ** (-2 * mi_bits) / (1 + sums)  # 1 - sums, without the cancellation
    r = sums / (1 + (d - 1) * gap)
    return np.full((2 * d, 2 * d), r) + (1 - r) * np.eye(2 * d)


def correlation(mi_bits: float) -> float:
    """The correlation at which a binormal law has this MI; raises ValueError if it is negative."""
    if not 0 <= mi_bits < np.inf:
        raise ValueError(f"mi_bits: {mi_bits} is not a number from 0 on")
    return float(np.sqrt(-np.expm1(-2 * log(2) * mi_bits)))


def most_bits(directions: int) -> float:
    """What so many directions may carry together, with a margin to solve for it in."""
    return 0.999 * MOST_BITS * directions


def scale_to(squares: np.ndarray, mi_bits: float) -> np.ndarray:
    """Canonical correlations of another MI: odds r^2 / (1 - r^2), all times one factor.

    Odds have no upper end, so that large MI can be reached while the order of the correlations
    stays; but no direction is given more than `MOST_BITS`.

    Args:
        squares: (d,) squared canonical correlations below 1, at least one above 0.
        mi_bits: the MI that the result, alike, has.

    Raises:
        ValueError: no correlation to scale, too few of them, or negative MI.
    """
    squares = np.asarray(squares, float)
    if not ((0 <= squares) & (squares < 1)).all() or not squares.any():
        raise ValueError("squares: must lie in [0, 1), at least one above 0")
    correlation(mi_bits)  # refuses a negative one
    if mi_bits == 0:
        return np.zeros_like(squares)
    carrying = int(np.count_nonzero(squares))
    if mi_bits > most_bits(carrying):
        raise ValueError(
            f"mi_bits: {mi_bits} is more than {carrying} directions can carry, {MOST_BITS} each"
        )
    odds = squares / (1 - squares)

    def scaled(log_factor: float) -> np.ndarray:
        return np.minimum(np.exp(log_factor) * odds, 2.0 ** (2 * MOST_BITS) - 1)

    def excess(log_factor: float) -> float:
        return np.log1p(scaled(log_factor)).sum() / (2 * log(2)) - mi_bits

    found = scaled(root_scalar(excess, bracket=(-600, 600), method="brentq", xtol=1e-12).root)
    return found / (1 + found)


def normals(key: jax.Array, shape: tuple[int, ...]) -> np.ndarray:
    """Independent standard normal variables, float64."""
    # NumPy's generator takes a tenth of the time of JAX's, on a CPU in float64.
    return np.random.default_rng(np.asarray(jax.random.key_data(key))).standard_normal(shape)


def check_dispersion(matrix: np.ndarray, p: int, name: str) -> None:
    """Raises ValueError unless the matrix is a covariance of x (p components) and y."""
    matrix = np.asarray(matrix)
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
        raise ValueError(f"{name}: shape {matrix.shape} is not that of a square matrix")
    if not 0 < p < len(matrix):
        raise ValueError(f"p: {p} is not one of 1 to {len(matrix) - 1}, which leave y something")
    if not np.allclose(matrix, matrix.T):
        raise ValueError(f"{name}: is not symmetric")
    try:
        linalg.cholesky(matrix, lower=True)
    except (linalg.LinAlgError, ValueError):
        raise ValueError(f"{name}: is not positive definite") from None
