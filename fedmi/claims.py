"""The paper's claims, one by one, against what was measured.

Every number and every verdict comes out of the published tables: `python -m fedmi.claims figures`
writes `claims.md` anew. A claim *holds*, *fails*, *holds only under* some conditions, or *cannot be
told*; after ± stands the 95 % error.
"""

import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd

from fedmi import comparison, evidence, plotting, tables
from fedmi.aggregation import MEAN
from fedmi.couplings import DEFAULT, sign, study_of
from fedmi.mi.family import bonferroni_limit
from fedmi.scopes import COUPLINGS

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


def verdict(states: Mapping[str, str]) -> str:
    """What yes, no and open come to.

    Args:
        states: under what -> "yes", "no" or "open".
    """
    under = {
        state: ", ".join(f"`{name}`" for name, own in states.items() if own == state)
        for state in ("yes", "no", "open")
    }
    if under["yes"]:
        everywhere = not under["no"] and not under["open"]
        return "holds" if everywhere else f"holds only under {under['yes']}"
    if not under["open"]:
        return "fails"
    if not under["no"]:
        return "cannot be told"
    return f"fails under {under['no']}, cannot be told under {under['open']}"


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
    states = trends.rises.replace("infinite", "open").to_dict()
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
    """Sections 3.1 and 3.2: the clients train alike."""
    told, states = [], {}
    for coupling in COUPLINGS:
        study = study_of(published.task, coupling)
        learning = published.table(f"{plotting.figure_names(study)[0]}-learning")
        learning = learning[~learning.metric.str.startswith(tables.HELD_OUT)]
        at = learning[learning.iteration == learning.iteration.max()]
        error = (at.high - at.low).to_numpy() / (2 * 1.96)
        mean = at["mean"].to_numpy()
        pairs = [
            (abs(mean[a] - mean[b]), np.hypot(error[a], error[b]))
            for a, b in combinations(range(len(mean)), 2)
        ]
        most, its_error = max(pairs, key=lambda pair: pair[0] / pair[1])
        apart = most > bonferroni_limit(len(pairs) * len(COUPLINGS)) * its_error
        states[coupling] = "no" if apart else "yes"
        told.append(f"`{coupling}` {most:.4f} ± {1.96 * its_error:.4f}")
    metric = at.metric.iloc[0]
    return Finding(
        f"{plotting.METRICS.get(metric, metric)} in the last step of training, largest difference "
        f"of two clients: {', '.join(told)}. Clients whose data have one law are alike by "
        "construction",
        verdict(states),
    )


def distances_rise(published: Published) -> Finding:
    """Section 3.3: all three distances rise."""
    distances = published.table(plotting.figure_names(published.task)[1])
    means = distances.groupby(["metric", "iteration"])[["distance", "distance_se"]].mean()
    told, states = [], published.trends.distance_rises.to_dict()
    for metric in distances.metric.unique():
        rows = means.loc[metric]
        first, last = rows.iloc[0], rows.iloc[-1]
        change = last.distance - first.distance
        error = np.hypot(first.distance_se, last.distance_se)
        peak = rows.distance.idxmax()
        turns = "" if peak == rows.index[-1] else f", largest at {peak}"
        told.append(
            f"{metric} {first.distance:.3f} to {last.distance:.3f} "
            f"({_signed(change, error)}{turns})"
        )
        if states[DEFAULT] == "yes":  # of Euclidean distances; the others must agree
            states[DEFAULT] = sign(change, error)
    return Finding(f"`{DEFAULT}`, first to last: {'; '.join(told)}", verdict(states))


def not_closer(published: Published) -> Finding:
    """Abstract: more correlated while not getting closer."""
    trends = published.trends
    closer = trends.closer_last - trends.closer_first
    literal, relative = {}, {}
    for name, row in trends.iterrows():
        rising = "no" if name in NOTHING_SHARED else row.rises.replace("infinite", "open")
        farther = sign(-closer[name], np.sqrt(2) * row.closer_se)
        literal[name] = _both(rising, row.distance_rises)
        relative[name] = _both(rising, farther)
    own = trends.loc[DEFAULT]
    return Finding(
        f"`{DEFAULT}`: reading {_bits(own.rise_bits, own.rise_se)} bits, Euclidean distance "
        f"{_signed(own.distance_rise, own.distance_rise_se)} from first to last; closer than "
        f"clients of other seeds by {100 * own.closer_first:.1f} % at first and "
        f"{100 * own.closer_last:.1f} % at the end (± {196 * own.closer_se:.1f})",
        f"by distance: {verdict(literal)}; against clients of other seeds: {verdict(relative)}",
    )


def _both(one: str, other: str) -> str:
    if "no" in (one, other):
        return "no"
    return "yes" if one == other == "yes" else "open"


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
        "fails" if both else "holds",
    )


def not_additive(published: Published) -> Finding:
    """Proposition 1: the clients are no additive model."""
    told, states = [], {}
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
    return Finding("; ".join(told), verdict(states))


def not_optimal(published: Published) -> Finding:
    """Title: averaging is not the optimum way of aggregating."""
    table = published.table(f"aggregation-{published.task}")
    limit = bonferroni_limit(len(table))
    told, states = [], {}
    for setting, rows in table[table.iteration == table.iteration.max()].groupby(
        "setting", sort=False
    ):
        best = comparison.best_aggregator(rows, limit)
        by_name = rows.set_index("method")
        text = f"`{setting}`: F of the mean {by_name.objective[MEAN]:.3f}"
        if best is not None:
            text += f", {best.method} {_less(best)}"
        for oracle in (comparison.LINE, comparison.PLANE):
            text += f", {oracle} {_less(by_name.loc[oracle])}"
        told.append(text)
        rivals = by_name[~by_name.reference].drop([MEAN, *comparison.MAPS], errors="ignore")
        worse = rivals.objective_less_mean > limit * rivals.objective_less_mean_se
        states[setting] = "yes" if best is not None else "no" if worse.all() else "open"
    return Finding(
        f"at the end, less F of the mean (fitted maps, which can remember other seeds, left out): "
        f"{'; '.join(told)}",
        verdict(states),
    )


CONVEX = ("digits",)
"""Tasks whose loss is convex in what is trained: no mean is then above the average client."""


def reasonable(published: Published) -> Finding:
    """Section 3.3: there is no reason why averaging should give even a reasonable model."""
    table = published.table(f"aggregation-{published.task}")
    limit = bonferroni_limit(len(table))
    alone = table[table.method == comparison.ALONE]
    states = {}
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
        + (theorem if published.task in CONVEX else ""),
        verdict(states),
    )


def compressible(published: Published) -> Finding:
    """Section 4: the dependence lets uploads be compressed (distributed source coding)."""
    table = published.table(f"compression-{published.task}")
    table = table[(table.channel == "noise") & (table.iteration == table.iteration.max())]
    row = table[table.tolerance == sorted(table.tolerance.unique())[-2]].iloc[0]
    if np.isnan(row.saved_one):
        return Finding("there are no bits to save, or too few seeds to tell", "cannot be told")
    saves = f"{100 * row.saved_one:.2f} ± {196 * row.saved_one_se:.2f} %"
    return Finding(
        f"`{DEFAULT}`, at the end, at a cost of {100 * row.tolerance:g} % of what training gained: "
        f"{row.bits:.3f} ± {1.96 * row.bits_se:.3f} bits a parameter, of which another client at "
        f"the server saves {saves} (MI {row.mi_one:.4f} bits a parameter)",
        verdict({DEFAULT: sign(row.saved_one, row.saved_one_se)}),
    )


CLAIMS: tuple[tuple[str, Callable[[Published], Finding]], ...] = (
    ("Clients' parameters are correlated: MI above zero (abstract)", above_zero),
    ("MI rises as training goes on (abstract; by the Gaussian reading)", rises),
    ("The clients train alike (Sections 3.1, 3.2)", alike),
    ("All three distances rise (Section 3.3)", distances_rise),
    ("More correlated while not getting closer (abstract)", not_closer),
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
