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


def verdict(find, name, change, task="digits"):
    return find(Changed(task, name, change)).verdict


def set_all(**values):
    return lambda table: table.assign(**values)


def test_mutual_information_is_above_zero_where_it_is():
    name = "couplings-"
    assert verdict(claims.above_zero, name, set_all(above_zero="yes")) == "holds"
    assert verdict(claims.above_zero, name, set_all(above_zero="open")) == "fails"
    some = lambda t: t.assign(above_zero=["open"] * 5 + ["yes"])  # noqa: E731
    expected = "holds only under `shared-order`"
    assert verdict(claims.above_zero, name, some) == expected


def test_a_rise_that_is_open_cannot_be_told():
    name = "couplings-"
    assert verdict(claims.rises, name, set_all(rises="open")) == "cannot be told"
    assert verdict(claims.rises, name, set_all(rises="no")) == "fails"
    assert verdict(claims.rises, name, set_all(rises="yes")) == "holds"


def test_clients_that_differ_do_not_train_alike():
    def later(table):
        return table.assign(mean=table["mean"] + 0.5 * (table.client == 1))

    assert verdict(claims.alike, "figure2", later) == "fails"
    assert verdict(claims.alike, "figure2", lambda t: t.assign(mean=0.5)) == "holds"


@pytest.mark.parametrize(
    ("distance", "expected"),
    [
        (lambda i: i, "holds"),
        (lambda i: -i, "fails"),
        (lambda i: i * (27 - i), "holds only from first to last, not throughout"),
    ],
)
def test_distances_are_asked_for_their_course(distance, expected):
    change = lambda t: t.assign(distance=distance(t.iteration), distance_se=0.01)  # noqa: E731
    assert verdict(claims.distances_rise, "figure4", change) == expected


def test_closer_or_not_is_held_against_other_seeds():
    closer = set_all(rises="yes", closer_first=0.0, closer_last=0.2, closer_se=0.01)
    assert verdict(claims.not_closer, "couplings-", closer) == "fails"
    not_closer = set_all(rises="yes", closer_first=0.1, closer_last=0.1, closer_se=0.01)
    assert verdict(claims.not_closer, "couplings-", not_closer) == "holds"


def test_the_additive_model_stands_unless_a_test_that_can_tell_rejects():
    accept = set_all(by_construction=False, verdict="not rejected")
    is_a_test = lambda name: name.endswith(("digits", "skewed"))  # noqa: E731

    class Tests(Changed):
        def table(self, name):
            found = claims.Published.table(self, name)
            return self._change(found) if is_a_test(name) else found

    assert claims.not_additive(Tests("digits", "", accept)).verdict == "cannot be told"
    reject = set_all(by_construction=False, verdict="rejected")
    assert claims.not_additive(Tests("digits", "", reject)).verdict == "holds"


def test_averaging_is_beaten_only_beyond_chance():
    name = "aggregation-"
    tied = set_all(objective_less_mean=-0.001, objective_less_mean_se=0.001)
    assert verdict(claims.not_optimal, name, tied) == "fails"
    beaten = set_all(objective_less_mean=-0.1, objective_less_mean_se=0.001)
    assert verdict(claims.not_optimal, name, beaten) == "holds"
    assert verdict(claims.reasonable, name, beaten) == "holds"
    helps = set_all(objective_less_mean=0.1, objective_less_mean_se=0.001)
    assert verdict(claims.reasonable, name, helps) == "fails"


def test_nothing_saved_cannot_be_told():
    unsure = set_all(saved_one=0.01, saved_one_se=0.01)
    assert verdict(claims.compressible, "compression-", unsure) == "cannot be told"


def test_a_missing_table_is_named_with_what_makes_it(tmp_path):
    with pytest.raises(FileNotFoundError, match="couplings-signal-trends.csv: `make couplings"):
        claims.claims(tmp_path)


def test_all_claims_are_found_on_both_tasks():
    found = list(claims.rows(FIGURES))
    assert len(found) == 2 * len(claims.CLAIMS)
    assert all(isinstance(finding, claims.Finding) for _, _, finding in found)
    assert "nan" not in claims.claims(FIGURES)
