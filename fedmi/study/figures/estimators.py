"""Estimators where the truth is known."""

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fedmi.study.figures.captions import ESTIMATORS, captioned
from fedmi.study.figures.style import looks_of, styled


def bench(table: pd.DataFrame, caption: str = "") -> Figure:
    """What estimators read where the truth is known: against the truth, and against N.

    Above, at the largest N (the neural bound at its own), `net_bits` with the diagonal of a perfect
    estimator, each estimator's ceiling and, as crosses, what it reads of re-paired samples. Below,
    the excess over the truth where the law is read at every N; open markers stand for 0 bits asked
    for. An estimator that refuses so few samples has no marker there.

    Args:
        table: the table readings.csv, rows of `fedmi.mi.trust.bench.reading`.
        caption: for the title, see `caption`.
    """
    names = list(table.estimator.unique())
    looks = looks_of(list(table.family.unique()))
    with styled():
        figure, panels = plt.subplots(
            2, len(names), figsize=(3.1 * len(names), 5.6), squeeze=False, layout="constrained"
        )
        for (against_truth, against_n), name in zip(panels.T, names, strict=True):
            rows = table[table.estimator == name]
            at_n = rows[rows.n == rows.n.max()]
            _bench_truth(against_truth, at_n, looks)
            against_truth.set_title(f"{ESTIMATORS.get(name, name)}, N = {rows.n.max():,}")
            if rows.n.nunique() > 1:
                _bench_sizes(against_n, rows, looks)
            else:
                against_n.set_axis_off()
        panels[0, 0].set_ylabel("net MI read (bits)")
        panels[1, 0].set_ylabel("net MI less truth (bits)")
        panels[0, 0].legend(fontsize=7)
        title = f"{table.dimension.iloc[0]} dimensions each, no coupling: simulated laws"
        figure.suptitle(captioned(title, caption), fontsize=10.5)
    return figure


def _bench_truth(axes: Axes, rows: pd.DataFrame, looks: Mapping) -> None:
    for family, line in rows.groupby("family", sort=False):
        means = line.groupby("asked_bits")[["true_bits", "net_bits", "perm_bits"]].mean()
        axes.plot(means.true_bits, means.net_bits, label=family, **looks[family])
        null = looks[family] | dict(marker="x", linestyle="", markersize=5)
        axes.plot(means.true_bits, means.perm_bits, **null)
    axes.plot([], [], "x", color="0.3", label="re-paired")
    top = rows.true_bits.max()
    axes.plot([0, top], [0, top], color="0.6", linewidth=0.8, zorder=1)
    axes.axhline(0, color="0.3", linewidth=0.8)
    ceiling = rows.ceiling_bits.max()
    if np.isfinite(ceiling):
        axes.axhline(ceiling, color="0.3", linewidth=1, linestyle=(0, (4, 2)))
        axes.annotate("ceiling", (0.02 * top, ceiling), fontsize=7, va="bottom")
    axes.set_xlabel("true MI (bits)")


def _bench_sizes(axes: Axes, rows: pd.DataFrame, looks: Mapping) -> None:
    truth = rows.groupby("asked_bits").n.nunique()
    everywhere = truth.index[truth == truth.max()]
    for family, line in rows.groupby("family", sort=False):
        for asked in everywhere:
            means = line[line.asked_bits == asked].groupby("n")[["true_bits", "net_bits"]].mean()
            style = looks[family] | (dict(markerfacecolor="none") if asked == 0 else {})
            axes.plot(means.index, means.net_bits - means.true_bits, **style)
    axes.axhline(0, color="0.6", linewidth=0.8, zorder=1)
    axes.set_xscale("log")
    sizes = sorted(rows.n.unique())
    axes.set_xticks(sizes, [f"{n / 1000:g}k" for n in sizes], rotation=45)
    axes.minorticks_off()
    axes.set_yscale("symlog", linthresh=1)
    axes.margins(y=0.1)
    read = ", ".join(f"{asked:g}" for asked in everywhere if asked)
    axes.set_title(f"{read} bits; open: asked for 0")
    axes.set_xlabel("N")
