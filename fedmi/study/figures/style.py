"""One look for all figures: colours, markers, bands, bars, lines for zero, ticks.

Colours are told apart by the colour-blind and, with markers and line styles, in grey. Sizes of
letters stand in fedmi.mplstyle.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.legend import Legend
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike

STYLE = Path(__file__).with_name("fedmi.mplstyle")
MARKERS = "osD^vPX"
DASHES = ("-", "--", ":", "-.")
DASHED, DOTTED = (0, (4, 2)), (0, (1, 1))
SMALL = 7
"""The size of letters inside the axes."""


@contextmanager
def styled() -> Iterator[None]:
    """The figures' style, as a context or (`@styled()`) for a whole function.

    A notebook's backend makes figures interactive, that is shown, when it is loaded. If the first
    figure loaded it in here, the end of the style would undo that for all later ones: so it is
    loaded before.
    """
    plt.install_repl_displayhook()
    with mpl.style.context(STYLE):
        yield


def looks_of(names: Sequence) -> dict:
    """A colour, a marker and a line style for each name."""
    colours = sns.color_palette("colorblind", max(len(names), 3))
    return {
        name: dict(
            color=colours[i], marker=MARKERS[i % len(MARKERS)], linestyle=DASHES[i % len(DASHES)]
        )
        for i, name in enumerate(names)
    }


def zero_line(axes: Axes) -> None:
    """A thin line at zero."""
    axes.axhline(0, color="0.3", linewidth=0.8)


def band(
    axes: Axes, x: ArrayLike, y: ArrayLike, half: ArrayLike, look: dict, label: str | None = None
) -> None:
    """A line with a band that reaches `half` above and below it."""
    axes.plot(x, y, label=label, **look)
    axes.fill_between(x, y - half, y + half, color=look["color"], alpha=0.2, linewidth=0)


def bars(
    axes: Axes, x: ArrayLike, y: ArrayLike, half: ArrayLike, look: dict, label: str | None = None
) -> None:
    """A line with bars that reach `half` above and below each point."""
    axes.errorbar(x, y, half, label=label, **look)


def legend(axes: Axes, title: str | None = None, **options) -> Legend:
    """The legend, beside the curves if it would lie over them."""
    return axes.legend(title=title, **options)


def iteration_axis(axes: Axes, label: str = "iteration") -> None:
    """The x-axis counts: no ticks between two iterations."""
    axes.set_xlabel(label)
    axes.xaxis.set_major_locator(MaxNLocator("auto", steps=[1, 2, 5, 10], integer=True))
