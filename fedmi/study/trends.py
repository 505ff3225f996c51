"""The couplings of a task side by side: which of them show the paper's trends, and why.

Three things are asked of each: is the reading of MI above zero, does it rise, and does the distance
rise? And, as clients that share their data but not its order have few examples in common at first
and all of them at the end, whether that overlap explains a rise.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from fedmi.mi.null import repairing
from fedmi.mi.trust.calibrate import surrogates
from fedmi.scopes import COUPLINGS, root_key
from fedmi.stats import Z95, bonferroni_limit, sign
from fedmi.study import results, tables
from fedmi.study.sizes import BITS, DISTANCE, FAILS, HOLDS, INFINITE, OPEN, told

DEFAULT, ORDERED = "shared-source", "shared-source-order"
OTHERS = tuple(name for name in COUPLINGS if name not in ("null", DEFAULT))
"""The couplings that only the comparison is about."""

TRUTHS = {
    "null": "0",
    "independent": "0",
    "shared-source": "finite",
    "shared-source-order": "finite",
    "shared-init": "infinite",
    "shared-order": "rises",
}
"""What is known of the true MI; under `shared-order` it is the entropy of the draws used so far."""

REPAIRINGS = 5  # behind the choice of directions that stand out from noise
COLUMNS = [
    "task", "coupling", "iteration", "net_bits", "net_se", "infinite", "shared_directions",
    "p_family", "predicted_bits", "predicted_se", "distance", "distance_se", "unmatched",
]  # fmt: skip
TREND_COLUMNS = [
    "task", "coupling", "truth", "first_bits", "first_se", "last_bits", "last_se", "rise_bits",
    "rise_se", "infinite", "shared_first", "shared_last", "smallest_p_family", "distance_rise",
    "distance_rise_se", "distance_peak", "closer_first", "closer_last", "closer_se", "above_zero",
    "rises", "distance_rises",
]  # fmt: skip


def study_of(study: str, coupling: str) -> str:
    """What the study of another coupling is called, beside one of the default coupling."""
    return study if coupling == DEFAULT else f"{study}-{coupling}"


def read(run: Path, study: str) -> dict[str, tuple[pd.DataFrame, pd.DataFrame]]:
    """The tables mi and distances of every coupling.

    Args:
        run: results/<scale>.
        study: the study of the default coupling.

    Raises:
        fedmi.study.results.MissingResults: if one is missing; the message says what makes it.
        ValueError: if one lacks the Gaussian reading, or the studies are not alike.
    """
    found = {}
    for coupling in COUPLINGS:
        folder = run / study_of(study, coupling)
        both = []
        for name in ("mi", "distances"):
            path = folder / f"{name}.csv"
            how = f"`make couplings SCALE={run.name}` runs the studies of all couplings"
            both.append(results.read_csv(path, how))
        if not (both[0].estimator == "gaussian").any():
            raise ValueError(f"{folder} has no Gaussian reading; add `gaussian` to its estimators")
        found[coupling] = tuple(both)
    kept = {name: sorted(mi.iteration.unique()) for name, (mi, _) in found.items()}
    if any(iterations != kept[DEFAULT] for iterations in kept.values()):
        raise ValueError(f"the studies of {study} have different checkpoints: {kept}")
    if len(kept[DEFAULT]) < 2:
        raise ValueError(f"the studies of {study} have one checkpoint; a trend needs two")
    return found


def coupling_rows(
    mi: pd.DataFrame,
    distances: pd.DataFrame,
    predicted: Mapping[int, tuple[float, float]] | None = None,
) -> list[dict]:
    """One row a checkpoint: means over pairs of the Gaussian reading and the Euclidean distance.

    Those of MI are `fedmi.study.tables.mi_means`.

    Args:
        mi, distances: the tables mi.csv and distances.csv of one study.
        predicted: checkpoint -> `predicted_bits` and their standard error.
    """
    rows = tables.mi_means(mi)["gaussian"]
    euclidean = distances.loc[distances.metric == "euclidean"].groupby("iteration")
    rows = rows.join(euclidean[["distance", "distance_se", "unmatched"]].mean())
    for i, name in enumerate(("predicted_bits", "predicted_se")):
        values = {iteration: both[i] for iteration, both in (predicted or {}).items()}
        rows[name] = pd.Series(values, dtype=float).reindex(rows.index)
    study = dict(task=mi.task.iloc[0], coupling=mi.coupling.iloc[0])
    return [study | row for row in rows.reset_index().to_dict("records")]


def measure(samples: xr.Dataset, *, permutations: int) -> list[dict]:
    """The `coupling_rows` of samples, which are read and measured here at every checkpoint.

    Args:
        samples: finite samples.
        permutations: re-pairings of seeds behind the null.

    Raises:
        ValueError: if the Gaussian formula refuses the samples.
    """
    mi, apart = [], []
    for iteration in samples.iteration.values.tolist():
        mi += tables.mi_rows(samples, iteration, estimator="gaussian", permutations=permutations)
        apart += tables.distance_rows(samples, iteration)
    return coupling_rows(pd.DataFrame(tables.with_family_p(mi)), pd.DataFrame(apart))


def order_matters(source: list[dict], ordered: list[dict]) -> bool:
    """Whether sharing the order of the data too changes the reading at any checkpoint.

    It does not where examples are alike given what is shared, as a signal's are: then everything
    that is shared acts from the first minibatch on, and overlap is no question.

    Args:
        source, ordered: rows of `coupling_rows` of `shared-source` and `shared-source-order`.
    """
    return any(
        abs(a["net_bits"] - b["net_bits"]) > 3 * np.hypot(a["net_se"], b["net_se"])
        for a, b in zip(source, ordered, strict=True)
    )


def predicted_bits(ordered: xr.Dataset, rows: list[dict]) -> dict[int, tuple[float, float]]:
    """What sharing the data but not their order should read if only overlap so far counted.

    After a share f of an epoch, clients in the same order have all examples seen so far in common,
    clients in orders of their own the share f of them. If parameters add up what the examples seen
    contribute, and that is normal, the canonical correlations r of the former are f r for the
    latter. Those r that stand out from noise are debiased, as for the concentrated surrogates of
    `fedmi.mi.trust.calibrate`; what else the clients in the same order read is weak and spread out,
    and counts f^2 times.

    Args:
        ordered: finite samples of clients that share data and order; clients 0 and 1 are used.
        rows: rows of `coupling_rows` of the same study.

    Returns:
        checkpoint -> bits and their standard error, f^2 times that of the reading.
    """
    steps = ordered.sizes["step"]
    key = root_key(0)
    predicted = {}
    for row in rows:
        at = ordered.theta.sel(iteration=row["iteration"])
        x, y = (at.sel(client=q).values for q in (0, 1))
        made = surrogates(x, y, repairing(len(x), REPAIRINGS, key))
        squares = made.squares["concentrated"] if made.found else np.zeros(1)
        rest = row["net_bits"] + 0.5 * np.log2(1 - squares).sum()
        share = (row["iteration"] / steps) ** 2
        bits = -0.5 * np.log2(1 - share * squares).sum() + share * max(rest, 0.0)
        predicted[int(row["iteration"])] = float(bits), share * row["net_se"]
    return predicted


def trends(table: pd.DataFrame) -> pd.DataFrame:
    """First against last checkpoint: a row a coupling, with what the paper claims of it.

    The errors of both checkpoints are taken for independent. A claim holds or fails where the
    smallest effect that would matter (`fedmi.study.sizes`) lies beyond chance, at 5 % for all
    couplings together (Bonferroni), else it is open; a reading that is infinite at some checkpoint
    cannot be said to rise. `distance_peak` is the checkpoint of the largest distance; `closer` is
    by what share clients of one seed are closer than others.

    Args:
        table: rows of `coupling_rows`.
    """
    rows = []
    limit = bonferroni_limit(table.coupling.nunique())
    for coupling, of in tables.groups(table, "coupling"):
        of = of.sort_values("iteration")
        first, last = of.iloc[0], of.iloc[-1]
        rise, rise_se = last.net_bits - first.net_bits, np.hypot(first.net_se, last.net_se)
        apart = last.distance - first.distance
        apart_se = np.hypot(first.distance_se, last.distance_se)
        infinite = bool(of.infinite.any())
        closer_se = max(
            closer_error(end.distance_se, end.unmatched) if end.unmatched > 0 else 0.0
            for end in (first, last)
        )
        rows.append(
            dict(
                task=first.task,
                coupling=coupling,
                truth=TRUTHS.get(coupling, "unknown"),
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
                distance_peak=of.iteration[of.distance.idxmax()],
                closer_first=1 - first.distance / first.unmatched,
                closer_last=1 - last.distance / last.unmatched,
                closer_se=closer_se,
                above_zero=HOLDS if infinite else told(last.net_bits, last.net_se, BITS, limit),
                rises=INFINITE if infinite else told(rise, rise_se, BITS, limit),
                distance_rises=told(apart, apart_se, DISTANCE * first.distance, limit),
            )
        )
    return pd.DataFrame(rows, columns=TREND_COLUMNS)


def not_closer(trend: Mapping[str, Any], limit: float) -> str:
    """Whether clients do not get closer, in comparison with clients of other seeds.

    Args:
        trend: a row of `trends`.
        limit: how many standard errors are beyond chance.
    """
    lost = trend["closer_first"] - trend["closer_last"]
    return told(lost, np.sqrt(2) * trend["closer_se"], -DISTANCE, limit)


def closer_error(distance_se, unmatched):
    """The standard error of 1 - distance / unmatched, the latter a mean over four times as many.

    Args:
        distance_se: the standard error of the distance.
        unmatched: the distance of clients of different seeds.
    """
    return np.sqrt(1 + 1 / tables.REPAIRINGS) * distance_se / unmatched


def facts(table: pd.DataFrame) -> dict:
    """What the page "couplings" says.

    Args:
        table: rows of `coupling_rows`, of one task and all couplings.
    """
    trend = trends(table)
    above, up, down = trend.above_zero == HOLDS, trend.rises == HOLDS, trend.rises == FAILS
    apart, last = trend.distance_rises == HOLDS, table.iteration.max()
    limit = bonferroni_limit(len(trend))
    claimed = above & up & apart
    closer = pd.Series([not_closer(row, limit) for row in trend.to_dict("records")])
    chosen = dict(
        above_zero=above,
        infinite=trend.infinite,
        rises=above & up,
        falls=above & down,
        open=above & ~up & ~down,
        farther=apart,
        turned=trend.distance_peak < last,
        claimed=claimed,
        not_closer=claimed & (closer == HOLDS),
        closer_open=claimed & (closer == OPEN),
    )
    return dict(
        first=table.iteration.min(),
        last=last,
        limit=limit,
        trends=trend.to_dict("records"),
        overlap=_overlap(table.loc[table.coupling == DEFAULT].sort_values("iteration")),
        **{name: trend.coupling[which].to_list() for name, which in chosen.items()},
    )


def _overlap(rows: pd.DataFrame) -> dict | None:
    """Whether the overlap of the data seen so far explains what `shared-source` reads.

    `explains` is "all", "part" or "none" of the rise, "more" than it, or "no rise". None where the
    order of the data does not matter.
    """
    if rows.predicted_bits.isna().any():
        return None
    first, last = rows.iloc[0], rows.iloc[-1]
    read, made = last.net_bits - first.net_bits, last.predicted_bits - first.predicted_bits
    read_se = np.hypot(first.net_se, last.net_se)
    made_se = np.hypot(first.predicted_se, last.predicted_se)
    if sign(read, read_se) == "open":
        explains = "no rise"
    elif read * made <= 0:
        explains = "none"
    else:
        less = sign(read - made, np.hypot(read_se, made_se))
        explains = {"open": "all", "yes": "part", "no": "more"}[less]
    apart = (rows.net_bits - rows.predicted_bits).abs()
    return dict(
        rows=rows.to_dict("records"),
        agree=int((apart <= Z95 * np.hypot(rows.net_se, rows.predicted_se)).sum()),
        read=read,
        read_se=read_se,
        made=made,
        made_se=made_se,
        explains=explains,
    )
