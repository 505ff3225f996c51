"""The paper's claims, one by one, against what was measured.

Every number and every verdict comes out of the published tables: `python -m fedmi.claims figures`
writes `claims.md` anew. A claim *holds*, *fails*, *holds only under* some conditions, or *cannot be
told*; after ± stands the 95 % error.
"""

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd

from fedmi import comparison, evidence, plotting, tables
from fedmi.aggregation import MEAN
from fedmi.couplings import DEFAULT
from fedmi.mi.family import bonferroni_limit

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


def _under(holding: pd.Series, what: str = "") -> str:
    names = ", ".join(f"`{name}`" for name in holding.index[holding])
    if not names:
        return "fails"
    return "holds" if holding.all() else f"holds only under {names}{what}"


def above_zero(published: Published) -> Finding:
    """Abstract: the clients' parameters are correlated, their MI is above zero."""
    trends = published.trends
    own = trends.loc[DEFAULT]
    nothing = trends.loc[list(NOTHING_SHARED)]
    return Finding(
        f"Gaussian reading, net of re-paired seeds, {_bits(own.first_bits, own.first_se)} at first "
        f"and {_bits(own.last_bits, own.last_se)} bits at the end (p {own.smallest_p_family:.2f} "
        "over all pairs and checkpoints). Where nothing is shared the truth is 0, and p "
        f"{nothing.smallest_p_family.min():.2f} or more",
        _under(trends.above_zero == "yes"),
    )


def rises(published: Published) -> Finding:
    """Abstract: the MI rises as training goes on."""
    trends = published.trends
    own = trends.loc[DEFAULT]
    verdict = _under(trends.rises == "yes")
    if verdict == "fails" and own.rises == "open":
        verdict = "cannot be told"
    others = [
        f"`{name}` {_bits(row.rise_bits, row.rise_se)}"
        if not row.infinite
        else f"`{name}` infinite"
        for name, row in trends.drop([DEFAULT, *NOTHING_SHARED]).iterrows()
    ]
    return Finding(
        f"last less first {_bits(own.rise_bits, own.rise_se)} bits under `{DEFAULT}`; "
        f"{', '.join(others)}",
        verdict,
    )


def alike(published: Published) -> Finding:
    """Section 3: the clients train alike."""
    name = f"{plotting.figure_names(published.task)[0]}-learning"
    learning = published.table(name)
    metric = next(m for m in learning.metric.unique() if not m.startswith(tables.HELD_OUT))
    at = learning[(learning.metric == metric) & (learning.iteration == learning.iteration.max())]
    error = dict(zip(at.client, (at.high - at.low) / (2 * 1.96), strict=True))
    mean = dict(zip(at.client, at["mean"], strict=True))
    pairs = {
        (a, b): (mean[a] - mean[b], np.hypot(error[a], error[b]))
        for a, b in combinations(at.client, 2)
    }
    (a, b), (most, its_error) = max(pairs.items(), key=lambda item: abs(item[1][0]) / item[1][1])
    values = ", ".join(f"{value:.4f}" for value in mean.values())
    apart = abs(most) > bonferroni_limit(len(pairs)) * its_error
    return Finding(
        f"{plotting.METRICS.get(metric, metric)} in the last step of training {values}; clients "
        f"{a} and {b} differ by {_signed(most, its_error)}",
        "fails" if apart else "holds",
    )


def distances_rise(published: Published) -> Finding:
    """Section 3.3: all three distances rise."""
    distances = published.table(plotting.figure_names(published.task)[1])
    means = distances.groupby(["metric", "iteration"])[["distance", "distance_se"]].mean()
    told, up, throughout = [], [], []
    for metric in distances.metric.unique():
        rows = means.loc[metric]
        first, last = rows.iloc[0], rows.iloc[-1]
        change = last.distance - first.distance
        error = np.hypot(first.distance_se, last.distance_se)
        peak = rows.distance.idxmax()
        up.append(change > 1.96 * error)
        throughout.append(peak == rows.index[-1])
        told.append(
            f"{metric} {first.distance:.3f} to {last.distance:.3f} ({_signed(change, error)}"
            + ("" if peak == rows.index[-1] else f", largest at {peak}")
            + ")"
        )
    if not all(up):
        verdict = "fails" if not any(up) else "holds only for some distances"
    else:
        verdict = "holds" if all(throughout) else "holds only from first to last, not throughout"
    return Finding("; ".join(told), verdict)


def not_closer(published: Published) -> Finding:
    """Abstract: more correlated while not getting closer."""
    trends = published.trends
    error = np.sqrt(2) * trends.closer_se
    closer = trends.closer_last - trends.closer_first
    both = (trends.rises == "yes") & (closer <= 1.96 * error)
    own = trends.loc[DEFAULT]
    text = (
        f"reading {_bits(own.rise_bits, own.rise_se)} bits; clients of one seed closer than "
        f"clients of other seeds by {100 * own.closer_first:.1f} % at first and "
        f"{100 * own.closer_last:.1f} % at the end (± {196 * own.closer_se:.1f})"
    )
    return Finding(text, _under(both))


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
    told, verdicts = [], {}
    for study in (published.task, f"{published.task}-skewed"):
        tests = published.table(f"proposition-{study}")
        noise = published.table(f"proposition-{study}-noise").iloc[-1]
        open_ones = tests[~tests.by_construction.astype(bool)]
        rejected = open_ones[open_ones.verdict == "rejected"]
        covariances = rejected.test.isin(evidence.OF_COVARIANCES).any()
        name = "skewed" if study.endswith("skewed") else DEFAULT
        told.append(
            f"`{name}`: {len(rejected)} of {len(open_ones)} tests that could tell reject "
            + (f"({', '.join(rejected.test.unique())}), " if len(rejected) else "")
            + f"smallest p {open_ones.p_holm.min():.1g}; the noise's variance differs with what is "
            f"shared by {100 * noise.variation:.1f} % ({100 * noise.low:.1f} to "
            f"{100 * noise.high:.1f})" + ("; covariances of clients differ" if covariances else "")
        )
        verdicts[name] = len(rejected) > 0
    holding = pd.Series(verdicts)
    verdict = _under(holding)
    if verdict == "fails":
        verdict = "cannot be told"
    return Finding("; ".join(told), verdict)


def not_optimal(published: Published) -> Finding:
    """Title: averaging is not the optimum way of aggregating."""
    table = published.table(f"aggregation-{published.task}")
    limit = bonferroni_limit(len(table))
    at = table[table.iteration == table.iteration.max()]
    told, beaten = [], {}
    for setting, rows in at.groupby("setting", sort=False):
        rows = rows.set_index("method")
        rivals = rows[~rows.reference & (rows.index != MEAN)]
        best = rivals.loc[rivals.objective_less_mean.idxmin()]
        less, error = best.objective_less_mean, best.objective_less_mean_se
        alone, plane = rows.loc[comparison.ALONE], rows.loc[comparison.PLANE]
        told.append(
            f"`{setting}`: F of the mean {rows.objective[MEAN]:.3f}, each client alone "
            f"{_signed(alone.objective_less_mean, alone.objective_less_mean_se)}, {best.name} "
            f"{_signed(less, error)}, best point between the clients "
            f"{_signed(plane.objective_less_mean, plane.objective_less_mean_se)}"
        )
        beaten[setting] = less < -limit * error
    return Finding("; ".join(told), _under(pd.Series(beaten)))


def reasonable(published: Published) -> Finding:
    """Section 3.3: there is no reason why averaging should give even a reasonable estimate."""
    table = published.table(f"aggregation-{published.task}")
    limit = bonferroni_limit(len(table))
    alone = table[table.method == comparison.ALONE].copy()
    better = alone.objective_less_mean > limit * alone.objective_less_mean_se
    last = alone[alone.iteration == alone.iteration.max()]
    shares = ", ".join(
        f"`{row.setting}` {100 * (1 - row.better):.0f} %" for row in last.itertuples()
    )
    worse = pd.Series(
        [not better[alone.setting == s].all() for s in alone.setting.unique()],
        alone.setting.unique(),
    )
    return Finding(
        "the mean is below the average client in F, at the end, in this share of the seeds: "
        f"{shares}; beyond chance at {better.sum()} of {len(better)} settings and checkpoints",
        _under(worse),
    )


def compressible(published: Published) -> Finding:
    """Section 4: the dependence lets uploads be compressed (distributed source coding)."""
    table = published.table(f"compression-{published.task}")
    table = table[(table.channel == "noise") & (table.iteration == table.iteration.max())]
    row = table[table.tolerance == sorted(table.tolerance.unique())[-2]].iloc[0]
    saved = row.saved_one > 1.96 * row.saved_one_se
    return Finding(
        f"at the end, at a cost of {100 * row.tolerance:g} % of what training gained: "
        f"{row.bits / row.parameters:.3f} ± {1.96 * row.bits_se / row.parameters:.3f} bits a "
        f"parameter, of which another client at the server saves {100 * row.saved_one:.1f} ± "
        f"{196 * row.saved_one_se:.1f} % (MI {row.mi_one / row.parameters:.4f} bits a parameter)",
        "holds" if saved else "cannot be told",
    )


CLAIMS: tuple[tuple[str, Callable[[Published], Finding]], ...] = (
    ("Clients' parameters are correlated: MI above zero (abstract)", above_zero),
    ("MI rises as training goes on (abstract)", rises),
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
