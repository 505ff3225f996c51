"""The map of a sweep over learning rates and batch sizes."""

import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns
from matplotlib.colors import SymLogNorm
from matplotlib.figure import Figure

from fedmi.stats import Z95, bonferroni_limit
from fedmi.study.figures import style
from fedmi.study.figures.captions import heading, task_of


@style.styled()
def sweep(table: pd.DataFrame, caption: str = "") -> Figure:
    """The map of a sweep: the rise of the reading by learning rate and batch size.

    Colours are on a scale that is linear near zero and logarithmic beyond; after ± stands 1.96
    standard errors, and what is beyond chance at any of the points is in bold.

    Args:
        table: rows of `fedmi.study.sweep.trend_row`, of one task.
        caption: for the title, see `caption`.
    """
    names = table.coupling.unique()
    most = max(table.rise_bits.abs().max(), 10.0)
    scale = SymLogNorm(linthresh=1.0, vmin=-most, vmax=most, base=10)
    limit = bonferroni_limit(len(table))
    finite = table.assign(rise_bits=table.rise_bits.mask(table.infinite.eq(True)))
    figure, panels = plt.subplots(
        1, len(names), figsize=(3.4 * len(names) + 0.6, 3.4), sharey=True, squeeze=False
    )
    for axes, name in zip(panels[0], names, strict=True):
        rows = finite.loc[finite.coupling == name]
        both = rows.pivot(index="learning_rate", columns="batch_size")
        rises, errors = both["rise_bits"], both["rise_se"]
        words = rises.map("{:+z.1f}".format) + (Z95 * errors).map("\n±{:.1f}".format)
        sns.heatmap(
            rises, norm=scale, cmap="RdBu_r", cbar=False, ax=axes, linewidths=0.5,
            annot=words, fmt="", annot_kws=dict(size=style.SMALL),
        )  # fmt: skip
        beyond = (rises.abs() > limit * errors).to_numpy()[rises.notna()]
        for text, bold in zip(axes.texts, beyond, strict=True):
            text.set_weight("bold" if bold else "normal")
        axes.invert_yaxis()
        axes.tick_params(axis="y", rotation=0)
        axes.set(title=name, xlabel="batch size", ylabel="")
    panels[0, 0].set_ylabel("learning rate")
    mesh = panels[0, 0].collections[0]
    figure.colorbar(mesh, ax=panels, label="net MI, last less first (bits)")
    figure.suptitle(f"{heading(task_of(table), 'where the reading rises', caption)}; ±: 95 %")
    return figure
