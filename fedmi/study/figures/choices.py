"""The specification curve of a multiverse: effects at all points, and the choices behind them."""

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fedmi.stats import Z95
from fedmi.study import outcomes
from fedmi.study.figures import style
from fedmi.study.figures.captions import heading, task_of
from fedmi.study.results import LEVELS

CURVES = {
    "rises": ("MI rises, Gaussian formula", "bits"),
    "rises_ksg": ("MI rises, KSG", "bits"),
    "distances_rise": ("all three distances rise (the least)", "share"),
    "not_closer_by_others": ("MI rises, and the lead on clients of other seeds is lost", "share"),
}
"""The claims whose effects are drawn, in order; points are sorted by the first."""
NAMES = (outcomes.HOLDS, outcomes.OPEN, outcomes.FAILS, outcomes.CHAOTIC, outcomes.INFINITE)
LOOKS: dict[str, style.Look] = {
    name: dict(color=look["color"], marker=look["marker"], linestyle="", markersize=3)
    for name, look in style.looks_of(NAMES).items()
}
ROW = 0.165  # inches
OWN_FIRST: style.Look = dict(marker="s", s=3, color="0.75")
CHOSEN: style.Look = dict(marker="s", s=9, color="0.1")


@style.styled()
def choices(table: pd.DataFrame, judged: pd.DataFrame, caption: str = "") -> Figure:
    """A specification curve: points sorted by how much the MI rises, their choices marked below.

    Bars are 1.96 standard errors. Controls, and points that tell nothing of a claim because they
    diverged, are left out. Dashed lines are the sizes from which on an effect matters.

    Args:
        table: rows of `fedmi.study.choices.readings`, of one task.
        judged: what `fedmi.study.outcomes.judge` makes of them.
        caption: for the title, see `caption`.
    """
    judged = judged.loc[~judged.control.astype(bool)]
    by_claim = {name: judged.loc[judged.claim == name].set_index("point") for name in CURVES}
    first = by_claim["rises"]
    order = first.effect.dropna().sort_values().index
    factors = outcomes.factors_of(table)
    rows = [(f, level) for f in factors for level in first[LEVELS + f].unique()]
    heights = [1.0] * len(CURVES) + [ROW * len(rows)]
    figure, panels = plt.subplots(
        len(heights),
        1,
        figsize=(style.WIDTH, sum(heights) + 1.6),
        height_ratios=heights,
        sharex=True,
    )
    own = order.get_loc(first.index[0]) if first.index[0] in order else None
    for axes, (name, (_, unit)) in zip(panels[:-1], CURVES.items(), strict=True):
        _curve(axes, by_claim[name].loc[order], unit)
    for axes in panels:
        if own is not None:
            axes.axvline(own, color="0.3", linewidth=0.8, linestyle=":")
    _marks(panels[-1], first.loc[order], rows)
    titles = [f"{said}: {_counted(by_claim[name])}" for name, (said, _) in CURVES.items()]
    style.lettered(panels, [*titles, "what was chosen"])
    style.legend_below(*panels[:-1])
    title = heading(task_of(table), "every choice that the paper left open", caption)
    figure.suptitle(f"{title}\nfrom the first fifth of the examples to the last; bars: 95 %")
    return figure


def _counted(rows: pd.DataFrame) -> str:
    counts = outcomes.shares(rows.outcome)
    return ", ".join(f"{name} {count}" for name, count in counts.items() if count)


def _curve(axes: Axes, rows: pd.DataFrame, unit: str) -> None:
    """The effects of a claim, in the order of the rows."""
    size, places = rows["size"].iloc[0], pd.Series(range(len(rows)), rows.index)
    for name in NAMES:
        of = rows.loc[rows.outcome == name]
        if of.empty:
            continue
        style.bars(axes, places[of.index], of.effect, Z95 * of.error, LOOKS[name], name)
    style.zero_line(axes)
    axes.axhline(size, **style.LIMIT)
    axes.set_ylabel(unit)
    if rows.effect.abs().max() > 20 * max(abs(size), 0.1):
        axes.set_yscale("symlog", linthresh=1 if size == outcomes.BITS else 0.1)
    axes.margins(y=0.12)


def _marks(axes: Axes, rows: pd.DataFrame, levels: list[tuple[str, str]]) -> None:
    """What was chosen at every point; what the study itself has is small."""
    own: dict[str, str] = {}
    labels, before = [], None
    for at, (factor, level) in enumerate(levels):
        own.setdefault(factor, level)
        chosen = (rows[LEVELS + factor] == level).to_numpy().nonzero()[0]
        axes.scatter(chosen, [at] * len(chosen), **(OWN_FIRST if own[factor] == level else CHOSEN))
        labels.append(f"{factor}: {level}" if factor != before else level)
        if factor != before and at:
            axes.axhline(at - 0.5, color="0.85", linewidth=0.6)
        before = factor
    axes.set_yticks(range(len(levels)), labels, fontsize=style.SMALL)
    axes.set_ylim(len(levels) - 0.5, -0.5)
    axes.grid(False)
    axes.set_xlabel("points, sorted by the rise of MI (dotted: the study's own)")
    axes.set_xticks([])
