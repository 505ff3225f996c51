"""Figures 1 and 2: mutual information by two estimators, and learning."""

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fedmi.stats import Z95
from fedmi.study.figures import style
from fedmi.study.figures.captions import METRICS, clients, coupled
from fedmi.study.tables import HELD_OUT, RIDGE, first_k, groups

ESTIMATED = ("gaussian", "ksg")


@style.styled()
def mutual_information(
    mi: pd.DataFrame, learning: pd.DataFrame, baseline: float | None = None, caption: str = ""
) -> Figure:
    """Figures 1 and 2: MI by the Gaussian formula (a) and by KSG (b), and the metric (c).

    Of a regression the error of each target (d) stands beside them, with what ridge regression
    makes of the same data.

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
    errors = _target_errors(learning)
    last = ["targets"] if errors else []
    upper = ["gaussian", "ksg", "learning", *last]
    mosaic: list[Any] = [upper, ["below gaussian", "below ksg", "learning", *last]]
    size = (10.5 + 2.5 * len(last), 4.1)
    figure, panels = plt.subplot_mosaic(mosaic, figsize=size, height_ratios=(2.2, 1))
    for estimator in ESTIMATED:
        rows = mi.loc[mi.estimator == estimator]
        _estimates(panels[estimator], panels[f"below {estimator}"], rows)
    _learning(panels["learning"], learning, baseline)
    metric = METRICS.get(str(learning.metric.iloc[0]), str(learning.metric.iloc[0]))
    if errors:
        _targets(panels["targets"], errors, metric)
    titles = ("MI, Gaussian formula", "MI, KSG", metric, "each target, fresh examples")
    style.lettered((panels[name] for name in upper), titles)
    style.legend_below(*(panels[f"{below}{of}"] for of in ESTIMATED for below in ("", "below ")))
    others = "(c, d)" if errors else "(c)"
    bands = f"bands: (a, b) 1.96 standard deviations over re-pairings; {others} 95 %, as the bars"
    figure.suptitle(f"{coupled(mi, caption)}\n{bands}")
    return figure


def _estimates(net: Axes, raw: Axes, rows: pd.DataFrame) -> None:
    """The net reading above the uncorrected one."""
    if rows.empty:
        net.text(0.5, 0.5, "not estimated", ha="center", transform=net.transAxes)
        net.set_axis_off()
        raw.set_axis_off()
        return
    looks = style.looks_of(rows.pair.unique())
    infinite = np.isinf(rows.net_bits)
    rows = rows.assign(net=rows.net_bits.mask(infinite, rows.finite_bits - rows.perm_bits))
    for pair, line in groups(rows, "pair"):
        label = clients(pair) + (", finite part" if infinite.any() else "")
        style.band(net, line.iteration, line.net, Z95 * line.perm_sd, looks[pair], label)
        raw.plot(line.iteration, line.raw_bits, **looks[pair] | style.THIN)
    # What the uncorrected estimate reads for re-paired seeds: its analytic bias, if it has one, and
    # what re-pairing finds beyond that.
    first = rows.loc[rows.pair == rows.pair.iloc[0]]
    unpaired = first.null_bits.fillna(0) + first.perm_bits
    look = dict(style.OTHER_SEEDS, marker="", label="re-paired seeds")
    raw.plot(first.iteration, unpaired, **look)
    style.zero_line(net)
    net.set_ylabel("net MI (bits)")
    raw.set_ylabel("uncorrected\n(bits)")
    raw.sharex(net)
    style.iteration_axis(raw)
    net.tick_params(labelbottom=False)


def _learning(axes: Axes, learning: pd.DataFrame, baseline: float | None) -> None:
    metric = str(learning.metric.iloc[0])
    looks = style.looks_of(learning.client.unique())
    halves = learning.assign(half=learning.high - learning["mean"])
    for client, rows in halves.loc[halves.metric == metric].groupby("client"):
        look = dict(looks[client], marker="", zorder=2)
        label = f"client {client}, in training"
        style.band(axes, rows.iteration, rows["mean"], rows.half, look, label)
    for client, rows in halves.loc[halves.metric == HELD_OUT + metric].groupby("client"):
        look = dict(looks[client], linestyle="", zorder=3)
        style.bars(axes, rows.iteration, rows["mean"], rows.half, look, f"client {client}, fresh")
    if baseline is not None:
        axes.axhline(baseline, label="best constant", **style.LIMIT)
    axes.set_ylabel(METRICS.get(metric, metric))
    style.iteration_axis(axes)
    axes.legend()


def _target_errors(learning: pd.DataFrame) -> dict[str, tuple[pd.DataFrame, float]]:
    """By target: the rows of its error on fresh examples, and the mean error of ridge regression.

    Empty where the task has no targets.
    """
    before = f"{HELD_OUT}{learning.metric.iloc[0]} of "
    found = {}
    for name in learning.metric.unique():
        if name.startswith(before):
            of_ridge = learning.metric == name.replace(HELD_OUT, RIDGE)
            rows = learning.loc[learning.metric == name]
            found[name.removeprefix(before)] = rows, learning.loc[of_ridge, "mean"].mean()
    return found


def _targets(axes: Axes, errors: dict[str, tuple[pd.DataFrame, float]], metric: str) -> None:
    """The error of each target, as the mean over clients, and of ridge regression."""
    looks = style.looks_of(errors)
    for target, (rows, of_ridge) in errors.items():
        at = rows.groupby("iteration", as_index=False)[["mean", "high"]].agg("mean")
        style.band(axes, at.iteration, at["mean"], at.high - at["mean"], looks[target], target)
        line = dict(color=looks[target]["color"], linewidth=1, linestyle=(0, (4, 2)))
        axes.axhline(of_ridge, label=f"{target}, ridge regression", **line)
    axes.set_ylabel(metric)
    axes.set_ylim(0, 1.5 * axes.get_ylim()[1])  # the legend stands above the curves
    style.iteration_axis(axes)
    axes.legend(loc="upper right")
