"""Figures 3 and 4: how far clients are apart."""

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure

from fedmi.stats import Z95
from fedmi.study.figures import style
from fedmi.study.figures.captions import clients, coupled
from fedmi.study.tables import groups
from fedmi.study.trends import closer_error


@style.styled()
def distances(table: pd.DataFrame, caption: str = "") -> Figure:
    """Figures 3 and 4: the Euclidean (a), Manhattan (b) and Chebyshev (c) distance.

    The upper axes show clients of the same seed, as in the paper, and clients of different seeds:
    what "closer" has to be compared with. The lower axes show by how much the former are closer.
    Bars are 1.96 standard errors over seeds.

    Args:
        table: the table distances.csv of one study.
        caption: for the title, see `caption_of`.
    """
    looks = style.looks_of(table.pair.unique())
    metrics = table.metric.unique()
    figure, panels = plt.subplots(
        2, len(metrics), figsize=(10.5, 4.5), height_ratios=(2.2, 1), sharex=True, squeeze=False
    )
    for (apart, closer), metric in zip(panels.T, metrics, strict=True):
        rows = table.loc[table.metric == metric]
        for pair, line in groups(rows, "pair"):
            look, half = looks[pair], Z95 * line.distance_se
            style.bars(apart, line.iteration, line.distance, half, look, clients(pair))
            share = 100 * (1 - line.distance / line.unmatched)
            half = 100 * closer_error(half, line.unmatched)
            style.bars(closer, line.iteration, share, half, look | style.THIN)
        others = rows.groupby("iteration").unmatched.mean()
        apart.plot(others.index, others, label="other seeds", **style.OTHER_SEEDS)
        closer.axhline(0, **dict(style.OTHER_SEEDS, marker=""))
        style.iteration_axis(closer)
    style.lettered(panels[0], (f"{metric.capitalize()} distance" for metric in metrics))
    panels[0, 0].set_ylabel("distance of parameters")
    panels[1, 0].set_ylabel("closer than\nother seeds (%)")
    style.legend_below(*panels[0])
    figure.suptitle(f"{coupled(table, caption)}\nbars: 95 % over seeds")
    return figure
