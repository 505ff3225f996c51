"""What ways to train reach over many rounds, and what they gain over federated averaging."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fedmi.stats import Z95
from fedmi.study.figures import style
from fedmi.study.figures.captions import METRICS, heading, task_of
from fedmi.study.ways import AVERAGE

CURVES = 5
"""Ways beside federated averaging whose course is drawn."""
COLUMNS = 3
LINEAR = 0.01
"""The scale of gains, which all settings share, is linear up to here and logarithmic beyond."""


@style.styled()
def training(table: pd.DataFrame, caption: str = "") -> Figure:
    """Courses of the best ways in the first setting, and gains of all ways in all settings.

    The ways stand in the order of the first setting everywhere. Bars and bands are 1.96 standard
    errors.

    Args:
        table: rows of `fedmi.study.training.rows`, of one task.
        caption: for the title, see `caption`.
    """
    last = table.loc[table["round"] == table["round"].max()]
    names = list(last.setting.unique())
    rows = 1 + -(-(len(names) - 1) // COLUMNS)
    figure = plt.figure(figsize=(style.WIDTH, 4.4 + 2.1 * (rows - 1)))
    grid = figure.add_gridspec(rows, COLUMNS, height_ratios=[1.6] + [1] * (rows - 1))
    course, gains = figure.add_subplot(grid[0, :2]), figure.add_subplot(grid[0, 2])
    first = last.loc[last.setting == names[0]].sort_values("gain", ascending=False)
    drawn = [AVERAGE, *first.way[first.way != AVERAGE].head(CURVES)]
    looks = style.looks_of(drawn)
    for way in drawn:
        line = table.loc[(table.setting == names[0]) & (table.way == way)]
        half = Z95 * line.value_se
        style.band(course, line["round"], line.value, half, looks[way] | style.THIN, way)
    metric = METRICS.get(str(table.metric.iloc[0]), str(table.metric.iloc[0]))
    course.set(title=f"{names[0]}: the best ways", ylabel=f"{metric} on fresh examples")
    style.iteration_axis(course, "round")
    course.legend(loc="best", fontsize=style.SMALL)
    order = {way: place for place, way in enumerate(first.way)}
    panels = {names[0]: gains}
    for place, name in enumerate(names[1:]):
        at = grid[1 + place // COLUMNS, place % COLUMNS]
        panels[name] = figure.add_subplot(at, sharex=gains)
    for name, axes in panels.items():
        of = last.loc[last.setting == name]
        of = of.sort_values("way", key=lambda ways: ways.map(order), ascending=False)
        _gains(axes, of, name if name != names[0] else f"{name}: all ways")
    title = heading(task_of(table), "training over many rounds", caption)
    scale = f"linear up to the ticks at {LINEAR:g}"
    figure.suptitle(f"{title}\ngain: over {AVERAGE}, paired by seed, {scale}; bars, bands: 95 %")
    return figure


def _gains(axes: Axes, of: pd.DataFrame, title: str) -> None:
    """What the ways of a setting gain at the end, the last on top, averaging among them."""
    places = np.arange(len(of))
    averaging = (of.way == AVERAGE).to_numpy()
    for chosen, look in ((averaging, "0.3"), (~averaging, "C0")):
        axes.errorbar(
            of.gain[chosen],
            places[chosen],
            xerr=(Z95 * of.gain_se)[chosen],
            linestyle="",
            marker="o",
            markersize=3,
            elinewidth=1,
            color=look,
        )
    axes.axvline(0, color="0.3", linewidth=0.8)
    axes.set_yticks(places, of.way, fontsize=style.SMALL)
    metric = str(of.metric.iloc[0])
    axes.set(title=title, xlabel=f"gain ({METRICS.get(metric, metric)})")
    axes.set_xscale("symlog", linthresh=LINEAR)
    axes.set_xticks([-10 * LINEAR, 0, 10 * LINEAR])
    axes.set_xticks([-LINEAR, LINEAR], minor=True)
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter("")
    axes.grid(True, axis="x", which="minor")
