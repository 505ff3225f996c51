"""Estimators where the truth is known."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fedmi.study.figures import style
from fedmi.study.figures.captions import ESTIMATORS, heading
from fedmi.study.tables import groups


@style.styled()
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
    names = table.estimator.unique()
    looks = style.looks_of(table.family.unique())
    figure, panels = plt.subplots(2, len(names), figsize=(style.WIDTH, 6), squeeze=False)
    for (against_truth, against_n), name in zip(panels.T, names, strict=True):
        rows = table.loc[table.estimator == name]
        _against_truth(against_truth, rows.loc[rows.n == rows.n.max()], looks)
        against_truth.set_title(f"{ESTIMATORS.get(name, name)}\nN = {rows.n.max():,}")
        if rows.n.nunique() > 1:
            _against_n(against_n, rows, looks)
        else:
            against_n.remove()
    panels[0, 0].set_ylabel("net MI read (bits)")
    panels[1, 0].set_ylabel("net MI less truth (bits)")
    style.legend_below(panels[0, 0], columns=3)
    laws = f"{table.dimension.iloc[0]} dimensions each, no coupling: simulated laws"
    figure.suptitle(heading(laws, caption))
    return figure


def _against_truth(axes: Axes, rows: pd.DataFrame, looks: dict[str, style.Look]) -> None:
    for family, line in groups(rows, "family"):
        means = line.groupby("asked_bits")[["true_bits", "net_bits", "perm_bits"]].agg("mean")
        axes.plot(means.true_bits, means.net_bits, label=family, **looks[family])
        null = dict(looks[family], marker="x", linestyle="", markersize=5)
        axes.plot(means.true_bits, means.perm_bits, **null)
    axes.plot([], [], "x", color="0.3", label="read of re-paired seeds")
    top = rows.true_bits.max()
    style.diagonal(axes, top, "what a perfect estimator reads")
    style.zero_line(axes)
    ceiling = rows.ceiling_bits.max()
    if np.isfinite(ceiling):
        axes.axhline(ceiling, **style.LIMIT)
        axes.annotate("ceiling", (0.02 * top, ceiling), fontsize=style.SMALL, va="bottom")
    axes.set_xlabel("true MI (bits)")


def _against_n(axes: Axes, rows: pd.DataFrame, looks: dict[str, style.Look]) -> None:
    read_at = rows.groupby("asked_bits").n.nunique()
    everywhere = read_at.index[read_at == read_at.max()]
    for (family, asked), line in rows.groupby(["family", "asked_bits"], sort=False):
        if asked in everywhere:
            means = line.groupby("n")[["true_bits", "net_bits"]].agg("mean")
            look = looks[family] if asked else dict(looks[family], markerfacecolor="none")
            axes.plot(means.index, means.net_bits - means.true_bits, **look)
    style.zero_line(axes)
    axes.set_xscale("log")
    sizes = sorted(rows.n.unique())
    axes.set_xticks(sizes, [f"{n / 1000:.3g}k" for n in sizes], rotation=60)
    axes.minorticks_off()
    style.symlog(axes)
    read = ", ".join(f"{asked:g}" for asked in everywhere if asked)
    axes.set_title(f"truth: {read} bits\n(hollow: 0 bits)")
    axes.set_xlabel("N")
