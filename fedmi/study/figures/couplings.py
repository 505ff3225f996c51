"""Every coupling of a task side by side."""

import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fedmi.study.figures.captions import captioned, task_in_words
from fedmi.study.figures.style import styled


def couplings(table: pd.DataFrame, caption: str = "") -> Figure:
    """Every coupling of a task in a column: the Gaussian reading above, the distance below.

    Bands are 1.96 standard errors. Where the truth is infinite the reading is that of the
    directions that are not shared, and a dotted line counts those that are.

    Args:
        table: rows of `fedmi.study.trends.coupling_rows`.
        caption: for the title, see `caption`.
    """
    names = list(table.coupling.unique())
    with styled():
        figure, panels = plt.subplots(
            2, len(names), figsize=(2.3 * len(names), 4.4), sharex=True, squeeze=False,
            layout="constrained",
        )  # fmt: skip
        for (reading, apart), name in zip(panels.T, names, strict=True):
            rows = table[table.coupling == name].sort_values("iteration")
            _coupled_reading(reading, rows)
            _coupled_distance(apart, rows)
            reading.set_title(name)
        panels[0, 0].set_ylabel("net MI (bits)")
        panels[1, 0].set_ylabel("Euclidean distance")
        panels[1, 0].legend(fontsize=7)
        title = captioned(
            f"{task_in_words(table)}, six couplings, each on a scale of its own", caption
        )
        figure.suptitle(f"{title}; bands and bars: 95 %", fontsize=10.5)
    return figure


def _coupled_reading(axes: Axes, rows: pd.DataFrame) -> None:
    colour = sns.color_palette("colorblind")[0]
    infinite = rows.infinite.any()
    label = "finite part" if infinite else "read"
    axes.plot(rows.iteration, rows.net_bits, color=colour, marker="o", label=label)
    half = 1.96 * rows.net_se
    axes.fill_between(
        rows.iteration, rows.net_bits - half, rows.net_bits + half, color=colour, alpha=0.2, lw=0
    )
    axes.axhline(0, color="0.3", linewidth=0.8)
    if rows.predicted_bits.notna().any():
        half = 1.96 * rows.predicted_se
        low, high = rows.predicted_bits - half, rows.predicted_bits + half
        axes.fill_between(rows.iteration, low, high, color="0.25", alpha=0.15, lw=0)
        style = dict(color="0.25", linestyle=(0, (4, 2)), marker="x", markersize=4)
        axes.plot(rows.iteration, rows.predicted_bits, label="overlap alone", **style)
    if infinite:
        beside = axes.twinx()
        beside.grid(False)
        style = dict(color="0.35", linestyle=(0, (1, 1)), marker="s", markersize=3)
        (line,) = beside.plot(rows.iteration, rows.shared_directions, **style)
        beside.set_ylim(bottom=0)
        beside.tick_params(labelsize=7)
        axes.plot([], [], label="shared directions", **style)
    if infinite or rows.predicted_bits.notna().any():
        axes.legend(fontsize=7)


def _coupled_distance(axes: Axes, rows: pd.DataFrame) -> None:
    colour = sns.color_palette("colorblind")[1]
    axes.errorbar(
        rows.iteration, rows.distance, 1.96 * rows.distance_se, color=colour, marker="o",
        label="same seed",
    )  # fmt: skip
    style = dict(color="0.35", linestyle=(0, (1, 1)), marker="x", markersize=4)
    axes.plot(rows.iteration, rows.unmatched, label="other seeds", **style)
    axes.set_xlabel("iteration")
