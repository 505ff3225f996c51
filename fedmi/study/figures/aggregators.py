"""Ways to aggregate, and the objective between clients."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from fedmi.aggregation import DOWNLOAD, MEAN
from fedmi.aggregation.linear import MAPS
from fedmi.stats import Z95
from fedmi.study.figures import style
from fedmi.study.figures.captions import heading, task_of


@style.styled()
def aggregators(table: pd.DataFrame, caption: str = "") -> Figure:
    """How much better or worse than the mean each way to aggregate is, a panel a setting.

    The change of the global objective with 95 % intervals over seeds; left of zero is better than
    averaging. In grey what is no aggregator: it sees all data, or does not aggregate.

    Args:
        table: rows of `fedmi.study.aggregators`, of one task.
        caption: for the title, see `caption`.
    """
    table = table.loc[table.method != DOWNLOAD]  # so far off that nothing else could be seen
    settings = table.setting.unique()
    rivals, methods = _ranked(table)
    rows_at = np.arange(len(methods))
    looks = style.looks_of(sorted(table.iteration.unique()), "viridis_r")
    figure, panels = plt.subplots(
        1,
        len(settings),
        figsize=(style.WIDTH, 0.26 * len(methods) + 2.1),
        sharey=True,
        squeeze=False,
    )
    for axes, setting in zip(panels[0], settings, strict=True):
        axes.axhspan(rivals - 0.5, len(methods) - 0.5, color="0.5", alpha=0.12, linewidth=0)
        axes.axvline(0, color="0.2", linewidth=1)
        of = table.loc[table.setting == setting].set_index(["iteration", "method"])
        for iteration, offset in style.side_by_side(looks).items():
            rows = of.loc[iteration].reindex(methods)
            half, label = Z95 * rows.objective_less_mean_se, f"iteration {iteration}"
            look = looks[iteration] | dict(linestyle="", markersize=3.5, label=label)
            axes.errorbar(rows.objective_less_mean, rows_at + offset, xerr=half, **look)
        axes.set(title=setting, xlabel="F less F of mean")
        axes.xaxis.set_major_locator(MaxNLocator(3))
        axes.set_ylim(len(methods) - 0.5, -0.5)
    names = [f"{name} †" if name in MAPS else name for name in methods]
    panels[0, 0].set_yticks(rows_at, names)
    style.legend_below(panels[0, 0])
    figure.suptitle(
        f"{heading(task_of(table), caption)}\n"
        "F is the mean loss on all clients' training data: better to the left; bars: 95 %\n"
        "grey: no aggregators; †: fitted, and can remember other seeds"
    )
    return figure


def _ranked(table: pd.DataFrame) -> tuple[int, list[str]]:
    """How many aggregators there are but the mean, and all methods, the best first, they first."""
    last = table.loc[(table.iteration == table.iteration.max()) & (table.method != MEAN)]
    ranks = last.groupby(["reference", "method"]).objective_less_mean.mean().reset_index()
    ranks = ranks.sort_values(["reference", "objective_less_mean"])
    return int((~ranks.reference).sum()), list(ranks.method)


@style.styled()
def landscape(surface: pd.DataFrame, barrier: pd.DataFrame, caption: str = "") -> Figure:
    """The objective on the plane through three clients of one seed, and between two of many seeds.

    Args:
        surface: rows of `fedmi.study.landscape.surface`, of one task.
        barrier: rows of `fedmi.study.aggregators.search`, of the same.
        caption: for the title, see `caption`.
    """
    settings = surface.setting.unique()
    looks = style.looks_of(sorted(barrier.iteration.unique()), "viridis_r")
    figure, panels = plt.subplots(
        2,
        len(settings),
        figsize=(style.WIDTH, 6),
        squeeze=False,
        height_ratios=(1.7, 1),
    )
    for (plane, between), setting in zip(panels.T, settings, strict=True):
        _plane(plane, surface.loc[surface.setting == setting])
        plane.set_title(setting)
        for iteration, line in barrier.loc[barrier.setting == setting].groupby("iteration"):
            look = looks[iteration] | dict(marker="", linestyle="-")
            half = Z95 * line.excess_se
            style.bars(between, line.place, line.excess, half, look, f"iteration {iteration}")
        style.zero_line(between)
        between.set_xlabel("way from client 0 to 1")
        plane.set_xlabel("distance from the mean")
    style.legend_below(panels[0, 0], panels[1, 0])
    panels[0, 0].set_ylabel("distance from the mean")
    panels[1, 0].set_ylabel("F above the straight line")
    last = f"at iteration {barrier.iteration.max()}"
    figure.suptitle(
        f"{heading(task_of(surface), caption)}\nabove: F, the mean loss on all clients' data, on "
        f"the plane through three clients of one seed {last}\nbelow: F on the way from one client "
        "to another, mean over seeds; bars: 95 %"
    )
    return figure


def _plane(axes: Axes, rows: pd.DataFrame) -> None:
    grid = rows.loc[rows.what == "grid"].pivot(index="y", columns="x", values="objective")
    finite = grid.where(np.isfinite(grid))
    # What lies far up is of no interest, and would leave no colours for the rest.
    levels = np.linspace(np.nanmin(finite), np.nanquantile(finite, 0.75), 11)
    if levels[0] == levels[-1]:
        levels = levels[0] + np.linspace(0, 1, 11)
    filled = axes.contourf(
        grid.columns, grid.index, grid, levels=levels, cmap="cividis", extend="max"
    )
    bar = axes.figure.colorbar(filled, ax=axes, format="%.3g", location="bottom", label="F")
    bar.set_ticks(levels[[0, 5, 10]])
    bar.ax.tick_params(labelsize=style.SMALL)
    marks = rows.loc[rows.what != "grid"]
    of_client = marks.what.str.startswith("client")
    clients, others = marks.loc[of_client], marks.loc[~of_client]
    edge: style.Look = dict(linestyle="", markeredgecolor="k")
    axes.plot(clients.x, clients.y, marker="o", color="w", label="clients", **edge)
    for mark, marker in zip(others.itertuples(), "sP^D", strict=False):
        mean = mark.what == MEAN
        look: style.Look = edge | dict(marker="o" if mean else marker, label=mark.what)
        look |= dict(color="tab:red", zorder=4, markersize=4) if mean else dict(color="w", zorder=3)
        axes.plot(mark.x, mark.y, **look)
    axes.set_aspect("equal")
    axes.grid(False)
    axes.tick_params(labelsize=style.SMALL)
