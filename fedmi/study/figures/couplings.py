"""Every coupling of a task side by side."""

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fedmi.stats import Z95
from fedmi.study.figures import style
from fedmi.study.figures.captions import heading, task_of

READING, DISTANCE = style.looks_of(["reading", "distance"]).values()
OVERLAP = style.LIMIT | dict(marker="x", markersize=4)
SHARED = style.OTHER_SEEDS | dict(marker="s", markersize=3)


@style.styled()
def couplings(table: pd.DataFrame, caption: str = "") -> Figure:
    """Every coupling of a task in a column: the Gaussian reading above, the distance below.

    Bands are 1.96 standard errors. Where the truth is infinite the reading is that of the
    directions that are not shared, and a dotted line counts those that are.

    Args:
        table: rows of `fedmi.study.trends.coupling_rows`.
        caption: for the title, see `caption`.
    """
    names = table.coupling.unique()
    figure, panels = plt.subplots(
        2, len(names), figsize=(2.3 * len(names), 4.6), sharex=True, squeeze=False
    )
    for (reading, apart), name in zip(panels.T, names, strict=True):
        rows = table.loc[table.coupling == name].sort_values("iteration")
        _reading(reading, rows)
        reading.set_title(name)
        half = Z95 * rows.distance_se
        style.bars(apart, rows.iteration, rows.distance, half, DISTANCE, "same seed")
        apart.plot(rows.iteration, rows.unmatched, label="other seeds", **style.OTHER_SEEDS)
        style.iteration_axis(apart)
    panels[0, 0].set_ylabel("net MI (bits)")
    panels[1, 0].set_ylabel("Euclidean distance")
    style.legend_below(*figure.axes)
    title = heading(task_of(table), "six couplings, each on a scale of its own", caption)
    figure.suptitle(f"{title}; bands and bars: 95 %")
    return figure


def _reading(axes: Axes, rows: pd.DataFrame) -> None:
    label = "read, finite part" if rows.infinite.any() else "read"
    style.band(axes, rows.iteration, rows.net_bits, Z95 * rows.net_se, READING, label)
    style.zero_line(axes)
    if rows.predicted_bits.notna().any():
        half = Z95 * rows.predicted_se
        style.band(axes, rows.iteration, rows.predicted_bits, half, OVERLAP, "overlap alone")
    if rows.infinite.any():
        style.beside(axes, rows.iteration, rows.shared_directions, SHARED, "shared directions")
