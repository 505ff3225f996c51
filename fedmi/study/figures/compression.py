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
    figure, (bits, saved, cost) = plt.subplots(1, 3, figsize=(style.WIDTH, 4.4))
    _bits(bits, table.loc[table.tolerance == shown])
    _saved(saved, noise, tolerances)
    _costs(cost, costs, noise)
    titles = (
        f"upload at a cost of {100 * shown:g} %",
        "share of bits saved",
        "cost of an error",
    )
    style.lettered((bits, saved, cost), titles)
    style.legend_below(bits, saved, cost, columns=3)
    figure.suptitle(
        f"{coupled(table, caption)}\nuploads with an error that costs little; bars: 95 %"
    )
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
    axes.set_ylabel("bits a parameter")
    style.iteration_axis(axes)


def _saved(axes: Axes, noise: pd.DataFrame, tolerances: list[float]) -> None:
    looks = style.looks_of(tolerances)
    for tolerance in tolerances:
        line, look = noise.loc[noise.tolerance == tolerance], looks[tolerance]
        half, label = (
            Z95 * line.saved_one_se,
            f"given one other, at a cost of {100 * tolerance:g} %",
        )
        style.bars(axes, line.iteration, line.saved_one, half, look, label)
        hollow = dict(look, markerfacecolor="none")
        style.bars(axes, line.iteration, line.saved_coded, Z95 * line.saved_coded_se, hollow)
    axes.plot([], [], "o", color="0.3", markerfacecolor="none", label="given the other as sent")
    style.zero_line(axes)
    axes.set_ylabel("share of the bits")
    style.iteration_axis(axes)


def _costs(axes: Axes, costs: pd.DataFrame, noise: pd.DataFrame) -> None:
    """Cost against error at each checkpoint, with the harmless errors marked."""
    iterations = sorted(costs.iteration.unique())
    ends = sorted({iterations[0], iterations[len(iterations) // 2], iterations[-1]})
    looks = style.looks_of(ends, "dark")
    costs, noise = (of.loc[of.iteration.isin(ends)] for of in (costs, noise))
    for (iteration, channel), line in costs.groupby(["iteration", "channel"]):
        of_noise = channel == "noise"
        look = dict(looks[iteration], marker="", linewidth=1.5 if of_noise else 0.6)
        label = f"error at random, iteration {iteration}" if of_noise else None
        axes.plot(line.distortion_share, line.cost.where(line.cost > 0), label=label, **look)
    for iteration, found in noise.groupby("iteration"):
        look = dict(looks[iteration], linestyle="")
        axes.plot(found.distortion_share, found.tolerance, **look)
    axes.plot([], [], color="0.3", linewidth=0.6, label="error of the best code (thin)")
    axes.set(xscale="log", yscale="log", xlabel="error, share of the variance")
    axes.set_ylabel("share of the gain lost")
