"""More clients, more parameters."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from fedmi.study import scale_up as scales
from fedmi.study.figures.captions import captioned
from fedmi.study.figures.style import looks_of, styled


def scale_up(
    readings: pd.DataFrame, distances: pd.DataFrame, averaging: pd.DataFrame, caption: str = ""
) -> Figure:
    """MI (a) and distance (b) by the size of a layer, and what means of ever more clients gain (c).

    At each case's last iteration, with bars of 1.96 standard errors. In (a) filled markers are
    canonical directions, open ones random directions, and small ones all directions of a layer;
    labels tell the layers of the largest network. In (c) the thin line is what a quadratic
    objective would make of the gain of two clients: the share 1 - 1/q.

    Args:
        readings, distances, averaging: tables with the columns of `fedmi.study.scale_up`.
        caption: for the title, see `caption`.
    """
    looks = looks_of(list(readings.case.unique()))
    readings, distances, averaging = map(scales.last, (readings, distances, averaging))
    readings = readings[readings.estimator == "gaussian"]
    fills = {
        scales.CANONICAL: {}, scales.RANDOM: dict(markerfacecolor="none"),
        scales.ALL: dict(markersize=2.5),
    }  # fmt: skip
    with styled():
        figure, panels = plt.subplots(1, 3, figsize=(10.5, 3.4), layout="constrained")
        bits, closer, gain = panels
        for (case, kind), rows in readings.groupby(["case", "kind"], sort=False):
            style = looks[case] | fills[kind] | dict(linestyle="")
            label = case if kind == scales.CANONICAL else None
            bits.errorbar(rows["size"], rows.net_bits, 1.96 * rows.net_se, label=label, **style)
        largest = readings[readings.kind == scales.CANONICAL]
        largest = largest[largest.parameters == largest.parameters.max()]
        for row in largest.drop_duplicates("layer").itertuples():
            bits.annotate(
                row.layer, (row.size, row.net_bits), xytext=(3, 3), textcoords="offset points",
                fontsize=6.5,
            )  # fmt: skip
        for case, rows in distances[distances.metric == "euclidean"].groupby("case", sort=False):
            style = looks[case] | dict(linestyle="")
            closer.errorbar(rows["size"], 100 * rows.closer, 196 * rows.closer_se, **style)
        for case, rows in averaging[averaging.averaged > 0].groupby("case", sort=False):
            half = 1.96 * rows.objective_less_alone_se
            gain.errorbar(rows.averaged, rows.objective_less_alone, half, **looks[case])
            two = rows[rows.averaged == 2].objective_less_alone.item()
            counts = np.geomspace(1, rows.averaged.max())
            style = looks[case] | dict(marker="", linewidth=0.7, linestyle=(0, (1, 1)))
            gain.plot(counts, 2 * two * (1 - 1 / counts), **style)
        for axes in panels:
            axes.set_xscale("log")
            axes.axhline(0, color="0.3", linewidth=0.8)
        bits.set_yscale("symlog", linthresh=1)
        bits.set(title="(a) MI of clients 0 and 1", ylabel="net MI (bits)")
        closer.set(title="(b) their distance", ylabel="closer than other seeds (%)")
        for axes in (bits, closer):
            axes.set_xlabel("parameters of the layer")
        bits.legend(fontsize=7)
        gain.set(title="(c) the mean of q clients", ylabel="F less F of client 0")
        gain.set_xlabel("clients averaged q")
        gain.set_xticks(*2 * [sorted(averaging.averaged[averaging.averaged > 0].unique())])
        gain.minorticks_off()
        title = captioned("as clients and parameters grow", caption)
        figure.suptitle(f"{title}; bars: 95 %", fontsize=10.5)
    return figure
