"""The paper's claims, one by one, against what was measured.

Under each coupling (or setting) a claim holds, fails, is open or was not tried: an effect is held
against the smallest that would matter (`fedmi.study.sizes`). It *holds only under* some couplings
where it fails under all others. Beside it stands the share of all choices that the paper left open
in which it holds. Everything comes out of the published tables.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from fedmi.scopes import COUPLINGS
from fedmi.stats import Z95, bonferroni_limit
from fedmi.study import evidence, gains, outcomes, results, sizes, tables, trends
from fedmi.study.figures import figure_names
from fedmi.study.methods import ALONE
from fedmi.study.sizes import FAILS, HOLDS, INFINITE, OPEN, all_of, told
from fedmi.study.summary import TASKS
from fedmi.study.trends import DEFAULT, study_of

NOTHING_SHARED: tuple[str, ...] = ("null", "independent")
CONVEX = ("digits",)
"""Tasks whose loss is convex in what is trained: no mean is then above the average client."""

UNTRIED = "untried"
STATES = (HOLDS, OPEN, INFINITE, FAILS, UNTRIED)
"""What may be found of a claim under a coupling; of an infinite reading no trend can be told."""


@dataclass(frozen=True)
class Finding:
    """What was measured of one claim on one task.

    Attributes:
        states: coupling -> one of `STATES`.
        numbers: what the claim's page says of it; standard errors are beside the values.
        size: the smallest effect that matters, None where the claim is about no effect.
    """

    states: Mapping[str, str]
    numbers: Mapping[str, Any]
    size: float | None = None

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
        if set(under) == {HOLDS, FAILS}:
            return [("only", under[HOLDS])]
        return list(under.items())


class Published:
    """The published tables of one task.

    Attributes:
        task: its name.
        read: the names of the tables that were asked for.

    Args:
        folder: where they are.
        task: its name.
    """

    def __init__(self, folder: Path, task: str) -> None:
        self.task = task
        self.read: list[str] = []
        self._folder = folder

    def table(self, name: str) -> pd.DataFrame:
        """A table by the name of its file, without the ending.

        Raises:
            FileNotFoundError: if it was not published; the message says what makes it.
        """
        path = self._folder / f"{name}.csv"
        if not path.exists():
            raise FileNotFoundError(
                f"there is no {path}: `make couplings aggregation proposition compression choices "
                "SCALE=paper` makes what is missing, and `make figures` publishes it"
            )
        if name not in self.read:
            self.read.append(name)
        return results.read_csv(path)

    def has(self, name: str) -> bool:
        """Whether a table was published."""
        return (self._folder / f"{name}.csv").exists()

    @property
    def trends(self) -> pd.DataFrame:
        """First against last checkpoint under every coupling, by coupling."""
        return trends.trends(self.table(f"couplings-{self.task}")).set_index("coupling")


def of_all(tried: Mapping[str, str]) -> dict[str, str]:
    """The states under every coupling, those that were not tried among them."""
    return dict(tried) | {name: UNTRIED for name in COUPLINGS if name not in tried}


def above_zero(published: Published) -> Finding:
    """Abstract: the clients' parameters are correlated, their MI is above zero."""
    rows = published.trends
    nothing = rows.loc[list(NOTHING_SHARED)]
    return Finding(
        rows.above_zero.to_dict() | dict.fromkeys(NOTHING_SHARED, FAILS),
        rows.loc[DEFAULT].to_dict() | dict(p_of_nothing=nothing.smallest_p_family.min()),
        sizes.BITS,
    )


def rises(published: Published) -> Finding:
    """Abstract: the MI rises as training goes on. Asked of the Gaussian reading."""
    rows = published.trends
    dependent = rows.drop(list(NOTHING_SHARED))
    return Finding(
        rows.rises.to_dict() | dict.fromkeys(NOTHING_SHARED, FAILS),
        dict(trends=dependent.to_dict("index")),
        sizes.BITS,
    )


def alike(published: Published) -> Finding:
    """Sections 3.1 and 3.2: the clients train alike.

    They do by construction where their data have one law, as no stream is a client's own. Where
    each has a law of its own, a difference has to be surely smaller than one that would matter.
    """
    states, differences, size = {}, {}, np.nan
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
        course = learning.groupby("iteration")["mean"].mean()
        own_size = sizes.FALL * abs(course.iloc[-1] - course.iloc[0])
        size = own_size if coupling == DEFAULT else size
        one_law = all(scope != "client" for role, scope in scopes.items() if role != "skew")
        # That the difference is no larger is the claim.
        limit = bonferroni_limit(len(pairs) * len(COUPLINGS))
        state = told(-most, its_error, -own_size, limit)
        states[coupling] = HOLDS if one_law and state == OPEN else state
        differences[coupling] = most, its_error
    return Finding(states, dict(metric=at.metric.iloc[0], differences=differences), size)


def _distances(published: Published) -> pd.DataFrame:
    """By coupling and distance: its rise from the first to the last checkpoint, relative to it.

    Columns: rise, error, whether it `rises`, and whether it does not fall (`no_closer`), beyond
    chance among all distances and couplings together.
    """
    rows = []
    for coupling in COUPLINGS:
        distances = published.table(figure_names(study_of(published.task, coupling))[1])
        limit = bonferroni_limit(distances.metric.nunique() * len(COUPLINGS))
        means = distances.groupby(["metric", "iteration"])[["distance", "distance_se"]].agg("mean")
        for metric in distances.metric.unique():
            ends = means.loc[metric].sort_index().iloc[[0, -1]]
            first, last = ends.distance
            rise = last / first - 1
            error = last / first * np.hypot(*(ends.distance_se / ends.distance))
            found = dict(
                rise=rise,
                error=error,
                rises=told(rise, error, sizes.DISTANCE, limit),
                no_closer=told(rise, error, -sizes.DISTANCE, limit),
            )
            rows.append(dict(coupling=coupling, metric=metric) | found)
    return pd.DataFrame(rows).set_index(["coupling", "metric"])


def distances_rise(published: Published) -> Finding:
    """Section 3.3: all three distances rise."""
    distances = _distances(published)
    return Finding(
        {name: all_of(*rows.rises) for name, rows in tables.groups(distances, "coupling")},
        dict(others=distances.loc[distances.rises != HOLDS].reset_index().to_dict("records")),
        sizes.DISTANCE,
    )


def _not_closer(published: Published, farther: Mapping[str, str]) -> Finding:
    """Abstract: more correlated, by the Gaussian reading, while not getting closer.

    Args:
        farther: coupling -> whether clients do not get closer.
    """
    rows = published.trends
    rising = rows.rises.to_dict() | dict.fromkeys(NOTHING_SHARED, FAILS)
    return Finding(
        {name: all_of(rising[name], farther[name]) for name in rows.index},
        rows.loc[DEFAULT].to_dict(),
        -sizes.DISTANCE,
    )


def not_closer_by_euclidean(published: Published) -> Finding:
    """Clients do not get closer where their Euclidean distance is no smaller at the end."""
    return _not_closer(published, _distances(published).no_closer.xs("euclidean", level="metric"))


def not_closer_by_all(published: Published) -> Finding:
    """Clients do not get closer where none of the three distances is smaller at the end."""
    by_coupling = tables.groups(_distances(published), "coupling")
    return _not_closer(published, {name: all_of(*rows.no_closer) for name, rows in by_coupling})


def not_closer_by_others(published: Published) -> Finding:
    """Clients do not get closer where they lose of their lead on clients of other seeds."""
    rows = published.trends
    limit = bonferroni_limit(len(rows))
    farther = {str(name): trends.not_closer(dict(row), limit) for name, row in rows.iterrows()}
    return _not_closer(published, farther)


def contradiction(published: Published) -> Finding:
    """Proof of Proposition 1: under X = P + N1, Y = P + N2, MI can only rise if distance falls."""
    example = published.table(f"proposition-{published.task}-example")
    first, last = example.iloc[0], example.iloc[-1]
    both = last.mi_bits > first.mi_bits and last.distance > first.distance
    return Finding({"": FAILS if both else OPEN}, dict(first=first, last=last))


def not_additive(published: Published) -> Finding:
    """Proposition 1: the clients are no additive model."""
    studies, states = {}, dict.fromkeys(NOTHING_SHARED, FAILS)  # such a model, with a constant P
    for name, study in ((DEFAULT, published.task), ("skewed", f"{published.task}-skewed")):
        tests = published.table(f"proposition-{study}")
        able = tests.loc[~tests.by_construction.astype(bool)]
        rejected = able.loc[able.verdict == "rejected"]
        noise = published.table(f"proposition-{study}-noise").iloc[-1]
        # The tests ask whether there is a departure, the interval of 95 % how large it is.
        surely = noise.low > sizes.VARIATION, noise.high < sizes.VARIATION
        state = HOLDS if surely[0] else FAILS if surely[1] else OPEN
        states[name] = state if len(rejected) or state == FAILS else OPEN
        studies[name] = dict(
            tests=len(able),
            rejected=len(rejected),
            p=able.p_holm.min(),
            alike=evidence.alike(tests),
            noise=noise,
        )
    return Finding(of_all(states), dict(studies=studies), sizes.VARIATION)


def not_optimal(published: Published) -> Finding:
    """Title: averaging is not the optimum way of aggregating.

    Fitted maps, which can remember other seeds, are left out.
    """
    return _gained(published, "any")


def not_optimal_but_in_length(published: Published) -> Finding:
    """The same, but for a longer step along the mean: that is more training, no other direction."""
    return _gained(published, "direction")


def _gained(published: Published, where: str) -> Finding:
    """Whether the best of some aggregators gains a share of the fall that matters.

    Args:
        where: a key of `fedmi.study.gains.gains`.
    """
    table = published.table(f"aggregation-{published.task}")
    limit = bonferroni_limit(len(table))
    settings, states = {}, {}
    final = table.loc[table.iteration == table.iteration.max()]
    for setting, rows in tables.groups(final, "setting"):
        found = settings[setting] = gains.gains(rows)
        best = found[where]
        states[setting] = told(best["share"], best["error"], sizes.FALL, limit)
    return Finding(of_all(states), dict(settings=settings, where=where), sizes.FALL)


def reasonable(published: Published) -> Finding:
    """Section 3.3: there is no reason why averaging should give even a reasonable model.

    One checkpoint at which clients alone are better is enough.
    """
    table = published.table(f"aggregation-{published.task}")
    limit = bonferroni_limit(len(table))
    # A theorem holds whatever is shared, and however many seeds were judged.
    convex = published.task in CONVEX
    states = dict.fromkeys(COUPLINGS, FAILS) if convex else {}
    alone: dict[str, tuple[float, float]] = {}
    for setting, rows in tables.groups(table, "setting"):
        found = []
        final = rows.loc[rows.iteration == rows.iteration.max()]
        for _, at in rows.groupby("iteration"):
            alone[setting] = gains.share_of_fall(at, ALONE, final)
            found.append(told(alone[setting][0], alone[setting][1], sizes.FALL, limit))
        states[setting] = next((s for s in (HOLDS, OPEN) if s in found), FAILS)
    return Finding(of_all(states), dict(alone=alone, convex=convex), sizes.FALL)


def compressible(published: Published) -> Finding:
    """Section 4: the dependence lets uploads be compressed (distributed source coding)."""
    table = published.table(f"compression-{published.task}")
    table = table.loc[(table.channel == "noise") & (table.iteration == table.iteration.max())]
    row = table.loc[table.tolerance == sorted(table.tolerance.unique())[-2]].iloc[0]
    unknown = np.isnan(row.saved_one)
    saves = OPEN if unknown else told(row.saved_one, row.saved_one_se, sizes.SAVED)
    states = {DEFAULT: saves} | dict.fromkeys(NOTHING_SHARED, FAILS)
    return Finding(of_all(states), row.to_dict(), sizes.SAVED)


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
    not_optimal_but_in_length,
    reasonable,
    compressible,
)


ASKED_OF_CHOICES = {
    "above_zero": "above_zero",
    "rises": "rises",
    "distances_rise": "distances_rise",
    "not_closer_by_euclidean": "not_closer",
    "not_closer_by_all": "not_closer_by_all",
    "not_closer_by_others": "not_closer_by_others",
}
"""Claims that are asked of every choice, too, by their names in `fedmi.study.outcomes`."""


def of_choices(published: Published, claim: str) -> dict[str, Any] | None:
    """What all choices come to: counts of outcomes, and the choices that decide.

    Args:
        published: the tables of a task.
        claim: the name of one of `CLAIMS`.

    Returns:
        `shares` and `deciding` as `fedmi.study.outcomes` has them, and the `rows` they are of. None
        for a claim that is asked of the default study alone, and where no choices were published.
    """
    name = f"choices-{published.task}-outcomes"
    asked = ASKED_OF_CHOICES.get(claim)
    if asked is None or not published.has(name):
        return None
    judged = published.table(name)
    rows = judged.loc[(judged.claim == asked) & ~judged.control.astype(bool)]
    shares, deciding = outcomes.shares(rows.outcome.to_list()), outcomes.deciding(rows)
    return dict(shares=shares, deciding=deciding, rows=rows)


def trace(folder: Path, claim: str, task: str) -> dict[str, Any]:
    """A verdict with all that it follows from.

    Args:
        folder: the published tables.
        claim: the name of one of `CLAIMS`.
        task: the task's name.

    Returns:
        `finding`; `choices`, with the rows of every choice's outcome (`of_choices`); and `tables`,
        the names of the published tables that were read for both.

    Raises:
        FileNotFoundError: if a table is missing.
    """
    published = Published(folder, task)
    find = next(find for find in CLAIMS if find.__name__ == claim)
    found = dict(finding=find(published), choices=of_choices(published, claim))
    return found | dict(tables=published.read)


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
            find.__name__: {task: trace(folder, find.__name__, task) for task in TASKS}
            for find in CLAIMS
        },
    )
