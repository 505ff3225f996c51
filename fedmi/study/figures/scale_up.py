"""More clients, more parameters."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fedmi.stats import Z95
from fedmi.study.figures import style
from fedmi.study.figures.captions import heading
from fedmi.study.layerwise import ALL, CANONICAL, RANDOM
from fedmi.study.scale_up import last
from fedmi.study.tables import groups

KINDS: dict[str, style.Look] = {
    CANONICAL: {},
    RANDOM: dict(markerfacecolor="none"),
    ALL: dict(marker="x", markersize=4),
}
WORDS = {
    CANONICAL: "the most dependent directions (filled)",
    RANDOM: "random directions (hollow)",
    ALL: "all directions (x)",
}


@style.styled()
def scale_up(
    readings: pd.DataFrame, distances: pd.DataFrame, averaging: pd.DataFrame, caption: str = ""
) -> Figure:
    """MI (a) and distance (b) by the size of a layer, and what means of ever more clients gain (c).

    At each case's last iteration, with bars of 1.96 standard errors. In (a) filled markers are
    canonical directions, hollow ones random directions, and crosses all directions of a layer;
    labels tell the layers of the largest network. In (c) the thin line is what a quadratic
    objective would make of the gain of two clients: the share 1 - 1/q.

    Args:
        readings, distances, averaging: tables of `fedmi.study.scale_up.measure`.
        caption: for the title, see `caption`.
    """
    looks = style.looks_of(readings.case.unique())
    figure, panels = plt.subplots(1, 3, figsize=(style.WIDTH, 4.2))
    bits, closer, gain = panels
    _bits(bits, last(readings), looks)
    distances = last(distances)
    for case, rows in groups(distances.loc[distances.metric == "euclidean"], "case"):
        look = dict(looks[case], linestyle="")
        style.bars(closer, rows["size"], 100 * rows.closer, 100 * Z95 * rows.closer_se, look)
    _gain(gain, last(averaging), looks)
    for axes in panels:
        axes.set_xscale("log")
        style.zero_line(axes)
    counts = sorted(averaging.averaged[averaging.averaged > 0].unique())
    gain.set_xticks(counts, counts)
    gain.minorticks_off()
    style.lettered(panels, ("MI of clients 0 and 1", "their distance", "the mean of q clients"))
    bits.set(xlabel="parameters of the layer", ylabel="net MI (bits)")
    closer.set(xlabel="parameters of the layer", ylabel="closer than other seeds (%)")
    gain.set(xlabel="clients averaged q", ylabel="F less F of client 0")
    style.legend_below(bits, gain, columns=3)
    figure.suptitle(f"{heading('as clients and parameters grow', caption)}; bars: 95 %")
    return figure


def _bits(axes: Axes, readings: pd.DataFrame, looks: dict[str, style.Look]) -> None:
    readings = readings.loc[readings.estimator == "gaussian"]
    for (case, kind), rows in readings.groupby(["case", "kind"], sort=False):
        look = looks[case] | KINDS[kind] | dict(linestyle="")
        label = case if kind == CANONICAL else None
        style.bars(axes, rows["size"], rows.net_bits, Z95 * rows.net_se, look, label)
    for kind in readings.kind.unique():
        look: style.Look = dict(marker="o", color="0.3", linestyle="")
        axes.plot([], [], label=WORDS[kind], **look | KINDS[kind])
    of_layers = readings.loc[readings.kind == CANONICAL]
    of_layers = of_layers.loc[of_layers.parameters == of_layers.parameters.max()]
    for row in of_layers.drop_duplicates("layer").itertuples():
        axes.annotate(
            row.layer, (row.size, row.net_bits), xytext=(3, 3), textcoords="offset points",
            fontsize=style.SMALL,
        )  # fmt: skip
    style.symlog(axes)


def _gain(axes: Axes, averaging: pd.DataFrame, looks: dict[str, style.Look]) -> None:
    for case, rows in groups(averaging.loc[averaging.averaged > 0], "case"):
        half = Z95 * rows.objective_less_alone_se
        style.bars(axes, rows.averaged, rows.objective_less_alone, half, looks[case])
        two = rows.loc[rows.averaged == 2].objective_less_alone.item()
        counts = np.geomspace(1, rows.averaged.max())
        quadratic: style.Look = dict(
            color=looks[case]["color"], linewidth=0.7, linestyle=(0, (1, 1))
        )
        axes.plot(counts, 2 * two * (1 - 1 / counts), **quadratic)
    words = "expected from two clients: 1 − 1/q"
    axes.plot([], [], color="0.3", linewidth=0.7, linestyle=(0, (1, 1)), label=words)
