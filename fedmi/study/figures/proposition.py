"""Proposition 1: what clients share, and the tests of the additive model."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator

from fedmi.stats import Z95
from fedmi.study.evidence import LEVEL, means_of
from fedmi.study.figures import style
from fedmi.study.figures.captions import coupled

SMALLEST_P = 1e-8  # of those drawn


@style.styled()
def proposition(
    tests: pd.DataFrame,
    noise: pd.DataFrame,
    decomposition: pd.DataFrame,
    example: pd.DataFrame,
    caption: str = "",
) -> Figure:
    """Proposition 1: what clients share (a), the tests (b), the noise (c), a counter-example (d).

    (a) shows means over pairs, with bars of 1.96 standard errors where they can be seen. In (b) a
    test rejects left of the line (Bonferroni); hollow markers hold by construction, and p-values
    below `SMALLEST_P` are drawn there, as arrows. (c) is the noise's coefficient of variation over
    what is shared, with its 95 % interval. (d) is an additive model, in which mutual information
    and distance rise together.

    Args:
        tests: rows of `fedmi.study.evidence.with_verdicts`, of one study.
        noise, decomposition: the tables noise.csv and decomposition.csv of the same.
        example: rows of `fedmi.study.additive.counter_example`.
        caption: for the title, see `caption_of`.
    """
    figure, panels = plt.subplots(2, 2, figsize=(style.WIDTH, 6.6), width_ratios=(1, 1.2))
    _parts(panels[0, 0], means_of(decomposition))
    _p_values(panels[0, 1], tests)
    _noise(panels[1, 0], noise)
    _counter_example(panels[1, 1], example)
    titles = (
        "where variance and distance come from",
        "tests of the additive model",
        "does the noise depend on what is shared?",
        f"an additive model, t = {example.dimension.iloc[0]}",
    )
    style.lettered(panels.flat, titles)
    figure.suptitle(f"{coupled(tests, caption)}; bars: 95 %")
    return figure


def _parts(axes: Axes, means: pd.DataFrame) -> None:
    names = {
        "shared": "shared, tr Cov(X, Y)",
        "own": "own, tr Cov(X) − tr Cov(X, Y)",
        "separation": "separation of means",
    }
    looks = style.looks_of(names)
    for name, label in names.items():
        style.bars(axes, means.index, means[name], Z95 * means[f"{name}_se"], looks[name], label)
    style.zero_line(axes)
    style.iteration_axis(axes)
    axes.set_ylabel("variance, squared distance")
    axes.legend(loc="upper left", bbox_to_anchor=(0, -0.22))


def _p_values(axes: Axes, tests: pd.DataFrame) -> None:
    names = list(tests.test.unique())
    looks = style.looks_of(sorted(tests.iteration.unique()))
    limit = LEVEL / len(tests)
    # Side by side, as the p-values of one test often are alike.
    place = tests.test.map(names.index) + tests.iteration.map(style.side_by_side(looks))
    tests = tests.assign(shown=tests.p_value.clip(lower=SMALLEST_P), place=place)
    for iteration, rows in tests.groupby("iteration"):
        look = dict(looks[iteration], linestyle="")
        axes.plot(rows.shown, rows.place, label=f"iteration {iteration}", zorder=2, **look)
        held = rows.loc[rows.by_construction.astype(bool)]
        axes.plot(held.shown, held.place, **dict(look, markerfacecolor="w", zorder=3))
        beyond = rows.loc[rows.p_value < SMALLEST_P]
        axes.plot(beyond.shown, beyond.place, **dict(look, marker="<", markersize=7))
    hollow: style.Look = dict(marker="o", color="0.3", markerfacecolor="w", linestyle="")
    axes.plot([], [], label="holds by construction", **hollow)
    if (tests.p_value < SMALLEST_P).any():
        label = f"below {SMALLEST_P:g}"
        axes.plot([], [], marker="<", color="0.3", linestyle="", markersize=7, label=label)
    axes.set_xscale("log")
    axes.set_xlim(min(tests.shown.min(), limit) / 5, 3)
    axes.axvline(limit, **style.LIMIT)
    axes.xaxis.set_major_locator(LogLocator(numticks=6))
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    axes.set_xlabel(f"p; line: 5 % among all {len(tests)} tests")
    axes.legend(loc="upper left", bbox_to_anchor=(-0.55, -0.22), ncols=3)


def _noise(axes: Axes, noise: pd.DataFrame) -> None:
    error = 100 * np.array([noise.variation - noise.low, noise.high - noise.variation])
    look = dict(color="0.3", marker="o")
    style.bars(axes, noise.iteration, 100 * noise.variation, error, look)
    axes.set_ylim(bottom=0)
    style.iteration_axis(axes, f"iteration (N = {noise.n.max():,})")
    axes.set_ylabel("variation of the noise's\nvariance (%)")


def _counter_example(axes: Axes, example: pd.DataFrame) -> None:
    looks = style.looks_of(["mi", "fixed", "distance"])
    axes.plot(example.iteration, example.mi_bits, label="MI, Var(P) grows", **looks["mi"])
    axes.plot(example.iteration, example.fixed_mi_bits, label="MI, Var(P) held", **looks["fixed"])
    right = style.beside(axes, example.iteration, example.distance, looks["distance"], "distance")
    right.set_ylabel("expected distance")
    style.iteration_axis(axes)
    axes.set_ylabel("mutual information (bits)")
    axes.legend(handles=[*axes.get_lines(), *right.get_lines()])
