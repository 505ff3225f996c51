"""The paper's figures, one function each, from the tidy tables of `fedmi.study.tables`.

Colours are told apart by the colour-blind and, with markers and line styles, in grey.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from fedmi.aggregation import MEAN
from fedmi.aggregation.linear import MAPS
from fedmi.mi.trust.report import common_range
from fedmi.stats import bonferroni_limit
from fedmi.study import evidence
from fedmi.study import scale_up as scales
from fedmi.study.tables import HELD_OUT, first_k, read_json, write_whole
from fedmi.study.trends import closer_error

STYLE = Path(__file__).with_name("fedmi.mplstyle")
MARKERS = "osD^vPX"
DASHES = ("-", "--", ":", "-.")
TITLES = {"signal": "signal variation prediction", "digits": "digit recognition"}
ESTIMATORS = {
    "gaussian": "Gaussian formula", "gaussian_copula": "Gaussian copula", "ksg": "KSG",
    "neural": "InfoNCE",
}  # fmt: skip
SMALLEST_P = 1e-8  # of those drawn
METRICS = {"mse": "mean squared error", "accuracy": "accuracy"}
SKEWS = {"label_concentration": "label concentration", "source_skew": "source skew"}
"""What makes clients unlike: a task's option -> its words."""


@contextmanager
def _styled() -> Iterator[None]:
    """The figures' style, within which no backend is loaded.

    A notebook's backend makes figures interactive, that is shown, when it is loaded. If the first
    figure loaded it in here, the end of the style would undo that for all later ones.
    """
    plt.install_repl_displayhook()
    with mpl.style.context(STYLE):
        yield


def _looks(names: list) -> Mapping[object, dict]:
    """A colour, a marker and a line style for each client pair or client."""
    colours = sns.color_palette("colorblind", max(len(names), 3))
    return {
        name: dict(
            color=colours[i], marker=MARKERS[i % len(MARKERS)], linestyle=DASHES[i % len(DASHES)]
        )
        for i, name in enumerate(names)
    }


def _task(table: pd.DataFrame) -> str:
    task = table.task.iloc[0]
    return TITLES.get(task, task)


def _title(table: pd.DataFrame, caption: str) -> str:
    return _captioned(f"{_task(table)}, coupling “{table.coupling.iloc[0]}”", caption)


def _captioned(title: str, caption: str) -> str:
    return f"{title}, {caption}" if caption else title


def caption(scale: str, seeds: ArrayLike, *unlike: str) -> str:
    """What a title says beside the task and the coupling: skew, N and the scale.

    Args:
        scale: the scale's name.
        seeds: N, or those of several studies.
        *unlike: what sets the study apart from the plain one, in words.
    """
    least, most = np.min(seeds), np.max(seeds)
    n = f"N = {least:,.0f}" + ("" if least == most else f" to {most:,.0f}")
    return ", ".join([*unlike, n, f"scale “{scale}”"])


def caption_of(manifest: Path, scale: str) -> str:
    """The `caption` of a study that has been sampled.

    Args:
        manifest: its manifest.json.
        scale: the scale's name.
    """
    made = read_json(manifest, dict)
    parameters = made["parameters"]
    unlike = skews(parameters["options"])
    counts = parameters.get("client_examples", [])
    if set(counts) - {parameters.get("examples")}:
        unlike.append(f"{', '.join(map(str, counts))} examples")
    if parameters.get("rounds", 1) > 1:
        unlike.append(f"round {parameters['rounds']}")
    return caption(scale, made["seeds"] - made["non_finite_seeds"], *unlike)


def skews(options: Mapping[str, object]) -> list[str]:
    """What makes clients unlike each other, in words, out of a task's options."""
    return [
        f"{words} {options[name]:g}"
        for name, words in SKEWS.items()
        if options.get(name) is not None
    ]


def mutual_information(
    mi: pd.DataFrame, learning: pd.DataFrame, baseline: float | None = None, caption: str = ""
) -> Figure:
    """Figures 1 and 2: MI by the Gaussian formula (a) and by KSG (b), and the metric (c).

    The upper axes of (a) and (b) show `net_bits`, what is left when the mean over re-paired seeds
    is taken away, with a band of 1.96 `perm_sd`. The lower axes show the uncorrected estimate, as
    the paper draws it, above what the same formula reads for re-paired (independent) clients.

    Args:
        mi: the table mi.csv of one study; of several k the first is drawn.
        learning: the table learning.csv of the same study.
        baseline: the metric of the best constant prediction, drawn in (c) if it is known.
        caption: for the title, see `caption_of`.
    """
    mi = first_k(mi)
    with _styled():
        figure = plt.figure(figsize=(10.5, 3.9), layout="constrained")
        grid = figure.add_gridspec(2, 3, height_ratios=(2.2, 1))
        for column, (letter, estimator, words) in enumerate(
            (("a", "gaussian", "MI, Gaussian formula"), ("b", "ksg", "MI, KSG"))
        ):
            net = figure.add_subplot(grid[0, column])
            raw = figure.add_subplot(grid[1, column], sharex=net)
            rows = mi[mi.estimator == estimator]
            net.set_title(f"({letter}) {words}")
            if rows.empty:
                net.text(0.5, 0.5, "not estimated", ha="center", transform=net.transAxes)
                for axes in (net, raw):
                    axes.set_axis_off()
                continue
            _net_bits(net, rows)
            _raw_bits(raw, rows)
            net.tick_params(labelbottom=False)
            if column == 0:
                net.legend(title="clients", title_fontsize=8)
        _learning(figure.add_subplot(grid[:, 2]), learning, baseline)
        bands = "bands: (a, b) 1.96 standard deviations over re-pairings; (c) 95 %, as the bars"
        figure.suptitle(f"{_title(mi, caption)}\n{bands}", fontsize=10.5)
    return figure


def _net_bits(axes: Axes, rows: pd.DataFrame) -> None:
    looks = _looks(list(rows.pair.unique()))
    for pair, line in rows.groupby("pair", sort=False):
        infinite = np.isinf(line.net_bits)
        net = np.where(infinite, line.finite_bits - line.perm_bits, line.net_bits)
        label = f"({pair.replace('-', ', ')})" + (" finite part" if infinite.any() else "")
        axes.plot(line.iteration, net, label=label, **looks[pair])
        axes.fill_between(
            line.iteration,
            net - 1.96 * line.perm_sd,
            net + 1.96 * line.perm_sd,
            color=looks[pair]["color"],
            alpha=0.15,
            linewidth=0,
        )
    axes.axhline(0, color="0.3", linewidth=0.8)
    axes.set_ylabel("net MI (bits)")


def _raw_bits(axes: Axes, rows: pd.DataFrame) -> None:
    looks = _looks(list(rows.pair.unique()))
    for pair, line in rows.groupby("pair", sort=False):
        axes.plot(line.iteration, line.raw_bits, **looks[pair] | dict(markersize=3, linewidth=1))
    # What the uncorrected estimate reads for re-paired seeds: its analytic bias, if it has one, and
    # what re-pairing finds beyond that.
    first = rows[rows.pair == rows.pair.iloc[0]]
    unpaired = first.null_bits.fillna(0)
    axes.plot(
        first.iteration,
        unpaired + first.perm_bits,
        color="0.35",
        linewidth=1,
        linestyle=(0, (1, 1)),
        label="re-paired seeds",
    )
    axes.set_xlabel("iteration")
    axes.set_ylabel("uncorrected (bits)")
    axes.legend(loc="best", fontsize=7)


def _learning(axes: Axes, learning: pd.DataFrame, baseline: float | None) -> None:
    metric = learning.metric.iloc[0]
    looks = _looks(list(learning.client.unique()))
    for client, rows in learning[learning.metric == metric].groupby("client"):
        style = looks[client] | dict(marker="", zorder=2)
        axes.plot(rows.iteration, rows["mean"], label=f"client {client}, in training", **style)
        axes.fill_between(
            rows.iteration, rows.low, rows.high, color=looks[client]["color"], alpha=0.2, lw=0
        )
    for client, rows in learning[learning.metric == HELD_OUT + metric].groupby("client"):
        style = looks[client] | dict(linestyle="", zorder=3)
        error = (rows["mean"] - rows.low, rows.high - rows["mean"])
        axes.errorbar(rows.iteration, rows["mean"], error, label=f"client {client}, fresh", **style)
    if baseline is not None:
        axes.axhline(
            baseline, color="0.3", linewidth=1, linestyle=(0, (4, 2)), label="best constant"
        )
    axes.set_title(f"(c) {METRICS.get(metric, metric)}")
    axes.set_xlabel("iteration")
    axes.set_ylabel(METRICS.get(metric, metric))
    axes.legend(fontsize=7)


def distances(table: pd.DataFrame, caption: str = "") -> Figure:
    """Figures 3 and 4: the Euclidean (a), Manhattan (b) and Chebyshev (c) distance.

    The upper axes show clients of the same seed, as in the paper, and clients of different seeds:
    what "closer" has to be compared with. The lower axes show by how much the former are closer.
    Bars are 1.96 standard errors over seeds.

    Args:
        table: the table distances.csv of one study.
        caption: for the title, see `caption_of`.
    """
    looks = _looks(list(table.pair.unique()))
    with _styled():
        figure, (upper, lower) = plt.subplots(
            2, 3, figsize=(10.5, 4.1), height_ratios=(2.2, 1), sharex=True, layout="constrained"
        )
        for column, metric in enumerate(table.metric.unique()):
            apart, closer = upper[column], lower[column]
            for pair, line in table[table.metric == metric].groupby("pair", sort=False):
                label = f"({pair.replace('-', ', ')})"
                apart.plot(line.iteration, line.distance, label=label, **looks[pair])
                _bars(apart, line.iteration, line.distance, line.distance_se, looks[pair])
                share = 100 * (1 - line.distance / line.unmatched)
                error = 100 * closer_error(line.distance_se, line.unmatched)
                closer.plot(line.iteration, share, **looks[pair] | dict(markersize=3, linewidth=1))
                _bars(closer, line.iteration, share, error, looks[pair])
            others = table[table.metric == metric].groupby("iteration").unmatched.mean()
            style = dict(color="0.35", linestyle=(0, (1, 1)), marker="x", markersize=4)
            apart.plot(others.index, others, label="other seeds", **style)
            closer.axhline(0, **style | dict(marker=""))
            apart.set_title(f"({'abc'[column]}) {metric.capitalize()} distance")
            closer.set_xlabel("iteration")
        upper[0].set_ylabel("distance of parameters")
        lower[0].set_ylabel("closer than\nother seeds (%)")
        upper[0].legend(title="clients", title_fontsize=8)
        figure.suptitle(f"{_title(table, caption)}\nbars: 95 % over seeds", fontsize=10.5)
    return figure


def _bars(axes: Axes, x: pd.Series, y: pd.Series, error: pd.Series, look: Mapping) -> None:
    axes.errorbar(x, y, 1.96 * error, color=look["color"], linestyle="", linewidth=1, capsize=2)


def calibration(bands: pd.DataFrame, trust: pd.DataFrame, caption: str = "") -> Figure:
    """Truth against reading, one panel an estimator, and the truths compatible with a reading.

    Lines are means over Gaussian surrogates with the samples' own covariances, a family each, with
    bands of two standard deviations; the diagonal is what a perfect estimator would read. The
    horizontal line is what the samples read; the shaded range the truths compatible with it.

    Args:
        bands: of one pair and checkpoint, as `fedmi.mi.trust.calibrate.Calibration.bands` gives
            them.
        trust: the table trust.csv of the same.
        caption: for the title, see `caption_of`.
    """
    with _styled():
        figure, panels = plt.subplots(
            1, len(trust), figsize=(3.5 * len(trust), 3.2), squeeze=False, layout="constrained"
        )
        for axes, (_, row) in zip(panels[0], trust.iterrows(), strict=True):
            of = bands[bands.estimator == row.estimator]
            top = of.true_bits.max()
            _truth_against_reading(axes, of)
            _reading(axes, row, top)
            said = ("truth " if _some_fit(row) else "fits ") + fits(row, top)
            said = f"reads {row.net_bits:.2f}: {said}" if np.isfinite(row.net_bits) else said
            axes.set_title(f"{ESTIMATORS.get(row.estimator, row.estimator)}\n{said}")
        panels[0, 0].set_ylabel("net MI read (bits)")
        panels[0, 0].legend(fontsize=7)
        figure.suptitle(
            f"{_title(trust, caption)}\nnormal surrogates, bands: two standard deviations\n"
            f"{agreement(trust)}",
            fontsize=10.5,
        )  # fmt: skip
    return figure


def _truth_against_reading(axes: Axes, bands: pd.DataFrame) -> None:
    looks = _looks(list(bands.family.unique()))
    for family, line in bands.groupby("family", sort=False):
        low, high = line["mean"] - 2 * line.sd, line["mean"] + 2 * line.sd
        axes.plot(line.true_bits, line["mean"], label=family, **looks[family])
        axes.fill_between(
            line.true_bits, low, high, color=looks[family]["color"], alpha=0.2, linewidth=0
        )
    low, high = (bands["mean"] - 2 * bands.sd).min(), (bands["mean"] + 2 * bands.sd).max()
    top = bands.true_bits.max()
    axes.plot([0, top], [0, top], color="0.6", linewidth=0.8, zorder=1)
    axes.set_xlim(0, top)
    axes.set_ylim(low - 0.05 * (high - low), high + 0.05 * (high - low))
    axes.set_xlabel("true MI (bits)")


def _reading(axes: Axes, row: pd.Series, top: float) -> None:
    """Draws a reading and the truths that fit it."""
    if not np.isfinite(row.net_bits):
        return
    axes.axhline(row.net_bits, color="0.2", linewidth=1, linestyle=(0, (4, 2)))
    low, high = axes.get_ylim()
    margin = 0.05 * (high - low)
    axes.set_ylim(min(low, row.net_bits - margin), max(high, row.net_bits + margin))
    if _some_fit(row):
        axes.axvspan(row.truth_low, min(row.truth_high, top), color="0.5", alpha=0.15, linewidth=0)


def _some_fit(row: pd.Series) -> bool:
    """Whether any of the truths that were tried fits a reading."""
    return bool(np.isfinite(row.truth_low))


def fits(row: pd.Series, top: float) -> str:
    """The true values that fit a reading, in words.

    Args:
        row: of the table trust.csv.
        top: the largest truth that was tried.
    """
    if np.isinf(row.net_bits):
        return "an infinite reading alone"
    if not _some_fit(row):
        return f"none of those tried (up to {top:.3g})"
    upper = f"to {row.truth_high:.3g}" if np.isfinite(row.truth_high) else "upwards"
    return f"{row.truth_low:.3g} {upper}"


def agreement(trust: pd.DataFrame) -> str:
    """Whether one normal law can read what all estimators read, in a sentence.

    Args:
        trust: the table trust.csv of one pair and checkpoint.
    """
    if len(trust) < 2:
        return "one estimator: no other to hold it against"
    shared = common_range(trust)
    if shared is None:
        return "the estimators contradict each other: no normal law tried reads all of this"
    low, high = shared
    if np.isinf(low):
        return "the estimators agree: all read infinity"
    upper = f"to {high:.3g}" if np.isfinite(high) else "upwards"
    return f"the estimators agree: {low:.3g} {upper} fits all of them"


def couplings(table: pd.DataFrame, caption: str = "") -> Figure:
    """Every coupling of a task in a column: the Gaussian reading above, the distance below.

    Bands are 1.96 standard errors. Where the truth is infinite the reading is that of the
    directions that are not shared, and a dotted line counts those that are.

    Args:
        table: rows of `fedmi.study.trends.coupling_rows`.
        caption: for the title, see `caption`.
    """
    names = list(table.coupling.unique())
    with _styled():
        figure, panels = plt.subplots(
            2, len(names), figsize=(2.3 * len(names), 4.4), sharex=True, squeeze=False,
            layout="constrained",
        )  # fmt: skip
        for (reading, apart), name in zip(panels.T, names, strict=True):
            rows = table[table.coupling == name].sort_values("iteration")
            _coupled_reading(reading, rows)
            _coupled_distance(apart, rows)
            reading.set_title(name)
        panels[0, 0].set_ylabel("net MI (bits)")
        panels[1, 0].set_ylabel("Euclidean distance")
        panels[1, 0].legend(fontsize=7)
        title = _captioned(f"{_task(table)}, six couplings, each on a scale of its own", caption)
        figure.suptitle(f"{title}; bands and bars: 95 %", fontsize=10.5)
    return figure


def _coupled_reading(axes: Axes, rows: pd.DataFrame) -> None:
    colour = sns.color_palette("colorblind")[0]
    infinite = rows.infinite.any()
    label = "finite part" if infinite else "read"
    axes.plot(rows.iteration, rows.net_bits, color=colour, marker="o", label=label)
    half = 1.96 * rows.net_se
    axes.fill_between(
        rows.iteration, rows.net_bits - half, rows.net_bits + half, color=colour, alpha=0.2, lw=0
    )
    axes.axhline(0, color="0.3", linewidth=0.8)
    if rows.predicted_bits.notna().any():
        half = 1.96 * rows.predicted_se
        low, high = rows.predicted_bits - half, rows.predicted_bits + half
        axes.fill_between(rows.iteration, low, high, color="0.25", alpha=0.15, lw=0)
        style = dict(color="0.25", linestyle=(0, (4, 2)), marker="x", markersize=4)
        axes.plot(rows.iteration, rows.predicted_bits, label="overlap alone", **style)
    if infinite:
        beside = axes.twinx()
        beside.grid(False)
        style = dict(color="0.35", linestyle=(0, (1, 1)), marker="s", markersize=3)
        (line,) = beside.plot(rows.iteration, rows.shared_directions, **style)
        beside.set_ylim(bottom=0)
        beside.tick_params(labelsize=7)
        axes.plot([], [], label="shared directions", **style)
    if infinite or rows.predicted_bits.notna().any():
        axes.legend(fontsize=7)


def _coupled_distance(axes: Axes, rows: pd.DataFrame) -> None:
    colour = sns.color_palette("colorblind")[1]
    axes.errorbar(
        rows.iteration, rows.distance, 1.96 * rows.distance_se, color=colour, marker="o",
        label="same seed",
    )  # fmt: skip
    style = dict(color="0.35", linestyle=(0, (1, 1)), marker="x", markersize=4)
    axes.plot(rows.iteration, rows.unmatched, label="other seeds", **style)
    axes.set_xlabel("iteration")


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
    with _styled():
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
        title = _captioned(f"{_task(table)}, where the reading rises", caption)
        figure.suptitle(f"{title}; ±: 95 %", fontsize=10.5)
    return figure


def bench(table: pd.DataFrame, caption: str = "") -> Figure:
    """What estimators read where the truth is known: against the truth, and against N.

    Above, at the largest N (the neural bound at its own), `net_bits` with the diagonal of a perfect
    estimator, each estimator's ceiling and, as crosses, what it reads of re-paired samples. Below,
    the excess over the truth where the law is read at every N; open markers stand for 0 bits asked
    for. An estimator that refuses so few samples has no marker there.

    Args:
        table: the table readings.csv, rows of `fedmi.mi.trust.bench.reading`.
        caption: for the title, see `caption`.
    """
    names = list(table.estimator.unique())
    looks = _looks(list(table.family.unique()))
    with _styled():
        figure, panels = plt.subplots(
            2, len(names), figsize=(3.1 * len(names), 5.6), squeeze=False, layout="constrained"
        )
        for (against_truth, against_n), name in zip(panels.T, names, strict=True):
            rows = table[table.estimator == name]
            at_n = rows[rows.n == rows.n.max()]
            _bench_truth(against_truth, at_n, looks)
            against_truth.set_title(f"{ESTIMATORS.get(name, name)}, N = {rows.n.max():,}")
            if rows.n.nunique() > 1:
                _bench_sizes(against_n, rows, looks)
            else:
                against_n.set_axis_off()
        panels[0, 0].set_ylabel("net MI read (bits)")
        panels[1, 0].set_ylabel("net MI less truth (bits)")
        panels[0, 0].legend(fontsize=7)
        title = f"{table.dimension.iloc[0]} dimensions each, no coupling: simulated laws"
        figure.suptitle(_captioned(title, caption), fontsize=10.5)
    return figure


def _bench_truth(axes: Axes, rows: pd.DataFrame, looks: Mapping) -> None:
    for family, line in rows.groupby("family", sort=False):
        means = line.groupby("asked_bits")[["true_bits", "net_bits", "perm_bits"]].mean()
        axes.plot(means.true_bits, means.net_bits, label=family, **looks[family])
        null = looks[family] | dict(marker="x", linestyle="", markersize=5)
        axes.plot(means.true_bits, means.perm_bits, **null)
    axes.plot([], [], "x", color="0.3", label="re-paired")
    top = rows.true_bits.max()
    axes.plot([0, top], [0, top], color="0.6", linewidth=0.8, zorder=1)
    axes.axhline(0, color="0.3", linewidth=0.8)
    ceiling = rows.ceiling_bits.max()
    if np.isfinite(ceiling):
        axes.axhline(ceiling, color="0.3", linewidth=1, linestyle=(0, (4, 2)))
        axes.annotate("ceiling", (0.02 * top, ceiling), fontsize=7, va="bottom")
    axes.set_xlabel("true MI (bits)")


def _bench_sizes(axes: Axes, rows: pd.DataFrame, looks: Mapping) -> None:
    truth = rows.groupby("asked_bits").n.nunique()
    everywhere = truth.index[truth == truth.max()]
    for family, line in rows.groupby("family", sort=False):
        for asked in everywhere:
            means = line[line.asked_bits == asked].groupby("n")[["true_bits", "net_bits"]].mean()
            style = looks[family] | (dict(markerfacecolor="none") if asked == 0 else {})
            axes.plot(means.index, means.net_bits - means.true_bits, **style)
    axes.axhline(0, color="0.6", linewidth=0.8, zorder=1)
    axes.set_xscale("log")
    sizes = sorted(rows.n.unique())
    axes.set_xticks(sizes, [f"{n / 1000:g}k" for n in sizes], rotation=45)
    axes.minorticks_off()
    axes.set_yscale("symlog", linthresh=1)
    axes.margins(y=0.1)
    read = ", ".join(f"{asked:g}" for asked in everywhere if asked)
    axes.set_title(f"{read} bits; open: asked for 0")
    axes.set_xlabel("N")


def rounds(table: pd.DataFrame, caption: str = "") -> Figure:
    """The Gaussian reading within rounds of parameters and of updates, and the distance.

    Bands and bars are 1.96 standard errors; dotted in the distance, clients of other seeds.

    Args:
        table: rows of `fedmi.study.rounds.rows`, of one task.
        caption: for the title, see `caption`.
    """
    names = list(table.coupling.unique())
    numbers = sorted(table["round"].unique())
    looks = _looks(numbers)
    with _styled():
        figure, panels = plt.subplots(
            len(names), 3, figsize=(9.5, 2.7 * len(names)), sharex=True, squeeze=False,
            layout="constrained",
        )  # fmt: skip
        for row, name in zip(panels, names, strict=True):
            of = table[table.coupling == name]
            for axes, what in zip(row, ("parameters", "updates"), strict=False):
                for number, line in of[of.what == what].groupby("round"):
                    axes.plot(line.iteration, line.net_bits, label=number, **looks[number])
                    half = 1.96 * line.net_se
                    axes.fill_between(
                        line.iteration, line.net_bits - half, line.net_bits + half,
                        color=looks[number]["color"], alpha=0.2, lw=0,
                    )  # fmt: skip
                axes.axhline(0, color="0.3", linewidth=0.8)
                axes.set_yscale("symlog", linthresh=1)
                axes.set_title(f"{name}: MI of the {what}")
            for number, line in of[of.what == "parameters"].groupby("round"):
                row[2].plot(line.iteration, line.distance, **looks[number])
                _bars(row[2], line.iteration, line.distance, line.distance_se, looks[number])
                row[2].plot(
                    line.iteration, line.unmatched, color=looks[number]["color"], linestyle=":"
                )
            row[2].set_title(f"{name}: Euclidean distance")
            row[0].set_ylabel("net MI (bits)")
        for axes in panels[-1]:
            axes.set_xlabel("iteration within the round")
        panels[0, 0].legend(title="round", fontsize=7)
        title = _captioned(f"{_task(table)}, within rounds", caption)
        figure.suptitle(f"{title}; bands and bars: 95 %", fontsize=10.5)
    return figure


def scale_up(
    readings: pd.DataFrame, distances: pd.DataFrame, averaging: pd.DataFrame, caption: str = ""
) -> Figure:
    """MI (a) and distance (b) by the size of a layer, and what means of ever more clients gain (c).

    At each case's last iteration, with bars of 1.96 standard errors. In (a) filled markers are
    canonical directions, open ones random directions, and small ones all directions of a layer;
    labels tell the layers of the largest network. In (c) the thin line is what a quadratic
    objective would make of the gain of two clients: the share 1 - 1/q.

    Args:
        readings, distances, averaging: tables with the columns of `fedmi.study.scale_up`.
        caption: for the title, see `caption`.
    """
    looks = _looks(list(readings.case.unique()))
    readings, distances, averaging = map(scales.last, (readings, distances, averaging))
    readings = readings[readings.estimator == "gaussian"]
    fills = {
        scales.CANONICAL: {}, scales.RANDOM: dict(markerfacecolor="none"),
        scales.ALL: dict(markersize=2.5),
    }  # fmt: skip
    with _styled():
        figure, panels = plt.subplots(1, 3, figsize=(10.5, 3.4), layout="constrained")
        bits, closer, gain = panels
        for (case, kind), rows in readings.groupby(["case", "kind"], sort=False):
            style = looks[case] | fills[kind] | dict(linestyle="")
            label = case if kind == scales.CANONICAL else None
            bits.errorbar(rows["size"], rows.net_bits, 1.96 * rows.net_se, label=label, **style)
        largest = readings[readings.kind == scales.CANONICAL]
        largest = largest[largest.parameters == largest.parameters.max()]
        for row in largest.drop_duplicates("layer").itertuples():
            bits.annotate(
                row.layer, (row.size, row.net_bits), xytext=(3, 3), textcoords="offset points",
                fontsize=6.5,
            )  # fmt: skip
        for case, rows in distances[distances.metric == "euclidean"].groupby("case", sort=False):
            style = looks[case] | dict(linestyle="")
            closer.errorbar(rows["size"], 100 * rows.closer, 196 * rows.closer_se, **style)
        for case, rows in averaging[averaging.averaged > 0].groupby("case", sort=False):
            half = 1.96 * rows.objective_less_alone_se
            gain.errorbar(rows.averaged, rows.objective_less_alone, half, **looks[case])
            two = rows[rows.averaged == 2].objective_less_alone.item()
            counts = np.geomspace(1, rows.averaged.max())
            style = looks[case] | dict(marker="", linewidth=0.7, linestyle=(0, (1, 1)))
            gain.plot(counts, 2 * two * (1 - 1 / counts), **style)
        for axes in panels:
            axes.set_xscale("log")
            axes.axhline(0, color="0.3", linewidth=0.8)
        bits.set_yscale("symlog", linthresh=1)
        bits.set(title="(a) MI of clients 0 and 1", ylabel="net MI (bits)")
        closer.set(title="(b) their distance", ylabel="closer than other seeds (%)")
        for axes in (bits, closer):
            axes.set_xlabel("parameters of the layer")
        bits.legend(fontsize=7)
        gain.set(title="(c) the mean of q clients", ylabel="F less F of client 0")
        gain.set_xlabel("clients averaged q")
        gain.set_xticks(*2 * [sorted(averaging.averaged[averaging.averaged > 0].unique())])
        gain.minorticks_off()
        title = _captioned("as clients and parameters grow", caption)
        figure.suptitle(f"{title}; bars: 95 %", fontsize=10.5)
    return figure


def aggregators(table: pd.DataFrame, caption: str = "") -> Figure:
    """How much better or worse than the mean each way to aggregate is, a panel a setting.

    The change of the global objective with 95 % intervals over seeds; left of zero is better than
    averaging. In grey what is no aggregator: it sees all data, or does not aggregate.

    Args:
        table: rows of `fedmi.study.aggregators`, of one task.
        caption: for the title, see `caption`.
    """
    settings = list(table.setting.unique())
    iterations = sorted(table.iteration.unique())
    rivals = table[~table.reference & (table.method != MEAN)]
    methods = [*rivals.method.unique(), *table.method[table.reference].unique()]
    last = table[table.iteration == iterations[-1]]
    rank = last.groupby("method").objective_less_mean.mean()
    methods.sort(key=lambda name: (name not in set(rivals.method), rank[name]))
    reference = len(set(rivals.method))
    with _styled():
        figure, panels = plt.subplots(
            1, len(settings), figsize=(2.6 * len(settings) + 2, 0.26 * len(methods) + 1.5),
            sharey=True, squeeze=False, layout="constrained",
        )  # fmt: skip
        palette = sns.color_palette("viridis_r", len(iterations))
        for axes, setting in zip(panels[0], settings, strict=True):
            axes.axhspan(reference - 0.5, len(methods) - 0.5, color="0.5", alpha=0.12, linewidth=0)
            axes.axvline(0, color="0.2", linewidth=1)
            of = table[table.setting == setting].set_index(["iteration", "method"])
            for i, iteration in enumerate(iterations):
                rows = of.loc[iteration].reindex(methods)
                offset = 0.22 * (i - (len(iterations) - 1) / 2)
                axes.errorbar(
                    rows.objective_less_mean, np.arange(len(methods)) + offset,
                    xerr=1.96 * rows.objective_less_mean_se, linestyle="", color=palette[i],
                    marker=MARKERS[i % len(MARKERS)], markersize=3.5,
                    label=f"iteration {iteration}",
                )  # fmt: skip
            axes.set_title(setting)
            axes.set_xlabel("F less F of the mean")
            axes.set_ylim(len(methods) - 0.5, -0.5)
        names = [f"{name} †" if name in MAPS else name for name in methods]
        panels[0, 0].set_yticks(np.arange(len(methods)), names)
        panels[0, -1].legend(fontsize=7)
        figure.suptitle(
            f"{_captioned(_task(table), caption)}\n"
            "better than averaging to the left, worse to the right, bars: 95 %\n"
            "(grey: no aggregators; †: fitted, and can remember other seeds)",
            fontsize=10.5,
        )
    return figure


def landscape(surface: pd.DataFrame, barrier: pd.DataFrame, caption: str = "") -> Figure:
    """The objective on the plane through three clients of one seed, and between two of many seeds.

    Args:
        surface: rows of `fedmi.study.aggregators.surface`, of one task.
        barrier: rows of `fedmi.study.aggregators.search`, of the same.
        caption: for the title, see `caption`.
    """
    settings = list(surface.setting.unique())
    with _styled():
        figure, panels = plt.subplots(
            2, len(settings), figsize=(3 * len(settings), 5.4), squeeze=False, layout="constrained",
            height_ratios=(1.5, 1),
        )  # fmt: skip
        for (plane, between), setting in zip(panels.T, settings, strict=True):
            _plane(plane, surface[surface.setting == setting])
            plane.set_title(setting)
            rows = barrier[barrier.setting == setting]
            palette = sns.color_palette("viridis_r", rows.iteration.nunique())
            for colour, (iteration, line) in zip(palette, rows.groupby("iteration"), strict=True):
                between.errorbar(
                    line.place, line.excess, 1.96 * line.excess_se, color=colour,
                    label=f"iteration {iteration}",
                )  # fmt: skip
            between.axhline(0, color="0.3", linewidth=0.8)
            between.set_xlabel("from client 0 to client 1")
        marks = panels[0, 0].get_legend_handles_labels()
        figure.legend(*marks, loc="outside lower center", ncols=len(marks[0]), fontsize=7.5)
        panels[1, 0].set_ylabel("F above the straight line")
        panels[1, -1].legend(fontsize=7)
        figure.suptitle(
            f"{_captioned(_task(surface), caption)}\nF on the plane through three clients of one "
            "seed, and\nbetween two clients (mean over seeds, bars: 95 %)",
            fontsize=10.5,
        )
    return figure


def _plane(axes: Axes, rows: pd.DataFrame) -> None:
    grid = rows[rows.what == "grid"].pivot(index="y", columns="x", values="objective")
    levels = np.quantile(grid.to_numpy()[np.isfinite(grid.to_numpy())], np.linspace(0, 1, 13))
    filled = axes.contourf(
        grid.columns, grid.index, grid, levels=np.unique(levels), cmap="cividis", extend="both"
    )
    bar = axes.figure.colorbar(filled, ax=axes, format="%.3g", ticks=filled.levels[::3])
    bar.ax.tick_params(labelsize=6.5)
    marks = rows[rows.what != "grid"]
    clients = marks[marks.what.str.startswith("client")]
    axes.plot(clients.x, clients.y, "o", color="w", markeredgecolor="k", label="clients")
    looks = dict(zip(marks.what[len(clients) :], "sP^D", strict=False))
    for mark in marks[len(clients) :].itertuples():
        axes.plot(
            mark.x, mark.y, looks[mark.what], color="tab:red" if mark.what == MEAN else "w",
            markeredgecolor="k", linestyle="", label=mark.what,
        )  # fmt: skip
    axes.set_aspect("equal")
    axes.grid(False)
    axes.tick_params(labelsize=6.5)


def save(figure: Figure, tables: Mapping[str, pd.DataFrame], folder: Path, name: str) -> list[str]:
    """Writes a figure as PNG and SVG and beside it the tables that it is drawn from.

    Args:
        figure: the figure.
        tables: by the ending of the file's name, which is "" for the figure's own table.
        folder: where.
        name: the files' name without its ending.

    Returns:
        The files' names.
    """
    written = {}
    for kind in ("png", "svg"):
        # Without a date, the same figure is the same file.
        metadata = {"Date": None} if kind == "svg" else {}
        written[f"{name}.{kind}"] = partial(figure.savefig, format=kind, metadata=metadata)
    for ending, table in tables.items():
        written[f"{name}{ending}.csv"] = partial(table.to_csv, index=False)
    with _styled():
        for file, write in written.items():
            write_whole(folder / file, write)
    return list(written)


def figure_names(study: str) -> tuple[str, str]:
    """What a study's figures of MI and of distances are called, the paper's own by its numbers.

    The paper's Figures 1 to 4 are those of the studies `signal` and `digits`.
    """
    mi, apart = {"signal": ("figure1-", "figure3-"), "digits": ("figure2-", "figure4-")}.get(
        study, ("", "")
    )
    return f"{mi}{study}-mi", f"{apart}{study}-distances"


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
    with _styled():
        figure, (bits, saved, cost) = plt.subplots(1, 3, figsize=(10.5, 3.6), layout="constrained")
        _compression_bits(bits, table[table.tolerance == shown])
        bits.set_title(f"(a) bits a parameter at a cost of {100 * shown:g} %")
        looks = _looks(tolerances)
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
        figure.suptitle(f"{_title(table, caption)}; bars: 95 %", fontsize=10.5)
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
    looks = _looks(list(lines))
    for words, line in lines.items():
        axes.plot(noise.iteration, line.where(line > 0), label=words, **looks[words])
    axes.set_yscale("log")


def _compression_costs(axes: Axes, costs: pd.DataFrame, noise: pd.DataFrame) -> None:
    """Cost against error at each checkpoint, with the harmless errors marked."""
    looks = _looks(sorted(costs.iteration.unique()))
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


def proposition(
    tests: pd.DataFrame, noise: pd.DataFrame, decomposition: pd.DataFrame, example: pd.DataFrame,
    caption: str = "",
) -> Figure:  # fmt: skip
    """Proposition 1: what clients share (a), the tests (b), the noise (c), a counter-example (d).

    (a) shows means over pairs, with bars of 1.96 standard errors where they can be seen. In (b) a
    test rejects left of the line (Bonferroni); open markers hold by construction, and p-values
    below `SMALLEST_P` are drawn there. (c) is the noise's coefficient
    of variation over what is shared, with its 95 % interval. (d) is an additive model, in which
    mutual information and distance rise together.

    Args:
        tests: rows of `fedmi.study.evidence.with_verdicts`, of one study.
        noise, decomposition: the tables noise.csv and decomposition.csv of the same.
        example: rows of `fedmi.study.additive.counter_example`.
        caption: for the title, see `caption_of`.
    """
    with _styled():
        figure, panels = plt.subplots(
            2, 2, figsize=(10.5, 6.4), width_ratios=(1, 1.25), layout="constrained"
        )
        _decomposition(panels[0, 0], evidence.means_of(decomposition))
        _p_values(panels[0, 1], tests)
        _noise(panels[1, 0], noise)
        _counter_example(panels[1, 1], example)
        figure.suptitle(f"{_title(tests, caption)}; bars: 95 %", fontsize=10.5)
    return figure


def _decomposition(axes: Axes, means: pd.DataFrame) -> None:
    names = {
        "shared": "shared, tr Cov(X, Y)",
        "own": "own, tr Cov(X) − tr Cov(X, Y)",
        "separation": "separation of means",
    }
    looks = _looks(list(names))
    for name, label in names.items():
        axes.errorbar(
            means.index, means[name], 1.96 * means[f"{name}_se"], label=label, **looks[name]
        )
    axes.axhline(0, color="0.3", linewidth=0.8)
    axes.set(title="(a) where variance and distance come from", xlabel="iteration")
    axes.set_ylabel("variance, squared distance")
    axes.legend(fontsize=7)


def _p_values(axes: Axes, tests: pd.DataFrame) -> None:
    tests = tests.reset_index(drop=True)
    names = list(tests.test.unique())
    looks = _looks(sorted(tests.iteration.unique()))
    limit = evidence.LEVEL / len(tests)
    shown = np.maximum(tests.p_value, SMALLEST_P)
    for i, (iteration, rows) in enumerate(tests.groupby("iteration")):
        # Side by side, as the p-values of one test often are alike.
        heights = np.array([len(names) - names.index(name) for name in rows.test])
        heights = heights + 0.2 * ((len(looks) - 1) / 2 - i)
        style = looks[iteration] | dict(linestyle="")
        axes.plot(shown[rows.index], heights, label=f"iteration {iteration}", zorder=2, **style)
        held = rows.by_construction.astype(bool).to_numpy()
        hollow = style | dict(markerfacecolor="w", zorder=3)
        axes.plot(shown[rows.index[held]], heights[held], **hollow)
    axes.set_xscale("log")
    axes.set_xlim(min(shown.min(), limit) / 3, 1.6)
    axes.axvline(limit, color="0.3", linewidth=1, linestyle=(0, (4, 2)))
    axes.set_yticks(range(len(names), 0, -1), names)
    axes.set_title("(b) tests of the additive model")
    axes.set_xlabel(f"p; the line: 5 % among all {len(tests)} tests")
    axes.legend(fontsize=7, loc="upper left")


def _noise(axes: Axes, noise: pd.DataFrame) -> None:
    colour = sns.color_palette("colorblind")[3]
    error = 100 * np.array([noise.variation - noise.low, noise.high - noise.variation])
    axes.errorbar(noise.iteration, 100 * noise.variation, error, color=colour, marker="o")
    axes.set_ylim(bottom=0)
    seeds = f"iteration (N = {noise.n.max():,})"
    axes.set(title="(c) does the noise depend on what is shared?", xlabel=seeds)
    axes.set_ylabel("variation of the noise's\nvariance (%)")


def _counter_example(axes: Axes, example: pd.DataFrame) -> None:
    looks = _looks(["mi", "fixed", "distance"])
    axes.plot(example.iteration, example.mi_bits, label="MI, Var(P) grows", **looks["mi"])
    axes.plot(example.iteration, example.fixed_mi_bits, label="MI, Var(P) held", **looks["fixed"])
    beside = axes.twinx()
    beside.grid(False)
    beside.plot(example.iteration, example.distance, **looks["distance"])
    beside.set_ylabel("expected distance")
    beside.set_ylim(bottom=0)
    axes.plot([], [], label="distance (right)", **looks["distance"])
    axes.set(title=f"(d) an additive model, t = {example.dimension.iloc[0]}", xlabel="iteration")
    axes.set_xticks(example.iteration)
    axes.set_ylabel("mutual information (bits)")
    axes.legend(fontsize=7)
