"""Figures 1 and 2: mutual information by two estimators, and learning."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from fedmi.stats import Z95
from fedmi.study.figures import style
from fedmi.study.figures.captions import METRICS, coupled
from fedmi.study.tables import HELD_OUT, RIDGE, first_k, groups

TITLES = {
    "gaussian": "MI by the Gaussian formula",
    "gaussian_copula": "MI by the Gaussian copula",
    "ksg": "MI by KSG",
}
LOOKS = style.looks_of(["raw_bits", "net", "unpaired"])
TRAINING: style.Look = dict(color="0.5", marker="")
FRESH: style.Look = dict(color="0.1", marker="o", linestyle="")


@style.styled()
def mutual_information(
    mi: pd.DataFrame, learning: pd.DataFrame, baseline: float | None = None, caption: str = ""
) -> Figure:
    """Figures 1 and 2: MI by the Gaussian formula (a) and by KSG (b), and the metric (c).

    Of a regression the error of each target (d) stands beside them, with what ridge regression
    makes of the same data.

    In (a) and (b) stand what the formula reads uncorrected, as the paper draws it; what it reads of
    re-paired seeds, whose clients have nothing in common; and the net reading, the difference.
    Lines are means over the pairs of clients, small marks the pairs, and the band 1.96 `perm_sd`.

    Args:
        mi: the table mi.csv of one study; of several k the first is drawn.
        learning: the table learning.csv of the same study.
        baseline: the metric of the best constant prediction, drawn in (c) if it is known.
        caption: for the title, see `caption_of`.
    """
    mi = first_k(mi)
    estimators = [name for name in TITLES if (mi.estimator == name).any()]
    errors = _target_errors(learning)
    count = len(estimators) + 1 + bool(errors)
    columns = 2 if count == 4 else min(count, 3)
    rows = -(-count // columns)
    figure, grid = plt.subplots(
        rows, columns, figsize=(style.WIDTH, 2.9 * rows + 0.9), squeeze=False
    )
    panels = list(grid.flat)
    for axes, estimator in zip(panels, estimators, strict=False):
        _estimates(axes, mi.loc[mi.estimator == estimator])
    metric = METRICS.get(str(learning.metric.iloc[0]), str(learning.metric.iloc[0]))
    _learning(panels[len(estimators)], learning, baseline)
    if errors:
        _targets(panels[count - 1], errors, metric)
    for axes in panels[count:]:
        axes.remove()
    titles = [TITLES[name] for name in estimators]
    style.lettered(panels[:count], [*titles, metric, "each target, fresh data"])
    style.legend_below(*panels[:count])
    said = "lines: means over pairs of clients, marks: the pairs; bands: 1.96 standard deviations"
    figure.suptitle(f"{coupled(mi, caption)}\n{said} over re-pairings; bars: 95 %")
    return figure


def _estimates(axes: Axes, rows: pd.DataFrame) -> None:
    """The uncorrected reading, that of re-paired seeds, and what is left."""
    infinite = np.isinf(rows.net_bits)
    rows = rows.assign(
        net=rows.net_bits.mask(infinite, rows.finite_bits - rows.perm_bits),
        # The analytic bias of a formula that has one, and what re-pairing finds beyond that.
        unpaired=rows.null_bits.fillna(0) + rows.perm_bits,
        infinite=infinite,
    )
    shown = {
        "raw_bits": "uncorrected, as in the paper",
        "unpaired": "re-paired seeds: nothing shared",
        "net": "net: the difference",
    }
    at = rows.groupby("iteration")
    means = pd.DataFrame(at[[*shown, "perm_sd"]].agg("mean"))
    iterations = means.index.to_numpy()
    for name, label in shown.items():
        own: style.Look = LOOKS[name] | dict(marker="")
        of_pairs: style.Look = LOOKS[name] | dict(linestyle="", markersize=3, alpha=0.6)
        axes.plot(iterations, _finite(means[name]), label=label, **own)
        axes.plot(rows.iteration.to_numpy(), _finite(rows[name]), **of_pairs)
    net, half = means.net.to_numpy(), Z95 * means.perm_sd.to_numpy()
    around: style.Look = dict(color=LOOKS["net"]["color"], alpha=0.2, linewidth=0)
    axes.fill_between(iterations, net - half, net + half, **around)
    style.mark_infinite(axes, iterations, at.infinite.any(), net)
    style.zero_line(axes)
    axes.set_ylabel("mutual information (bits)")
    style.iteration_axis(axes)


def _finite(values: ArrayLike) -> np.ndarray:
    """The values, with nan in place of infinite ones."""
    array = np.asarray(values, float)
    return np.where(np.isfinite(array), array, np.nan)


def _learning(axes: Axes, learning: pd.DataFrame, baseline: float | None) -> None:
    """The metric in training and on fresh examples, means over the clients."""
    metric = str(learning.metric.iloc[0])
    halves = learning.assign(half=learning.high - learning["mean"])
    of = {
        name: pd.DataFrame(rows.groupby("iteration")[["mean", "half"]].agg("mean"))
        for name, rows in groups(halves, "metric")
    }
    at, fresh = of[metric], of.get(HELD_OUT + metric)
    style.band(axes, at.index, at["mean"], at.half, TRAINING, "in training")
    if fresh is not None:
        style.bars(axes, fresh.index, fresh["mean"], fresh.half, FRESH, "on fresh examples")
    if baseline is not None:
        axes.axhline(baseline, label="best constant", **style.LIMIT)
    axes.set_ylabel(METRICS.get(metric, metric))
    style.iteration_axis(axes)


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
    looks = style.looks_of(errors, "dark")
    for target, (rows, of_ridge) in errors.items():
        at = rows.groupby("iteration", as_index=False)[["mean", "high"]].agg("mean")
        style.band(axes, at.iteration, at["mean"], at.high - at["mean"], looks[target], target)
        line = dict(color=looks[target]["color"], linewidth=1, linestyle=(0, (4, 2)))
        axes.axhline(of_ridge, label=f"{target}, ridge regression", **line)
    axes.set_ylabel(metric)
    axes.set_ylim(bottom=0)
    style.iteration_axis(axes)
