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
COLUMNS = 3
SHARED_WORDS = "shared directions"
SHARED = style.OTHER_SEEDS | dict(marker="s", markersize=3)


@style.styled()
def couplings(table: pd.DataFrame, caption: str = "") -> Figure:
    """Every coupling of a task: the Gaussian reading above, and below it the distance.

    Bands are 1.96 standard errors. Where the truth is infinite the reading is that of the
    directions that are not shared, which is marked, and a dotted line counts those that are.

    Args:
        table: rows of `fedmi.study.trends.coupling_rows`.
        caption: for the title, see `caption`.
    """
    names = list(table.coupling.unique())
    blocks = -(-len(names) // COLUMNS)
    figure, panels = plt.subplots(
        2 * blocks,
        min(COLUMNS, len(names)),
        figsize=(style.WIDTH, 4.2 * blocks + 0.9),
        height_ratios=[1.2, 1] * blocks,
        sharex=True,
        squeeze=False,
    )
    for place, name in enumerate(names):
        row, column = 2 * (place // COLUMNS), place % COLUMNS
        reading, apart = panels[row, column], panels[row + 1, column]
        rows = table.loc[table.coupling == name].sort_values("iteration")
        _reading(reading, rows)
        reading.set_title(name)
        half = Z95 * rows.distance_se
        style.bars(apart, rows.iteration, rows.distance, half, DISTANCE, "distance, one seed")
        apart.plot(
            rows.iteration, rows.unmatched, label="distance, different seeds", **style.OTHER_SEEDS
        )
        style.iteration_axis(apart)
        if not column:
            reading.set_ylabel("net MI (bits)")
            apart.set_ylabel("Euclidean distance")
    for axes in panels[-2:, len(names) - COLUMNS * (blocks - 1) :].flat:
        axes.remove()
    style.legend_below(*figure.axes, columns=3)
    title = heading(task_of(table), "each panel on a scale of its own", caption)
    figure.suptitle(f"{title}\nMI by the Gaussian formula; bands and bars: 95 %")
    return figure


def _reading(axes: Axes, rows: pd.DataFrame) -> None:
    half = Z95 * rows.net_se
    style.band(axes, rows.iteration, rows.net_bits, half, READING, "net MI")
    style.mark_infinite(axes, rows.iteration, rows.infinite, rows.net_bits)
    style.zero_line(axes)
    if rows.predicted_bits.notna().any():
        half = Z95 * rows.predicted_se
        label = "MI that the overlap of data seen makes"
        style.band(axes, rows.iteration, rows.predicted_bits, half, OVERLAP, label)
    if rows.infinite.any():
        right = style.beside(axes, rows.iteration, rows.shared_directions, SHARED, SHARED_WORDS)
        right.set_ylabel(SHARED_WORDS)
