"""Readings and distances within federated rounds."""

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure

from fedmi.stats import Z95
from fedmi.study.figures import style
from fedmi.study.figures.captions import heading, task_of


@style.styled()
def rounds(table: pd.DataFrame, caption: str = "") -> Figure:
    """The Gaussian reading within rounds of parameters and of updates, and the distance.

    Bands and bars are 1.96 standard errors; dotted in the distance, clients of other seeds.

    Args:
        table: rows of `fedmi.study.rounds.rows`, of one task.
        caption: for the title, see `caption`.
    """
    names = table.coupling.unique()
    looks = style.looks_of(sorted(table["round"].unique()))
    looks = {number: look | dict(linestyle="-") for number, look in looks.items()}
    figure, panels = plt.subplots(
        len(names), 3, figsize=(style.WIDTH, 2.6 * len(names) + 0.9), sharex=True, squeeze=False
    )
    for (parameters, updates, apart), name in zip(panels, names, strict=True):
        for (what, number), line in table.loc[table.coupling == name].groupby(["what", "round"]):
            axes = parameters if what == "parameters" else updates
            look, label = looks[number], f"round {number}"
            style.band(axes, line.iteration, line.net_bits, Z95 * line.net_se, look, label)
            if what == "parameters":
                style.bars(apart, line.iteration, line.distance, Z95 * line.distance_se, look)
                apart.plot(line.iteration, line.unmatched, color=look["color"], linestyle=":")
        apart.plot([], [], ":", color="0.3", label="distance, different seeds")
        for axes in (parameters, updates):
            style.zero_line(axes)
            style.symlog(axes)
        parameters.set(title=f"{name}: MI of the parameters", ylabel="net MI (bits)")
        updates.set_title(f"{name}: MI of the updates")
        apart.set_title(f"{name}: Euclidean distance")
    for axes in panels[-1]:
        style.iteration_axis(axes, "iteration within the round")
    style.legend_below(panels[0, 0], panels[0, 2], columns=5)
    title = heading(task_of(table), "within rounds", caption)
    figure.suptitle(f"{title}\nMI by the Gaussian formula; bands and bars: 95 %")
    return figure
