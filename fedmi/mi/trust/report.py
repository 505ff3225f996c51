"""All that an estimate is worth, in one row: null, interval, ceiling, limit and calibration."""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from math import isinf, nan
from typing import Any

import jax
import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from fedmi.mi.null import default_key
from fedmi.mi.result import PairEstimate
from fedmi.mi.trust.calibrate import Calibration, calibrate
from fedmi.mi.trust.subsample import Subsamples, fitting_parts, subsample

COLUMNS = (
    "estimator net_bits perm_bits perm_sd p_value low high interval ceiling_bits limit_bits "
    "limit_sd variance_exponent truth_low truth_high fits blind agree"
).split()


@dataclass(frozen=True)
class Report:
    """What one pair of clients reads, by several estimators.

    Attributes:
        table: a row an estimator: `net_bits`, its null, its sampling `interval` (what it comes from
            and its ends `low`, `high`, of `net_bits`), `ceiling_bits`, the limit of `bits` for
            infinitely many samples with its standard error, b in the law a / N^b of its variance,
            and the true values that are compatible with it (see `Calibration.ranges`). `agree`, the
            same in all rows, says whether some true value is compatible with all readings.
        calibration: truth against reading.
        subsamples: by estimator, where there were enough samples.
    """

    table: pd.DataFrame
    calibration: Calibration
    subsamples: Mapping[str, Subsamples]

    @property
    def sentence(self) -> str:
        """Which estimators agree on what true value, in words."""
        return sentence(self.table, self.calibration.table.true_bits.max())


def common_range(rows: pd.DataFrame) -> tuple[float, float] | None:
    """The true values that fit every row of a report, as (low, high), or None."""
    low, high = rows.truth_low.max(skipna=False), rows.truth_high.min(skipna=False)
    return (float(low), float(high)) if low <= high else None


def agreeing(rows: pd.DataFrame) -> pd.DataFrame | None:
    """The most rows of a report, at least two, that some true value fits; None where no two do."""
    groups = (
        rows.iloc[list(chosen)]
        for size in range(len(rows), 1, -1)
        for chosen in combinations(range(len(rows)), size)
    )
    return next((group for group in groups if common_range(group)), None)


def range_in_words(low: float, high: float) -> str:
    """A range of true values in bits; `high` is infinite where it has no end."""
    if isinf(low):
        return "infinitely many bits"
    return f"{low:.3g} bits or more" if isinf(high) else f"{low:.3g} to {high:.3g} bits"


def fit_in_words(row: pd.Series, largest: float) -> str:
    """Which true values fit a row of a report, where truths up to `largest` were tried."""
    if row.fits == "some":
        return f"fits {range_in_words(row.truth_low, row.truth_high)}"
    more = "more" if row.fits == "above" else "less"
    return f"reads {more} than any law of 0 to {largest:.3g} bits makes it read"


def sentence(rows: pd.DataFrame, largest: float) -> str:
    """What the ranges of a report's rows say together, where truths up to `largest` were tried."""
    each = "; ".join(
        f"{row.estimator} ({row.net_bits:.3g}) {fit_in_words(row, largest)}"
        for _, row in rows.iterrows()
    )
    if len(rows) == 1:
        return f"{each}."
    group = agreeing(rows)
    fitting = None if group is None else common_range(group)
    shared = "" if fitting is None else range_in_words(*fitting)
    if group is not None and len(group) == len(rows):
        return f"{_listed(rows)} agree: normal laws of {shared} read what they read."
    text = f"No normal law that was tried reads what {_listed(rows)} read: {each}."
    return text if group is None else f"{text} Of them {_listed(group)} agree, on {shared}."


def _listed(rows: pd.DataFrame) -> str:
    *names, last = rows.estimator
    return f"{', '.join(names)} and {last}"


REPEATS = 6
"""How often samples are cut into parts: more of the same samples tell little more."""


def report(
    x: ArrayLike,
    y: ArrayLike,
    *,
    estimators: Sequence[str] = ("gaussian", "ksg"),
    draws: int = 2,
    truths: Sequence[float] | None = None,
    permutations: int = 20,
    key: jax.Array | None = None,
    options: Mapping[str, Mapping[str, Any]] | None = None,
) -> Report:
    """Calibrates estimators at the samples' own size, and says how far each can be trusted.

    The interval is the Gaussian formula's own, as much wider as re-pairings spread more than those
    of normal samples, and that of subsampling for the others. Subsampling needs parts of at least 2
    (rank_x + rank_y) samples, hence eight times as many samples as ranks; where there are fewer,
    what comes from it is nan.

    Args:
        x, y: (N, p) and (N, q), with N > rank_x + rank_y; row i of each from the same seed.
        estimators: names that `fedmi.mi.pairwise` takes.
        draws: surrogates for each truth and family, at least 2.
        truths: true MI in bits, 0 among them; by default a grid that ends beyond the readings.
        permutations: re-pairings behind the null, at least 2.
        key: a JAX random key; `jax.random.key(0)` if none is given.
        options: estimator -> its options.
    """
    options = options or {}
    calibrate_key, part_key = jax.random.split(default_key(key))
    calibration = calibrate(
        x,
        y,
        estimators=estimators,
        truths=truths,
        draws=draws,
        permutations=permutations,
        key=calibrate_key,
        options=options,
    )
    ranges = calibration.ranges().set_index("estimator")
    parts = fitting_parts(calibration.n, sum(calibration.ranks))
    subsamples, rows = {}, []
    for name in estimators:
        if len(parts) > 1 and np.isfinite(calibration.own[name].estimate.bits):
            try:
                subsamples[name] = subsample(
                    x,
                    y,
                    estimator=name,
                    parts=parts,
                    repeats=REPEATS,
                    key=part_key,
                    **options.get(name, {}),
                )
            except ValueError as error:  # a part without any spread: the calibration still holds
                warnings.warn(f"{name}: no interval by subsampling: {error}", stacklevel=2)
        rows.append(_row(calibration.own[name], ranges.loc[name], subsamples.get(name)))
    table = pd.DataFrame(rows)
    return Report(table.assign(agree=common_range(table) is not None), calibration, subsamples)


def _row(pair: PairEstimate, truth: pd.Series, parts: Subsamples | None) -> dict[str, Any]:
    (low, high), source = pair.estimate.interval, "analytic"
    if np.isnan(low):
        (low, high), source = (parts.interval, "subsampling") if parts else ((nan, nan), "none")
    limit_bits, limit_sd = parts.limit if parts else (nan, nan)
    return dict(
        estimator=pair.estimate.estimator,
        net_bits=pair.net_bits,
        perm_bits=pair.perm_bits,
        perm_sd=pair.perm_sd,
        p_value=pair.p_value,
        low=low - pair.perm_bits,
        high=high - pair.perm_bits,
        interval=source,
        ceiling_bits=pair.estimate.ceiling_bits,
        limit_bits=limit_bits,
        limit_sd=limit_sd,
        variance_exponent=parts.exponent if parts else nan,
        truth_low=truth.low,
        truth_high=truth.high,
        fits=truth.fits,
        blind=truth.blind,
    )
