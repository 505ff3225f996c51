"""Figures 3 and 4: the distance of clients."""

from collections.abc import Mapping

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fedmi.study.figures.captions import title
from fedmi.study.figures.style import looks_of, styled
from fedmi.study.trends import closer_error


def distances(table: pd.DataFrame, caption: str = "") -> Figure:
    """Figures 3 and 4: the Euclidean (a), Manhattan (b) and Chebyshev (c) distance.

    The upper axes show clients of the same seed, as in the paper, and clients of different seeds:
    what "closer" has to be compared with. The lower axes show by how much the former are closer.
    Bars are 1.96 standard errors over seeds.

    Args:
        table: the table distances.csv of one study.
        caption: for the title, see `caption_of`.
    """
    looks = looks_of(list(table.pair.unique()))
    with styled():
        figure, (upper, lower) = plt.subplots(
            2, 3, figsize=(10.5, 4.1), height_ratios=(2.2, 1), sharex=True, layout="constrained"
        )
        for column, metric in enumerate(table.metric.unique()):
            apart, closer = upper[column], lower[column]
            for pair, line in table[table.metric == metric].groupby("pair", sort=False):
                label = f"({pair.replace('-', ', ')})"
                apart.plot(line.iteration, line.distance, label=label, **looks[pair])
                _bars(apart, line.iteration, line.distance, line.distance_se, looks[pair])
                share = 100 * (1 - line.distance / line.unmatched)
                error = 100 * closer_error(line.distance_se, line.unmatched)
                closer.plot(line.iteration, share, **looks[pair] | dict(markersize=3, linewidth=1))
                _bars(closer, line.iteration, share, error, looks[pair])
            others = table[table.metric == metric].groupby("iteration").unmatched.mean()
            style = dict(color="0.35", linestyle=(0, (1, 1)), marker="x", markersize=4)
            apart.plot(others.index, others, label="other seeds", **style)
            closer.axhline(0, **style | dict(marker=""))
            apart.set_title(f"({'abc'[column]}) {metric.capitalize()} distance")
            closer.set_xlabel("iteration")
        upper[0].set_ylabel("distance of parameters")
        lower[0].set_ylabel("closer than\nother seeds (%)")
        upper[0].legend(title="clients", title_fontsize=8)
        figure.suptitle(f"{title(table, caption)}\nbars: 95 % over seeds", fontsize=10.5)
    return figure


def _bars(axes: Axes, x: pd.Series, y: pd.Series, error: pd.Series, look: Mapping) -> None:
    axes.errorbar(x, y, 1.96 * error, color=look["color"], linestyle="", linewidth=1, capsize=2)
