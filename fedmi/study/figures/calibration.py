"""What estimators read of known truths, and which truths fit a reading."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fedmi.mi.trust.report import common_range
from fedmi.study.figures import style
from fedmi.study.figures.captions import ESTIMATORS, coupled
from fedmi.study.tables import groups


@style.styled()
def calibration(bands: pd.DataFrame, trust: pd.DataFrame, caption: str = "") -> Figure:
    """Truth against reading, one panel an estimator, and the truths compatible with a reading.

    Lines are means over Gaussian surrogates with the samples' own covariances, a family each, with
    bands of two standard deviations; the diagonal is what a perfect estimator would read. The
    horizontal line is what the samples read; the shaded range the truths compatible with it.

    Args:
        bands: of one pair and checkpoint, as `fedmi.mi.trust.calibrate.Calibration.bands` gives
            them.
        trust: the table trust.csv of the same.
        caption: for the title, see `caption_of`.
    """
    figure, panels = plt.subplots(1, len(trust), figsize=(style.WIDTH, 4.2), squeeze=False)
    for axes, (_, row) in zip(panels[0], trust.iterrows(), strict=True):
        _truth_against_reading(axes, bands.loc[bands.estimator == row.estimator], row)
        axes.set_xlabel("true MI (bits)")
        name = ESTIMATORS.get(row.estimator, row.estimator)
        axes.set_title(f"{name}\nreads {row.net_bits:.2f}; truth: {fits(row)}")
    panels[0, 0].set_ylabel("net MI read (bits)")
    style.legend_below(*panels[0], columns=3)
    lines = [coupled(trust, caption), "normal surrogates, bands: two standard deviations"]
    if len(trust) > 1:
        shared = common_range(trust)
        agree = f"agree: {_range(*shared)}" if shared else "contradict each other"
        lines.append(f"the estimators {agree}")
    figure.suptitle("\n".join(lines))
    return figure


def _truth_against_reading(axes: Axes, bands: pd.DataFrame, row: pd.Series) -> None:
    looks = style.looks_of(bands.family.unique())
    for family, line in groups(bands, "family"):
        style.band(axes, line.true_bits, line["mean"], 2 * line.sd, looks[family], family)
    read = [bands["mean"] - 2 * bands.sd, bands["mean"] + 2 * bands.sd]
    top = bands.true_bits.max()
    style.diagonal(axes, top, "what a perfect estimator reads")
    if np.isfinite(row.net_bits):
        read.append(row.net_bits)
        axes.axhline(row.net_bits, label="what is read of the samples", **style.LIMIT)
        if row.fits == "some":
            upper = min(row.truth_high, top)
            span: style.Look = dict(color="0.5", alpha=0.15, linewidth=0)
            axes.axvspan(row.truth_low, upper, label="truths that fit it", **span)
    low, high = np.min(np.hstack(read)), np.max(np.hstack(read))
    axes.set_xlim(-0.03 * top, 1.03 * top)
    axes.set_ylim(low - 0.07 * (high - low), high + 0.07 * (high - low))


def fits(row: pd.Series) -> str:
    """The true values that fit a reading, a row of the table trust.csv, in words."""
    return _range(row.truth_low, row.truth_high) if row.fits == "some" else "none of those tried"


def _range(low: float, high: float) -> str:
    if np.isinf(low):
        return "infinity"
    return f"{low:.3g} or more" if np.isinf(high) else f"{low:.3g} to {high:.3g}"
