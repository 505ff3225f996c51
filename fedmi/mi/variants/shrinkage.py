"""The Gaussian formula on a shrunken correlation matrix, with its bias found by simulation.

With few samples for the dimensions the sample correlations are mostly noise. Pulling them towards
zero (Ledoit and Wolf, Journal of Multivariate Analysis 88 (2004), 365-411; Chen, Wiesel, Eldar and
Hero, IEEE Transactions on Signal Processing 58 (2010), 5016-5029) trades variance for bias, and it
works for fewer samples than dimensions. No formula gives that bias. At independence it is found by
simulation, and taken off; under dependence the estimate is pulled towards zero besides.

What is simulated is the samples themselves, re-paired at random. (Normal clients with the samples'
own covariances would carry the noise of these covariances twice: their spectra are wider, and they
are shrunken by another amount.)
"""

from collections.abc import Mapping
from dataclasses import replace
from math import log

import jax
import numpy as np
from scipy import linalg

from fedmi.mi.null import Repairing
from fedmi.mi.result import PairEstimate, client_pairs
from fedmi.mi.samples import standardised

METHODS = ("ledoit-wolf", "oas")


def pairs(
    clients: Mapping[str, np.ndarray],
    repairing: Repairing,
    *,
    key: jax.Array,
    shrinkage: str = "ledoit-wolf",
    simulations: int = 20,
) -> list[PairEstimate]:
    """Estimates every pair of clients.

    Args:
        shrinkage: "ledoit-wolf" or "oas"; how far the correlation matrix of both clients together
            is pulled towards the identity.
        simulations: random re-pairings, at least 2, over which the mean of the plug-in is the
            bias; they are others than those of the null.
    """
    if shrinkage not in METHODS:
        raise ValueError(f"shrinkage {shrinkage!r} is not one of {', '.join(METHODS)}")
    if simulations < 2:
        raise ValueError(f"simulations: {simulations} is below 2")
    scaled = [standardised(x, name).astype(float) for name, x in clients.items()]
    results = []
    for i, pair in enumerate(client_pairs(len(clients))):
        x, y = (scaled[q] for q in pair)
        keys = jax.random.split(jax.random.fold_in(key, i), simulations)
        orders = [np.asarray(jax.random.permutation(k, repairing.n)) for k in keys]
        null = np.array([plug_in_bits(x, y[order], shrinkage) for order in orders])
        raw = np.array([plug_in_bits(x, y[order], shrinkage) for order in repairing.pairings])
        found = PairEstimate.uncorrected(
            pair,
            raw - null.mean(),
            null_bits=float(null.mean()),
            null_sd=float(null.std(ddof=1)),
            n=repairing.n,
            rank_x=x.shape[1],
            rank_y=y.shape[1],
            estimator="gaussian_shrunk",
        )
        results.append(replace(found, estimate=replace(found.estimate, raw_bits=float(raw[0]))))
    return results


def plug_in_bits(x: np.ndarray, y: np.ndarray, shrinkage: str) -> float:
    """Eqs 2-5 of the shrunken covariance of (x, y), in bits."""
    from sklearn.covariance import ledoit_wolf, oas  # as slow to import as it is seldom needed

    shrunken = {"ledoit-wolf": ledoit_wolf, "oas": oas}[shrinkage]
    covariance, _ = shrunken(np.hstack([x, y]))
    p = x.shape[1]
    factors = [linalg.cholesky(c, lower=True) for c in (covariance[:p, :p], covariance[p:, p:])]
    half = linalg.solve_triangular(factors[0], covariance[:p, p:], lower=True)
    cross = linalg.solve_triangular(factors[1], half.T, lower=True)
    squares = linalg.eigvalsh(cross @ cross.T if len(cross) <= p else cross.T @ cross)
    return float(-0.5 * np.log1p(-np.clip(squares, 0, 1)).sum() / log(2))
