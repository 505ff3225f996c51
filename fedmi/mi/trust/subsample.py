"""What an estimate would read from fewer samples: its standard error, and its limit.

A sample is never used twice in one estimate. (A bootstrap repeats rows; a repeated row is its own
nearest neighbour, and k-NN estimates break.) Disjoint parts of the samples are independent data
sets, so that the variance of the estimates over parts is that of an estimate of their size. Holmes
and Nemenman, Phys. Rev. E 100, 022404 (2019), extrapolate it to all samples as 1/N; here the
exponent is fitted, as in many dimensions 1/N does not hold.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import jax
import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import root_scalar
from scipy.special import polygamma, psi, stdtrit

from fedmi.mi.null import default_key
from fedmi.mi.pairwise import check_estimator, check_one_k, estimate_pair
from fedmi.mi.samples import as_pair
from fedmi.mi.trust.against import ksg_on_parts
from fedmi.mi.trust.parts import gaussian_on_parts, joined
from fedmi.mi.whitening import Whitened, whiten
from fedmi.progress import track

PARTS = (2, 4, 8, 16, 32)


@dataclass(frozen=True)
class Subsamples:
    """Estimates from disjoint parts of the samples.

    Attributes:
        bits: the estimate from all n samples.
        sizes: (S,) samples a part, descending.
        estimates: for each size the estimates, (repeats, parts) bits; the parts of one repeat are
            disjoint.
    """

    bits: float
    n: int
    sizes: np.ndarray
    estimates: tuple[np.ndarray, ...]

    @property
    def means(self) -> np.ndarray:
        """(S,) mean estimate of each size."""
        return np.array([e.mean() for e in self.estimates])

    @property
    def variances(self) -> np.ndarray:
        """(S,) variance of an estimate of each size: within repeats, averaged over them."""
        return np.array([e.var(axis=1, ddof=1).mean() for e in self.estimates])

    @property
    def exponent(self) -> float:
        """b of the fitted law of the variance, a / N^b."""
        return self._variance_law[0]

    @property
    def sd(self) -> float:
        """The standard error of `bits`: the root of the fitted variance at n."""
        return float(np.exp(self._variance_law[1] / 2))

    @property
    def interval(self) -> tuple[float, float]:
        """The sampling error of `bits` with 95 % confidence; bias is none of it.

        Student's t for as many degrees of freedom as make the logarithm of a variance as uncertain
        as that of the fitted one, and the root of a variance that is unbiased itself.
        """
        uncertainty = self._variance_law[2]

        def excess(log_half_f: float) -> float:
            return float(polygamma(1, np.exp(log_half_f))) - uncertainty

        half_f = np.exp(root_scalar(excess, bracket=(-5, 20), method="brentq").root)
        shift = np.exp((psi(half_f) - np.log(half_f)) / 2)
        half = float(stdtrit(2 * half_f, 0.975) * self.sd * shift)
        return self.bits - half, self.bits + half

    @cached_property
    def _variance_law(self) -> tuple[float, float, float]:
        """The exponent, the logarithm of the variance at n, and the variance of that.

        Least squares of log variance over log size, weighted by degrees of freedom. The logarithm
        of a variance of f degrees of freedom falls short of the truth by log(f/2) - psi(f/2) on
        average and has the variance psi'(f/2). Repeats are taken for independent.
        """
        freedom = np.array([len(e) * (e.shape[1] - 1) for e in self.estimates])
        x = np.log(self.sizes / self.n)
        y = np.log(self.variances) + np.log(freedom / 2) - psi(freedom / 2)
        slope, at_n = (float(v) for v in np.polyfit(x, y, 1, w=np.sqrt(freedom)))
        # at_n is a weighted sum of the y.
        mean = np.average(x, weights=freedom)
        spread = np.sum(freedom * (x - mean) ** 2)
        shares = freedom * (1 / freedom.sum() - mean * (x - mean) / spread)
        return -slope, at_n, float(np.sum(shares**2 * polygamma(1, freedom / 2)))

    @property
    def limit(self) -> tuple[float, float]:
        """The estimate as N grows, by a straight line against 1/N, and its standard error."""
        inverse = 1 / np.append(self.sizes, self.n)
        # Unweighted: a mean over all samples varies alike whatever their parts.
        limit = np.polyfit(inverse, np.append(self.means, self.bits), 1)[1]
        of_repeats = np.transpose([e.mean(axis=1) for e in self.estimates])
        singly = [np.polyfit(inverse, [*of_one, self.bits], 1)[1] for of_one in of_repeats]
        # Repeats share their samples: their spread shows the parts' luck, `sd` that of the samples.
        return float(limit), float(np.hypot(np.std(singly, ddof=1), self.sd))


def fitting_parts(n: int, ranks: int) -> list[int]:
    """Into how many parts n samples may be cut, where x and y vary in so many directions."""
    return [m for m in PARTS if n // m >= max(2 * ranks, 32)]


def subsample(
    x: ArrayLike,
    y: ArrayLike,
    *,
    estimator: str = "ksg",
    parts: Sequence[int] | None = None,
    repeats: int = 10,
    key: jax.Array | None = None,
    **options,
) -> Subsamples:
    """Estimates from all samples and from disjoint parts of them.

    Args:
        x, y: (N, p) and (N, q).
        parts: into how many parts the samples are cut, at least two numbers, each at least 2; by
            default those of 2, 4, 8, 16 and 32 that leave 2 (rank_x + rank_y) samples a part, and
            32.
        repeats: how often for each, at random; at least 2.
        key: a JAX random key; `jax.random.key(0)` if none is given.
        **options: of the estimator.

    Raises:
        ValueError: what the estimator refuses of the smallest part, or impossible arguments.
    """
    check_estimator(estimator)
    key = default_key(key)
    x, y = as_pair(x, y)
    n = len(x)
    if parts is None:
        ranks = sum(of.rank for of in _whitened(x, y))
        parts, least = fitting_parts(n, ranks), max(2 * ranks, 32)
        if len(parts) < 2:
            raise ValueError(
                f"{n} samples: a quarter of them must be at least {least}, twice the ranks of x "
                f"and y, or 32; take {4 * least} samples, or fewer components, or name the parts"
            )
    parts = sorted(set(parts))
    if len(parts) < 2 or parts[0] < 2:
        raise ValueError(f"parts: {parts} must be at least two different numbers from 2 on")
    if repeats < 2:
        raise ValueError(f"repeats: {repeats} is below 2")
    if n < 4 * parts[-1]:
        raise ValueError(f"{n} samples cannot be cut into {parts[-1]} parts; ask for fewer parts")

    draw = np.random.default_rng(np.asarray(jax.random.key_data(key)))
    orders = [draw.permutation(n) for _ in range(repeats)]
    whole, estimates = _read(x, y, orders, parts, estimator, key, options)
    sizes = np.array([n // m for m in parts])
    for size, found in zip(sizes, estimates, strict=True):
        if not np.isfinite(found).all() or (found == found.flat[0]).all():
            raise ValueError(
                f"parts of {size} samples read {found.flat[0]} bits or infinity throughout: x and "
                "y share directions, or the estimator is at its ceiling, and no spread can be had. "
                "Estimate on directions that are not shared, or from more samples"
            )
    return Subsamples(whole, n, sizes, estimates)


def _whitened(x: np.ndarray, y: np.ndarray) -> tuple[Whitened, Whitened]:
    return whiten(x, "x"), whiten(y, "y")


def _read(
    x: np.ndarray,
    y: np.ndarray,
    orders: Sequence[np.ndarray],
    parts: Sequence[int],
    estimator: str,
    key: jax.Array,
    options: Mapping[str, Any],
) -> tuple[float, tuple[np.ndarray, ...]]:
    """The bits of all samples, and for each number of parts those of them, (orders, parts)."""
    check_one_k(options)
    n = len(x)

    def split(order: np.ndarray, m: int) -> np.ndarray:
        return order[: n - n % m].reshape(m, -1)

    if estimator == "ksg":
        splits = [split(order, m) for m in parts for order in orders]
        (whole,), *read = ksg_on_parts(x, y, [np.arange(n)[None], *splits], **options)
        return float(whole), tuple(
            np.array(read[i : i + len(orders)]) for i in range(0, len(read), len(orders))
        )

    def one(rows: np.ndarray | slice) -> float:
        return estimate_pair(x[rows], y[rows], estimator, key=key, **options).estimate.bits

    quick = None
    if estimator == "gaussian" and not options:
        of_x, of_y = _whitened(x, y)
        quick = joined(of_x, of_y), (of_x.rank, of_y.rank)
    by_order = []
    for order in track(orders, what=f"{estimator} on parts of the samples", unit="order"):
        read = quick and gaussian_on_parts(*quick, order, parts)
        if not read:
            quick = None
            read = [np.array([one(rows) for rows in split(order, m)]) for m in parts]
        by_order.append(read)
    return one(slice(None)), tuple(np.array(of_size) for of_size in zip(*by_order, strict=True))
