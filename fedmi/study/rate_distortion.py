"""How many bits a client's parameters take, as a normal vector sent at a mean squared error.

Reverse water-filling (Cover and Thomas, Elements of Information Theory, 2nd ed., Theorem 10.3.3):
at the water level w, each principal direction of variance v is given up to an error min(v, w) and
takes 1/2 log2(v / w) bits where that is positive.

A decoder that holds other clients' parameters needs the conditional covariance in place of the
covariance. For jointly normal sources nothing is lost if the encoder does not hold them (Wyner,
Information and Control 38 (1978), 60-80; coordinates of the vectors can be rotated so that each is
his scalar case).

A covariance conditioned on q directions, from N samples, has N - 1 - q degrees of freedom. Dividing
by that keeps its trace right but not its logarithms, whose eigenvalues spread the more the fewer
there are. So what side information saves is the rate that a *re-paired* client leaves less the rate
that the true one leaves: both have the same degrees of freedom and the same bias, and unrelated
clients save zero on average. At small errors this is the Gaussian MI net of re-paired seeds, as
`fedmi.mi` reads it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from math import inf, log, nan

import numpy as np
from numpy import linalg
from numpy.typing import ArrayLike

from fedmi.mi.gaussian import SHARED, Whitened, whiten
from fedmi.mi.lagged import lagged_products
from fedmi.mi.null import Repairing
from fedmi.mi.samples import as_samples


def distortion(variances: ArrayLike, level: ArrayLike) -> np.ndarray:
    """The total mean squared error at a water level.

    Args:
        variances: (r,) of the principal directions.
        level: any shape, in the units of the variances.

    Returns:
        The sum of min(variance, level), of the shape of `level`.
    """
    return np.minimum(_checked(variances), np.asarray(level)[..., None]).sum(axis=-1)


def water_level(variances: ArrayLike, error: float) -> float:
    """The water level at which the total mean squared error is `error`.

    Args:
        variances: (r,) of the principal directions.
        error: above 0. At the sum of the variances or more, the level is the largest of them:
            nothing need be sent.

    Raises:
        ValueError: variances that are no numbers from 0 up, or an error that is not above 0.
    """
    ascending = np.sort(_checked(variances))
    if not error > 0:
        raise ValueError(f"error: {error!r} is not above 0, which no number of bits can reach")
    # Below the k-th variance all directions from the k-th on carry the level itself as their error.
    below = np.concatenate([[0.0], np.cumsum(ascending)[:-1]])
    levels = (error - below) / np.arange(len(ascending), 0, -1)
    covered = levels <= ascending
    return float(levels[covered.argmax()] if covered.any() else ascending[-1])


def rate(variances: ArrayLike, error: float) -> float:
    """R(D), the bits to send a normal vector at a total mean squared error D.

    Args:
        variances: (r,) of the principal directions; of the coordinates, it is the rate of sending
            each coordinate by itself.
        error: D, above 0, the sum of the squared errors of all components, on average.

    Raises:
        ValueError: as `water_level` does.
    """
    variances = _checked(variances)
    level = water_level(variances, error)
    above = variances[variances > level]
    return float(0.5 * np.log2(above / level).sum())


def _checked(variances: ArrayLike) -> np.ndarray:
    array = np.asarray(variances, dtype=float)
    if array.ndim != 1 or not array.size or not np.isfinite(array).all() or (array < 0).any():
        raise ValueError("variances: pass (r,) finite numbers from 0 up, at least one")
    return array


@dataclass(frozen=True)
class Law:
    """The normal law fitted to one client's samples.

    Attributes:
        mean: (t,).
        axes: (t, r) the principal directions along which the samples vary beyond rounding.
        variances: (r,) along them.
        coordinate_variances: (t,).
    """

    mean: np.ndarray
    axes: np.ndarray
    variances: np.ndarray
    coordinate_variances: np.ndarray


@dataclass(frozen=True)
class Fitted:
    """One client's samples made orthonormal, with their law."""

    whitened: Whitened
    law: Law

    @cached_property
    def basis(self) -> np.ndarray:
        """(N, r) the samples along the principal directions, orthonormal."""
        return self.whitened.basis @ self.whitened.principal.rotation


def fit(samples: ArrayLike, name: str = "x") -> Fitted:
    """The normal law of samples; directions within rounding (`fedmi.mi.gaussian`) do not count.

    The eigenvalues of a sample covariance spread more than the true ones: of p directions and N
    samples, the rate at small errors comes out too low by about p^2 / (4 N ln 2) bits.

    Args:
        samples: (N, t), of the precision in which it was computed.
        name: the argument's name in messages.

    Raises:
        ValueError: arrays that are not samples, or that do not vary.
    """
    samples = as_samples(samples, name)
    whitened = whiten(samples, name)
    law = Law(
        mean=samples.mean(axis=0, dtype=np.float64),
        axes=whitened.principal.axes,
        variances=whitened.principal.values**2 / (len(samples) - 1),
        coordinate_variances=(whitened.standard * whitened.units).var(axis=0, ddof=1),
    )
    return Fitted(whitened, law)


@dataclass(frozen=True)
class SideInformation:
    """What other clients' parameters tell about one client's.

    Attributes:
        variances: (r,) of the conditional law's principal directions.
        repaired: (m, r) the same, given clients of other seeds.
        n: number of seeds.
    """

    variances: np.ndarray
    repaired: np.ndarray
    n: int

    def saving(self, error: float) -> tuple[float, float]:
        """The bits saved at a total mean squared error, and their standard error.

        Unrelated clients save zero on average: the number can be negative.
        """
        left = np.array([rate(variances, error) for variances in self.repaired])
        return _net(left - rate(self.variances, error), self.n)


def cross_correlations(x: Fitted, y: Fitted, repairing: Repairing) -> np.ndarray:
    """(1 + m, r_x, r_y) between the principal directions of x and y, paired and then re-paired.

    Args:
        x, y: of the same seeds.
        repairing: of the seeds, at least twice.

    Raises:
        ValueError: fewer than two re-pairings, or x and y of different lengths.
    """
    n = len(x.whitened.standard)
    if len(y.whitened.standard) != n:
        raise ValueError(f"y: {len(y.whitened.standard)} samples, but x has {n}")
    if repairing.m < 2:
        raise ValueError(f"repairing: {repairing.m} re-pairings; an error takes at least 2")
    ahead, behind = x.basis[repairing.order], repairing.extended(y.basis)
    return np.array([ahead.T @ behind[:n], *lagged_products(ahead, behind, repairing.m)])


def jointly(crosses: Sequence[np.ndarray], within: np.ndarray) -> np.ndarray:
    """The correlations of x with several clients taken as one.

    Args:
        crosses: (1 + m, r_x, r_k) of x and each of them, re-paired alike.
        within: (r, r) correlations of all their principal directions, side by side.

    Returns:
        (1 + m, r_x, rank) with orthonormal directions of all of them. Directions that they share
        count once.
    """
    values, axes = linalg.eigh(within)
    kept = values > SHARED
    return np.concatenate(crosses, axis=2) @ (axes[:, kept] / np.sqrt(values[kept]))


def enough_seeds(crosses: np.ndarray, n: int) -> bool:
    """Whether there are as many seeds as the ranks of x and y and one.

    With fewer, some directions of x would seem to be known without error whatever they are.

    Args:
        crosses: (1 + m, r_x, r_y), see `cross_correlations`.
        n: number of seeds.
    """
    return n > crosses.shape[1] + crosses.shape[2]


def side_information(
    variances: np.ndarray, crosses: np.ndarray, n: int, kept: np.ndarray | None = None
) -> SideInformation:
    """What the decoder gains from y when x is sent.

    Args:
        variances: (r_x,) of x, along its principal directions.
        crosses: (1 + m, r_x, r_y), see `cross_correlations`. y is one other client, or several side
            by side as one.
        n: number of seeds.
        kept: (r_y,) the share of the variance of each direction of y that the decoder's copy of y
            has, 1 - level / variance where y was sent at a water level below its variance; None
            where the decoder holds y itself.

    Raises:
        ValueError: too few seeds, see `enough_seeds`.
    """
    _, p, q = crosses.shape
    if not enough_seeds(crosses, n):
        raise ValueError(f"n: {n} seeds are too few for ranks {p} and {q}; give {p + q + 1}")
    if kept is not None:
        # The test channel adds noise of its own to y, by which correlations fall.
        crosses = crosses * np.sqrt(kept)
    freedom = n - 1 - (q if kept is None else kept.sum())
    sd = np.sqrt(variances * (n - 1) / freedom)
    left = [np.eye(p) - cross @ cross.T for cross in crosses]
    spectra = [np.maximum(linalg.eigvalsh(sd[:, None] * u * sd), 0) for u in left]
    return SideInformation(spectra[0], np.array(spectra[1:]), n)


def mutual_information(crosses: np.ndarray, n: int) -> tuple[float, float]:
    """The Gaussian MI in bits net of re-paired seeds, to which small errors' savings tend.

    Args:
        crosses: (1 + m, r_x, r_y), see `cross_correlations`.
        n: number of seeds.

    Returns:
        The MI and its standard error; infinite and nan where x and y share a direction.
    """
    squares = [linalg.eigvalsh(cross @ cross.T) for cross in crosses]
    if max(squares[0]) > (1 - SHARED) ** 2:
        return inf, nan
    bits = np.array([-0.5 * np.log1p(-np.maximum(s, 0)).sum() / log(2) for s in squares])
    return _net(bits[0] - bits[1:], n)


def _net(differences: np.ndarray, n: int) -> tuple[float, float]:
    """The mean of (m,) differences to re-pairings, and its standard error, in bits."""
    net = float(differences.mean())
    # Over re-pairings the estimate spreads as it would without dependence. Dependence adds the sum
    # of squared canonical correlations over N nats^2, which is at most twice the MI.
    null = differences.var(ddof=1) * (1 + 1 / len(differences))
    return net, float(np.sqrt(null + 2 * max(net, 0) / (log(2) * n)))
