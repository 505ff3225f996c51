"""The readings of the signal task's network side by side: what hangs on the one that is chosen.

The paper's numbers fit several networks (`fedmi.tasks.signal.READINGS`). Each has a study of its
own and one of clients that share nothing, named after the study of the default.
"""

from pathlib import Path
from typing import get_args

import numpy as np
import pandas as pd

from fedmi.stats import Z95, bonferroni_limit, sign
from fedmi.study import results, tables
from fedmi.study.trends import closer_error
from fedmi.tasks.signal import DEFAULT_READING, Reading

ESTIMATORS = ("gaussian", "ksg")
COLUMNS = ["task", "reading", "n", "chaotic", "iteration", "quantity", "value", "se"]


def study_of(study: str, reading: str) -> str:
    """What the study of another reading is called, beside one of the default."""
    return study if reading == DEFAULT_READING else f"{study}-{reading}"


def studies(study: str) -> list[str]:
    """The studies of all readings, and those of clients that share nothing."""
    of = [study_of(study, reading) for reading in get_args(Reading)]
    return [f"{name}{null}" for name in of for null in ("", "-null")]


def others(study: str) -> list[str]:
    """Those of them that only the comparison of readings is about."""
    default = (study, f"{study}-null")
    return [name for name in studies(study) if name not in default]


def compare(run: Path, study: str) -> list[dict]:
    """The rows of `readings.csv`: one a reading, checkpoint and quantity, means over pairs.

    Quantities: `gaussian` and `ksg`, the net MI in bits; `null gaussian` and `null ksg`, the same
    of clients that share nothing; `distance` (Euclidean) and `unmatched`, that of other seeds;
    `fresh`, the metric on held-out data; `growth`, by how much a small difference in the download
    grows, the median.

    Args:
        run: results/<scale>.
        study: the study of the default reading.

    Raises:
        fedmi.study.results.MissingResults: if a table is missing; the message says what makes it.
    """
    return [row for reading in get_args(Reading) for row in _of_reading(run, study, reading)]


def _of_reading(run: Path, study: str, reading: str) -> list[dict]:
    name = study_of(study, reading)

    def read(table: str, of: str = name) -> pd.DataFrame:
        how = f"`make readings SCALE={run.name}` runs the studies of all readings"
        return results.read_csv(run / of / f"{table}.csv", how)

    mi, distances, learning = read("mi"), read("distances"), read("learning")
    stability = read("stability").set_index("iteration")
    found = {
        **_net(mi, ""),
        **_net(read("mi", f"{name}-null"), "null "),
        **_apart(distances),
        "fresh": _fresh(learning),
        "growth": pd.DataFrame(dict(value=stability.growth_median, se=np.nan)),
    }
    chaotic = results.read_json(run / name / results.MANIFEST, dict)["stability"]["chaotic"]
    of = dict(task=mi.task.iloc[0], reading=reading, n=mi.n.iloc[0], chaotic=chaotic)
    return [
        of | dict(quantity=quantity) | row
        for quantity, rows in found.items()
        for row in rows.reset_index().to_dict("records")
    ]


def _net(mi: pd.DataFrame, before: str) -> dict[str, pd.DataFrame]:
    """The net reading of each estimator by iteration, of the part that is finite."""
    return {
        f"{before}{name}": pd.DataFrame(dict(value=rows.net_bits, se=rows.net_se))
        for name, rows in tables.mi_means(mi).items()
    }


def _apart(distances: pd.DataFrame) -> dict[str, pd.DataFrame]:
    euclidean = distances.loc[distances.metric == "euclidean"].groupby("iteration")
    at = euclidean[["distance", "distance_se", "unmatched"]].agg("mean")
    same = at[["distance", "distance_se"]].set_axis(["value", "se"], axis=1)
    return dict(distance=same, unmatched=pd.DataFrame(dict(value=at.unmatched, se=np.nan)))


def _fresh(learning: pd.DataFrame) -> pd.DataFrame:
    fresh = learning.loc[learning.metric == f"{tables.HELD_OUT}{learning.metric.iloc[0]}"]
    at = fresh.groupby("iteration")[["mean", "high"]].agg("mean")
    return pd.DataFrame(dict(value=at["mean"], se=(at.high - at["mean"]) / Z95))


def facts(table: pd.DataFrame) -> dict:
    """What the page "readings" says.

    A rise counts beyond chance at 5 % for all readings together (Bonferroni); what nothing shared
    reads counts against its own error.

    Args:
        table: rows of `compare`.
    """
    limit = bonferroni_limit(table.reading.nunique())
    rows = [_facts_of(of, limit) for _, of in tables.groups(table, "reading")]
    stable = [row for row in rows if not row["chaotic"]]
    return dict(
        limit=limit,
        first=int(table.loc[table.quantity == "gaussian", "iteration"].min()),
        last=int(table.iteration.max()),
        rows=rows,
        default=DEFAULT_READING,
        chaotic=[row["reading"] for row in rows if row["chaotic"]],
        rise={
            quantity: [row["reading"] for row in stable if row[f"{quantity}_rises"] == "yes"]
            for quantity in (*ESTIMATORS, "distance")
        },
        closer=[row["reading"] for row in stable if row["gets_closer"] == "yes"],
        stable=[row["reading"] for row in stable],
    )


def _facts_of(of: pd.DataFrame, limit: float) -> dict:
    """What is said of one reading."""

    def ends(quantity: str) -> tuple[pd.Series, pd.Series]:
        rows = of.loc[of.quantity == quantity].sort_values("iteration")
        return rows.iloc[0], rows.iloc[-1]

    row = dict(of.iloc[0][["reading", "n", "chaotic"]])
    row["growth"], row["fresh"] = ends("growth")[1].value, ends("fresh")[1]
    for quantity in (*ESTIMATORS, "distance"):
        first, last = ends(quantity)
        row[f"{quantity}_first"], row[f"{quantity}_last"] = first, last
        error = float(np.hypot(first.se, last.se))
        row[f"{quantity}_rises"] = sign(last.value - first.value, error, limit)
    null = of.loc[of.quantity.str.startswith("null ")]
    row["null"] = float((null.value / null.se).abs().max())
    shares, errors = zip(
        *(
            (1 - same.value / other.value, closer_error(same.se, other.value))
            for same, other in zip(ends("distance"), ends("unmatched"), strict=True)
        ),
        strict=True,
    )
    row["closer_first"], row["closer_last"], row["closer_se"] = *shares, max(errors)
    row["gets_closer"] = sign(shares[1] - shares[0], float(np.hypot(*errors)), limit)
    return row
