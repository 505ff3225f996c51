"""What was measured of each of the paper's claims, out of the published tables.

Under each coupling (or setting) a claim holds, fails, is open or was not tried: an effect is held
against the smallest that would matter (`fedmi.study.sizes`).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd

from fedmi.scopes import COUPLINGS
from fedmi.stats import Z95, bonferroni_limit
from fedmi.study import evidence, gains, results, sizes, tables, trends
from fedmi.study.figures import figure_names
from fedmi.study.methods import ALONE
from fedmi.study.sizes import FAILS, HOLDS, INFINITE, OPEN, all_of, any_of, told
from fedmi.study.trends import DEFAULT, study_of

NOTHING_SHARED: tuple[str, ...] = ("null", "independent")
CONVEX = ("digits",)
"""Tasks whose loss is convex in what is trained: no mean is then above the average client."""

UNTRIED = "untried"
STATES = (HOLDS, OPEN, INFINITE, FAILS, UNTRIED)
"""What may be found of a claim under a coupling; of an infinite reading no trend can be told."""


@dataclass(frozen=True)
class Effect:
    """What the default study measures of a claim.

    Attributes:
        value: the effect.
        error: its standard error.
        size: the smallest effect that matters.
        what: what it is of, in words.
        unit: "bits", "share" or the metric.
    """

    value: float
    error: float
    size: float
    what: str
    unit: str = "share"


@dataclass(frozen=True)
class Finding:
    """What was measured of one claim on one task.

    Attributes:
        states: coupling -> one of `STATES`.
        effect: under the default coupling; None where the claim is about no effect.
    """

    states: Mapping[str, str]
    effect: Effect | None = None

    @property
    def outcome(self) -> str:
        """The state under the default coupling, or of a claim that is about none."""
        return self.states.get(DEFAULT) or self.states[""]

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
    own = rows.loc[DEFAULT]
    states = rows.above_zero.to_dict() | dict.fromkeys(NOTHING_SHARED, FAILS)
    return Finding(states, Effect(own.last_bits, own.last_se, sizes.BITS, "at the end", "bits"))


def rises(published: Published) -> Finding:
    """Abstract: the MI rises as training goes on. Asked of the Gaussian reading."""
    rows = published.trends
    own = rows.loc[DEFAULT]
    states = rows.rises.to_dict() | dict.fromkeys(NOTHING_SHARED, FAILS)
    effect = Effect(own.rise_bits, own.rise_se, sizes.BITS, "last less first", "bits")
    return Finding(states, effect)


def alike(published: Published) -> Finding:
    """Sections 3.1 and 3.2: the clients train alike.

    They do by construction where their data have one law, as no stream is a client's own. Where
    each has a law of its own, a difference has to be surely smaller than one that would matter.
    """
    states, effect = {}, None
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
        size = sizes.FALL * abs(course.iloc[-1] - course.iloc[0])
        one_law = all(scope != "client" for role, scope in scopes.items() if role != "skew")
        # That the difference is no larger is the claim.
        limit = bonferroni_limit(len(pairs) * len(COUPLINGS))
        state = told(-most, its_error, -size, limit)
        states[coupling] = HOLDS if one_law and state == OPEN else state
        if coupling == DEFAULT:
            what = "largest difference of two clients"
            effect = Effect(most, its_error, size, what, at.metric.iloc[0])
    return Finding(states, effect)


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
    states = {name: all_of(*rows.rises) for name, rows in tables.groups(distances, "coupling")}
    return Finding(states, _least(distances, sizes.DISTANCE))


def _least(distances: pd.DataFrame, size: float) -> Effect:
    """The rise of the distance that rises least in the default study."""
    own = distances.loc[DEFAULT]
    metric = own.rise.idxmin()
    return Effect(own.rise[metric], own.error[metric], size, f"{metric} distance")


def _rising(published: Published, farther: Mapping[str, str]) -> dict[str, str]:
    """Abstract: more correlated, by the Gaussian reading, while not getting closer.

    Args:
        farther: coupling -> whether clients do not get closer.
    """
    rows = published.trends
    rising = rows.rises.to_dict() | dict.fromkeys(NOTHING_SHARED, FAILS)
    return {name: all_of(rising[name], farther[name]) for name in rows.index}


def not_closer_by_euclidean(published: Published) -> Finding:
    """Clients do not get closer where their Euclidean distance is no smaller at the end."""
    rows = _distances(published).xs("euclidean", level="metric")
    own = rows.loc[DEFAULT]
    effect = Effect(own.rise, own.error, -sizes.DISTANCE, "euclidean distance")
    return Finding(_rising(published, rows.no_closer), effect)


def not_closer_by_all(published: Published) -> Finding:
    """Clients do not get closer where none of the three distances is smaller at the end."""
    found = _distances(published)
    farther = {name: all_of(*rows.no_closer) for name, rows in tables.groups(found, "coupling")}
    return Finding(_rising(published, farther), _least(found, -sizes.DISTANCE))


def not_closer_by_others(published: Published) -> Finding:
    """Clients do not get closer where they lose of their lead on clients of other seeds."""
    rows = published.trends
    limit = bonferroni_limit(len(rows))
    farther = {str(name): trends.not_closer(dict(row), limit) for name, row in rows.iterrows()}
    own = rows.loc[DEFAULT]
    lost, error = own.closer_first - own.closer_last, np.sqrt(2) * own.closer_se
    effect = Effect(lost, error, -sizes.DISTANCE, "of the lead on other seeds' clients lost")
    return Finding(_rising(published, farther), effect)


def contradiction(published: Published) -> Finding:
    """Proof of Proposition 1: under X = P + N1, Y = P + N2, MI can only rise if distance falls."""
    example = published.table(f"proposition-{published.task}-example")
    first, last = example.iloc[0], example.iloc[-1]
    both = last.mi_bits > first.mi_bits and last.distance > first.distance
    return Finding({"": FAILS if both else OPEN})


def not_additive(published: Published) -> Finding:
    """Proposition 1: the clients are no additive model."""
    states, effect = dict.fromkeys(NOTHING_SHARED, FAILS), None  # such a model, with a constant P
    for name, study in ((DEFAULT, published.task), ("skewed", f"{published.task}-skewed")):
        tests = published.table(f"proposition-{study}")
        able = tests.loc[~tests.by_construction.astype(bool)]
        rejected = able.loc[able.verdict == "rejected"]
        noise = published.table(f"proposition-{study}-noise")
        decomposition = published.table(f"proposition-{study}-decomposition")
        state = evidence.departure(noise, evidence.spread(tests, decomposition))
        states[name] = state if len(rejected) or state == FAILS else OPEN
        if name == DEFAULT:
            last = noise.iloc[-1]
            error = (last.high - last.low) / (2 * Z95)
            effect = Effect(last.variation, error, sizes.VARIATION, "of the noise's variance")
    return Finding(of_all(states), effect)


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
    states, effect = {}, None
    final = table.loc[table.iteration == table.iteration.max()]
    for setting, rows in tables.groups(final, "setting"):
        best = gains.gains(rows)[where]
        states[setting] = told(best["share"], best["error"], sizes.FALL, limit)
        if setting == DEFAULT:
            effect = Effect(best["share"], best["error"], sizes.FALL, best["method"])
    return Finding(of_all(states), effect)


def reasonable(published: Published) -> Finding:
    """Section 3.3: there is no reason why averaging should give even a reasonable model.

    One checkpoint at which clients alone are better is enough.
    """
    table = published.table(f"aggregation-{published.task}")
    limit = bonferroni_limit(len(table))
    # A theorem holds whatever is shared, and however many seeds were judged.
    convex = published.task in CONVEX
    states = dict.fromkeys(COUPLINGS, FAILS) if convex else {}
    effect = None
    for setting, rows in tables.groups(table, "setting"):
        found = []
        final = rows.loc[rows.iteration == rows.iteration.max()]
        for _, at in rows.groupby("iteration"):
            gain, error = gains.share_of_fall(at, ALONE, final)
            found.append(told(gain, error, sizes.FALL, limit))
        states[setting] = any_of(*found)
        if setting == DEFAULT:
            effect = Effect(gain, error, sizes.FALL, ALONE)
    return Finding(of_all(states), effect)


def compressible(published: Published) -> Finding:
    """Section 4: the dependence lets uploads be compressed (distributed source coding)."""
    table = published.table(f"compression-{published.task}")
    table = table.loc[(table.channel == "noise") & (table.iteration == table.iteration.max())]
    row = table.loc[table.tolerance == sorted(table.tolerance.unique())[-2]].iloc[0]
    unknown = np.isnan(row.saved_one)
    saves = OPEN if unknown else told(row.saved_one, row.saved_one_se, sizes.SAVED)
    states = {DEFAULT: saves} | dict.fromkeys(NOTHING_SHARED, FAILS)
    effect = Effect(row.saved_one, row.saved_one_se, sizes.SAVED, "of an upload's bits")
    return Finding(of_all(states), effect)
