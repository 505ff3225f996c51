"""Claims, with all that their verdicts follow from, are said in a page and in a table."""

from itertools import product
from pathlib import Path

import pandas as pd
import pytest

from fedmi.study import claims, findings, outcomes, pages, results
from tests.study.test_outcomes import rows_of

FIGURES = Path(__file__).parents[2] / "figures"
UNDER = ("shared-source", "shared-init", "null")


@pytest.fixture(scope="module")
def published():
    return claims.facts(FIGURES)


def test_only_is_never_said_where_another_coupling_is_open_infinite_or_untried(published):
    claim, page = claims.CLAIMS[0], published | dict(traces=[])
    for states in product(findings.STATES, repeat=3):
        found = findings.Finding(dict(zip(UNDER, states, strict=True)))
        outcomes = [outcome for outcome, _ in found.verdict]
        assert ("only" in outcomes) == (set(states) == {"holds", "fails"}), (states, outcomes)
        page["traces"].append(("digits", dict(claim=claim, finding=found, choices=None)))
    lines = [line for line in pages.render("claims", page).splitlines() if "**" in line]
    for line, states in zip(lines, product(findings.STATES, repeat=3), strict=True):
        _, outcome, by_coupling = line.split("**")
        assert outcome == states[0]
        outcome = by_coupling.split(" | ")[1]
        assert ("only" in outcome) == (set(states) == {"holds", "fails"}), (states, outcome)
        for state, words in dict(open="is open", fails="fails", untried="not tried").items():
            said = state in states and "only" not in outcome
            assert not said or words in outcome, (states, outcome)


def test_a_missing_table_is_named_with_what_makes_it(tmp_path):
    with pytest.raises(FileNotFoundError, match="couplings-signal.csv: `make couplings"):
        claims.facts(tmp_path)


def test_all_claims_are_found_on_both_tasks(published):
    both = [(claim.name, task) for claim in claims.CLAIMS for task in ("signal", "digits")]
    assert [(found["claim"].name, task) for task, found in published["traces"]] == both
    for _, found in published["traces"]:
        assert set(found["finding"].states.values()) <= set(findings.STATES)
        assert found["tables"]


def test_what_the_default_study_measures_is_on_the_side_of_its_size_that_is_told(published):
    for _, found in published["traces"]:
        effect, outcome = found["finding"].effect, found["finding"].outcome
        at_most = found["claim"].name == "alike"  # where the size is the most that there may be
        if effect is None:
            assert found["claim"].name == "contradiction"
        elif outcome != "open":
            assert (outcome == "holds") != (effect.value < effect.size) or at_most, found
            assert effect.error < abs(effect.value - effect.size)


def with_choices(folder, task, rows):
    """The published tables, and of a task these rows of a multiverse."""
    for table in FIGURES.glob("*.csv"):
        if not table.name.startswith("choices-"):
            (folder / table.name).symlink_to(table)
    table = pd.DataFrame(rows)
    results.write(outcomes.judge(table), folder / f"choices-{task}-outcomes.csv")


def test_a_verdict_is_traced_to_the_choices_and_tables_that_it_follows_from(tmp_path):
    with_choices(
        tmp_path,
        "digits",
        [
            *rows_of("default"),
            *rows_of("turned", rise=-5, **{"by choice": "b"}),
            *rows_of("chaotic", chaotic=True, **{"by other": "b"}),
            *rows_of("infinite", infinite=True, **{"by other": "c"}),
            *rows_of("open", rise=0.1, **{"by other": "d"}),
            *rows_of("control", rise=9.0, control=True),
        ],
    )
    found = claims.trace(tmp_path, "rises", "digits")
    assert found["tables"] == ["couplings-digits", "choices-digits-outcomes"]
    choices = found["choices"]
    assert choices["rows"].set_index("point").outcome.to_dict() == {
        "default": "holds", "turned": "fails", "chaotic": "chaotic", "infinite": "infinite",
        "open": "open",
    }  # fmt: skip
    assert choices["shares"] == dict(holds=1, open=1, fails=1, infinite=1, chaotic=1, refused=0)
    assert choices["deciding"]["choice"] == {"a": "holds", "b": "fails"}
    assert claims.trace(tmp_path, "rises", "signal")["choices"] is None
    assert claims.trace(tmp_path, "compressible", "digits")["choices"] is None
    facts = claims.facts(tmp_path)
    page = pages.render("claims", facts)
    assert "| [33 % of 3](choices-digits.md) (1 open) | choice (a holds, b fails); other (" in page
    table = claims.table(facts).set_index(["claim", "task"])
    row = table.loc[("rises", "digits")]
    assert (row.points_holds, row.points_open, row.points_fails) == (1, 1, 1)
    assert (row.decided_by, row.holds_under) == ("choice; other", "shared-source")
    assert table.points_holds[("rises", "signal")] != table.points_holds[("rises", "signal")]


def test_the_page_is_written(tmp_path):
    for table in FIGURES.glob("*.csv"):
        (tmp_path / table.name).symlink_to(table)
    page = pages.render("claims", claims.facts(tmp_path))
    assert (FIGURES / "claims.md").read_text().startswith(page.rstrip() + "\n\nMade ")


def test_the_table_is_written(published, tmp_path):
    results.write(claims.table(published), tmp_path / "claims.csv")
    found, expected = (results.read_csv(folder / "claims.csv") for folder in (tmp_path, FIGURES))
    pd.testing.assert_frame_equal(found, expected)
