"""Readings and distances within federated rounds."""

from collections.abc import Mapping

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fedmi.study.figures.captions import captioned, task_in_words
from fedmi.study.figures.style import looks_of, styled


def rounds(table: pd.DataFrame, caption: str = "") -> Figure:
    """The Gaussian reading within rounds of parameters and of updates, and the distance.

    Bands and bars are 1.96 standard errors; dotted in the distance, clients of other seeds.

    Args:
        table: rows of `fedmi.study.rounds.rows`, of one task.
        caption: for the title, see `caption`.
    """
    names = list(table.coupling.unique())
    numbers = sorted(table["round"].unique())
    looks = looks_of(numbers)
    with styled():
        figure, panels = plt.subplots(
            len(names), 3, figsize=(9.5, 2.7 * len(names)), sharex=True, squeeze=False,
            layout="constrained",
        )  # fmt: skip
        for row, name in zip(panels, names, strict=True):
            of = table[table.coupling == name]
            for axes, what in zip(row, ("parameters", "updates"), strict=False):
                for number, line in of[of.what == what].groupby("round"):
                    axes.plot(line.iteration, line.net_bits, label=number, **looks[number])
                    half = 1.96 * line.net_se
                    axes.fill_between(
                        line.iteration, line.net_bits - half, line.net_bits + half,
                        color=looks[number]["color"], alpha=0.2, lw=0,
                    )  # fmt: skip
                axes.axhline(0, color="0.3", linewidth=0.8)
                axes.set_yscale("symlog", linthresh=1)
                axes.set_title(f"{name}: MI of the {what}")
            for number, line in of[of.what == "parameters"].groupby("round"):
                row[2].plot(line.iteration, line.distance, **looks[number])
                _bars(row[2], line.iteration, line.distance, line.distance_se, looks[number])
                row[2].plot(
                    line.iteration, line.unmatched, color=looks[number]["color"], linestyle=":"
                )
            row[2].set_title(f"{name}: Euclidean distance")
            row[0].set_ylabel("net MI (bits)")
        for axes in panels[-1]:
            axes.set_xlabel("iteration within the round")
        panels[0, 0].legend(title="round", fontsize=7)
        title = captioned(f"{task_in_words(table)}, within rounds", caption)
        figure.suptitle(f"{title}; bands and bars: 95 %", fontsize=10.5)
    return figure


def _bars(axes: Axes, x: pd.Series, y: pd.Series, error: pd.Series, look: Mapping) -> None:
    axes.errorbar(x, y, 1.96 * error, color=look["color"], linestyle="", linewidth=1, capsize=2)
