"""Figures 3 and 4: how far clients are apart."""

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure

from fedmi.stats import Z95
from fedmi.study.figures import style
from fedmi.study.figures.captions import coupled
from fedmi.study.trends import closer_error

SAME = style.looks_of(["same"])["same"]
CLOSER: style.Look = dict(SAME, color="0.2", marker="D")


@style.styled()
def distances(table: pd.DataFrame, caption: str = "") -> Figure:
    """Figures 3 and 4: the Euclidean (a), Manhattan (b) and Chebyshev (c) distance.

    The upper axes show clients of the same seed, as in the paper, and clients of different seeds:
    what "closer" has to be compared with. The lower axes show by how much the former are closer.
    Lines are means over pairs of clients; bars are 1.96 standard errors over seeds, of the pair
    whose error is the largest.

    Args:
        table: the table distances.csv of one study.
        caption: for the title, see `caption_of`.
    """
    metrics = table.metric.unique()
    figure, panels = plt.subplots(
        2,
        len(metrics),
        figsize=(style.WIDTH, 4.6),
        height_ratios=(1.8, 1),
        sharex=True,
        squeeze=False,
    )
    table = table.assign(
        closer=100 * (1 - table.distance / table.unmatched),
        closer_half=100 * Z95 * closer_error(table.distance_se, table.unmatched),
        half=Z95 * table.distance_se,
    )
    for (apart, closer), metric in zip(panels.T, metrics, strict=True):
        rows = table.loc[table.metric == metric]
        of = rows.groupby("iteration")
        means = of[["distance", "closer", "unmatched"]].mean()
        halves = of[["half", "closer_half"]].max()
        style.bars(apart, means.index, means.distance, halves.half, SAME, "clients of one seed")
        apart.plot(
            means.index, means.unmatched, label="clients of different seeds", **style.OTHER_SEEDS
        )
        apart.plot(
            rows.iteration, rows.distance, "o", markersize=2.5, color=SAME["color"], alpha=0.6
        )
        style.bars(closer, means.index, means.closer, halves.closer_half, CLOSER)
        style.zero_line(closer)
        style.iteration_axis(closer)
    style.lettered(panels[0], (f"{metric.capitalize()} distance" for metric in metrics))
    panels[0, 0].set_ylabel("distance of parameters")
    panels[1, 0].set_ylabel("closer than different\nseeds (%)")
    style.legend_below(*panels[0])
    said = "lines: means over pairs of clients, marks: the pairs; bars: 95 % over seeds"
    figure.suptitle(f"{coupled(table, caption)}\n{said}")
    return figure
