"""What is found of the paper's claims follows the tables wherever these go."""

from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from fedmi.scopes import COUPLINGS
from fedmi.study import claims, outcomes, pages, results
from tests.study.test_outcomes import rows_of

FIGURES = Path(__file__).parents[2] / "figures"
DEPENDENT = tuple(name for name in COUPLINGS if name not in claims.NOTHING_SHARED)
UNTRIED = ("untried", ["shared-source-order", "shared-init", "shared-order"])
SETTINGS = ["null", "shared-source", "independent", "skewed"]


class Changed(claims.Published):
    """The published tables with some of them changed.

    Args:
        task: of which.
        name: what the names of these begin with.
        change: table -> table.
        end: what the names end with.
    """

    def __init__(self, task, name, change, end=""):
        super().__init__(FIGURES, task)
        self._name, self._change, self._end = name, change, end

    def table(self, name):
        found = super().table(name)
        meant = name.startswith(self._name) and name.endswith(self._end)
        return self._change(found) if meant else found


def verdict(find, name, change, task="digits", end=""):
    return find(Changed(task, name, change, end)).verdict


def set_all(**values):
    return lambda table: table.assign(**values)


class WithTrends(claims.Published):
    """The published tables, with some columns of their trends changed."""

    def __init__(self, values, task="digits"):
        super().__init__(FIGURES, task)
        self._values = values

    @property
    def trends(self):
        return super().trends.assign(**self._values)


def of_trends(find, **values):
    return find(WithTrends(values)).verdict


@pytest.mark.parametrize(
    ("states", "expected"),
    [
        (dict(a="holds", b="holds"), [("holds", [])]),
        (dict(a="holds", b="fails"), [("only", ["a"])]),
        (dict(a="holds", b="fails", c="holds", d="fails"), [("only", ["a", "c"])]),
        (dict(a="open", b="holds", c="holds"), [("holds", ["b", "c"]), ("open", ["a"])]),
        (
            dict(a="holds", b="open", c="infinite", d="fails"),
            [("holds", ["a"]), ("open", ["b"]), ("infinite", ["c"]), ("fails", ["d"])],
        ),
        (dict(a="holds", b="untried"), [("holds", ["a"]), ("untried", ["b"])]),
        (dict(a="infinite", b="infinite"), [("infinite", [])]),
        (dict(a="fails", b="fails"), [("fails", [])]),
        (dict(a="open", b="open"), [("open", [])]),
        (dict(a="fails", b="open"), [("open", ["b"]), ("fails", ["a"])]),
    ],
)
def test_a_verdict_is_what_its_states_come_to(states, expected):
    assert claims.Finding(states, {}).verdict == expected


@pytest.fixture(scope="module")
def published():
    return claims.facts(FIGURES)


def test_only_is_never_said_where_another_coupling_is_open_infinite_or_untried(published):
    page = published | dict(claims={"contradiction": {}})
    numbers = published["claims"]["contradiction"]["digits"]["finding"].numbers
    for states in product(claims.STATES, repeat=3):
        found = claims.Finding(dict(zip("abc", states, strict=True)), numbers)
        outcomes = [outcome for outcome, _ in found.verdict]
        assert ("only" in outcomes) == (set(states) == {"holds", "fails"}), (states, outcomes)
        told = dict(finding=found, choices=None)
        page["claims"]["contradiction"][" ".join(states)] = told
    lines = [line for line in pages.render("claims", page).splitlines() if "**" in line]
    for line, states in zip(lines, product(claims.STATES, repeat=3), strict=True):
        outcome = line.split("**")[1]
        assert ("only" in outcome) == (set(states) == {"holds", "fails"}), (states, outcome)
        for state, words in dict(open="is open", fails="fails", untried="not tried").items():
            said = state in states and "only" not in outcome
            assert not said or words in outcome, (states, outcome)


def test_one_coupling_is_open_and_one_infinite():
    rises = ["open", "open", "holds", "open", "infinite", "fails"]
    assert of_trends(claims.rises, rises=rises) == [
        ("holds", ["shared-source"]),
        ("open", ["shared-source-order"]),
        ("infinite", ["shared-init"]),
        ("fails", ["null", "independent", "shared-order"]),
    ]
    all_proven = ["open", "open", "holds", "fails", "fails", "fails"]  # nothing shared: known
    assert of_trends(claims.rises, rises=all_proven) == [("only", ["shared-source"])]


def test_a_claim_that_was_not_tried_everywhere_says_where():
    found = verdict(claims.not_optimal, "aggregation-", gaining(0.1))
    assert found == [("holds", SETTINGS), UNTRIED]
    assert UNTRIED in verdict(claims.not_additive, "", lambda table: table)
    assert UNTRIED in verdict(claims.compressible, "", lambda table: table)


def test_nothing_shared_is_no_evidence_of_dependence():
    found = of_trends(claims.above_zero, above_zero="holds")
    assert found == [("only", list(DEPENDENT))]
    found = of_trends(claims.above_zero, above_zero="open")
    assert found == [("open", list(DEPENDENT)), ("fails", list(claims.NOTHING_SHARED))]


def test_a_rise_that_is_open_cannot_be_told():
    for state, expected in (("open", "open"), ("fails", "fails"), ("holds", "only")):
        (found, *_) = of_trends(claims.rises, rises=state)
        assert found == (expected, [] if state == "fails" else list(DEPENDENT))


def test_clients_that_differ_do_not_train_alike():
    def later(table):
        return table.assign(mean=table["mean"] + 0.5 * (table.client == 1))

    # The first figure's table is that of the default coupling; the others stay as published.
    assert claims.alike(Changed("digits", "figure2", later)).states["shared-source"] == "fails"

    def far_from(table):
        return table.assign(mean=0.5 + 0.1 * (table.iteration == 0), low=0.4, high=0.7)

    # Of clients with laws of their own, a difference that may be of size proves nothing.
    assert verdict(claims.alike, "", far_from) == [
        ("holds", ["independent", "shared-source", "shared-source-order"]),
        ("open", ["null", "shared-init", "shared-order"]),
    ]

    def surely_near(table):
        return far_from(table).assign(low=0.5 - 1e-6, high=0.5 + 1e-6)

    assert verdict(claims.alike, "", surely_near) == [("holds", [])]


def rising(table):
    return table.assign(distance=table.iteration, distance_se=0.01)


@pytest.mark.parametrize(
    ("rise", "expected"), [(1.0, "holds"), (-0.5, "fails"), (0.01, "fails"), (0.02, "open")]
)
def test_distances_are_asked_for_a_rise_of_size(rise, expected):
    def course(table):
        share = (table.iteration - 1) / (table.iteration.max() - 1)
        return table.assign(distance=1 + rise * share, distance_se=0.001)

    found = verdict(claims.distances_rise, "", course, end="-distances")
    assert found == [(expected, [])]


@pytest.mark.parametrize(
    ("file", "coupling"),
    [("figure4", "shared-source"), ("digits-null", "null"), ("digits-shared-init", "shared-init")],
)
@pytest.mark.parametrize("metric", ["euclidean", "manhattan", "chebyshev"])
def test_one_distance_that_falls_is_enough_under_any_coupling(file, coupling, metric):
    class Falling(claims.Published):
        def table(self, name):
            found = super().table(name)
            falls = name.startswith(file) & (found.metric == metric)
            course = found.iteration.where(~falls, 1 / found.iteration)
            return found.assign(distance=course, distance_se=1e-4)

    found = claims.distances_rise(Falling(FIGURES, "digits"))
    assert {name for name, state in found.states.items() if state == "fails"} == {coupling}
    (other,) = found.numbers["others"]
    assert (other["coupling"], other["metric"], other["rises"]) == (coupling, metric, "fails")


def test_the_published_chebyshev_distance_falls_under_shared_init(published):
    finding = published["claims"]["distances_rise"]["digits"]["finding"]
    assert finding.states["shared-init"] == "fails"
    (row,) = (row for row in finding.numbers["others"] if row["coupling"] == "shared-init")
    assert row["metric"] == "chebyshev" and row["rise"] < 0


def closeness(**values):
    """The states of the three findings, of distances that rise and trends with these values."""

    class All(WithTrends):
        def table(self, name):
            found = super().table(name)
            return rising(found) if name.endswith("-distances") else found

    of = All(values)
    finds = (
        claims.not_closer_by_euclidean,
        claims.not_closer_by_all,
        claims.not_closer_by_others,
    )
    return [find(of).states for find in finds]


def test_closer_is_told_by_distance_and_against_other_seeds():
    state = dict(rises="holds", closer_first=0.0, closer_se=0.01)
    for closer, expected in ((0.2, "fails"), (-0.2, "holds"), (0.03, "open")):
        *by_distance, relative = closeness(**state, closer_last=closer)
        for states in (*by_distance, relative):
            assert states["null"] == states["independent"] == "fails"
        assert all(states[name] == "holds" for states in by_distance for name in DEPENDENT)
        assert {relative[name] for name in DEPENDENT} == {expected}


def test_an_infinite_reading_neither_rises_nor_fails_to():
    for states in closeness(rises="infinite", closer_last=-0.2, closer_first=0.0, closer_se=0.01):
        assert states["shared-source"] == "infinite" and states["null"] == "fails"
    *_, relative = closeness(rises="infinite", closer_last=0.2, closer_first=0.0, closer_se=0.01)
    assert relative["shared-source"] == "fails"  # clients get closer, whatever the reading does


def test_a_counter_example_that_shows_nothing_proves_nothing():
    flat = verdict(claims.contradiction, "proposition-", set_all(mi_bits=1.0, distance=1.0))
    assert flat == [("open", [])]


@pytest.mark.parametrize(
    ("told", "interval", "state"),
    [
        ("not rejected", (0.2, 0.3), "open"),
        ("rejected", (0.2, 0.3), "holds"),
        ("rejected", (0.05, 0.15), "open"),
        ("rejected", (0.01, 0.05), "fails"),
    ],
)
def test_the_additive_model_falls_where_a_test_rejects_and_the_departure_is_of_size(
    told, interval, state
):
    class Tests(claims.Published):
        def table(self, name):
            found = super().table(name)
            if name.endswith("-noise"):
                return found.assign(low=interval[0], high=interval[1])
            if not name.endswith(("digits", "skewed")):
                return found
            return found.assign(by_construction=False, verdict=told)

    found = claims.not_additive(Tests(FIGURES, "digits"))
    assert found.states["shared-source"] == found.states["skewed"] == state
    assert found.states["null"] == found.states["independent"] == "fails"
    assert found.numbers["studies"]["skewed"]["rejected"] == 21 * (told == "rejected")


def gaining(share, error=0.001):
    """All methods but the download gain this share of a fall of 1 over the mean."""

    def change(table):
        less = np.where(table.method == "download", 1.0, -share)
        return table.assign(objective_less_mean=less, objective_less_mean_se=error)

    return change


@pytest.mark.parametrize(
    ("share", "state"), [(0.001, "fails"), (0.02, "open"), (0.1, "holds"), (-0.1, "fails")]
)
def test_averaging_is_beaten_only_by_a_gain_of_size(share, state):
    for find, task in (
        (claims.not_optimal, "digits"),
        (claims.not_optimal_but_in_length, "signal"),
        (claims.reasonable, "signal"),
    ):
        assert (state, SETTINGS) in verdict(find, "aggregation-", gaining(share), task)


def test_a_longer_step_is_no_other_direction():
    def only_longer(table):
        gained = table.method.isin(["server step", "FedExP step"])
        less = np.where(gained, -0.3, np.where(table.method == "download", 1.0, 0.001))
        return table.assign(objective_less_mean=less, objective_less_mean_se=0.001)

    assert verdict(claims.not_optimal, "aggregation-", only_longer)[0] == ("holds", SETTINGS)
    assert ("fails", SETTINGS) in verdict(
        claims.not_optimal_but_in_length, "aggregation-", only_longer
    )


def test_a_theorem_holds_under_every_coupling():
    assert verdict(claims.reasonable, "aggregation-", gaining(-0.1)) == [("fails", [])]
    assert UNTRIED in verdict(claims.reasonable, "aggregation-", gaining(-0.1), "signal")


@pytest.mark.parametrize(
    ("saved", "error", "state"),
    [
        (0.06, 0.01, "open"),
        (0.1, 0.01, "holds"),
        (0.01, 0.001, "fails"),
        (float("nan"), 0, "open"),
    ],
)
def test_what_is_saved_is_beyond_chance(saved, error, state):
    given = set_all(saved_one=saved, saved_one_se=error)
    found = claims.compressible(Changed("digits", "compression-", given)).states
    assert found["shared-source"] == state
    assert found["null"] == found["independent"] == "fails"


def test_a_missing_table_is_named_with_what_makes_it(tmp_path):
    with pytest.raises(FileNotFoundError, match="couplings-signal.csv: `make couplings"):
        claims.facts(tmp_path)


def test_all_claims_are_found_on_both_tasks(published):
    assert list(published["claims"]) == [find.__name__ for find in claims.CLAIMS]
    for by_task in published["claims"].values():
        assert list(by_task) == ["signal", "digits"]
        for found in by_task.values():
            assert set(found["finding"].states.values()) <= set(claims.STATES)
            assert found["tables"]


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
    page = pages.render("claims", claims.facts(tmp_path))
    assert "| 33 % of 3 (1 open) | choice (a holds, b fails); other (" in page


def test_the_page_is_written(tmp_path):
    for table in FIGURES.glob("*.csv"):
        (tmp_path / table.name).symlink_to(table)
    page = pages.render("claims", claims.facts(tmp_path))
    assert page == (FIGURES / "claims.md").read_text()
