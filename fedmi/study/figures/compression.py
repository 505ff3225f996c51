"""What uploads take, and what errors in them cost."""

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fedmi.study.figures.captions import title
from fedmi.study.figures.style import looks_of, styled


def compression(table: pd.DataFrame, costs: pd.DataFrame, caption: str = "") -> Figure:
    """What uploads take at a harmless error (a), what other clients save (b), what errors cost (c).

    Args:
        table: rows of `fedmi.study.compression.rows`, of one study.
        costs: rows of `fedmi.study.compression.cost_rows`.
        caption: for the title, see `caption_of`.
    """
    noise = table[table.channel == "noise"]
    tolerances = sorted(noise.tolerance.unique(), reverse=True)
    shown = tolerances[len(tolerances) // 2]
    with styled():
        figure, (bits, saved, cost) = plt.subplots(1, 3, figsize=(10.5, 3.6), layout="constrained")
        _compression_bits(bits, table[table.tolerance == shown])
        bits.set_title(f"(a) bits a parameter at a cost of {100 * shown:g} %")
        looks = looks_of(tolerances)
        for tolerance in tolerances:
            line = noise[noise.tolerance == tolerance]
            for name, fill in (("saved_one", None), ("saved_coded", "none")):
                style = looks[tolerance] | dict(markerfacecolor=fill)
                label = f"{100 * tolerance:g} % cost" if fill is None else None
                half_width = 1.96 * line[f"{name}_se"]
                saved.errorbar(line.iteration, line[name], half_width, label=label, **style)
        saved.set_title("(b) share saved, given one other\n(open: the other as it was sent)")
        saved.axhline(0, color="0.6", linewidth=0.8, zorder=1)
        for axes in (bits, saved):
            axes.set_xlabel("iteration")
            axes.legend(fontsize=7)
        _compression_costs(cost, costs, noise)
        figure.suptitle(f"{title(table, caption)}; bars: 95 %", fontsize=10.5)
    return figure


def _compression_bits(axes: Axes, table: pd.DataFrame) -> None:
    """Bits with and without side information, in two other codes, and the MI beside them."""
    noise, decoder = (table[table.channel == channel] for channel in ("noise", "decoder"))
    lines = {
        "alone": noise.bits,
        "given one other": noise.bits_one,
        "given all others": noise.bits_others,
        "each parameter by itself": noise.separate_bits,
        "alone, the best code's error": decoder.bits,
        "MI with one other": noise.mi_one,
    }
    looks = looks_of(list(lines))
    for words, line in lines.items():
        axes.plot(noise.iteration, line.where(line > 0), label=words, **looks[words])
    axes.set_yscale("log")


def _compression_costs(axes: Axes, costs: pd.DataFrame, noise: pd.DataFrame) -> None:
    """Cost against error at each checkpoint, with the harmless errors marked."""
    looks = looks_of(sorted(costs.iteration.unique()))
    for (iteration, channel), line in costs.groupby(["iteration", "channel"]):
        style = looks[iteration] | dict(marker="")
        label = f"{iteration}" if channel == "noise" else None
        if channel == "decoder":
            style |= dict(linewidth=0.6)
        axes.plot(line.distortion_share, line.cost.where(line.cost > 0), label=label, **style)
    for iteration, found in noise.groupby("iteration"):
        style = looks[iteration] | dict(linestyle="")
        axes.plot(found.distortion_share, found.tolerance, **style)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("error, share of the clients' variance")
    axes.set_title("(c) cost of noise (thin: of the best code's error)\nas a share of the gain")
    axes.legend(title="iteration", title_fontsize=8)
