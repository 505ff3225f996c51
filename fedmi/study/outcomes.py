"""Whether claims hold at the points of a multiverse: outcomes from sizes, and their shares.

A claim says that an effect is at least of a size that would matter. It *holds* where the effect is
surely larger than that, *fails* where it is surely smaller, and is *open* otherwise. Surely means
beyond chance at a false discovery rate of 5 % among all points of which a claim is asked, whatever
their dependence (Benjamini and Yekutieli 2001): points share seeds.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import hypot, isnan, sqrt
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import binom, false_discovery_control, norm

from fedmi.distance import METRICS
from fedmi.study.points import SHARES
from fedmi.study.results import LEVELS
from fedmi.study.sizes import (
    BITS,
    CHAOTIC,
    DISTANCE,
    FAILS,
    HOLDS,
    INFINITE,
    OPEN,
    REFUSED,
    all_of,
)
from fedmi.study.tables import groups

At = Mapping[str, Any]
"""A row of readings: what was measured of a point at a checkpoint."""
Effect = tuple[float, float]
"""An effect and its standard error."""

LEVEL = 0.05
OUTCOMES = (HOLDS, OPEN, FAILS, INFINITE, CHAOTIC, REFUSED)
"""A reading that is infinite, was made by chaotic training or was refused by the estimators, as
where few seeds are finite, tells nothing of a claim."""
TOLD = (HOLDS, OPEN, FAILS)

COLUMNS = [
    "task", "point", "control", "claim", "effect", "error", "size", "p_value", "p_adjusted",
    "outcome", "from_first", "from_first_error",
]  # fmt: skip


def mi_at_end(estimator: str, first: At, last: At) -> Effect:
    """The net MI at the end."""
    return last[estimator], last[f"{estimator}_se"]


def mi_rise(estimator: str, first: At, last: At) -> Effect:
    """By how much the net MI rises."""
    error = hypot(first[f"{estimator}_se"], last[f"{estimator}_se"])
    return last[estimator] - first[estimator], error


def distance_rise(metric: str, first: At, last: At) -> Effect:
    """By how much a distance rises, relative to the first."""
    before, after = first[metric], last[metric]
    errors = first[f"{metric}_se"] / before, last[f"{metric}_se"] / after
    return after / before - 1, after / before * hypot(*errors)


def least_rise(first: At, last: At) -> Effect:
    """The distance that rises least."""
    return min(distance_rise(metric, first, last) for metric in METRICS)


def lead_lost(first: At, last: At) -> Effect:
    """By how much less clients are ahead of clients of other seeds, as a share of their distance.

    Above zero they get farther from each other than from those.
    """
    before, after = (at["euclidean"] / at["euclidean_unmatched"] for at in (first, last))
    # Unmatched distances are means over four times as many pairs.
    errors = (sqrt(1.25) * at["euclidean_se"] / at["euclidean_unmatched"] for at in (first, last))
    return after - before, hypot(*errors)


@dataclass(frozen=True)
class Claim:
    """What is asked of every point.

    Attributes:
        effect: of a point's first and last checkpoint.
        size: the smallest effect that matters.
        and_rises: whether the Gaussian reading has to rise as well.
        of_mi: whether it is about MI alone, of which controls have none.
    """

    effect: Callable[[At, At], Effect]
    size: float
    and_rises: bool = False
    of_mi: bool = False


def _of(effect: Callable[..., Effect], what: str) -> Callable[[At, At], Effect]:
    return lambda first, last: effect(what, first, last)


RISES = "rises"
CLAIMS: Mapping[str, Claim] = {
    "above_zero": Claim(_of(mi_at_end, "gaussian"), BITS, of_mi=True),
    "above_zero_ksg": Claim(_of(mi_at_end, "ksg"), BITS, of_mi=True),
    RISES: Claim(_of(mi_rise, "gaussian"), BITS, of_mi=True),
    "rises_ksg": Claim(_of(mi_rise, "ksg"), BITS, of_mi=True),
    "distances_rise": Claim(least_rise, DISTANCE),
    "not_closer": Claim(_of(distance_rise, "euclidean"), -DISTANCE, and_rises=True),
    "not_closer_by_all": Claim(least_rise, -DISTANCE, and_rises=True),
    "not_closer_by_others": Claim(lead_lost, -DISTANCE, and_rises=True),
}
"""By name; the page says them in words."""

FIRST_PUBLISHED: Mapping[str, Mapping[str, str]] = {
    "signal": {
        "above_zero": HOLDS,
        RISES: FAILS,
        "distances_rise": HOLDS,
        "not_closer": FAILS,
        "not_closer_by_all": FAILS,
        "not_closer_by_others": FAILS,
    },
    "digits": {
        "above_zero": HOLDS,
        RISES: HOLDS,
        "distances_rise": FAILS,
        "not_closer": HOLDS,
        "not_closer_by_all": FAILS,
        "not_closer_by_others": FAILS,
    },
}
"""What the first publication said under `shared-source`, from signs, with one choice of each."""


def outcome(effect: float, size: float, p_adjusted: float, level: float = LEVEL) -> str:
    """Whether a claim holds, fails or is open.

    Args:
        effect: that was measured.
        size: the smallest that matters.
        p_adjusted: of the two-sided test that the effect is of just that size.
        level: at which that is rejected.
    """
    if not p_adjusted <= level:
        return OPEN
    return HOLDS if effect > size else FAILS


def p_value(effect: float, error: float, size: float) -> float:
    """Of the two-sided test that a normal estimate is of an effect of this size."""
    if error > 0:
        return float(2 * norm.sf(abs(effect - size) / error))
    return 1.0 if effect == size else 0.0


def judge(table: pd.DataFrame) -> pd.DataFrame:
    """The outcome of every claim at every point: rows with `COLUMNS` and the factors' levels.

    Effects are from the first equal share of the examples to the last, which are the same whatever
    the batch size; `from_first` is the effect from the first minibatch on. Controls are judged
    apart.

    Args:
        table: rows of `fedmi.study.choices.readings`.
    """
    factors = [LEVELS + factor for factor in factors_of(table)]
    found: list[dict[str, Any]] = []
    for point, rows in groups(table, "point"):
        found += _of_point(point, rows.sort_values("iteration"), factors)
    for rows in _families(found):
        adjusted = false_discovery_control([row["p_value"] for row in rows], method="by")
        for row, p in zip(rows, adjusted, strict=True):
            row["p_adjusted"] = p
            row["outcome"] = outcome(row["effect"], row["size"], p)
    rises = {row["point"]: row["outcome"] for row in found if row["claim"] == RISES}
    for row in found:
        if CLAIMS[row["claim"]].and_rises:
            row["outcome"] = all_of(row["outcome"], rises[row["point"]])
    return pd.DataFrame(found, columns=[*COLUMNS, *factors])


def _of_point(point: str, rows: pd.DataFrame, factors: Sequence[str]) -> list[dict[str, Any]]:
    """The effects at a point, without outcomes if it tells something, which are to be judged."""
    records: list[dict[str, Any]] = rows.to_dict("records")
    last = records[-1]
    start = next(row for row in records if row["share"] >= 1 / SHARES - 1e-9)
    found = []
    for name, claim in CLAIMS.items():
        effect, error = claim.effect(start, last)
        early, its_error = claim.effect(records[0], last)
        found.append(
            {column: last[column] for column in ("task", "control", *factors)}
            | dict(point=point, claim=name, effect=effect, error=error, size=claim.size)
            | dict(from_first=early, from_first_error=its_error)
            | dict(outcome=REFUSED if isnan(effect + error) else _state(rows))
            | dict(p_value=p_value(effect, error, claim.size), p_adjusted=np.nan)
        )
    return found


def _families(found: Sequence[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    """The rows whose tests are taken together: of one claim, at points that tell something."""
    for name in CLAIMS:
        for control in (False, True):
            rows = [
                row
                for row in found
                if row["claim"] == name and row["control"] == control and row["outcome"] is None
            ]
            if rows:
                yield rows


def _state(rows: pd.DataFrame) -> str | None:
    """Why a point tells nothing of claims, None if it does."""
    if rows.chaotic.astype(bool).any():
        return CHAOTIC
    return INFINITE if rows.infinite.astype(bool).any() else None


def factors_of(table: pd.DataFrame) -> list[str]:
    """The factors whose levels a table has."""
    return [name.removeprefix(LEVELS) for name in table.columns if name.startswith(LEVELS)]


def shares(outcomes: Sequence[str]) -> dict[str, int]:
    """How many choices there are of each outcome."""
    return {name: list(outcomes).count(name) for name in OUTCOMES}


def by_level(judged: pd.DataFrame, factor: str) -> dict[str, dict[str, int]]:
    """The `shares` at every level of a factor, in the factor's order.

    Args:
        judged: rows of `judge`, of one claim and no controls.
        factor: its name.
    """
    return {level: shares(rows.outcome) for level, rows in groups(judged, LEVELS + factor)}


def single(judged: pd.DataFrame, factor: str) -> pd.DataFrame:
    """The points at which no factor but this one is other than at the first point.

    Args:
        judged: rows of one claim, the study's own point first.
        factor: its name.
    """
    others = [LEVELS + name for name in factors_of(judged) if name != factor]
    own = judged.iloc[0]
    return judged.loc[(judged[others] == own[others]).all(axis=1)]


def deciding(judged: pd.DataFrame) -> dict[str, dict[str, str]]:
    """The factors that decide a claim: level -> outcome, where these are not all one.

    Args:
        judged: rows of one claim, the study's own point first.
    """
    found = {}
    for factor in factors_of(judged):
        alone = single(judged, factor)
        outcomes = dict(zip(alone[LEVELS + factor], alone.outcome, strict=True))
        if len({of for of in outcomes.values() if of in TOLD}) > 1:
            found[factor] = outcomes
    return found


def controls(judged: pd.DataFrame) -> dict[str, dict[str, int]]:
    """How often an unadjusted test at 5 % finds an MI, or a rise, where there is none.

    Args:
        judged: rows of `judge`.

    Returns:
        By claim: `points`, `rejected`, and `most`, which so many tests reject in 99 of 100 cases at
        most, if each rejects in 5 % of cases and none depends on another.
    """
    found = {}
    for name, claim in CLAIMS.items():
        rows = judged.loc[judged.control.astype(bool) & (judged.claim == name)]
        rows = rows.loc[rows.effect.notna()]
        if claim.of_mi and len(rows):
            pairs = zip(rows.effect, rows.error, strict=True)
            rejected = sum(p_value(effect, error, 0.0) <= LEVEL for effect, error in pairs)
            most = int(binom.ppf(0.99, len(rows), LEVEL))
            found[name] = dict(points=len(rows), rejected=rejected, most=most)
    return found


def changed(judged: pd.DataFrame) -> dict[str, dict[str, list[str]]]:
    """Where a claim's outcome is what was first published, and where it is not.

    Args:
        judged: rows of `judge`, of one task and no controls.

    Returns:
        By claim the points that say the `same`, and those that say `otherwise`.
    """
    found = {}
    for name, first in FIRST_PUBLISHED.get(str(judged.task.iloc[0]), {}).items():
        told = judged.loc[(judged.claim == name) & judged.outcome.isin(TOLD)]
        same = told.outcome == first
        found[name] = dict(same=told.point[same].to_list(), otherwise=told.point[~same].to_list())
    return found


def facts(table: pd.DataFrame, judged: pd.DataFrame) -> dict:
    """What the page "choices" says.

    Args:
        table: rows of `fedmi.study.choices.readings`, of one task.
        judged: what `judge` makes of them.
    """
    tried = judged.loc[~judged.control.astype(bool)]
    claims = {}
    for name, rows in groups(tried, "claim"):
        told = rows.loc[rows.outcome.isin(TOLD)]
        ends = told.sort_values("effect").iloc[[0, -1]] if len(told) else told
        claims[name] = dict(
            size=CLAIMS[name].size,
            own=rows.iloc[0].to_dict(),
            shares=shares(rows.outcome),
            levels={factor: by_level(rows, factor) for factor in factors_of(rows)},
            deciding=deciding(rows),
            ends=ends.to_dict("records"),
            otherwise=_otherwise(told),
        )
    points = table.drop_duplicates("point")
    alive = points.loc[~points.control.astype(bool)]
    return dict(
        task=str(table.task.iloc[0]),
        seeds=(points.n.min(), points.n.max()),
        points=len(alive),
        controls=controls(judged),
        control_points=int(points.control.astype(bool).sum()),
        level=LEVEL,
        claims=claims,
        changed=changed(tried),
        factors=factors_of(table),
        chaotic=points.point[points.chaotic.astype(bool)].to_list(),
        diverged=points.loc[points.non_finite > 0].to_dict("records"),
        refused=table.loc[table.why_not.notna()].to_dict("records"),
        learning=alive.dropna(subset="fresh").sort_values("fresh").iloc[[0, -1]].to_dict("records"),
    )


def _otherwise(told: pd.DataFrame) -> int:
    """At how many points an effect from the first minibatch on lies on the other side of size."""
    above, early = told.effect > told["size"], told.from_first > told["size"]
    return int(((above != early) & told.outcome.isin((HOLDS, FAILS))).sum())
