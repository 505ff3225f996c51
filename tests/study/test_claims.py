"""What is found of the paper's claims follows the tables wherever these go."""

from itertools import product
from pathlib import Path

import pytest

from fedmi.scopes import COUPLINGS
from fedmi.study import claims, pages

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


@pytest.mark.parametrize(
    ("states", "expected"),
    [
        (dict(a="yes", b="yes"), [("yes", [])]),
        (dict(a="yes", b="no"), [("only", ["a"])]),
        (dict(a="yes", b="no", c="yes", d="no"), [("only", ["a", "c"])]),
        (dict(a="open", b="yes", c="yes"), [("yes", ["b", "c"]), ("open", ["a"])]),
        (
            dict(a="yes", b="open", c="infinite", d="no"),
            [("yes", ["a"]), ("open", ["b"]), ("infinite", ["c"]), ("no", ["d"])],
        ),
        (dict(a="yes", b="untried"), [("yes", ["a"]), ("untried", ["b"])]),
        (dict(a="infinite", b="infinite"), [("infinite", [])]),
        (dict(a="no", b="no"), [("no", [])]),
        (dict(a="open", b="open"), [("open", [])]),
        (dict(a="no", b="open"), [("open", ["b"]), ("no", ["a"])]),
    ],
)
def test_a_verdict_is_what_its_states_come_to(states, expected):
    assert claims.Finding(states, {}).verdict == expected


@pytest.fixture(scope="module")
def published():
    return claims.facts(FIGURES)


def test_only_is_never_said_where_another_coupling_is_open_infinite_or_untried(published):
    page = published | dict(claims={"contradiction": {}})
    numbers = published["claims"]["contradiction"]["digits"].numbers
    for states in product(claims.STATES, repeat=3):
        found = claims.Finding(dict(zip("abc", states, strict=True)), numbers)
        outcomes = [outcome for outcome, _ in found.verdict]
        assert ("only" in outcomes) == (set(states) == {"yes", "no"}), (states, outcomes)
        page["claims"]["contradiction"][" ".join(states)] = found
    lines = pages.render("claims", page).splitlines()[-(5**3) :]
    for line, states in zip(lines, product(claims.STATES, repeat=3), strict=True):
        outcome = line.split("**")[1]
        assert ("only" in outcome) == (set(states) == {"yes", "no"}), (states, outcome)
        for state, words in dict(open="cannot be told", no="fails", untried="not tried").items():
            said = state in states and "only" not in outcome
            assert not said or words in outcome, (states, outcome)


def test_one_coupling_is_open_and_one_infinite():
    rises = ["open", "open", "yes", "open", "infinite", "no"]
    assert verdict(claims.rises, "couplings-", set_all(rises=rises)) == [
        ("yes", ["shared-source"]),
        ("open", ["shared-source-order"]),
        ("infinite", ["shared-init"]),
        ("no", ["null", "independent", "shared-order"]),
    ]
    all_proven = ["open", "open", "yes", "no", "no", "no"]  # nothing shared: the truth is known
    found = verdict(claims.rises, "couplings-", set_all(rises=all_proven))
    assert found == [("only", ["shared-source"])]


def test_a_claim_that_was_not_tried_everywhere_says_where():
    tried = dict(objective_less_mean=-0.1, objective_less_mean_se=0.001)
    found = verdict(claims.not_optimal, "aggregation-", set_all(**tried))
    assert found == [("yes", SETTINGS), UNTRIED]
    assert UNTRIED in verdict(claims.not_additive, "", lambda table: table)
    assert UNTRIED in verdict(claims.compressible, "", lambda table: table)


def test_nothing_shared_is_no_evidence_of_dependence():
    found = verdict(claims.above_zero, "couplings-", set_all(above_zero="yes"))
    assert found == [("only", list(DEPENDENT))]
    found = verdict(claims.above_zero, "couplings-", set_all(above_zero="open"))
    assert found == [("open", list(DEPENDENT)), ("no", list(claims.NOTHING_SHARED))]


def test_a_rise_that_is_open_cannot_be_told():
    for state, expected in (("open", "open"), ("no", "no"), ("yes", "only")):
        (found, *_) = verdict(claims.rises, "couplings-", set_all(rises=state))
        assert found == (expected, [] if state == "no" else list(DEPENDENT))


def test_clients_that_differ_do_not_train_alike():
    def later(table):
        return table.assign(mean=table["mean"] + 0.5 * (table.client == 1))

    # The first figure's table is that of the default coupling; the others stay as published.
    assert claims.alike(Changed("digits", "figure2", later)).states["shared-source"] == "no"
    # Of clients with laws of their own, a difference that is not seen proves nothing.
    assert verdict(claims.alike, "", set_all(mean=0.5)) == [
        ("yes", ["independent", "shared-source", "shared-source-order"]),
        ("open", ["null", "shared-init", "shared-order"]),
    ]


def rising(table):
    return table.assign(distance=table.iteration, distance_se=0.01)


@pytest.mark.parametrize(("rise", "expected"), [(1, "yes"), (-1, "no"), (0, "open")])
def test_distances_are_asked_for_their_course(rise, expected):
    def course(table):
        return table.assign(distance=rise * table.iteration, distance_se=0.01)

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
            return found.assign(distance=found.iteration * (1 - 2 * falls), distance_se=0.01)

    found = claims.distances_rise(Falling(FIGURES, "digits"))
    assert {name for name, state in found.states.items() if state == "no"} == {coupling}
    (other,) = found.numbers["others"]
    assert (other["coupling"], other["metric"], other["rises"]) == (coupling, metric, "no")


def test_the_published_chebyshev_distance_falls_under_shared_init(published):
    finding = published["claims"]["distances_rise"]["digits"]
    ((outcome, couplings),) = finding.verdict
    assert outcome == "only" and "shared-init" not in couplings
    (row,) = (row for row in finding.numbers["others"] if row["coupling"] == "shared-init")
    assert row["metric"] == "chebyshev"
    assert (row["rise"], 1.96 * row["error"]) == pytest.approx((-0.00210, 0.00027), abs=5e-6)


def closeness(**values):
    """The states of the three findings, of distances that rise and trends with these values."""

    class All(claims.Published):
        def table(self, name):
            found = super().table(name)
            if name.endswith("-distances"):
                return rising(found)
            return found.assign(**values) if name.startswith("couplings-") else found

    of = All(FIGURES, "digits")
    finds = (
        claims.not_closer_by_euclidean,
        claims.not_closer_by_all,
        claims.not_closer_by_others,
    )
    return [find(of).states for find in finds]


def test_closer_is_told_by_distance_and_against_other_seeds():
    state = dict(rises="yes", closer_first=0.0, closer_se=0.01)
    for closer, expected in ((0.2, "no"), (-0.2, "yes"), (0.01, "open")):
        *by_distance, relative = closeness(**state, closer_last=closer)
        for states in (*by_distance, relative):
            assert states["null"] == states["independent"] == "no"
        assert all(states[name] == "yes" for states in by_distance for name in DEPENDENT)
        assert {relative[name] for name in DEPENDENT} == {expected}


def test_an_infinite_reading_neither_rises_nor_fails_to():
    for states in closeness(rises="infinite", closer_last=-0.2, closer_first=0.0, closer_se=0.01):
        assert states["shared-source"] == "infinite" and states["null"] == "no"
    *_, relative = closeness(rises="infinite", closer_last=0.2, closer_first=0.0, closer_se=0.01)
    assert relative["shared-source"] == "no"  # clients get closer, whatever the reading does


def test_a_counter_example_that_shows_nothing_proves_nothing():
    flat = verdict(claims.contradiction, "proposition-", set_all(mi_bits=1.0, distance=1.0))
    assert flat == [("open", [])]


@pytest.mark.parametrize(("told", "state"), [("not rejected", "open"), ("rejected", "yes")])
def test_the_additive_model_stands_unless_a_test_that_can_tell_rejects(told, state):
    class Tests(claims.Published):
        def table(self, name):
            found = super().table(name)
            if not name.endswith(("digits", "skewed")):
                return found
            return found.assign(by_construction=False, verdict=told)

    found = claims.not_additive(Tests(FIGURES, "digits"))
    assert found.states["shared-source"] == found.states["skewed"] == state
    assert found.states["null"] == found.states["independent"] == "no"
    assert found.numbers["studies"]["skewed"]["rejected"] == 21 * (state == "yes")


@pytest.mark.parametrize(("less", "state"), [(-0.001, "open"), (-0.1, "yes"), (0.1, "no")])
def test_averaging_is_beaten_only_beyond_chance(less, state):
    given = set_all(objective_less_mean=less, objective_less_mean_se=0.001)
    for find, task in ((claims.not_optimal, "digits"), (claims.reasonable, "signal")):
        assert (state, SETTINGS) in verdict(find, "aggregation-", given, task)


def test_a_theorem_holds_under_every_coupling():
    helps = set_all(objective_less_mean=0.1, objective_less_mean_se=0.001)
    assert verdict(claims.reasonable, "aggregation-", helps) == [("no", [])]
    assert UNTRIED in verdict(claims.reasonable, "aggregation-", helps, "signal")


@pytest.mark.parametrize(
    ("saved", "error", "state"),
    [(0.01, 0.01, "open"), (0.1, 0.01, "yes"), (float("nan"), 0, "open")],
)
def test_what_is_saved_is_beyond_chance(saved, error, state):
    given = set_all(saved_one=saved, saved_one_se=error)
    found = claims.compressible(Changed("digits", "compression-", given)).states
    assert found["shared-source"] == state
    assert found["null"] == found["independent"] == "no"


def test_a_missing_table_is_named_with_what_makes_it(tmp_path):
    with pytest.raises(FileNotFoundError, match="couplings-signal-trends.csv: `make couplings"):
        claims.facts(tmp_path)


def test_all_claims_are_found_on_both_tasks(published):
    assert list(published["claims"]) == [find.__name__ for find in claims.CLAIMS]
    for by_task in published["claims"].values():
        assert list(by_task) == ["signal", "digits"]
        for finding in by_task.values():
            assert set(finding.states.values()) <= set(claims.STATES)


def test_the_page_is_written(tmp_path):
    for table in FIGURES.glob("*.csv"):
        (tmp_path / table.name).symlink_to(table)
    page = pages.render("claims", claims.facts(tmp_path))
    assert page == (FIGURES / "claims.md").read_text()
