"""What is found of the paper's claims follows the tables wherever these go."""

from pathlib import Path

import numpy as np
import pytest

from fedmi.scopes import COUPLINGS
from fedmi.stats import Z95
from fedmi.study import findings

FIGURES = Path(__file__).parents[2] / "figures"
DEPENDENT = tuple(name for name in COUPLINGS if name not in findings.NOTHING_SHARED)
UNTRIED = ("untried", ["shared-source-order", "shared-init", "shared-order"])
SETTINGS = ["null", "shared-source", "independent", "skewed"]


class Changed(findings.Published):
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


class WithTrends(findings.Published):
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
    assert findings.Finding(states).verdict == expected


def test_one_coupling_is_open_and_one_infinite():
    rises = ["open", "open", "holds", "open", "infinite", "fails"]
    assert of_trends(findings.rises, rises=rises) == [
        ("holds", ["shared-source"]),
        ("open", ["shared-source-order"]),
        ("infinite", ["shared-init"]),
        ("fails", ["null", "independent", "shared-order"]),
    ]
    all_proven = ["open", "open", "holds", "fails", "fails", "fails"]  # nothing shared: known
    assert of_trends(findings.rises, rises=all_proven) == [("only", ["shared-source"])]


def test_a_claim_that_was_not_tried_everywhere_says_where():
    found = verdict(findings.not_optimal, "aggregation-", gaining(0.1))
    assert found == [("holds", SETTINGS), UNTRIED]
    assert UNTRIED in verdict(findings.not_additive, "", lambda table: table)
    assert UNTRIED in verdict(findings.compressible, "", lambda table: table)


def test_nothing_shared_is_no_evidence_of_dependence():
    found = of_trends(findings.above_zero, above_zero="holds")
    assert found == [("only", list(DEPENDENT))]
    found = of_trends(findings.above_zero, above_zero="open")
    assert found == [("open", list(DEPENDENT)), ("fails", list(findings.NOTHING_SHARED))]


def test_a_rise_that_is_open_cannot_be_told():
    for state, expected in (("open", "open"), ("fails", "fails"), ("holds", "only")):
        (found, *_) = of_trends(findings.rises, rises=state)
        assert found == (expected, [] if state == "fails" else list(DEPENDENT))


def test_clients_that_differ_do_not_train_alike():
    def later(table):
        return table.assign(mean=table["mean"] + 0.5 * (table.client == 1))

    # The first figure's table is that of the default coupling; the others stay as published.
    assert findings.alike(Changed("digits", "figure2", later)).states["shared-source"] == "fails"

    def far_from(table):
        return table.assign(mean=0.5 + 0.1 * (table.iteration == 0), low=0.4, high=0.7)

    # Of clients with laws of their own, a difference that may be of size proves nothing.
    assert verdict(findings.alike, "", far_from) == [
        ("holds", ["independent", "shared-source", "shared-source-order"]),
        ("open", ["null", "shared-init", "shared-order"]),
    ]

    def surely_near(table):
        return far_from(table).assign(low=0.5 - 1e-6, high=0.5 + 1e-6)

    assert verdict(findings.alike, "", surely_near) == [("holds", [])]


def rising(table):
    return table.assign(distance=table.iteration, distance_se=0.01)


@pytest.mark.parametrize(
    ("rise", "expected"), [(1.0, "holds"), (-0.5, "fails"), (0.01, "fails"), (0.02, "open")]
)
def test_distances_are_asked_for_a_rise_of_size(rise, expected):
    def course(table):
        share = (table.iteration - 1) / (table.iteration.max() - 1)
        return table.assign(distance=1 + rise * share, distance_se=0.001)

    found = verdict(findings.distances_rise, "", course, end="-distances")
    assert found == [(expected, [])]


@pytest.mark.parametrize(
    ("file", "coupling"),
    [("figure4", "shared-source"), ("digits-null", "null"), ("digits-shared-init", "shared-init")],
)
@pytest.mark.parametrize("metric", ["euclidean", "manhattan", "chebyshev"])
def test_one_distance_that_falls_is_enough_under_any_coupling(file, coupling, metric):
    class Falling(findings.Published):
        def table(self, name):
            found = super().table(name)
            falls = name.startswith(file) & (found.metric == metric)
            course = found.iteration.where(~falls, 1 / found.iteration)
            return found.assign(distance=course, distance_se=1e-4)

    found = findings.distances_rise(Falling(FIGURES, "digits"))
    assert {name for name, state in found.states.items() if state == "fails"} == {coupling}
    if coupling == "shared-source":
        assert found.effect.what == f"{metric} distance" and found.effect.value < 0


def closeness(**values):
    """The states of the three findings, of distances that rise and trends with these values."""

    class All(WithTrends):
        def table(self, name):
            found = super().table(name)
            return rising(found) if name.endswith("-distances") else found

    of = All(values)
    finds = (
        findings.not_closer_by_euclidean,
        findings.not_closer_by_all,
        findings.not_closer_by_others,
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
    flat = verdict(findings.contradiction, "proposition-", set_all(mi_bits=1.0, distance=1.0))
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
    class Tests(findings.Published):
        def table(self, name):
            found = super().table(name)
            if name.endswith("-noise"):
                return found.assign(low=interval[0], high=interval[1])
            if name.endswith("-decomposition"):  # all pairs share as much
                return found.assign(shared=1.0, shared_se=0.001)
            if not name.endswith(("digits", "skewed")):
                return found
            return found.assign(by_construction=False, verdict=told)

    found = findings.not_additive(Tests(FIGURES, "digits"))
    assert found.states["shared-source"] == found.states["skewed"] == state
    assert found.states["null"] == found.states["independent"] == "fails"
    assert found.effect.error == pytest.approx((interval[1] - interval[0]) / (2 * Z95))


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
        (findings.not_optimal, "digits"),
        (findings.not_optimal_but_in_length, "signal"),
        (findings.reasonable, "signal"),
    ):
        assert (state, SETTINGS) in verdict(find, "aggregation-", gaining(share), task)


def test_a_longer_step_is_no_other_direction():
    def only_longer(table):
        gained = table.method.isin(["server step", "FedExP step"])
        less = np.where(gained, -0.3, np.where(table.method == "download", 1.0, 0.001))
        return table.assign(objective_less_mean=less, objective_less_mean_se=0.001)

    assert verdict(findings.not_optimal, "aggregation-", only_longer)[0] == ("holds", SETTINGS)
    assert ("fails", SETTINGS) in verdict(
        findings.not_optimal_but_in_length, "aggregation-", only_longer
    )


def test_a_theorem_holds_under_every_coupling():
    assert verdict(findings.reasonable, "aggregation-", gaining(-0.1)) == [("fails", [])]
    assert UNTRIED in verdict(findings.reasonable, "aggregation-", gaining(-0.1), "signal")


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
    found = findings.compressible(Changed("digits", "compression-", given)).states
    assert found["shared-source"] == state
    assert found["null"] == found["independent"] == "fails"
