"""What estimators read, and the truths that fit it."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fedmi.mi.trust.report import common_range
from fedmi.study.figures.captions import ESTIMATORS, title
from fedmi.study.figures.style import looks_of, styled


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
    with styled():
        figure, panels = plt.subplots(
            1, len(trust), figsize=(3.5 * len(trust), 3.2), squeeze=False, layout="constrained"
        )
        for axes, (_, row) in zip(panels[0], trust.iterrows(), strict=True):
            of = bands[bands.estimator == row.estimator]
            top = of.true_bits.max()
            _truth_against_reading(axes, of)
            _reading(axes, row, top)
            said = ("truth " if _some_fit(row) else "fits ") + fits(row, top)
            said = f"reads {row.net_bits:.2f}: {said}" if np.isfinite(row.net_bits) else said
            axes.set_title(f"{ESTIMATORS.get(row.estimator, row.estimator)}\n{said}")
        panels[0, 0].set_ylabel("net MI read (bits)")
        panels[0, 0].legend(fontsize=7)
        figure.suptitle(
            f"{title(trust, caption)}\nnormal surrogates, bands: two standard deviations\n"
            f"{agreement(trust)}",
            fontsize=10.5,
        )  # fmt: skip
    return figure


def _truth_against_reading(axes: Axes, bands: pd.DataFrame) -> None:
    looks = looks_of(list(bands.family.unique()))
    for family, line in bands.groupby("family", sort=False):
        low, high = line["mean"] - 2 * line.sd, line["mean"] + 2 * line.sd
        axes.plot(line.true_bits, line["mean"], label=family, **looks[family])
        axes.fill_between(
            line.true_bits, low, high, color=looks[family]["color"], alpha=0.2, linewidth=0
        )
    low, high = (bands["mean"] - 2 * bands.sd).min(), (bands["mean"] + 2 * bands.sd).max()
    top = bands.true_bits.max()
    axes.plot([0, top], [0, top], color="0.6", linewidth=0.8, zorder=1)
    axes.set_xlim(0, top)
    axes.set_ylim(low - 0.05 * (high - low), high + 0.05 * (high - low))
    axes.set_xlabel("true MI (bits)")


def _reading(axes: Axes, row: pd.Series, top: float) -> None:
    """Draws a reading and the truths that fit it."""
    if not np.isfinite(row.net_bits):
        return
    axes.axhline(row.net_bits, color="0.2", linewidth=1, linestyle=(0, (4, 2)))
    low, high = axes.get_ylim()
    margin = 0.05 * (high - low)
    axes.set_ylim(min(low, row.net_bits - margin), max(high, row.net_bits + margin))
    if _some_fit(row):
        axes.axvspan(row.truth_low, min(row.truth_high, top), color="0.5", alpha=0.15, linewidth=0)


def _some_fit(row: pd.Series) -> bool:
    """Whether any of the truths that were tried fits a reading."""
    return bool(np.isfinite(row.truth_low))


def fits(row: pd.Series, top: float) -> str:
    """The true values that fit a reading, in words.

    Args:
        row: of the table trust.csv.
        top: the largest truth that was tried.
    """
    if np.isinf(row.net_bits):
        return "an infinite reading alone"
    if not _some_fit(row):
        return f"none of those tried (up to {top:.3g})"
    upper = f"to {row.truth_high:.3g}" if np.isfinite(row.truth_high) else "upwards"
    return f"{row.truth_low:.3g} {upper}"


def agreement(trust: pd.DataFrame) -> str:
    """Whether one normal law can read what all estimators read, in a sentence.

    Args:
        trust: the table trust.csv of one pair and checkpoint.
    """
    if len(trust) < 2:
        return "one estimator: no other to hold it against"
    shared = common_range(trust)
    if shared is None:
        return "the estimators contradict each other: no normal law tried reads all of this"
    low, high = shared
    if np.isinf(low):
        return "the estimators agree: all read infinity"
    upper = f"to {high:.3g}" if np.isfinite(high) else "upwards"
    return f"the estimators agree: {low:.3g} {upper} fits all of them"
