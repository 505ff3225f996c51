"""Mutual information by the Gaussian formula after every component's ranks are made normal.

Mutual information belongs to the copula: monotone maps of single components leave it as it is.
Mapping each to normal scores (the normal quantiles of its ranks) takes heavy tails and skewness
away from the Gaussian formula, which is then exact for a Gaussian copula with any margins.
"""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from fedmi.mi.gaussian import pairs as gaussian_pairs
from fedmi.mi.null import Repairing
from fedmi.mi.result import PairEstimate
from fedmi.mi.samples import normal_scores


def pairs(
    clients: Mapping[str, np.ndarray],
    repairing: Repairing,
    *,
    ties: str = "refuse",
    rtol: float | None = None,
) -> list[PairEstimate]:
    """Estimates every pair of clients from their normal scores."""
    scores = {name: normal_scores(x, name, ties) for name, x in clients.items()}
    return [
        replace(pair, estimate=replace(pair.estimate, estimator="gaussian_copula"))
        for pair in gaussian_pairs(scores, repairing, rtol=rtol)
    ]
