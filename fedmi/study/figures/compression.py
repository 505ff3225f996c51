"""What uploads take, and what errors in them cost."""

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fedmi.stats import Z95
from fedmi.study.figures import style
from fedmi.study.figures.captions import coupled


@style.styled()
def compression(table: pd.DataFrame, costs: pd.DataFrame, caption: str = "") -> Figure:
    """What uploads take at a harmless error (a), what other clients save (b), what errors cost (c).

    Args:
        table: rows of `fedmi.study.compression.rows`, of one study.
        costs: rows of `fedmi.study.compression.cost_rows`.
        caption: for the title, see `caption_of`.
    """
    noise = table.loc[table.channel == "noise"]
    tolerances = sorted(noise.tolerance.unique(), reverse=True)
    shown = tolerances[len(tolerances) // 2]
    figure, (bits, saved, cost) = plt.subplots(1, 3, figsize=(10.5, 3.6))
    _bits(bits, table.loc[table.tolerance == shown])
    _saved(saved, noise, tolerances)
    _costs(cost, costs, noise)
    titles = (
        f"bits a parameter at a cost of {100 * shown:g} %",
        "share saved, given one other\n(open: the other as it was sent)",
        "cost of noise (thin: of the best code's error)\nas a share of the gain",
    )
    style.lettered((bits, saved, cost), titles)
    figure.suptitle(f"{coupled(table, caption)}; bars: 95 %")
    return figure


def _bits(axes: Axes, table: pd.DataFrame) -> None:
    """Bits with and without side information, in two other codes, and the MI beside them."""
    noise, decoder = (table.loc[table.channel == channel] for channel in ("noise", "decoder"))
    lines = {
        "alone": noise.bits,
        "given one other": noise.bits_one,
        "given all others": noise.bits_others,
        "each parameter by itself": noise.separate_bits,
        "alone, the best code's error": decoder.bits,
        "MI with one other": noise.mi_one,
    }
    looks = style.looks_of(lines)
    for words, line in lines.items():
        axes.plot(noise.iteration, line.where(line > 0), label=words, **looks[words])
    axes.set_yscale("log")
    style.iteration_axis(axes)
    axes.legend()


def _saved(axes: Axes, noise: pd.DataFrame, tolerances: list[float]) -> None:
    looks = style.looks_of(tolerances)
    for tolerance in tolerances:
        line, look = noise.loc[noise.tolerance == tolerance], looks[tolerance]
        half, label = Z95 * line.saved_one_se, f"{100 * tolerance:g} % cost"
        style.bars(axes, line.iteration, line.saved_one, half, look, label)
        hollow = dict(look, markerfacecolor="none")
        style.bars(axes, line.iteration, line.saved_coded, Z95 * line.saved_coded_se, hollow)
    style.zero_line(axes)
    style.iteration_axis(axes)
    axes.legend()


def _costs(axes: Axes, costs: pd.DataFrame, noise: pd.DataFrame) -> None:
    """Cost against error at each checkpoint, with the harmless errors marked."""
    looks = style.looks_of(sorted(costs.iteration.unique()))
    for (iteration, channel), line in costs.groupby(["iteration", "channel"]):
        of_noise = channel == "noise"
        look = dict(looks[iteration], marker="", linewidth=1.5 if of_noise else 0.6)
        label = f"{iteration}" if of_noise else None
        axes.plot(line.distortion_share, line.cost.where(line.cost > 0), label=label, **look)
    for iteration, found in noise.groupby("iteration"):
        look = dict(looks[iteration], linestyle="")
        axes.plot(found.distortion_share, found.tolerance, **look)
    axes.set(xscale="log", yscale="log", xlabel="error, share of the clients' variance")
    axes.legend(title="iteration")
