"""The paper's claims, one by one, against what was measured.

Every number and every verdict comes out of the published tables: `python -m fedmi.study.claims
    figures`
writes `claims.md` anew. Under each coupling (or setting) a claim holds, fails, cannot be told or
was not tried; it *holds only under* some where it fails under all others. After ± stands the 95 %
error.
"""

import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd

from fedmi.aggregation import MEAN
from fedmi.scopes import COUPLINGS
from fedmi.stats import Z95, bonferroni_limit, sign
from fedmi.study import aggregators, evidence, figures, tables
from fedmi.study.trends import DEFAULT, study_of

TASKS = ("signal", "digits")
NOTHING_SHARED = ("null", "independent")


@dataclass(frozen=True)
class Finding:
    """What was measured of one claim on one task, and what it comes to."""

    measured: str
    verdict: str


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
        return tables.read_csv(path)

    @property
    def trends(self) -> pd.DataFrame:
        """First against last checkpoint under every coupling, by coupling."""
        return self.table(f"couplings-{self.task}-trends").set_index("coupling")


STATES = {
    "yes": "holds",
    "open": "cannot be told",
    "infinite": "cannot be told, as the reading is infinite,",
    "no": "fails",
    "untried": "was not tried",
}
"""What may be found of a claim under a coupling, in words."""


def verdict(states: Mapping[str, str]) -> str:
    """What is found of a claim under each coupling, taken together.

    "Only" is said where the claim fails under every other coupling.

    Args:
        states: under what -> one of `STATES`.
    """
    under = {
        state: ", ".join(f"`{name}`" for name, own in states.items() if own == state)
        for state in STATES
    }
    found = [state for state in STATES if under[state]]
    if len(found) == 1:
        return STATES[found[0]].split(",")[0]
    if found == ["yes", "no"]:
        return f"holds only under {under['yes']}"
    return "; ".join(f"{STATES[state]} under {under[state]}" for state in found)


def of_all(tried: Mapping[str, str]) -> dict[str, str]:
    """The states under every coupling, those that were not tried among them."""
    return dict(tried) | {name: "untried" for name in COUPLINGS if name not in tried}


def above_zero(published: Published) -> Finding:
    """Abstract: the clients' parameters are correlated, their MI is above zero."""
    trends = published.trends
    own = trends.loc[DEFAULT]
    nothing = trends.loc[list(NOTHING_SHARED)]
    return Finding(
        f"`{DEFAULT}`: Gaussian reading, net of re-paired seeds, "
        f"{_bits(own.first_bits, own.first_se)} bits at first and "
        f"{_bits(own.last_bits, own.last_se)} at the end (p {own.smallest_p_family:.2f} over all "
        "pairs and checkpoints). Where nothing is shared the truth is 0, and p "
        f"{nothing.smallest_p_family.min():.2f} or more",
        verdict(trends.above_zero.to_dict() | dict.fromkeys(NOTHING_SHARED, "no")),
    )


def rises(published: Published) -> Finding:
    """Abstract: the MI rises as training goes on. Asked of the Gaussian reading."""
    trends = published.trends
    states = trends.rises.to_dict()
    told = [
        f"`{name}` " + ("infinite" if row.infinite else _bits(row.rise_bits, row.rise_se))
        for name, row in trends.drop(list(NOTHING_SHARED)).iterrows()
    ]
    return Finding(
        f"Gaussian reading in bits, last less first: {', '.join(told)}. (Where nothing is shared "
        "the MI stays 0; under `shared-order` it rises whatever the reading does)",
        verdict(states | dict.fromkeys(NOTHING_SHARED, "no")),
    )


def alike(published: Published) -> Finding:
    """Sections 3.1 and 3.2: the clients train alike.

    They do by construction where their data have one law, as no stream is a client's own. Where
    each has a law of its own, a difference that is not seen is no evidence that there is none.
    """
    told, states = [], {}
    for coupling, scopes in COUPLINGS.items():
        study = study_of(published.task, coupling)
        learning = published.table(f"{figures.figure_names(study)[0]}-learning")
        learning = learning[~learning.metric.str.startswith(tables.HELD_OUT)]
        at = learning[learning.iteration == learning.iteration.max()]
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
        told.append(f"`{coupling}` {most:.4f} ± {1.96 * its_error:.4f}")
    metric = at.metric.iloc[0]
    return Finding(
        f"{figures.METRICS.get(metric, metric)} in the last step of training, largest difference "
        f"of two clients: {', '.join(told)}. Clients whose data have one law are alike by "
        "construction",
        verdict(states),
    )


EUCLIDEAN = "euclidean"


def _distances(published: Published) -> dict[str, pd.DataFrame]:
    """By coupling: a row a distance, with its `rise` from the first to the last checkpoint.

    Columns: rise, error, peak (the checkpoint of the largest distance, nan for the last), and
    whether it `rises`, beyond chance among all distances and couplings together.
    """
    found = {}
    for coupling in COUPLINGS:
        study = study_of(published.task, coupling)
        distances = published.table(figures.figure_names(study)[1])
        limit = bonferroni_limit(distances.metric.nunique() * len(COUPLINGS))
        means = distances.groupby(["metric", "iteration"], sort=False)
        means = means[["distance", "distance_se"]].mean()
        rows = {}
        for metric in distances.metric.unique():
            of = means.loc[metric].sort_index()
            change = of.distance.iloc[-1] - of.distance.iloc[0]
            error = np.hypot(of.distance_se.iloc[0], of.distance_se.iloc[-1])
            peak = of.distance.idxmax()
            rows[metric] = dict(
                rise=change,
                error=error,
                peak=np.nan if peak == of.index[-1] else peak,
                rises=sign(change, error, limit),
            )
        found[coupling] = pd.DataFrame.from_dict(rows, orient="index")
    return found


def _all_rise(distances: pd.DataFrame) -> str:
    """Whether all distances of a coupling rise."""
    return _both(*distances.rises)


def distances_rise(published: Published) -> Finding:
    """Section 3.3: all three distances rise."""
    distances = _distances(published)
    told = [
        f"`{coupling}` "
        + ", ".join(
            f"{metric} {_precise(row.rise, row.error)}"
            + ("" if np.isnan(row.peak) else f" (largest at {row.peak:.0f})")
            for metric, row in rows.iterrows()
        )
        for coupling, rows in distances.items()
    ]
    states = {coupling: _all_rise(rows) for coupling, rows in distances.items()}
    return Finding(f"last less first: {'; '.join(told)}", verdict(states))


def closeness(published: Published) -> dict[str, dict[str, str]]:
    """Whether the reading rises while clients do not get closer: how measured -> coupling -> state.

    By a distance they do not get closer where it is larger at the end; by that of clients of other
    seeds where the share by which they are closer than these is smaller.
    """
    trends, distances = published.trends, _distances(published)
    limit = bonferroni_limit(len(trends))
    found = {
        "the Euclidean distance": {},
        "all three distances": {},
        "the distance of clients of other seeds": {},
    }
    for name, row in trends.iterrows():
        rising = "no" if name in NOTHING_SHARED else row.rises
        gap = row.closer_first - row.closer_last
        farther = (
            distances[name].rises[EUCLIDEAN],
            _all_rise(distances[name]),
            sign(gap, np.sqrt(2) * row.closer_se, limit),
        )
        for states, own in zip(found.values(), farther, strict=True):
            states[name] = _both(rising, own)
    return found


def not_closer(published: Published) -> Finding:
    """Abstract: more correlated while not getting closer. Asked of the Gaussian reading."""
    own = published.trends.loc[DEFAULT]
    said = [f"by {measure}: {verdict(states)}" for measure, states in closeness(published).items()]
    return Finding(
        f"`{DEFAULT}`: reading {_bits(own.rise_bits, own.rise_se)} bits, Euclidean distance "
        f"{_signed(own.distance_rise, own.distance_rise_se)} from first to last; closer than "
        f"clients of other seeds by {100 * own.closer_first:.1f} % at first and "
        f"{100 * own.closer_last:.1f} % at the end (± {196 * own.closer_se:.1f})",
        " / ".join(said),
    )


def in_short(folder: Path) -> str:
    """Under which couplings the paper's main finding is seen, in a sentence.

    Args:
        folder: the published tables.
    """
    return (
        "“More correlated while not getting closer”, by the Gaussian reading, from the first to "
        "the last checkpoint: "
        + "; ".join(f"`{task}` {_seen(folder, task)}" for task in TASKS)
        + "."
    )


def _seen(folder: Path, task: str) -> str:
    parts = []
    for measure, states in closeness(Published(folder, task)).items():
        seen, unsure = (
            ", ".join(f"`{name}`" for name, state in states.items() if state in which)
            for which in (("yes",), ("open", "infinite"))
        )
        if seen or unsure:
            told = f", not to be told under {unsure}" if unsure else ""
            parts.append(f"under {seen or 'no coupling'} by {measure}{told}")
    return "; ".join(parts) or "under no coupling, however closeness is measured"


def _both(*states: str) -> str:
    """Whether all of it holds: it fails where a part does."""
    order = ("no", "infinite", "open", "yes")
    return min(states, key=order.index)


def contradiction(published: Published) -> Finding:
    """Proof of Proposition 1: under X = P + N1, Y = P + N2, MI can only rise if distance falls."""
    example = published.table(f"proposition-{published.task}-example")
    first, last = example.iloc[0], example.iloc[-1]
    both = last.mi_bits > first.mi_bits and last.distance > first.distance
    return Finding(
        f"an additive normal model in {first.dimension:.0f} dimensions: Var(P) "
        f"{first.shared_variance:.2g} to {last.shared_variance:.2g}, noise "
        f"{first.noise_variance:.2g} to "
        f"{last.noise_variance:.2g}, MI {first.mi_bits:.1f} to {last.mi_bits:.1f} bits, distance "
        f"{first.distance:.2f} to {last.distance:.2f}. The proof holds Var(P) fixed",
        "fails" if both else "cannot be told",
    )


def not_additive(published: Published) -> Finding:
    """Proposition 1: the clients are no additive model."""
    told, states = [], dict.fromkeys(NOTHING_SHARED, "no")  # such a model, with a constant P
    for study in (published.task, f"{published.task}-skewed"):
        tests = published.table(f"proposition-{study}")
        noise = published.table(f"proposition-{study}-noise").iloc[-1]
        open_ones = tests[~tests.by_construction.astype(bool)]
        rejected = open_ones[open_ones.verdict == "rejected"]
        name = "skewed" if study.endswith("skewed") else DEFAULT
        which = f" ({', '.join(rejected.test.unique())})" if len(rejected) else ""
        what = "noise's variance" if evidence.alike(tests) else "squared distance of two clients"
        told.append(
            f"`{name}`: {len(rejected)} of the {len(open_ones)} tests that could tell "
            f"reject{which}, smallest p {open_ones.p_holm.min():.1g}; with what is shared the "
            f"{what} varies by {100 * noise.variation:.1f} % ({100 * noise.low:.1f} to "
            f"{100 * noise.high:.1f})"
        )
        states[name] = "yes" if len(rejected) else "open"
    text = "; ".join(told) + ". Clients that share nothing are such a model, by construction"
    return Finding(text, verdict(of_all(states)))


def not_optimal(published: Published) -> Finding:
    """Title: averaging is not the optimum way of aggregating."""
    table = published.table(f"aggregation-{published.task}")
    limit = bonferroni_limit(len(table))
    told, states = [], {}
    for setting, rows in table[table.iteration == table.iteration.max()].groupby(
        "setting", sort=False
    ):
        best = aggregators.best_aggregator(rows, limit)
        by_name = rows.set_index("method")
        text = f"`{setting}`: F of the mean {by_name.objective[MEAN]:.3f}"
        if best is not None:
            text += f", {best.method} {_less(best)}"
        for oracle in (aggregators.LINE, aggregators.PLANE):
            text += f", {oracle} {_less(by_name.loc[oracle])}"
        told.append(text)
        rivals = by_name[~by_name.reference].drop([MEAN, *aggregators.MAPS], errors="ignore")
        worse = rivals.objective_less_mean > limit * rivals.objective_less_mean_se
        states[setting] = "yes" if best is not None else "no" if worse.all() else "open"
    return Finding(
        f"at the end, less F of the mean (fitted maps, which can remember other seeds, left out): "
        f"{'; '.join(told)}",
        verdict(of_all(states)),
    )


CONVEX = ("digits",)
"""Tasks whose loss is convex in what is trained: no mean is then above the average client."""


def reasonable(published: Published) -> Finding:
    """Section 3.3: there is no reason why averaging should give even a reasonable model."""
    table = published.table(f"aggregation-{published.task}")
    limit = bonferroni_limit(len(table))
    alone = table[table.method == aggregators.ALONE]
    # A theorem holds whatever is shared, and however many seeds were judged.
    convex = published.task in CONVEX
    states = dict.fromkeys(COUPLINGS, "no") if convex else {}
    for setting, rows in alone.groupby("setting", sort=False):
        found = [
            sign(-row.objective_less_mean, row.objective_less_mean_se, limit)
            for row in rows.itertuples()
        ]
        states[setting] = next((s for s in ("yes", "open") if s in found), "no")
    last = alone[alone.iteration == alone.iteration.max()]
    told = ", ".join(
        f"`{row.setting}` {_less(row)} (above it in {100 * (1 - row.better):.0f} % of the seeds)"
        for row in last.itertuples()
    )
    theorem = ". F is convex in the layer that is trained: this had to be so (Jensen)"
    return Finding(
        f"each client alone, at the end, less F of the mean: {told}"
        + (theorem if convex else "")
        + ". Asked at every checkpoint: one at which clients alone are better is enough",
        verdict(of_all(states)),
    )


def compressible(published: Published) -> Finding:
    """Section 4: the dependence lets uploads be compressed (distributed source coding)."""
    table = published.table(f"compression-{published.task}")
    table = table[(table.channel == "noise") & (table.iteration == table.iteration.max())]
    row = table[table.tolerance == sorted(table.tolerance.unique())[-2]].iloc[0]
    nothing = dict.fromkeys(NOTHING_SHARED, "no")
    if np.isnan(row.saved_one):
        return Finding("there are no bits to save, or too few seeds to tell", "cannot be told")
    saves = f"{100 * row.saved_one:.2f} ± {196 * row.saved_one_se:.2f} %"
    return Finding(
        f"`{DEFAULT}`, at the end, at a cost of {100 * row.tolerance:g} % of what training gained: "
        f"{row.bits:.3f} ± {1.96 * row.bits_se:.3f} bits a parameter, of which another client at "
        f"the server saves {saves} (MI {row.mi_one:.4f} bits a parameter). Where nothing is shared "
        "there is nothing to save",
        verdict(of_all({DEFAULT: sign(row.saved_one, row.saved_one_se)} | nothing)),
    )


CLAIMS: tuple[tuple[str, Callable[[Published], Finding]], ...] = (
    ("Clients' parameters are correlated: MI above zero (abstract)", above_zero),
    ("MI rises as training goes on (abstract; by the Gaussian reading)", rises),
    ("The clients train alike (Sections 3.1, 3.2)", alike),
    ("All three distances rise (Section 3.3)", distances_rise),
    ("More correlated while not getting closer (abstract; by the Gaussian reading)", not_closer),
    ("Rising MI with rising distance contradicts X = P + N1, Y = P + N2 (proof)", contradiction),
    ("The clients are no such additive model (Proposition 1)", not_additive),
    ("Averaging is not the optimum (title)", not_optimal),
    ("Without that model averaging need not even be reasonable (Section 3.3)", reasonable),
    ("Their dependence lets uploads be compressed (Section 4)", compressible),
)


def rows(folder: Path) -> Iterator[tuple[str, str, Finding]]:
    """Every claim on every task: the claim, the task, and what was found.

    Raises:
        FileNotFoundError: if a table is missing.
    """
    for claim, find in CLAIMS:
        for task in TASKS:
            yield claim, task, find(Published(folder, task))


def claims(folder: Path) -> str:
    """The table claim by claim, as Markdown.

    Args:
        folder: the published tables.
    """
    lines = ["| the paper claims | task | measured | verdict |", "|---|---|---|---|"]
    before = None
    for claim, task, finding in rows(folder):
        shown = "" if claim == before else claim
        lines.append(f"| {shown} | {task} | {finding.measured} | **{finding.verdict}** |")
        before = claim
    return "\n".join(lines) + "\n"


def verdicts(folder: Path) -> str:
    """The verdicts alone, claim by claim and task by task, as Markdown.

    Args:
        folder: the published tables.
    """
    lines = [
        f"| the paper claims | {' | '.join(f'`{task}`' for task in TASKS)} |",
        "|---" * (1 + len(TASKS)) + "|",
    ]
    for claim, find in CLAIMS:
        said = [find(Published(folder, task)).verdict for task in TASKS]
        lines.append(f"| {claim} | {' | '.join(said)} |")
    return "\n".join(lines) + "\n"


def _bits(value: float, error: float) -> str:
    return f"{value:+.2f} ± {1.96 * error:.2f}"


def _precise(value: float, error: float) -> str:
    """With as many digits as the error has two of."""
    half = 1.96 * error
    digits = max(0, 1 - int(np.floor(np.log10(half)))) if half > 0 else 3
    return f"{value:+.{digits}f} ± {half:.{digits}f}"


def _less(row: pd.Series) -> str:
    return _signed(row.objective_less_mean, row.objective_less_mean_se)


def _signed(value: float, error: float) -> str:
    return f"{value:+.3f} ± {1.96 * error:.3f}"


if __name__ == "__main__":
    published = Path(sys.argv[1])
    try:
        text = claims(published)
    except FileNotFoundError as error:
        sys.exit(str(error))
    tables.write_whole(published / "claims.md", lambda draft: draft.write_text(text))
    print(f"{len(text.splitlines()) - 2} findings in {published / 'claims.md'}")
