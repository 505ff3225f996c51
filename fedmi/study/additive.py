"""The additive model X = P + N1, Y = P + N2: how much two clients share, and how much is their own.

P is one random vector, the same for both; the noises are independent of P and of each other. Then
Cov(X, Y) = Cov(P), and the mean squared distance is that of the noises. P does not enter it, so
that mutual information and distance can rise together: the first with the variance of P, the second
with that of the noise.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp, log2, sqrt

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import gammaln

from fedmi.mi.samples import as_samples, check_lengths
from fedmi.stats import mean_and_error

STEPS = ((0.01, 0.2), (0.04, 0.4), (0.09, 0.6), (0.16, 0.8), (0.25, 1.0))
"""Variances of P and of the noise, a pair an iteration: of a drift and of a random walk."""


@dataclass(frozen=True)
class Decomposition:
    """Where the mean squared distance of two clients comes from, with standard errors over seeds.

    E |X - Y|^2 = separation + own_x + own_y, where own_x = tr Cov(X) - shared.

    Attributes:
        shared: tr Cov(X, Y): in the additive model the variance of P.
        own_x, own_y: tr Cov(X) - shared and tr Cov(Y) - shared: the variances of the noises.
        separation: |E X - E Y|^2, less what the sampling error of the means adds on average; below
            zero by chance where the means are equal.
        squared_distance: the mean of |X - Y|^2.
        shared_se, own_x_se, own_y_se, separation_se, squared_distance_se: standard errors, that of
            the separation up to a factor of 1.4 too large where the means are equal.
    """

    shared: float
    own_x: float
    own_y: float
    separation: float
    squared_distance: float
    shared_se: float
    own_x_se: float
    own_y_se: float
    separation_se: float
    squared_distance_se: float


def decompose(x: ArrayLike, y: ArrayLike) -> Decomposition:
    """The variance that two clients share, and what each has of its own.

    All parts are free of bias, and separation, own_x and own_y add up to the squared distance.

    Args:
        x, y: (N, t), row i of each from the same seed, at least two rows.

    Raises:
        ValueError: arrays that are not samples, of unequal shapes, or a single seed.
    """
    arrays = checked([x, y])
    x, y = centred(arrays)
    n = len(x)
    if n < 2:
        raise ValueError("clients[0] holds 1 sample; a variance needs two")
    xx, yy, xy = (np.einsum("np,np->n", a, b) for a, b in ((x, x), (y, y), (x, y)))
    gap = arrays[0].mean(axis=0, dtype=np.float64) - arrays[1].mean(axis=0, dtype=np.float64)
    along = (x - y) @ gap
    apart = xx + yy - 2 * xy
    own = apart.sum() / (n - 1)  # tr Cov(X - Y)
    parts = dict(shared=xy, own_x=xx - xy, own_y=yy - xy)
    return Decomposition(
        **{name: float(part.sum() / (n - 1)) for name, part in parts.items()},
        separation=float(gap @ gap - own / n),
        squared_distance=float(gap @ gap + apart.mean()),
        **{f"{name}_se": mean_and_error(part)[1] for name, part in parts.items()},
        separation_se=2 * mean_and_error(along)[1],
        squared_distance_se=mean_and_error(apart + 2 * along)[1],
    )


def counter_example(
    d: int = 394, steps: Sequence[tuple[float, float]] = STEPS
) -> list[dict[str, float]]:
    """Normal additive models in which mutual information and distance rise together.

    All components of P are independent and of one variance, and so are those of the noises. With
    r = Var(P) / (Var(P) + Var(N)), the mutual information is -d/2 log2(1 - r^2), and the expected
    Euclidean distance 2 sqrt(Var(N)) Gamma((d + 1) / 2) / Gamma(d / 2), the mean of a chi law.

    The paper's proof lets the noise alone vary. For comparison the same noise is therefore put on a
    P whose variance stays as it is at first: then the mutual information falls as the distance
    rises.

    Args:
        d: parameters of a client.
        steps: the variances of a component of P and of the noise, a pair an iteration.

    Returns:
        A row an iteration, counted from 1: iteration, dimension, shared_variance, noise_variance,
        mi_bits, fixed_mi_bits (the variance of P held), distance.

    Raises:
        ValueError: d below 1, no steps, or variances that are not above 0.
    """
    if d < 1:
        raise ValueError(f"d: {d} parameters; give at least 1")
    if not steps or not all(0 < v < np.inf for step in steps for v in step):
        raise ValueError(f"steps: {steps} must be pairs of variances above 0, at least one")
    chi = 2 * exp(gammaln((d + 1) / 2) - gammaln(d / 2))
    return [
        dict(
            iteration=iteration,
            dimension=d,
            shared_variance=shared,
            noise_variance=noise,
            mi_bits=_bits(d, shared, noise),
            fixed_mi_bits=_bits(d, steps[0][0], noise),
            distance=chi * sqrt(noise),
        )
        for iteration, (shared, noise) in enumerate(steps, start=1)
    ]


def checked(clients: Sequence[ArrayLike]) -> list[np.ndarray]:
    """The clients as arrays of one shape (N, t).

    Raises:
        ValueError: arrays that are not samples, or of unequal shapes.
    """
    names = [f"clients[{q}]" for q in range(len(clients))]
    arrays = [as_samples(a, name) for a, name in zip(clients, names, strict=True)]
    check_lengths(arrays, names)
    if len({a.shape[1] for a in arrays}) > 1:
        raise ValueError(
            f"clients have {', '.join(str(a.shape[1]) for a in arrays)} components; the additive "
            "model is of the same parameters in all"
        )
    return arrays


def centred(arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
    """The same less their means, in float64."""
    return [np.subtract(a, a.mean(axis=0, dtype=np.float64), dtype=np.float64) for a in arrays]


def _bits(d: int, shared: float, noise: float) -> float:
    r = shared / (shared + noise)
    return -d / 2 * log2(1 - r**2)
