"""Mutual information in bits, from plain arrays of samples."""

from fedmi.mi.pairwise import gaussian, ksg, pairwise, permutation_null
from fedmi.mi.result import Estimate, PairEstimate

__all__ = [
    "Estimate",
    "PairEstimate",
    "gaussian",
    "ksg",
    "pairwise",
    "permutation_null",
]
