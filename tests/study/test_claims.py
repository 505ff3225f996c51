"""The published claims, and verdicts that follow the tables wherever these go."""

from itertools import product
from pathlib import Path

import pytest

from fedmi.study import claims

FIGURES = Path(__file__).parents[2] / "figures"
README = (FIGURES.parent / "README.md").read_text()


def test_the_published_claims_are_those_of_the_published_tables():
    assert (FIGURES / "claims.md").read_text() == claims.claims(FIGURES)
    assert claims.verdicts(FIGURES) in README
    assert claims.in_short(FIGURES) in " ".join(README.split())


class Changed(claims.Published):
    """The published tables with one of them changed."""

    def __init__(self, task, name, change):
        super().__init__(FIGURES, task)
        self._name, self._change = name, change

    def table(self, name):
        found = super().table(name)
        return self._change(found) if name.startswith(self._name) else found


def said(find, name, change, task="digits"):
    return find(Changed(task, name, change)).verdict


def set_all(**values):
    return lambda table: table.assign(**values)


@pytest.mark.parametrize(
    ("states", "expected"),
    [
        (dict(a="yes", b="yes"), "holds"),
        (dict(a="yes", b="no"), "holds only under `a`"),
        (dict(a="yes", b="no", c="yes", d="no"), "holds only under `a`, `c`"),
        (dict(a="open", b="yes", c="yes"), "holds under `b`, `c`; cannot be told under `a`"),
        (
            dict(a="yes", b="open", c="infinite", d="no"),
            "holds under `a`; cannot be told under `b`; cannot be told, as the reading is "
            "infinite, under `c`; fails under `d`",
        ),
        (dict(a="yes", b="untried"), "holds under `a`; was not tried under `b`"),
        (dict(a="infinite", b="infinite"), "cannot be told"),
        (dict(a="no", b="no"), "fails"),
        (dict(a="open", b="open"), "cannot be told"),
        (dict(a="no", b="open"), "cannot be told under `b`; fails under `a`"),
    ],
)
def test_a_verdict_is_what_its_states_come_to(states, expected):
    assert claims.verdict(states) == expected


def test_only_is_never_said_where_another_coupling_is_open_infinite_or_untried():
    for states in product(claims.STATES, repeat=3):
        found = claims.verdict(dict(zip("abc", states, strict=True)))
        assert ("only" in found) == (set(states) == {"yes", "no"}), (states, found)


@pytest.mark.parametrize("text", [README, claims.claims(FIGURES)], ids=["README", "claims.md"])
def test_what_is_published_says_only_where_all_other_couplings_fail(text):
    beyond = ("cannot be told", "not tried", "infinite", "open")
    verdicts = [
        part
        for line in text.splitlines()
        if "only under" in line
        for cell in line.split("|")
        for part in cell.split(" / ")
        if "only under" in part
    ]
    assert verdicts
    for said in verdicts:
        assert said.strip(" *").startswith(("holds only under", "by ")), said
        assert not any(word in said for word in beyond), said


def test_one_coupling_is_open_and_one_infinite():
    rises = ["open", "open", "yes", "open", "infinite", "no"]
    found = said(claims.rises, "couplings-", set_all(rises=rises))
    assert found == (
        "holds under `shared-source`; cannot be told under `shared-source-order`; cannot be told, "
        "as the reading is infinite, under `shared-init`; fails under `null`, `independent`, "
        "`shared-order`"
    )
    all_proven = ["open", "open", "yes", "no", "no", "no"]  # nothing shared: the truth is known
    found = said(claims.rises, "couplings-", set_all(rises=all_proven))
    assert found == "holds only under `shared-source`"


def test_a_claim_that_was_not_tried_everywhere_says_where():
    tried = dict(objective_less_mean=-0.1, objective_less_mean_se=0.001)
    found = said(claims.not_optimal, "aggregation-", set_all(**tried))
    assert found == (
        "holds under `null`, `shared-source`, `independent`, `skewed`; was not tried under "
        "`shared-source-order`, `shared-init`, `shared-order`"
    )
    assert "not tried under" in said(claims.not_additive, "", lambda table: table)
    assert "not tried under" in said(claims.compressible, "", lambda table: table)


def test_nothing_shared_is_no_evidence_of_dependence():
    found = said(claims.above_zero, "couplings-", set_all(above_zero="yes"))
    assert found.startswith("holds only under `shared-source`, ")
    assert "null" not in found
    assert "cannot be told under `shared-source`" in said(
        claims.above_zero, "couplings-", set_all(above_zero="open")
    )


def test_a_rise_that_is_open_cannot_be_told():
    name = "couplings-"
    assert "cannot be told" in said(claims.rises, name, set_all(rises="open"))
    assert said(claims.rises, name, set_all(rises="no")) == "fails"
    assert "`shared-order`" in said(claims.rises, name, set_all(rises="yes"))


def test_clients_that_differ_do_not_train_alike():
    def later(table):
        return table.assign(mean=table["mean"] + 0.5 * (table.client == 1))

    # The first figure's table is that of the default coupling; the others stay as published.
    assert "`shared-source`" not in said(claims.alike, "figure2", later).split("only under")[1]
    # Of clients with laws of their own, a difference that is not seen proves nothing.
    assert said(claims.alike, "", set_all(mean=0.5)) == (
        "holds under `independent`, `shared-source`, `shared-source-order`; cannot be told under "
        "`null`, `shared-init`, `shared-order`"
    )


@pytest.mark.parametrize(("rise", "expected"), [(1, "holds"), (-1, "fails"), (0, "cannot be told")])
def test_distances_are_asked_for_their_course(rise, expected):
    class All(Changed):
        def table(self, name):
            found = claims.Published.table(self, name)
            return found.assign(distance=rise * found.iteration, distance_se=0.01)

    assert claims.distances_rise(All("digits", "", None)).verdict == expected


@pytest.mark.parametrize(
    ("file", "coupling"),
    [("figure4", "shared-source"), ("digits-null", "null"), ("digits-shared-init", "shared-init")],
)
@pytest.mark.parametrize("metric", ["euclidean", "manhattan", "chebyshev"])
def test_one_distance_that_falls_is_enough_under_any_coupling(file, coupling, metric):
    class Falling(Changed):
        def table(self, name):
            found = claims.Published.table(self, name)
            if not name.endswith("-distances"):
                return found
            falls = name.startswith(file) & (found.metric == metric)
            return found.assign(distance=found.iteration * (1 - 2 * falls), distance_se=0.01)

    found = claims.distances_rise(Falling("digits", "", None)).verdict
    assert found.startswith("holds only under") and f"`{coupling}`" not in found


def test_the_published_chebyshev_distance_falls_under_shared_init():
    finding = claims.distances_rise(claims.Published(FIGURES, "digits"))
    assert "`shared-init`" not in finding.verdict and "only" in finding.verdict
    assert "chebyshev -0.00210 ± 0.00027" in finding.measured


def closeness(task="digits", **values):
    """What is found of distances that rise under all couplings, and trends with these values."""

    class All(Changed):
        def table(self, name):
            found = claims.Published.table(self, name)
            if name.endswith("-distances"):
                return found.assign(distance=found.iteration, distance_se=0.01)
            return found.assign(**values) if name.startswith("couplings-") else found

    return claims.closeness(All(task, "", None)).values()


def test_closer_is_told_by_distance_and_against_other_seeds():
    dependent = ("shared-source", "shared-source-order", "shared-init", "shared-order")
    state = dict(rises="yes", closer_first=0.0, closer_se=0.01)
    for closer, expected in ((0.2, "no"), (-0.2, "yes"), (0.01, "open")):
        *by_distance, relative = closeness(**state, closer_last=closer)
        for states in (*by_distance, relative):
            assert states["null"] == states["independent"] == "no"
        assert all(states[name] == "yes" for states in by_distance for name in dependent)
        assert {relative[name] for name in dependent} == {expected}


def test_an_infinite_reading_neither_rises_nor_fails_to():
    for states in closeness(rises="infinite", closer_last=-0.2, closer_first=0.0, closer_se=0.01):
        assert states["shared-source"] == "infinite" and states["null"] == "no"
    *_, relative = closeness(rises="infinite", closer_last=0.2, closer_first=0.0, closer_se=0.01)
    assert relative["shared-source"] == "no"  # clients get closer, whatever the reading does


def test_a_counter_example_that_shows_nothing_proves_nothing():
    flat = said(claims.contradiction, "proposition-", set_all(mi_bits=1.0, distance=1.0))
    assert flat == "cannot be told"


def test_the_additive_model_stands_unless_a_test_that_can_tell_rejects():
    class Tests(Changed):
        def table(self, name):
            found = claims.Published.table(self, name)
            return self._change(found) if name.endswith(("digits", "skewed")) else found

    accept = set_all(by_construction=False, verdict="not rejected")
    found = claims.not_additive(Tests("digits", "", accept)).verdict
    assert found.startswith("cannot be told under `shared-source`, `skewed`; fails under `null`")
    reject = set_all(by_construction=False, verdict="rejected")
    found = claims.not_additive(Tests("digits", "", reject)).verdict
    assert found.startswith("holds under `shared-source`, `skewed`; fails under `null`")


def test_averaging_is_beaten_only_beyond_chance():
    name = "aggregation-"
    tried = "under `null`, `shared-source`, `independent`, `skewed`; was not tried under"
    for less, optimal, reasonable in (
        (-0.001, "cannot be told", "cannot be told"),
        (-0.1, "holds", "holds"),
        (0.1, "fails", "fails"),
    ):
        given = set_all(objective_less_mean=less, objective_less_mean_se=0.001)
        assert said(claims.not_optimal, name, given).startswith(f"{optimal} {tried}")
        assert said(claims.reasonable, name, given, "signal").startswith(f"{reasonable} {tried}")


def test_a_theorem_holds_under_every_coupling():
    name = "aggregation-"
    helps = set_all(objective_less_mean=0.1, objective_less_mean_se=0.001)
    assert said(claims.reasonable, name, helps) == "fails"
    assert "not tried under" in said(claims.reasonable, name, helps, "signal")


def test_nothing_saved_cannot_be_told():
    name = "compression-"
    unsure = set_all(saved_one=0.01, saved_one_se=0.01)
    assert said(claims.compressible, name, unsure).startswith("cannot be told under `shared-sour")
    sure = said(claims.compressible, name, set_all(saved_one=0.1, saved_one_se=0.01))
    assert sure.startswith("holds under `shared-source`; fails under `null`, `independent`")
    nothing = claims.compressible(Changed("digits", name, set_all(saved_one=float("nan"))))
    assert nothing.measured == "there are no bits to save, or too few seeds to tell"


def test_a_missing_table_is_named_with_what_makes_it(tmp_path):
    with pytest.raises(FileNotFoundError, match="couplings-signal-trends.csv: `make couplings"):
        claims.claims(tmp_path)


def test_all_claims_are_found_on_both_tasks():
    found = list(claims.rows(FIGURES))
    assert len(found) == 2 * len(claims.CLAIMS)
    assert all(isinstance(finding, claims.Finding) for _, _, finding in found)
    assert "nan" not in claims.claims(FIGURES)
