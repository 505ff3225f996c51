"""Mutual information in bits, from plain arrays of samples."""

from fedmi.mi.pairwise import gaussian, gaussian_copula, ksg, neural, pairwise, permutation_null
from fedmi.mi.result import Estimate, PairEstimate
from fedmi.mi.trust.calibrate import calibrate
from fedmi.mi.trust.consistency import self_consistency
from fedmi.mi.trust.report import report
from fedmi.mi.trust.subsample import subsample
from fedmi.mi.variants.reduction import reduce

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
