"""The map of learning rates and batch sizes."""

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from fedmi.stats import bonferroni_limit
from fedmi.study.figures.captions import captioned, task_in_words
from fedmi.study.figures.style import styled


def sweep(table: pd.DataFrame, caption: str = "") -> Figure:
    """The map of a sweep: the rise of the reading by learning rate and batch size.

    Colours are on a scale that is linear near zero and logarithmic beyond; after ± stands 1.96
    standard errors, and what is beyond chance at any of the points is in bold.

    Args:
        table: rows of `fedmi.study.sweep.trend_row`, of one task.
        caption: for the title, see `caption`.
    """
    names = list(table.coupling.unique())
    most = max(table.rise_bits.abs().max(), 10.0)
    scale = mpl.colors.SymLogNorm(linthresh=1.0, vmin=-most, vmax=most, base=10)
    limit = bonferroni_limit(len(table))
    with styled():
        figure, panels = plt.subplots(
            1, len(names), figsize=(3.4 * len(names) + 0.6, 3.4), sharey=True, squeeze=False,
            layout="constrained",
        )  # fmt: skip
        for axes, name in zip(panels[0], names, strict=True):
            rows = table[table.coupling == name]
            rows = rows.assign(rise_bits=rows.rise_bits.mask(rows.infinite.eq(True)))
            rises = rows.pivot(index="learning_rate", columns="batch_size", values="rise_bits")
            errors = rows.pivot(index="learning_rate", columns="batch_size", values="rise_se")
            mesh = sns.heatmap(
                rises, norm=scale, cmap="RdBu_r", cbar=False, ax=axes, linewidths=0.5
            ).collections[0]
            for (row, column), rise in np.ndenumerate(rises.to_numpy()):
                if np.isnan(rise):  # infinite, or refused
                    continue
                error = errors.iat[row, column]
                axes.text(
                    column + 0.5, row + 0.5, f"{rise:+.1f}\n±{1.96 * error:.1f}", ha="center",
                    va="center", fontsize=7.5, color="w" if abs(rise) > 0.3 * most else "k",
                    weight="bold" if abs(rise) > limit * error else "normal",
                )  # fmt: skip
            axes.invert_yaxis()
            axes.set(title=name, xlabel="batch size", ylabel="")
        panels[0, 0].set_ylabel("learning rate")
        figure.colorbar(mesh, ax=panels, label="net MI, last less first (bits)")
        title = captioned(f"{task_in_words(table)}, where the reading rises", caption)
        figure.suptitle(f"{title}; ±: 95 %", fontsize=10.5)
    return figure
