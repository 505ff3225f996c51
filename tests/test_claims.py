"""The published claims, and verdicts that follow the tables wherever these go."""

from pathlib import Path

import pytest

from fedmi import claims

FIGURES = Path(__file__).parents[1] / "figures"


def test_the_published_claims_are_those_of_the_published_tables():
    assert (FIGURES / "claims.md").read_text() == claims.claims(FIGURES)
    assert claims.verdicts(FIGURES) in (FIGURES.parent / "README.md").read_text()


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
        (dict(a="open", b="yes", c="yes"), "holds only under `b`, `c`"),
        (dict(a="no", b="no"), "fails"),
        (dict(a="open", b="open"), "cannot be told"),
        (dict(a="no", b="open"), "fails under `a`, cannot be told under `b`"),
    ],
)
def test_a_verdict_is_what_its_states_come_to(states, expected):
    assert claims.verdict(states) == expected


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
    assert said(claims.alike, "", set_all(mean=0.5)) == "holds"


@pytest.mark.parametrize(("rise", "expected"), [(1, "holds"), (-1, "fails")])
def test_distances_are_asked_for_their_course(rise, expected):
    class Both(Changed):
        def table(self, name):
            found = claims.Published.table(self, name)
            if name.startswith("couplings"):
                return found.assign(distance_rises="yes" if rise > 0 else "no")
            return found.assign(distance=rise * found.iteration, distance_se=0.01)

    assert claims.distances_rise(Both("digits", "", None)).verdict == expected


def test_one_distance_that_falls_is_enough():
    def change(table):
        falls = table.metric == "chebyshev"
        return table.assign(distance=table.iteration * (1 - 2 * falls), distance_se=0.01)

    found = said(claims.distances_rise, "figure4", change)
    assert "`shared-source`," not in found and "holds only under" in found


def test_closer_is_told_by_distance_and_against_other_seeds():
    state = dict(rises="yes", distance_rises="yes", closer_first=0.0, closer_se=0.01)
    found = said(claims.not_closer, "couplings-", set_all(**state, closer_last=0.2))
    assert found.startswith("by distance: holds only under `shared-source`, ")
    assert found.endswith("against clients of other seeds: fails")
    found = said(claims.not_closer, "couplings-", set_all(**state, closer_last=-0.2))
    assert "other seeds: holds only under `shared-source`" in found
    found = said(claims.not_closer, "couplings-", set_all(**state, closer_last=0.01))
    assert "other seeds: fails under `null`, `independent`, cannot be told" in found


def test_the_additive_model_stands_unless_a_test_that_can_tell_rejects():
    class Tests(Changed):
        def table(self, name):
            found = claims.Published.table(self, name)
            return self._change(found) if name.endswith(("digits", "skewed")) else found

    accept = set_all(by_construction=False, verdict="not rejected")
    assert claims.not_additive(Tests("digits", "", accept)).verdict == "cannot be told"
    reject = set_all(by_construction=False, verdict="rejected")
    assert claims.not_additive(Tests("digits", "", reject)).verdict == "holds"


def test_averaging_is_beaten_only_beyond_chance():
    name = "aggregation-"
    tied = set_all(objective_less_mean=-0.001, objective_less_mean_se=0.001)
    assert said(claims.not_optimal, name, tied) == "cannot be told"
    assert said(claims.reasonable, name, tied) == "cannot be told"
    beaten = set_all(objective_less_mean=-0.1, objective_less_mean_se=0.001)
    assert said(claims.not_optimal, name, beaten) == "holds"
    assert said(claims.reasonable, name, beaten) == "holds"
    helps = set_all(objective_less_mean=0.1, objective_less_mean_se=0.001)
    assert said(claims.not_optimal, name, helps) == "fails"
    assert said(claims.reasonable, name, helps) == "fails"


def test_nothing_saved_cannot_be_told():
    name = "compression-"
    unsure = set_all(saved_one=0.01, saved_one_se=0.01)
    assert said(claims.compressible, name, unsure) == "cannot be told"
    assert said(claims.compressible, name, set_all(saved_one=0.1, saved_one_se=0.01)) == "holds"
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
