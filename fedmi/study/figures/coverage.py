"""How often intervals hold the truth, against how often they should."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from fedmi.study.coverage import envelope
from fedmi.study.figures import style
from fedmi.study.figures.captions import heading
from fedmi.study.tables import groups


@style.styled()
def coverage(table: pd.DataFrame, caption: str = "") -> Figure:
    """A panel a study's size, a curve a law, over the diagonal with its binomial envelope.

    Args:
        table: rows with `fedmi.study.coverage.COLUMNS`.
        caption: for the title.
    """
    studies = table.study.unique()
    looks = style.looks_of(table.law.unique())
    columns = min(2, len(studies))
    shape = (-(-len(studies) // columns), columns)
    figure, panels = plt.subplots(
        *shape, figsize=(style.WIDTH, 3.1 * shape[0] + 0.6), sharex=True, sharey=True, squeeze=False
    )
    nominal = np.linspace(0.01, 0.99, 99)
    for axes, (study, of_study) in zip(panels.flat, groups(table, "study"), strict=False):
        fewest = int(of_study.sets.min())
        axes.fill_between(
            nominal, *envelope(nominal, fewest), color="0.88", linewidth=0,
            label="where exact intervals would lie (95 %)",
        )  # fmt: skip
        style.diagonal(axes, 1, "as often as promised")
        for law, of in groups(of_study, "law"):
            axes.plot(of.level, of.held, label=law, **{**looks[law], **style.THIN})
        axes.set_title(
            f"{study}: N = {of_study.n.iloc[0]:,}, d = {of_study.d.iloc[0]}, {fewest} sets a law"
        )
    for axes in panels[-1]:
        axes.set_xlabel("nominal level")
    for axes in panels[:, 0]:
        axes.set_ylabel("share that hold the truth")
    style.legend_below(panels.flat[0], columns=3)
    figure.suptitle(heading("intervals of the Gaussian formula, simulated laws", caption))
    return figure
