"""Mutual information in bits, from plain arrays of samples."""

from fedmi.mi.calibrate import calibrate
from fedmi.mi.consistency import self_consistency
from fedmi.mi.pairwise import (
    gaussian,
    gaussian_copula,
    ksg,
    neural,
    pairwise,
    permutation_null,
)
from fedmi.mi.reduction import reduce
from fedmi.mi.reporting import report
from fedmi.mi.result import Estimate, PairEstimate
from fedmi.mi.subsampling import subsample

__all__ = [
    "Estimate",
    "PairEstimate",
    "calibrate",
    "gaussian",
    "gaussian_copula",
    "ksg",
    "neural",
    "pairwise",
    "permutation_null",
    "reduce",
    "report",
    "self_consistency",
    "subsample",
]
