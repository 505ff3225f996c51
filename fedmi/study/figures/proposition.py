"""Proposition 1: what clients share, and the tests of the additive model."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fedmi.study import evidence
from fedmi.study.figures.captions import title
from fedmi.study.figures.style import looks_of, styled

SMALLEST_P = 1e-8  # of those drawn


def proposition(
    tests: pd.DataFrame, noise: pd.DataFrame, decomposition: pd.DataFrame, example: pd.DataFrame,
    caption: str = "",
) -> Figure:  # fmt: skip
    """Proposition 1: what clients share (a), the tests (b), the noise (c), a counter-example (d).

    (a) shows means over pairs, with bars of 1.96 standard errors where they can be seen. In (b) a
    test rejects left of the line (Bonferroni); open markers hold by construction, and p-values
    below `SMALLEST_P` are drawn there. (c) is the noise's coefficient
    of variation over what is shared, with its 95 % interval. (d) is an additive model, in which
    mutual information and distance rise together.

    Args:
        tests: rows of `fedmi.study.evidence.with_verdicts`, of one study.
        noise, decomposition: the tables noise.csv and decomposition.csv of the same.
        example: rows of `fedmi.study.additive.counter_example`.
        caption: for the title, see `caption_of`.
    """
    with styled():
        figure, panels = plt.subplots(
            2, 2, figsize=(10.5, 6.4), width_ratios=(1, 1.25), layout="constrained"
        )
        _decomposition(panels[0, 0], evidence.means_of(decomposition))
        _p_values(panels[0, 1], tests)
        _noise(panels[1, 0], noise)
        _counter_example(panels[1, 1], example)
        figure.suptitle(f"{title(tests, caption)}; bars: 95 %", fontsize=10.5)
    return figure


def _decomposition(axes: Axes, means: pd.DataFrame) -> None:
    names = {
        "shared": "shared, tr Cov(X, Y)",
        "own": "own, tr Cov(X) − tr Cov(X, Y)",
        "separation": "separation of means",
    }
    looks = looks_of(list(names))
    for name, label in names.items():
        axes.errorbar(
            means.index, means[name], 1.96 * means[f"{name}_se"], label=label, **looks[name]
        )
    axes.axhline(0, color="0.3", linewidth=0.8)
    axes.set(title="(a) where variance and distance come from", xlabel="iteration")
    axes.set_ylabel("variance, squared distance")
    axes.legend(fontsize=7)


def _p_values(axes: Axes, tests: pd.DataFrame) -> None:
    tests = tests.reset_index(drop=True)
    names = list(tests.test.unique())
    looks = looks_of(sorted(tests.iteration.unique()))
    limit = evidence.LEVEL / len(tests)
    shown = np.maximum(tests.p_value, SMALLEST_P)
    for i, (iteration, rows) in enumerate(tests.groupby("iteration")):
        # Side by side, as the p-values of one test often are alike.
        heights = np.array([len(names) - names.index(name) for name in rows.test])
        heights = heights + 0.2 * ((len(looks) - 1) / 2 - i)
        style = looks[iteration] | dict(linestyle="")
        axes.plot(shown[rows.index], heights, label=f"iteration {iteration}", zorder=2, **style)
        held = rows.by_construction.astype(bool).to_numpy()
        hollow = style | dict(markerfacecolor="w", zorder=3)
        axes.plot(shown[rows.index[held]], heights[held], **hollow)
    axes.set_xscale("log")
    axes.set_xlim(min(shown.min(), limit) / 3, 1.6)
    axes.axvline(limit, color="0.3", linewidth=1, linestyle=(0, (4, 2)))
    axes.set_yticks(range(len(names), 0, -1), names)
    axes.set_title("(b) tests of the additive model")
    axes.set_xlabel(f"p; the line: 5 % among all {len(tests)} tests")
    axes.legend(fontsize=7, loc="upper left")


def _noise(axes: Axes, noise: pd.DataFrame) -> None:
    colour = sns.color_palette("colorblind")[3]
    error = 100 * np.array([noise.variation - noise.low, noise.high - noise.variation])
    axes.errorbar(noise.iteration, 100 * noise.variation, error, color=colour, marker="o")
    axes.set_ylim(bottom=0)
    seeds = f"iteration (N = {noise.n.max():,})"
    axes.set(title="(c) does the noise depend on what is shared?", xlabel=seeds)
    axes.set_ylabel("variation of the noise's\nvariance (%)")


def _counter_example(axes: Axes, example: pd.DataFrame) -> None:
    looks = looks_of(["mi", "fixed", "distance"])
    axes.plot(example.iteration, example.mi_bits, label="MI, Var(P) grows", **looks["mi"])
    axes.plot(example.iteration, example.fixed_mi_bits, label="MI, Var(P) held", **looks["fixed"])
    beside = axes.twinx()
    beside.grid(False)
    beside.plot(example.iteration, example.distance, **looks["distance"])
    beside.set_ylabel("expected distance")
    beside.set_ylim(bottom=0)
    axes.plot([], [], label="distance (right)", **looks["distance"])
    axes.set(title=f"(d) an additive model, t = {example.dimension.iloc[0]}", xlabel="iteration")
    axes.set_xticks(example.iteration)
    axes.set_ylabel("mutual information (bits)")
    axes.legend(fontsize=7)
