"""Mutual information by the Gaussian formula (Eqs 1-5), on the support of the samples.

Eqs 2-5 compare determinants of covariance matrices. Only canonical correlations survive in the
difference, so nothing else is computed: with Q_x and Q_y orthonormal bases of the centred samples
(`fedmi.mi.whitening`), the correlations r_i are the singular values of Q_x' Q_y, and Eq. 5 is
-1/2 sum log(1 - r_i^2) nats. A covariance of deficient rank, whose determinant is zero, is then no
obstacle.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import inf, isinf, log

import numpy as np
from numpy import linalg

from fedmi.mi import wilks
from fedmi.mi.lagged import lagged_products
from fedmi.mi.null import Repairing
from fedmi.mi.result import Estimate, PairEstimate, client_pairs
from fedmi.mi.whitening import EPS, Whitened, whiten
from fedmi.stats import Z95

SHARED = 1e-10
"""A canonical correlation within this of 1 counts as a shared direction.

Directions that agree but for float32 rounding qualify while a column's root mean square is below
some 300 of its standard deviations; beyond, the reading is large, but finite.
"""

PRODUCT = 1e-10
"""Up to this EPS times both conditions, canonical correlations come from a product of the samples.

It squares their condition, so that this bounds its relative error but for a factor of some tens.
"""

NEAR = 1e-2
"""Of 1 - r^2. Where a re-pairing may have less, its product is taken again in float64: that of
float32 bases is some 1e-6 wrong, which would be seen."""


def squared_correlations(x: Whitened, y: Whitened) -> np.ndarray:
    """Squared canonical correlations of x and y, (min(rank_x, rank_y),) ascending, in [0, 1]."""
    # The product of the samples carries the rounding of both maps. Where that could be seen in an
    # estimate or in the decision which directions are shared, the bases are multiplied instead.
    if EPS * x.condition * y.condition < PRODUCT:
        cross = x.to_basis.T @ (x.standard.T @ y.standard) @ y.to_basis
        squares = linalg.eigvalsh(square(cross))
        if 1 - squares[-1] > 1e4 * EPS * x.condition * y.condition:
            return np.clip(squares, 0, 1)
    return np.clip(linalg.eigvalsh(square(x.basis.T @ y.basis)), 0, 1)


def estimate(x: Whitened, y: Whitened) -> Estimate:
    """Eqs 1-5 with their bias removed; raises ValueError for too few samples."""
    n, p, q = len(x.standard), x.rank, y.rank
    if n < p + q + 1:
        raise ValueError(
            f"{n} samples of ranks {p} and {q}: the Gaussian estimate needs at least "
            f"{p + q + 1} (rank_x + rank_y + 1); take more samples or fewer components"
        )
    squares = squared_correlations(x, y)
    nats, finite, shared = unshared(squares, n, p, q)
    raw, bits = (inf, inf) if shared else (nats, finite)
    variance = wilks.null_variance(n, p, q)
    dependence = (squares.sum() - p * q / (n - 1)) / ((1 - p / (n - 1)) * (1 - q / (n - 1)))
    half_width = Z95 * np.sqrt(variance + max(dependence, 0) / (n - 1))
    to_bits = 1 / log(2)
    return Estimate(
        bits=float(bits * to_bits),
        raw_bits=float(raw * to_bits),
        finite_bits=float(finite * to_bits),
        shared_directions=shared,
        null_bits=wilks.null_mean(n, p, q) * to_bits,
        null_sd=float(np.sqrt(variance) * to_bits),
        p_value=wilks.p_value(raw, n, p, q),
        interval=(float((bits - half_width) * to_bits), float((bits + half_width) * to_bits)),
        n=n,
        rank_x=p,
        rank_y=q,
        estimator="gaussian",
    )


def unshared(squares: np.ndarray, n: int, p: int, q: int) -> tuple[float, float, int]:
    """Eq. 5 over the directions that are not shared, in nats; the same without its bias; s shared.

    Args:
        squares: (min(p, q),) squared canonical correlations.
        n, p, q: number of samples, and the ranks.
    """
    rest = squares[squares < (1 - SHARED) ** 2]
    shared = len(squares) - len(rest)
    nats = float(-0.5 * np.log1p(-rest).sum())
    # With s directions shared, the rest are the residuals of x and y given those s: ranks p - s
    # and q - s, in a space of s fewer dimensions.
    sizes = (n - shared, p - shared, q - shared)
    return nats, nats - wilks.null_mean(*sizes) if min(sizes) else 0.0, shared


def pairs(
    clients: Mapping[str, np.ndarray], repairing: Repairing, *, rtol: float | None = None
) -> list[PairEstimate]:
    """Estimate every pair of clients; each is whitened once for all pairs and re-pairings."""
    whitened = [whiten(x, name, rtol) for name, x in clients.items()]
    combinations = client_pairs(len(clients))
    estimates = [estimate(whitened[a], whitened[b]) for a, b in combinations]
    permuted = _permuted(whitened, repairing)
    return [
        PairEstimate(pair, widened(e, finite), bits, permuted_finite=finite)
        for pair, e, (bits, finite) in zip(combinations, estimates, permuted, strict=True)
    ]


def widened(estimate: Estimate, finite: np.ndarray) -> Estimate:
    """The estimate, its interval as much wider as re-pairings spread more than normal samples.

    Args:
        finite: (m,) what re-pairings read on the directions that are not shared.
    """
    if len(finite) < 2 or isinf(estimate.bits):
        return estimate
    factor = max(finite.std(ddof=1) / estimate.null_sd, 1.0)
    low, high = (estimate.bits + factor * (end - estimate.bits) for end in estimate.interval)
    return replace(estimate, interval=(low, high))


def _permuted(
    whitened: Sequence[Whitened], repairing: Repairing
) -> list[tuple[np.ndarray, np.ndarray]]:
    """(m,) bits of every pair over re-paired seeds, and (m,) on what is not shared."""
    combinations = client_pairs(len(whitened))
    if not repairing.m:
        return [(np.empty(0), np.empty(0)) for _ in combinations]
    n, ranks = repairing.n, [w.rank for w in whitened]
    # Canonical correlations of re-paired samples are of the order of sqrt((p + q) / N). While that
    # is well below 1, float32 products move the plug-in value by some 1e-6 of itself.
    double = 2 * sum(sorted(ranks)[-2:]) > n
    dtype = np.float64 if double else np.float32
    bases = []
    for w in whitened:
        precise = double or EPS * w.condition**2 > PRODUCT  # then the estimates took it as well
        basis = w.basis if precise else w.rough_basis
        bases.append(repairing.extended(basis.astype(dtype)))
    result = []
    for a, b in combinations:
        usual = wilks.null_mean(n, ranks[a], ranks[b])
        bits, finite = np.empty((2, repairing.m))
        products = lagged_products(bases[a][:n], bases[b], repairing.m)
        for i, cross in enumerate(products):
            nats = _half_log_determinant(cross)
            if np.isfinite(nats):
                bits[i] = finite[i] = (nats - usual) / log(2)
            else:
                bits[i], finite[i] = _precisely(whitened[a], whitened[b], repairing, 1 + i)
        result.append((bits, finite))
    return result


def _half_log_determinant(cross: np.ndarray) -> float:
    """Eq. 5 in nats from cross-correlations of orthonormal bases: -1/2 log det(1 - C C').

    Infinite where a correlation is so near 1 (`NEAR`) that the products do not tell how near.
    """
    squared = square(cross).astype(np.float64)
    try:
        pivots = np.diag(linalg.cholesky(np.eye(len(squared)) - squared))
    except linalg.LinAlgError:
        return inf
    return float(-np.log(pivots).sum()) if pivots.min() ** 2 > NEAR else inf


def _precisely(x: Whitened, y: Whitened, repairing: Repairing, shift: int) -> tuple[float, float]:
    """Bits over one re-pairing as `estimate` takes them, and on what is not shared.

    A direction in which one seed stands alone, as of a parameter that moves in that seed only, is
    shared as soon as it is paired with such a seed of the other client.
    """
    cross = x.basis.T @ y.basis[repairing.partners(shift)]
    squares = np.clip(linalg.eigvalsh(square(cross)), 0, 1)
    _, finite, shared = unshared(squares, repairing.n, x.rank, y.rank)
    if shared == len(squares):
        raise ValueError(
            "re-paired samples share all their directions, so that nothing of their null is "
            "finite: the samples take too few different values; take more of them, or ask for no "
            "re-pairings"
        )
    return (inf if shared else finite / log(2)), finite / log(2)


def square(cross: np.ndarray) -> np.ndarray:
    """C C' or C' C, whichever is smaller."""
    return cross @ cross.T if cross.shape[0] <= cross.shape[1] else cross.T @ cross
