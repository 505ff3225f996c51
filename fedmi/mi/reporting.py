"""All that an estimate is worth, in one row: null, interval, ceiling, limit and calibration."""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import nan
from typing import Any

import jax
import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from fedmi.mi.calibrate import Calibration, calibrate
from fedmi.mi.subsampling import Subsamples, fitting_parts, subsample

COLUMNS = [
    "estimator", "net_bits", "perm_bits", "perm_sd", "p_value", "low", "high", "interval",
    "ceiling_bits", "limit_bits", "limit_sd", "variance_exponent", "truth_low", "truth_high",
    "blind",
]  # fmt: skip


@dataclass(frozen=True)
class Report:
    """What one pair of clients reads, by several estimators.

    Attributes:
        table: a row an estimator: `net_bits`, its null, its sampling `interval` (what it comes from
            and its ends `low`, `high`, of `net_bits`), `ceiling_bits`, the limit of `bits` for
            infinitely many samples with its standard error, b in the law a / N^b of its variance,
            and the true values that are compatible with it for Gaussian surrogates.
        calibration: truth against reading.
        subsamples: by estimator, where there were enough samples.
    """

    table: pd.DataFrame
    calibration: Calibration
    subsamples: Mapping[str, Subsamples]


def report(
    x: ArrayLike,
    y: ArrayLike,
    *,
    estimators: Sequence[str] = ("gaussian", "ksg"),
    draws: int = 2,
    truths: Sequence[float] | None = None,
    permutations: int = 20,
    key: jax.Array,
    options: Mapping[str, Mapping[str, Any]] | None = None,
) -> Report:
    """Calibrates estimators at the samples' own size, and says how far each can be trusted.

    The interval is the Gaussian formula's own, widened as in `PairEstimate`, and that of
    subsampling for the others. Subsampling needs parts of at least 2 (rank_x + rank_y) samples,
    hence eight times as many samples as ranks; where there are fewer, what comes from it is nan.

    Args:
        x, y: (N, p) and (N, q), with N > rank_x + rank_y.
        estimators: names of estimators.
        draws, truths: as `calibrate` takes them.
        permutations: re-pairings behind the null.
        key: a JAX random key.
        options: estimator -> its options.

    Raises:
        ValueError: what `calibrate` refuses.
    """
    options = options or {}
    calibrate_key, part_key = jax.random.split(key)
    calibration = calibrate(
        x, y, estimators=estimators, truths=truths, draws=draws, permutations=permutations,
        key=calibrate_key, options=options,
    )  # fmt: skip
    ranges = calibration.ranges().set_index("estimator")
    parts = fitting_parts(calibration.n, sum(calibration.ranks))
    subsamples, rows = {}, []
    for name in estimators:
        pair = calibration.own[name]
        if len(parts) > 1 and np.isfinite(pair.estimate.bits):
            try:
                subsamples[name] = subsample(
                    x, y, estimator=name, parts=parts, key=part_key, **options.get(name, {})
                )
            except ValueError as error:  # a part without any spread: the calibration still holds
                warnings.warn(f"{name}: no interval by subsampling: {error}", stacklevel=2)
        rows.append(_row(name, calibration, ranges.loc[name], subsamples.get(name)))
    return Report(pd.DataFrame(rows, columns=COLUMNS), calibration, subsamples)


def _row(name: str, calibration: Calibration, truth: pd.Series, parts: Subsamples | None) -> dict:
    pair = calibration.own[name]
    low, high = pair.estimate.interval
    source = "analytic"
    if np.isnan(low):
        low, high = parts.interval if parts else (nan, nan)
        source = "subsampling" if parts else "none"
    return dict(
        estimator=name,
        net_bits=pair.net_bits,
        perm_bits=pair.perm_bits,
        perm_sd=pair.perm_sd,
        p_value=pair.p_value,
        low=low - pair.perm_bits,
        high=high - pair.perm_bits,
        interval=source,
        ceiling_bits=pair.estimate.ceiling_bits,
        limit_bits=parts.extrapolated.bits if parts else nan,
        limit_sd=parts.extrapolated.sd if parts else nan,
        variance_exponent=parts.exponent if parts else nan,
        truth_low=truth.low,
        truth_high=truth.high,
        blind=truth.blind,
    )
