"""One look for all figures; the sizes of letters and lines stand in fedmi.mplstyle.

Colours are told apart by the colour-blind and, with markers and line styles, in grey.
"""

from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from itertools import cycle
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike

Look = dict[str, Any]
"""What a line looks like: arguments of `Axes.plot`."""

MARKERS = "osD^vPX"
DASHES = ("-", "--", ":", "-.")
WIDTH = 8.75
"""Of every figure, in inches: the 840 pixels at which it is read, of which 96 make an inch."""
SMALL = 8
"""The size of the smallest letters, in points."""

LIMIT: Look = dict(color="0.3", linewidth=1, linestyle=(0, (4, 2)))
"""A value that curves are compared with."""
OTHER_SEEDS: Look = dict(color="0.35", linestyle=(0, (1, 1)), marker="x", markersize=4)
THIN: Look = dict(linewidth=1, markersize=3)


@contextmanager
def styled() -> Iterator[None]:
    """The figures' style, within which no backend is loaded.

    A notebook's backend makes figures interactive, that is shown, when it is loaded. If the first
    figure loaded it in here, the end of the style would undo that for all later ones.
    """
    plt.install_repl_displayhook()
    with plt.style.context(Path(__file__).with_name("fedmi.mplstyle")):
        yield


def looks_of(names: Iterable, palette: str = "colorblind") -> dict[Any, Look]:
    """A colour, a marker and a line style for each name."""
    names = list(names)
    colours = sns.color_palette(palette, max(len(names), 3))
    of_each = zip(names, colours, cycle(MARKERS), cycle(DASHES), strict=False)
    return {name: dict(color=c, marker=m, linestyle=dash) for name, c, m, dash in of_each}


def side_by_side(names: Collection, gap: float = 0.2) -> dict[Any, float]:
    """How far from the middle of a row each name stands."""
    return {name: gap * (i - (len(names) - 1) / 2) for i, name in enumerate(names)}


def band(
    axes: Axes, x: ArrayLike, y: ArrayLike, half: ArrayLike, look: Look, label: str | None = None
) -> None:
    """A line in a band that reaches `half` to either side."""
    axes.plot(x, y, label=label, **look)
    low, high = np.subtract(y, half), np.add(y, half)
    axes.fill_between(x, low, high, color=look["color"], alpha=0.15, linewidth=0)


def bars(
    axes: Axes, x: ArrayLike, y: ArrayLike, half: ArrayLike, look: Look, label: str | None = None
) -> None:
    """A line with bars that reach `half` to either side, or points if the look has no line."""
    axes.errorbar(x, y, half, label=label, elinewidth=1, capsize=2, **look)


def mark_infinite(axes: Axes, x: ArrayLike, infinite: ArrayLike, y: ArrayLike) -> None:
    """Marks, above a curve, where the reading is infinite and only its finite part is drawn."""
    x, y, infinite = np.asarray(x), np.asarray(y, float), np.asarray(infinite, bool)
    if infinite.any():
        label = "infinite: what is left beside the shared directions"
        axes.plot(
            x[infinite], y[infinite], "^", markersize=8, markerfacecolor="none", color="0.1",
            label=label,
        )  # fmt: skip


def zero_line(axes: Axes) -> None:
    axes.axhline(0, color="0.3", linewidth=0.8)


def diagonal(axes: Axes, top: float, label: str) -> None:
    """What reads the truth, from 0 to `top`."""
    axes.plot([0, top], [0, top], color="0.6", linewidth=0.8, zorder=1, label=label)


def beside(axes: Axes, x: ArrayLike, y: ArrayLike, look: Look, label: str) -> Axes:
    """A line on a scale of its own, which stands on the right and begins at 0."""
    right = axes.twinx()
    right.plot(x, y, label=f"{label} (right)", **look)
    right.grid(False)
    right.set_ylim(bottom=0)
    return right


def symlog(axes: Axes) -> None:
    """A y-axis that is linear up to one bit and logarithmic beyond."""
    axes.set_yscale("symlog", linthresh=1)
    axes.margins(y=0.1)


def iteration_axis(axes: Axes, label: str = "iteration") -> None:
    """An x-axis that counts: it has no ticks between two iterations."""
    axes.set_xlabel(label)
    axes.xaxis.set_major_locator(MaxNLocator("auto", steps=[1, 2, 5, 10], integer=True))


def lettered(panels: Iterable[Axes], titles: Iterable[str]) -> None:
    """Titles of panels, after (a), (b), (c)."""
    for letter, axes, title in zip("abcdefgh", panels, titles, strict=False):
        axes.set_title(f"({letter}) {title}")


def legend_below(*panels: Axes, columns: int | None = None) -> None:
    """One legend below all panels, where it lies over no curve, each label once.

    Args:
        *panels: the axes.
        columns: of the legend, by default one a label, at most four.
    """
    found = {}
    for axes in panels:
        handles, labels = axes.get_legend_handles_labels()
        found |= dict(zip(labels, handles, strict=True))
    panels[0].figure.legend(
        found.values(),
        found.keys(),
        loc="outside lower center",
        ncols=columns or min(4, len(found)),
    )
