"""The paper's claims, one by one, against what was measured.

Under each coupling (or setting) a claim holds, fails, cannot be told or was not tried; it *holds
only under* some where it fails under all others. Everything comes out of the published tables.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from fedmi.aggregation import MEAN
from fedmi.scopes import COUPLINGS
from fedmi.stats import Z95, bonferroni_limit, sign
from fedmi.study import aggregators, evidence, results, tables
from fedmi.study.figures import figure_names
from fedmi.study.summary import TASKS
from fedmi.study.trends import DEFAULT, study_of

NOTHING_SHARED: tuple[str, ...] = ("null", "independent")
CONVEX = ("digits",)
"""Tasks whose loss is convex in what is trained: no mean is then above the average client."""

STATES = ("yes", "open", "infinite", "no", "untried")
"""What may be found of a claim under a coupling; of an infinite reading no trend can be told."""


@dataclass(frozen=True)
class Finding:
    """What was measured of one claim on one task.

    Attributes:
        states: coupling -> one of `STATES`.
        numbers: what the claim's page says of it; standard errors are beside the values.
    """

    states: Mapping[str, str]
    numbers: Mapping[str, Any]

    @property
    def verdict(self) -> list[tuple[str, list[str]]]:
        """The states taken together: outcomes and the couplings of each, [] for all of them.

        An outcome is one of `STATES`, or "only" for a claim that holds there and fails under every
        other coupling.
        """
        under: dict[str, list[str]] = {}
        for state in STATES:
            if names := [name for name, own in self.states.items() if own == state]:
                under[state] = names
        if len(under) == 1:
            return [(state, []) for state in under]
        if set(under) == {"yes", "no"}:
            return [("only", under["yes"])]
        return list(under.items())


class Published:
    """The published tables of one task.

    Args:
        folder: where they are.
        task: its name.
    """

    def __init__(self, folder: Path, task: str) -> None:
        self.task = task
        self._folder = folder

    def table(self, name: str) -> pd.DataFrame:
        """A table by the name of its file, without the ending.

        Raises:
            FileNotFoundError: if it was not published; the message says what makes it.
        """
        path = self._folder / f"{name}.csv"
        if not path.exists():
            raise FileNotFoundError(
                f"there is no {path}: `make couplings aggregation proposition compression "
                "SCALE=paper` makes what is missing, and `make figures` publishes it"
            )
        return results.read_csv(path)

    @property
    def trends(self) -> pd.DataFrame:
        """First against last checkpoint under every coupling, by coupling."""
        return self.table(f"couplings-{self.task}-trends").set_index("coupling")


def of_all(tried: Mapping[str, str]) -> dict[str, str]:
    """The states under every coupling, those that were not tried among them."""
    return dict(tried) | {name: "untried" for name in COUPLINGS if name not in tried}


def all_of(*states: str) -> str:
    """Whether all of it holds: it fails where a part does."""
    order = ("no", "infinite", "open", "yes")
    return min(states, key=order.index)


def above_zero(published: Published) -> Finding:
    """Abstract: the clients' parameters are correlated, their MI is above zero."""
    trends = published.trends
    nothing = trends.loc[list(NOTHING_SHARED)]
    return Finding(
        trends.above_zero.to_dict() | dict.fromkeys(NOTHING_SHARED, "no"),
        trends.loc[DEFAULT].to_dict() | dict(p_of_nothing=nothing.smallest_p_family.min()),
    )


def rises(published: Published) -> Finding:
    """Abstract: the MI rises as training goes on. Asked of the Gaussian reading."""
    trends = published.trends
    told = trends.drop(list(NOTHING_SHARED))
    return Finding(
        trends.rises.to_dict() | dict.fromkeys(NOTHING_SHARED, "no"),
        dict(trends=told.to_dict("index")),
    )


def alike(published: Published) -> Finding:
    """Sections 3.1 and 3.2: the clients train alike.

    They do by construction where their data have one law, as no stream is a client's own. Where
    each has a law of its own, a difference that is not seen is no evidence that there is none.
    """
    states, differences = {}, {}
    for coupling, scopes in COUPLINGS.items():
        study = study_of(published.task, coupling)
        learning = published.table(f"{figure_names(study)[0]}-learning")
        learning = learning.loc[learning.metric == learning.metric.iloc[0]]
        at = learning.loc[learning.iteration == learning.iteration.max()]
        error = (at.high - at.low).to_numpy() / (2 * Z95)
        mean = at["mean"].to_numpy()
        pairs = [
            (abs(mean[a] - mean[b]), np.hypot(error[a], error[b]))
            for a, b in combinations(range(len(mean)), 2)
        ]
        most, its_error = max(pairs, key=lambda pair: pair[0] / pair[1])
        apart = most > bonferroni_limit(len(pairs) * len(COUPLINGS)) * its_error
        one_law = all(scope != "client" for role, scope in scopes.items() if role != "skew")
        states[coupling] = "no" if apart else "yes" if one_law else "open"
        differences[coupling] = most, its_error
    return Finding(states, dict(metric=at.metric.iloc[0], differences=differences))


def _distances(published: Published) -> pd.DataFrame:
    """By coupling and distance: its rise from the first to the last checkpoint.

    Columns: rise, error, and whether it `rises`, beyond chance among all distances and couplings
    together.
    """
    rows = []
    for coupling in COUPLINGS:
        distances = published.table(figure_names(study_of(published.task, coupling))[1])
        limit = bonferroni_limit(distances.metric.nunique() * len(COUPLINGS))
        means = distances.groupby(["metric", "iteration"])[["distance", "distance_se"]].agg("mean")
        for metric in distances.metric.unique():
            ends = means.loc[metric].sort_index().iloc[[0, -1]]
            rise, error = np.diff(ends.distance)[0], np.hypot(*ends.distance_se)
            found = dict(rise=rise, error=error, rises=sign(rise, error, limit))
            rows.append(dict(coupling=coupling, metric=metric) | found)
    return pd.DataFrame(rows).set_index(["coupling", "metric"])


def distances_rise(published: Published) -> Finding:
    """Section 3.3: all three distances rise."""
    distances = _distances(published)
    return Finding(
        {name: all_of(*rows.rises) for name, rows in tables.groups(distances, "coupling")},
        dict(others=distances.loc[distances.rises != "yes"].reset_index().to_dict("records")),
    )


def _not_closer(published: Published, farther: Mapping[str, str]) -> Finding:
    """Abstract: more correlated, by the Gaussian reading, while not getting closer.

    Args:
        farther: coupling -> whether clients do not get closer.
    """
    trends = published.trends
    rising = trends.rises.to_dict() | dict.fromkeys(NOTHING_SHARED, "no")
    return Finding(
        {name: all_of(rising[name], farther[name]) for name in trends.index},
        trends.loc[DEFAULT].to_dict(),
    )


def not_closer_by_euclidean(published: Published) -> Finding:
    """Clients do not get closer where their Euclidean distance is larger at the end."""
    return _not_closer(published, _distances(published).rises.xs("euclidean", level="metric"))


def not_closer_by_all(published: Published) -> Finding:
    """Clients do not get closer where all three distances are larger at the end."""
    return _not_closer(published, distances_rise(published).states)


def not_closer_by_others(published: Published) -> Finding:
    """Clients do not get closer where they lose of their lead on clients of other seeds."""
    trends = published.trends
    limit = bonferroni_limit(len(trends))
    farther = {
        str(name): sign(row.closer_first - row.closer_last, np.sqrt(2) * row.closer_se, limit)
        for name, row in trends.iterrows()
    }
    return _not_closer(published, farther)


def contradiction(published: Published) -> Finding:
    """Proof of Proposition 1: under X = P + N1, Y = P + N2, MI can only rise if distance falls."""
    example = published.table(f"proposition-{published.task}-example")
    first, last = example.iloc[0], example.iloc[-1]
    both = last.mi_bits > first.mi_bits and last.distance > first.distance
    return Finding({"": "no" if both else "open"}, dict(first=first, last=last))


def not_additive(published: Published) -> Finding:
    """Proposition 1: the clients are no additive model."""
    studies, states = {}, dict.fromkeys(NOTHING_SHARED, "no")  # such a model, with a constant P
    for name, study in ((DEFAULT, published.task), ("skewed", f"{published.task}-skewed")):
        tests = published.table(f"proposition-{study}")
        able = tests.loc[~tests.by_construction.astype(bool)]
        rejected = able.loc[able.verdict == "rejected"]
        states[name] = "yes" if len(rejected) else "open"
        studies[name] = dict(
            tests=len(able),
            rejected=len(rejected),
            p=able.p_holm.min(),
            alike=evidence.alike(tests),
            noise=published.table(f"proposition-{study}-noise").iloc[-1],
        )
    return Finding(of_all(states), dict(studies=studies))


def not_optimal(published: Published) -> Finding:
    """Title: averaging is not the optimum way of aggregating.

    Fitted maps, which can remember other seeds, are left out.
    """
    table = published.table(f"aggregation-{published.task}")
    limit = bonferroni_limit(len(table))
    settings, states = {}, {}
    final = table.loc[table.iteration == table.iteration.max()]
    for setting, rows in tables.groups(final, "setting"):
        best = settings[setting] = aggregators.best_aggregator(rows, limit)
        by_name = rows.set_index("method")
        rivals = by_name.loc[~by_name.reference].drop([MEAN, *aggregators.MAPS], errors="ignore")
        worse = rivals.objective_less_mean > limit * rivals.objective_less_mean_se
        states[setting] = "yes" if best is not None else "no" if worse.all() else "open"
    return Finding(of_all(states), dict(settings=settings))


def reasonable(published: Published) -> Finding:
    """Section 3.3: there is no reason why averaging should give even a reasonable model.

    One checkpoint at which clients alone are better is enough.
    """
    table = published.table(f"aggregation-{published.task}")
    limit = bonferroni_limit(len(table))
    alone = table.loc[table.method == aggregators.ALONE]
    # A theorem holds whatever is shared, and however many seeds were judged.
    convex = published.task in CONVEX
    states = dict.fromkeys(COUPLINGS, "no") if convex else {}
    for setting, rows in tables.groups(alone, "setting"):
        found = [
            sign(-less, error, limit)
            for less, error in zip(
                rows.objective_less_mean, rows.objective_less_mean_se, strict=True
            )
        ]
        states[setting] = next((s for s in ("yes", "open") if s in found), "no")
    last = alone.loc[alone.iteration == alone.iteration.max()]
    return Finding(of_all(states), dict(alone=last.to_dict("records"), convex=convex))


def compressible(published: Published) -> Finding:
    """Section 4: the dependence lets uploads be compressed (distributed source coding)."""
    table = published.table(f"compression-{published.task}")
    table = table.loc[(table.channel == "noise") & (table.iteration == table.iteration.max())]
    row = table.loc[table.tolerance == sorted(table.tolerance.unique())[-2]].iloc[0]
    saves = "open" if np.isnan(row.saved_one) else sign(row.saved_one, row.saved_one_se)
    states = {DEFAULT: saves} | dict.fromkeys(NOTHING_SHARED, "no")
    return Finding(of_all(states), row.to_dict())


CLAIMS: tuple[Callable[[Published], Finding], ...] = (
    above_zero,
    rises,
    alike,
    distances_rise,
    not_closer_by_euclidean,
    not_closer_by_all,
    not_closer_by_others,
    contradiction,
    not_additive,
    not_optimal,
    reasonable,
    compressible,
)


def facts(folder: Path) -> dict:
    """What the page "claims" says.

    Args:
        folder: the published tables.

    Raises:
        FileNotFoundError: if a table is missing.
    """
    return dict(
        coupling=DEFAULT,
        claims={
            find.__name__: {task: find(Published(folder, task)) for task in TASKS}
            for find in CLAIMS
        },
    )
