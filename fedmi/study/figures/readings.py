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


@style.styled()
def readings(table: pd.DataFrame, caption: str = "") -> Figure:
    """Every reading in a row: MI by both estimators, distance, fresh error, growth.

    Bands and bars are 1.96 standard errors.

    Args:
        table: rows of `fedmi.study.readings.compare`.
        caption: for the title, see `caption`.
    """
    names = table.reading.unique()
    figure, panels = plt.subplots(
        len(names), 4, figsize=(style.WIDTH, 1.55 * len(names) + 1.6), sharex=True, squeeze=False
    )
    for row, (name, rows) in zip(panels, groups(table, "reading"), strict=True):
        mi, apart, learning, growth = row
        of = {quantity: at.sort_values("iteration") for quantity, at in groups(rows, "quantity")}
        for estimator in ("gaussian", "ksg"):
            _band(mi, of[estimator], LOOKS[estimator], ESTIMATORS[estimator])
            look = LOOKS[estimator] | dict(linestyle=(0, (1, 1)), marker="", linewidth=1)
            _band(mi, of[f"null {estimator}"], look, f"{ESTIMATORS[estimator]}, nothing shared")
        style.zero_line(mi)
        _band(apart, of["distance"], LOOKS["distance"], "distance, one seed")
        others = of["unmatched"]
        apart.plot(
            others.iteration, others.value, label="distance, different seeds", **style.OTHER_SEEDS
        )
        _band(learning, of["fresh"], LOOKS["fresh"], "error on fresh examples")
        learning.axhline(1, label="best constant", **style.LIMIT)
        at = of["growth"]
        growth.plot(at.iteration, at.value, label="growth of a millionth", **LOOKS["growth"])
        growth.set_yscale("log")
        growth.set_ylim(0.5, 2e5)
        chaotic = f"\n{CHAOTIC}" if rows.chaotic.iloc[0] else ""
        mi.set_ylabel(f"{name}\nN = {rows.n.iloc[0]:,}{chaotic}")
    titles = ("net MI (bits)", "Euclidean distance", "mean squared error", "growth of a millionth")
    for axes, title in zip(panels[0], titles, strict=True):
        axes.set_title(title)
    for axes in panels[-1]:
        style.iteration_axis(axes)
    style.legend_below(*panels[0], columns=3)
    title = heading(task_of(table), "five networks of 394 parameters", caption)
    figure.suptitle(f"{title}\neach panel on a scale of its own; bands and bars: 95 %")
    return figure


def _band(axes: Axes, rows: pd.DataFrame, look: style.Look, label: str) -> None:
    style.band(axes, rows.iteration, rows.value, Z95 * rows.se, look, label)
