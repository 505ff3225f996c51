"""Figures 1 and 2: mutual information and learning."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fedmi.study.figures.captions import METRICS, title
from fedmi.study.figures.style import looks_of, styled
from fedmi.study.tables import HELD_OUT, first_k


def mutual_information(
    mi: pd.DataFrame, learning: pd.DataFrame, baseline: float | None = None, caption: str = ""
) -> Figure:
    """Figures 1 and 2: MI by the Gaussian formula (a) and by KSG (b), and the metric (c).

    The upper axes of (a) and (b) show `net_bits`, what is left when the mean over re-paired seeds
    is taken away, with a band of 1.96 `perm_sd`. The lower axes show the uncorrected estimate, as
    the paper draws it, above what the same formula reads for re-paired (independent) clients.

    Args:
        mi: the table mi.csv of one study; of several k the first is drawn.
        learning: the table learning.csv of the same study.
        baseline: the metric of the best constant prediction, drawn in (c) if it is known.
        caption: for the title, see `caption_of`.
    """
    mi = first_k(mi)
    with styled():
        figure = plt.figure(figsize=(10.5, 3.9), layout="constrained")
        grid = figure.add_gridspec(2, 3, height_ratios=(2.2, 1))
        for column, (letter, estimator, words) in enumerate(
            (("a", "gaussian", "MI, Gaussian formula"), ("b", "ksg", "MI, KSG"))
        ):
            net = figure.add_subplot(grid[0, column])
            raw = figure.add_subplot(grid[1, column], sharex=net)
            rows = mi[mi.estimator == estimator]
            net.set_title(f"({letter}) {words}")
            if rows.empty:
                net.text(0.5, 0.5, "not estimated", ha="center", transform=net.transAxes)
                for axes in (net, raw):
                    axes.set_axis_off()
                continue
            _net_bits(net, rows)
            _raw_bits(raw, rows)
            net.tick_params(labelbottom=False)
            if column == 0:
                net.legend(title="clients", title_fontsize=8)
        _learning(figure.add_subplot(grid[:, 2]), learning, baseline)
        bands = "bands: (a, b) 1.96 standard deviations over re-pairings; (c) 95 %, as the bars"
        figure.suptitle(f"{title(mi, caption)}\n{bands}", fontsize=10.5)
    return figure


def _net_bits(axes: Axes, rows: pd.DataFrame) -> None:
    looks = looks_of(list(rows.pair.unique()))
    for pair, line in rows.groupby("pair", sort=False):
        infinite = np.isinf(line.net_bits)
        net = np.where(infinite, line.finite_bits - line.perm_bits, line.net_bits)
        label = f"({pair.replace('-', ', ')})" + (" finite part" if infinite.any() else "")
        axes.plot(line.iteration, net, label=label, **looks[pair])
        axes.fill_between(
            line.iteration,
            net - 1.96 * line.perm_sd,
            net + 1.96 * line.perm_sd,
            color=looks[pair]["color"],
            alpha=0.15,
            linewidth=0,
        )
    axes.axhline(0, color="0.3", linewidth=0.8)
    axes.set_ylabel("net MI (bits)")


def _raw_bits(axes: Axes, rows: pd.DataFrame) -> None:
    looks = looks_of(list(rows.pair.unique()))
    for pair, line in rows.groupby("pair", sort=False):
        axes.plot(line.iteration, line.raw_bits, **looks[pair] | dict(markersize=3, linewidth=1))
    # What the uncorrected estimate reads for re-paired seeds: its analytic bias, if it has one, and
    # what re-pairing finds beyond that.
    first = rows[rows.pair == rows.pair.iloc[0]]
    unpaired = first.null_bits.fillna(0)
    axes.plot(
        first.iteration,
        unpaired + first.perm_bits,
        color="0.35",
        linewidth=1,
        linestyle=(0, (1, 1)),
        label="re-paired seeds",
    )
    axes.set_xlabel("iteration")
    axes.set_ylabel("uncorrected (bits)")
    axes.legend(loc="best", fontsize=7)


def _learning(axes: Axes, learning: pd.DataFrame, baseline: float | None) -> None:
    metric = learning.metric.iloc[0]
    looks = looks_of(list(learning.client.unique()))
    for client, rows in learning[learning.metric == metric].groupby("client"):
        style = looks[client] | dict(marker="", zorder=2)
        axes.plot(rows.iteration, rows["mean"], label=f"client {client}, in training", **style)
        axes.fill_between(
            rows.iteration, rows.low, rows.high, color=looks[client]["color"], alpha=0.2, lw=0
        )
    for client, rows in learning[learning.metric == HELD_OUT + metric].groupby("client"):
        style = looks[client] | dict(linestyle="", zorder=3)
        error = (rows["mean"] - rows.low, rows.high - rows["mean"])
        axes.errorbar(rows.iteration, rows["mean"], error, label=f"client {client}, fresh", **style)
    if baseline is not None:
        axes.axhline(
            baseline, color="0.3", linewidth=1, linestyle=(0, (4, 2)), label="best constant"
        )
    axes.set_title(f"(c) {METRICS.get(metric, metric)}")
    axes.set_xlabel("iteration")
    axes.set_ylabel(METRICS.get(metric, metric))
    axes.legend(fontsize=7)
