"""The couplings of a task side by side: which of them show the paper's trends, and why.

Three things are asked of each: is the reading of MI above zero, does it rise, and does the distance
rise? And, as clients that share their data but not its order have few examples in common at first
and all of them at the end, whether that overlap alone explains a rise.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr

from fedmi import tables
from fedmi.mi.calibrate import debiased
from fedmi.mi.gaussian import squared_correlations, whiten
from fedmi.scopes import COUPLINGS

DEFAULT = "shared-source"
COLUMNS = [
    "task", "coupling", "iteration", "net_bits", "net_se", "infinite", "shared_directions",
    "p_family", "predicted_bits", "distance", "distance_se", "unmatched",
]  # fmt: skip
TREND_COLUMNS = [
    "task", "coupling", "first_bits", "first_se", "last_bits", "last_se", "rise_bits", "rise_se",
    "infinite", "shared_first", "shared_last", "smallest_p_family", "distance_rise",
    "distance_rise_se", "closer_first", "closer_last", "above_zero", "rises", "distance_rises",
]  # fmt: skip


def study_of(task: str, coupling: str) -> str:
    """What the study of a task under a named coupling is called."""
    return task if coupling == DEFAULT else f"{task}-{coupling}"


def read(run: Path, task: str) -> dict[str, tuple[pd.DataFrame, pd.DataFrame]]:
    """The tables mi and distances of every coupling.

    Args:
        run: results/<scale>.
        task: the task's name, that of its study with the default coupling.

    Raises:
        FileNotFoundError: if one is missing; the message says what makes it.
    """
    found = {}
    for coupling in COUPLINGS:
        study = study_of(task, coupling)
        paths = [run / study / f"{name}.csv" for name in ("mi", "distances")]
        for path in paths:
            if not path.exists():
                raise FileNotFoundError(
                    f"there is no {path}: `make couplings SCALE={run.name}` runs the studies of "
                    "all couplings"
                )
        found[coupling] = tuple(map(tables.read_csv, paths))
    return found


def coupling_rows(
    mi: pd.DataFrame, distances: pd.DataFrame, predicted: Mapping[int, float] | None = None
) -> list[dict]:
    """One row a checkpoint: means over pairs of the Gaussian reading and the Euclidean distance.

    `net_bits` is the part on the directions that are not shared where the whole is infinite.
    Standard errors are means over pairs too, as if the pairs, which share clients, erred alike.

    Args:
        mi, distances: the tables mi.csv and distances.csv of one study.
        predicted: checkpoint -> `predicted_bits`.
    """
    mi = mi[mi.estimator == "gaussian"].copy()
    mi["infinite"] = np.isinf(mi.bits)
    mi["net_bits"] = mi.finite_bits - mi.perm_bits
    sampling = (mi.high - mi.low) / (2 * 1.96)
    mi["net_se"] = np.hypot(
        sampling.where(np.isfinite(sampling), mi.perm_sd), mi.perm_sd / np.sqrt(mi.permutations)
    )
    names = ["net_bits", "net_se", "shared_directions"]
    by_iteration = mi.groupby("iteration")
    rows = by_iteration[names].mean()
    rows["infinite"] = by_iteration.infinite.any()
    rows["p_family"] = by_iteration.p_family.min()
    euclidean = distances[distances.metric == "euclidean"].groupby("iteration")
    rows = rows.join(euclidean[["distance", "distance_se", "unmatched"]].mean())
    rows["predicted_bits"] = pd.Series(predicted or {}, dtype=float).reindex(rows.index)
    study = dict(task=mi.task.iloc[0], coupling=mi.coupling.iloc[0])
    return [study | row for row in rows.reset_index().to_dict("records")]


def predicted_bits(ordered: xr.Dataset, mi: pd.DataFrame) -> dict[int, float]:
    """What sharing the data but not their order should read if only overlap so far counted.

    After a share f of an epoch, clients in the same order have all examples seen so far in common,
    clients in orders of their own the share f of them. If parameters add up what the examples seen
    contribute, and that is normal, the canonical correlations r of the former are f r for the
    latter. Those r that stand out from noise are debiased (`fedmi.mi.calibrate.debiased`); what
    else the clients in the same order read is weak and spread out, and counts f^2 times.

    Args:
        ordered: finite samples of clients that share data and order.
        mi: the table mi.csv of the same study.

    Returns:
        checkpoint -> bits.
    """
    gaussian = mi[(mi.estimator == "gaussian")]
    steps = ordered.sizes["step"]
    predicted = {}
    for iteration in ordered.iteration.values:
        x, y = (ordered.theta.sel(client=q, iteration=iteration).values for q in (0, 1))
        whitened = whiten(x, "x"), whiten(y, "y")
        ranks = [w.rank for w in whitened]
        squares = debiased(squared_correlations(*whitened), len(x), *ranks)
        strong = -0.5 * np.log2(1 - squares).sum()
        rest = gaussian[gaussian.iteration == iteration].net_bits.mean() - strong
        share = (iteration / steps) ** 2
        predicted[int(iteration)] = float(
            -0.5 * np.log2(1 - share * squares).sum() + share * max(rest, 0.0)
        )
    return predicted


def trends(table: pd.DataFrame) -> pd.DataFrame:
    """First against last checkpoint: a row a coupling, with what the paper claims of it.

    The errors of both checkpoints are taken for independent; they are positively correlated, which
    makes the error of the rise smaller than given. A claim is "yes" or "no" where zero lies outside
    1.96 standard errors, else "open"; `above_zero` asks for `p_family` of at most 0.05 instead, and
    MI that is infinite at some checkpoint cannot be said to rise.

    Args:
        table: rows of `coupling_rows`.
    """
    rows = []
    for coupling, of in table.groupby("coupling", sort=False):
        of = of.sort_values("iteration")
        first, last = of.iloc[0], of.iloc[-1]
        rise, rise_se = last.net_bits - first.net_bits, np.hypot(first.net_se, last.net_se)
        apart = last.distance - first.distance
        apart_se = np.hypot(first.distance_se, last.distance_se)
        infinite = bool(of.infinite.any())
        rows.append(
            dict(
                task=first.task,
                coupling=coupling,
                first_bits=first.net_bits,
                first_se=first.net_se,
                last_bits=last.net_bits,
                last_se=last.net_se,
                rise_bits=rise,
                rise_se=rise_se,
                infinite=infinite,
                shared_first=first.shared_directions,
                shared_last=last.shared_directions,
                smallest_p_family=of.p_family.min(),
                distance_rise=apart,
                distance_rise_se=apart_se,
                closer_first=1 - first.distance / first.unmatched,
                closer_last=1 - last.distance / last.unmatched,
                above_zero="yes" if infinite or of.p_family.min() <= 0.05 else "open",
                rises="infinite" if infinite else _sign(rise, rise_se),
                distance_rises=_sign(apart, apart_se),
            )
        )
    return pd.DataFrame(rows, columns=TREND_COLUMNS)


def _sign(change: float, error: float) -> str:
    if abs(change) <= 1.96 * error:
        return "open"
    return "yes" if change > 0 else "no"


def words(table: pd.DataFrame) -> str:
    """The comparison in plain words, as Markdown, every number out of the table.

    Args:
        table: rows of `coupling_rows`, of one task and all couplings.
    """
    trend = trends(table).set_index("coupling")
    first, last = table.iteration.min(), table.iteration.max()
    lines = [
        f"Gaussian reading in bits and Euclidean distance at iterations {first} and {last}, means "
        "over the pairs of clients; ± is the 95 % error, as if all pairs erred alike.",
        "",
        "| coupling | MI above zero | net MI, first | net MI, last | MI rises | distance rises "
        "| closer than other seeds, first and last |",
        "|---|---|---|---|---|---|---|",
    ]
    for coupling, row in trend.iterrows():
        lines.append(
            f"| `{coupling}` | {row.above_zero} (p {row.smallest_p_family:.2f}) "
            f"| {_shared(row.shared_first)}{row.first_bits:.2f} ± {1.96 * row.first_se:.2f} "
            f"| {_shared(row.shared_last)}{row.last_bits:.2f} ± {1.96 * row.last_se:.2f} "
            f"| {row.rises} ({row.rise_bits:+.2f} ± {1.96 * row.rise_se:.2f}) "
            f"| {row.distance_rises} ({row.distance_rise:+.3f} ± {1.96 * row.distance_rise_se:.3f})"
            f" | {100 * row.closer_first:.1f} %, {100 * row.closer_last:.1f} % |"
        )
    lines += ["", *_sentences(trend), "", _overlap(table)]
    return "\n".join(lines) + "\n"


def _shared(directions: float) -> str:
    return f"infinite on {directions:.0f} directions, on the others " if directions else ""


def _sentences(trend: pd.DataFrame) -> list[str]:
    def listed(good: pd.Series) -> str:
        return ", ".join(f"`{name}`" for name in trend.index[good]) or "no coupling"

    finite = ~trend.infinite.astype(bool)
    above, up, down = (trend.above_zero == "yes"), trend.rises == "yes", trend.rises == "no"
    apart = trend.distance_rises == "yes"
    not_closer = trend.closer_last < trend.closer_first
    return [
        f"- MI above zero: {listed(above)}"
        + (f" (infinite for {listed(~finite)})." if (~finite).any() else "."),
        f"- The reading rises: {listed(above & up)}; falls: {listed(above & down)}.",
        f"- The distance rises: {listed(apart)}. It does so wherever clients leave one point, "
        "whatever they share.",
        f"- MI above zero and rising while the distance rises, as the paper has it: "
        f"{listed(above & up & apart)}; of these the clients also get no closer in comparison with "
        f"clients of other seeds: {listed(above & up & apart & not_closer)}.",
    ]


def _overlap(table: pd.DataFrame) -> str:
    """Whether the overlap of the data seen so far explains what `shared-source` reads."""
    rows = table[(table.coupling == DEFAULT) & table.predicted_bits.notna()].sort_values(
        "iteration"
    )
    told = "; ".join(
        f"{row.iteration}: {row.predicted_bits:.2f} predicted, {row.net_bits:.2f} ± "
        f"{1.96 * row.net_se:.2f} read"
        for row in rows.itertuples()
    )
    last = rows.iloc[-1]
    rise_read = last.net_bits - rows.net_bits.iloc[0]
    rise_predicted = last.predicted_bits - rows.predicted_bits.iloc[0]
    error = 1.96 * np.hypot(last.net_se, rows.net_se.iloc[0])
    if abs(rise_read) <= error:
        verdict = "there is no rise to explain"
    elif rise_read < 0:
        verdict = "the reading falls where growing overlap would make it rise"
    elif abs(rise_read - rise_predicted) <= max(error, 0.1 * rise_read):
        verdict = "overlap explains the rise, to within its error or a tenth"
    else:
        relation = "more than is read" if rise_predicted > rise_read else "less than is read"
        verdict = (
            f"overlap gives the sign of the rise and {rise_predicted:.1f} bits of it, {relation}"
        )
    return (
        "Overlap of the shared data seen so far, iteration by iteration (the reading of "
        "`shared-source-order`, its canonical correlations times the share of the epoch): "
        f"{told}. So {verdict} ({rise_read:+.2f} bits read, {rise_predicted:+.2f} predicted)."
    )
