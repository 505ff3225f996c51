"""The paper's claims, one by one: what was measured, and what becomes of it under other choices.

Beside an effect of the default study (`fedmi.study.findings`) stands under which couplings the
claim holds, and in what share of all choices that the paper left open (`fedmi.study.outcomes`).
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from fedmi.study import findings, outcomes
from fedmi.study.findings import STATES, Finding, Published
from fedmi.study.sizes import FAILS, HOLDS, OPEN
from fedmi.study.summary import TASKS
from fedmi.study.trends import DEFAULT


@dataclass(frozen=True)
class Claim:
    """What the paper claims.

    Attributes:
        find: what was measured of it.
        says: the claim, in words.
        place: in the paper.
        page: which pages tell more, by their names before the task's.
        choices: its name where every choice is asked (`fedmi.study.outcomes`), if it is.
    """

    find: Callable[[Published], Finding]
    says: str
    place: str
    page: str
    choices: str | None = None

    @property
    def name(self) -> str:
        """That of the function that finds what was measured."""
        return self.find.__name__


CLAIMS: tuple[Claim, ...] = (
    Claim(
        findings.above_zero,
        says="Clients' parameters are correlated: their MI is above zero",
        place="abstract",
        page="couplings",
        choices="above_zero",
    ),
    Claim(
        findings.rises,
        says="MI rises as training goes on",
        place="abstract",
        page="couplings",
        choices="rises",
    ),
    Claim(
        findings.alike,
        says="The clients train alike",
        place="Sections 3.1 and 3.2",
        page="couplings",
    ),
    Claim(
        findings.distances_rise,
        says="All three distances rise",
        place="Section 3.3",
        page="couplings",
        choices="distances_rise",
    ),
    Claim(
        findings.not_closer_by_euclidean,
        says="More correlated, clients do not get closer",
        place="abstract",
        page="couplings",
        choices="not_closer",
    ),
    Claim(
        findings.not_closer_by_all,
        says="The same, by all three distances",
        place="abstract",
        page="couplings",
        choices="not_closer_by_all",
    ),
    Claim(
        findings.not_closer_by_others,
        says="The same, in comparison with clients of other seeds",
        place="abstract",
        page="couplings",
        choices="not_closer_by_others",
    ),
    Claim(
        findings.contradiction,
        says="Rising MI with rising distance contradicts X = P + N1, Y = P + N2",
        place="proof of Proposition 1",
        page="proposition",
    ),
    Claim(
        findings.not_additive,
        says="The clients are no such model",
        place="Proposition 1",
        page="proposition",
    ),
    Claim(
        findings.not_optimal,
        says="Averaging is not the optimum",
        place="title",
        page="aggregation",
    ),
    Claim(
        findings.not_optimal_but_in_length,
        says="The same, but for a longer step along the mean",
        place="title",
        page="aggregation",
    ),
    Claim(
        findings.reasonable,
        says="Without that model averaging need not even be reasonable",
        place="Section 3.3",
        page="aggregation",
    ),
    Claim(
        findings.compressible,
        says="Their dependence lets uploads be compressed",
        place="Section 4",
        page="compression",
    ),
)


def of_choices(published: Published, claim: Claim) -> dict[str, Any] | None:
    """What all choices come to: counts of outcomes, and the choices that decide.

    Args:
        published: the tables of a task.
        claim: the claim.

    Returns:
        `shares` and `deciding` as `fedmi.study.outcomes` has them, and the `rows` they are of. None
        for a claim that is asked of the default study alone, and where no choices were published.
    """
    name = f"choices-{published.task}-outcomes"
    if claim.choices is None or not published.has(name):
        return None
    judged = published.table(name)
    rows = judged.loc[(judged.claim == claim.choices) & ~judged.control.astype(bool)]
    shares, deciding = outcomes.shares(rows.outcome.to_list()), outcomes.deciding(rows)
    return dict(shares=shares, deciding=deciding, rows=rows)


def trace(folder: Path, claim: str, task: str) -> dict[str, Any]:
    """A verdict with all that it follows from.

    Args:
        folder: the published tables.
        claim: the name of one of `CLAIMS`.
        task: the task's name.

    Returns:
        `claim`; `finding`; `choices`, with the rows of every choice's outcome (`of_choices`); and
        `tables`, the names of the published tables that were read for both.

    Raises:
        FileNotFoundError: if a table is missing.
    """
    published = Published(folder, task)
    asked = next(asked for asked in CLAIMS if asked.name == claim)
    found = dict(claim=asked, finding=asked.find(published), choices=of_choices(published, asked))
    return found | dict(tables=published.read)


def facts(folder: Path) -> dict:
    """What the page "claims" says.

    Args:
        folder: the published tables.

    Raises:
        FileNotFoundError: if a table is missing.
    """
    traces = [(task, trace(folder, claim.name, task)) for claim in CLAIMS for task in TASKS]
    return dict(coupling=DEFAULT, traces=traces)


def table(facts: Mapping[str, Any]) -> pd.DataFrame:
    """The claims as a table: a row a claim and task.

    Args:
        facts: as `facts` returns them.

    Returns:
        `claim`, what it `says`, its `place` in the paper, `task`; of the default study `what` is
        measured, its `value`, standard `error` and `unit`, the smallest `size` that matters, and
        the `outcome`; couplings by outcome (`holds_under`, ...); points of the multiverse by
        outcome (`points_holds`, ...), the choices that decide, `decided_by`, and the `tables` that
        were read.
    """
    return pd.DataFrame([_row(task, **trace) for task, trace in facts["traces"]])


def _row(task: str, claim: Claim, finding: Finding, choices: dict | None, tables: list) -> dict:
    states, effect = finding.states, finding.effect
    shares = choices["shares"] if choices else {}
    return (
        dict(claim=claim.name, says=claim.says, place=claim.place, task=task)
        | (asdict(effect) if effect else {})
        | dict(outcome=finding.outcome)
        | {f"{of}_under": " ".join(name for name in states if states[name] == of) for of in STATES}
        | {f"points_{of}": shares.get(of) for of in (HOLDS, OPEN, FAILS)}
        | dict(
            decided_by="; ".join(choices["deciding"]) if choices else None, tables=" ".join(tables)
        )
    )
