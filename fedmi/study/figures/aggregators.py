"""Ways to aggregate, and the objective's landscape."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fedmi.aggregation import MEAN
from fedmi.aggregation.linear import MAPS
from fedmi.study.figures.captions import captioned, task_in_words
from fedmi.study.figures.style import MARKERS, styled


def aggregators(table: pd.DataFrame, caption: str = "") -> Figure:
    """How much better or worse than the mean each way to aggregate is, a panel a setting.

    The change of the global objective with 95 % intervals over seeds; left of zero is better than
    averaging. In grey what is no aggregator: it sees all data, or does not aggregate.

    Args:
        table: rows of `fedmi.study.aggregators`, of one task.
        caption: for the title, see `caption`.
    """
    settings = list(table.setting.unique())
    iterations = sorted(table.iteration.unique())
    rivals = table[~table.reference & (table.method != MEAN)]
    methods = [*rivals.method.unique(), *table.method[table.reference].unique()]
    last = table[table.iteration == iterations[-1]]
    rank = last.groupby("method").objective_less_mean.mean()
    methods.sort(key=lambda name: (name not in set(rivals.method), rank[name]))
    reference = len(set(rivals.method))
    with styled():
        figure, panels = plt.subplots(
            1, len(settings), figsize=(2.6 * len(settings) + 2, 0.26 * len(methods) + 1.5),
            sharey=True, squeeze=False, layout="constrained",
        )  # fmt: skip
        palette = sns.color_palette("viridis_r", len(iterations))
        for axes, setting in zip(panels[0], settings, strict=True):
            axes.axhspan(reference - 0.5, len(methods) - 0.5, color="0.5", alpha=0.12, linewidth=0)
            axes.axvline(0, color="0.2", linewidth=1)
            of = table[table.setting == setting].set_index(["iteration", "method"])
            for i, iteration in enumerate(iterations):
                rows = of.loc[iteration].reindex(methods)
                offset = 0.22 * (i - (len(iterations) - 1) / 2)
                axes.errorbar(
                    rows.objective_less_mean, np.arange(len(methods)) + offset,
                    xerr=1.96 * rows.objective_less_mean_se, linestyle="", color=palette[i],
                    marker=MARKERS[i % len(MARKERS)], markersize=3.5,
                    label=f"iteration {iteration}",
                )  # fmt: skip
            axes.set_title(setting)
            axes.set_xlabel("F less F of the mean")
            axes.set_ylim(len(methods) - 0.5, -0.5)
        names = [f"{name} †" if name in MAPS else name for name in methods]
        panels[0, 0].set_yticks(np.arange(len(methods)), names)
        panels[0, -1].legend(fontsize=7)
        figure.suptitle(
            f"{captioned(task_in_words(table), caption)}\n"
            "better than averaging to the left, worse to the right, bars: 95 %\n"
            "(grey: no aggregators; †: fitted, and can remember other seeds)",
            fontsize=10.5,
        )
    return figure


def landscape(surface: pd.DataFrame, barrier: pd.DataFrame, caption: str = "") -> Figure:
    """The objective on the plane through three clients of one seed, and between two of many seeds.

    Args:
        surface: rows of `fedmi.study.aggregators.surface`, of one task.
        barrier: rows of `fedmi.study.aggregators.search`, of the same.
        caption: for the title, see `caption`.
    """
    settings = list(surface.setting.unique())
    with styled():
        figure, panels = plt.subplots(
            2, len(settings), figsize=(3 * len(settings), 5.4), squeeze=False, layout="constrained",
            height_ratios=(1.5, 1),
        )  # fmt: skip
        for (plane, between), setting in zip(panels.T, settings, strict=True):
            _plane(plane, surface[surface.setting == setting])
            plane.set_title(setting)
            rows = barrier[barrier.setting == setting]
            palette = sns.color_palette("viridis_r", rows.iteration.nunique())
            for colour, (iteration, line) in zip(palette, rows.groupby("iteration"), strict=True):
                between.errorbar(
                    line.place, line.excess, 1.96 * line.excess_se, color=colour,
                    label=f"iteration {iteration}",
                )  # fmt: skip
            between.axhline(0, color="0.3", linewidth=0.8)
            between.set_xlabel("from client 0 to client 1")
        marks = panels[0, 0].get_legend_handles_labels()
        figure.legend(*marks, loc="outside lower center", ncols=len(marks[0]), fontsize=7.5)
        panels[1, 0].set_ylabel("F above the straight line")
        panels[1, -1].legend(fontsize=7)
        figure.suptitle(
            f"{captioned(task_in_words(surface), caption)}\nF on the plane through three clients "
            "of one seed, and\nbetween two clients (mean over seeds, bars: 95 %)",
            fontsize=10.5,
        )
    return figure


def _plane(axes: Axes, rows: pd.DataFrame) -> None:
    grid = rows[rows.what == "grid"].pivot(index="y", columns="x", values="objective")
    levels = np.quantile(grid.to_numpy()[np.isfinite(grid.to_numpy())], np.linspace(0, 1, 13))
    filled = axes.contourf(
        grid.columns, grid.index, grid, levels=np.unique(levels), cmap="cividis", extend="both"
    )
    bar = axes.figure.colorbar(filled, ax=axes, format="%.3g", ticks=filled.levels[::3])
    bar.ax.tick_params(labelsize=6.5)
    marks = rows[rows.what != "grid"]
    clients = marks[marks.what.str.startswith("client")]
    axes.plot(clients.x, clients.y, "o", color="w", markeredgecolor="k", label="clients")
    looks = dict(zip(marks.what[len(clients) :], "sP^D", strict=False))
    for mark in marks[len(clients) :].itertuples():
        axes.plot(
            mark.x, mark.y, looks[mark.what], color="tab:red" if mark.what == MEAN else "w",
            markeredgecolor="k", linestyle="", label=mark.what,
        )  # fmt: skip
    axes.set_aspect("equal")
    axes.grid(False)
    axes.tick_params(labelsize=6.5)
