"""Every reading of the signal task's network side by side."""

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fedmi.stats import Z95
from fedmi.study.figures import style
from fedmi.study.figures.captions import CHAOTIC, ESTIMATORS, heading, task_of
from fedmi.study.tables import groups

LOOKS = style.looks_of(["gaussian", "ksg", "distance", "fresh", "growth"])
HEIGHTS = (1.3, 1.1, 1, 0.9)


@style.styled()
def readings(table: pd.DataFrame, caption: str = "") -> Figure:
    """Every reading in a column: MI by both estimators, distance, fresh error, growth.

    Bands and bars are 1.96 standard errors.

    Args:
        table: rows of `fedmi.study.readings.compare`.
        caption: for the title, see `caption`.
    """
    names = table.reading.unique()
    figure, panels = plt.subplots(
        4, len(names), figsize=(2.3 * len(names), 8), height_ratios=HEIGHTS, sharex=True
    )
    for column, (name, rows) in zip(panels.T, groups(table, "reading"), strict=True):
        mi, apart, learning, growth = column
        of = {quantity: at.sort_values("iteration") for quantity, at in groups(rows, "quantity")}
        for estimator in ("gaussian", "ksg"):
            _band(mi, of[estimator], LOOKS[estimator], ESTIMATORS[estimator])
            look = LOOKS[estimator] | dict(linestyle=(0, (1, 1)), marker="", linewidth=1)
            _band(mi, of[f"null {estimator}"], look, f"{ESTIMATORS[estimator]}, nothing shared")
        style.zero_line(mi)
        _band(apart, of["distance"], LOOKS["distance"], "distance, same seed")
        others = of["unmatched"]
        apart.plot(others.iteration, others.value, label="other seeds", **style.OTHER_SEEDS)
        _band(learning, of["fresh"], LOOKS["fresh"], "error on fresh examples")
        learning.axhline(1, label="best constant", **style.LIMIT)
        at = of["growth"]
        growth.plot(at.iteration, at.value, label="growth of a millionth", **LOOKS["growth"])
        growth.set_yscale("log")
        growth.set_ylim(0.5, 2e5)
        style.iteration_axis(growth)
        chaotic = f"\n{CHAOTIC}" if rows.chaotic.iloc[0] else ""
        mi.set_title(f"{name}, N = {rows.n.iloc[0]:,}{chaotic}")
    labels = ("net MI (bits)", "Euclidean distance", "mean squared error", "growth")
    for axes, label in zip(panels[:, 0], labels, strict=True):
        axes.set_ylabel(label)
    style.legend_below(*panels[:, 0], columns=3)
    title = heading(task_of(table), "five networks of 394 parameters", caption)
    figure.suptitle(f"{title}\nMI and distance each on a scale of its own; bands and bars: 95 %")
    return figure


def _band(axes: Axes, rows: pd.DataFrame, look: style.Look, label: str) -> None:
    style.band(axes, rows.iteration, rows.value, Z95 * rows.se, look, label)
