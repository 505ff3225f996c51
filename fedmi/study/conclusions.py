"""What a study came to: facts for the sentences that its notebooks end with."""

import numpy as np
import pandas as pd

from fedmi.sampling import chaos
from fedmi.stats import Z95, sign
from fedmi.study import tables, trends


def of_sampling(learning: pd.DataFrame, stability: pd.DataFrame, seeds: int, excluded: int) -> dict:
    """What "conclusions/sampling" says.

    Args:
        learning: the table learning.csv.
        stability: of `fedmi.sampling.chaos`.
        seeds: finite ones.
        excluded: seeds that are left out.
    """
    metric = str(learning.metric.iloc[0])
    fresh = tables.HELD_OUT + metric
    held_out = bool((learning.metric == fresh).any())
    rows = learning.loc[learning.metric == (fresh if held_out else metric)]
    rows = rows.assign(error=(rows.high - rows.low) / (2 * Z95))
    # Clients may share data: the mean of their errors bounds that of their mean.
    means = rows.groupby("iteration")[["mean", "error"]].mean().rename(columns={"mean": "value"})
    first, last = means.reset_index().astype({"iteration": int}).iloc[[0, -1]].to_dict("records")
    return dict(
        metric=metric,
        held_out=held_out,
        first=first,
        last=last,
        seeds=seeds,
        excluded=excluded,
        chaotic=chaos.is_chaotic(stability),
    )


def of_mi(mi: pd.DataFrame) -> dict:
    """What "conclusions/mi" says, of the table mi.csv."""
    means = tables.mi_means(mi)
    return dict(
        first=mi.iteration.min(),
        last=mi.iteration.max(),
        ends={
            name: dict(zip(("first", "last"), of.iloc[[0, -1]].to_dict("records"), strict=True))
            for name, of in means.items()
        },
        certain=[name for name, of in means.items() if of.p_family.iloc[-1] <= 0.05],
    )


def of_distances(distances: pd.DataFrame) -> dict:
    """What "conclusions/distances" says, of the table distances.csv."""
    rows = distances.loc[distances.metric == "euclidean"]
    means = rows.groupby("iteration").mean(numeric_only=True).reset_index()
    means = means.astype({"iteration": int}).assign(
        closer=1 - means.distance / means.unmatched,
        closer_se=trends.closer_error(means.distance_se, means.unmatched),
    )
    first, last = means.iloc[[0, -1]].to_dict("records")
    return dict(first=first, last=last)


def of_figures(mi: pd.DataFrame, distances: pd.DataFrame) -> dict:
    """What "conclusions/figures" says, of the tables mi.csv and distances.csv."""
    readings, apart = of_mi(mi), of_distances(distances)
    courses = {name: _course(**ends) for name, ends in readings["ends"].items()}
    first, last = apart["first"], apart["last"]
    return dict(
        first=readings["first"],
        last=readings["last"],
        reading=courses["gaussian"],
        ksg=courses.get("ksg"),
        distance=_change(first, last, "distance"),
        lead=_change(first, last, "closer"),
    )


def of_estimators(table: pd.DataFrame) -> dict:
    """What "conclusions/estimators" says: by how much each estimator misses laws at its largest N.

    Args:
        table: rows with `fedmi.mi.trust.bench.COLUMNS`.
    """
    read = table.dropna(subset="net_bits")
    largest = read.loc[read.n == read.groupby("estimator").n.transform("max")]
    missed = (largest.net_bits - largest.true_bits).abs().groupby(largest.estimator, sort=False)
    errors = missed.agg(["median", "max"]).rename(columns={"max": "worst"})
    errors = errors.assign(n=largest.groupby("estimator", sort=False).n.first())
    return dict(errors=errors.reset_index().to_dict("records"))


def _course(first: dict, last: dict) -> str:
    if first["infinite"] or last["infinite"]:
        return "infinite"
    return _change(first, last, "net_bits", "net_se")


def _change(first: dict, last: dict, name: str, error: str | None = None) -> str:
    error = error or f"{name}_se"
    return sign(last[name] - first[name], float(np.hypot(first[error], last[error])))
