"""Mutual information by the Gaussian formula after every component's ranks are made normal.

Mutual information belongs to the copula: monotone maps of single components leave it as it is.
Mapping each to normal scores (the normal quantiles of its ranks) takes heavy tails and skewness
away from the Gaussian formula, which is then exact for a Gaussian copula with any margins.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import scipy  # its module `stats` takes long to import, and is when it is first used
from scipy.special import ndtri

from fedmi.mi.gaussian import pairs as gaussian_pairs
from fedmi.mi.null import Repairing
from fedmi.mi.result import PairEstimate
from fedmi.mi.samples import centred

TIES = ("refuse", "average")
FEW = 0.01
"""Up to this share of tied samples ties are taken for rounding (float32 has 2^24 numbers)."""


def normal_scores(samples: np.ndarray, name: str, ties: str = "refuse") -> np.ndarray:
    """The standard normal quantiles of rank / (N + 1), component by component.

    Args:
        samples: (N, p).
        name: the argument's name in messages.
        ties: "refuse" more than 1 % of tied samples in a component, or "average" to take any (a
            component that does not vary, or by rounding alone, then has a constant score and says
            nothing). Tied samples get their mean rank.

    Returns:
        (N, p) float64.

    Raises:
        ValueError: an unknown way with ties; or ties, where they are refused.
    """
    if ties not in TIES:
        raise ValueError(f"ties is {ties!r}; it must be one of {', '.join(TIES)}")
    ranks = scipy.stats.rankdata(samples.astype(np.float64), axis=0)
    if ties == "refuse":
        ordered = np.sort(samples, axis=0)
        tied = (ordered[1:] == ordered[:-1]).mean(axis=0) > FEW
        if tied.any():
            raise ValueError(
                f"{name} has tied values in {tied.sum()} of {len(tied)} components (the first: "
                f"{np.argmax(tied)}), whose ranks are not unique: drop these components, if they "
                'are constant, or pass ties="average"'
            )
    ranks[:, centred(samples).spread == 0] = (len(samples) + 1) / 2
    return ndtri(ranks / (len(samples) + 1))


def pairs(
    clients: Sequence[np.ndarray],
    names: Sequence[str],
    repairing: Repairing,
    *,
    ties: str = "refuse",
    rtol: float | None = None,
) -> list[PairEstimate]:
    """Estimates every pair of clients from their normal scores; see `fedmi.mi.gaussian.pairs`."""
    scores = [normal_scores(x, name, ties) for x, name in zip(clients, names, strict=True)]
    return [
        replace(pair, estimate=replace(pair.estimate, estimator="gaussian_copula"))
        for pair in gaussian_pairs(scores, names, repairing, rtol=rtol)
    ]
