import numpy as np
import pandas as pd
import pytest

import fedmi
from fedmi.scopes import COUPLINGS
from fedmi.study import additive, evidence, figures
from tests import tiny

pytestmark = pytest.mark.usefixtures("quickly_compiled")

SEEDS = 600
TESTS = (
    *evidence.OF_COVARIANCES,
    "third client, size",
    "third client, distance correlation",
    "noise on the shared part",
    "noises on each other",
)


def sampled(coupling, clients=3):
    return fedmi.finite(
        fedmi.sample(
            tiny.task, seeds=SEEDS, clients=clients, coupling=coupling, checkpoints=[1, 2, 4]
        )
    )


@pytest.fixture(scope="module")
def samples():
    return sampled("shared-source", clients=4)


@pytest.fixture(scope="module")
def tables(samples):
    """The tables tests, noise and decomposition of clients that are normal and additive."""
    iterations = evidence.checkpoints_of(samples.iteration.values)
    tests = [row for i in iterations for row in evidence.rows(samples, i)]
    found = [evidence.noise_rows(samples, i) for i in iterations]
    tests = evidence.with_verdicts(tests + [row for more, _ in found for row in more])
    parts = [row for i in iterations for row in evidence.decomposition_rows(samples, i)]
    return (
        pd.DataFrame(tests, columns=evidence.TEST_COLUMNS),
        pd.DataFrame([row for _, row in found], columns=evidence.NOISE_COLUMNS),
        pd.DataFrame(parts, columns=evidence.DECOMPOSITION_COLUMNS),
    )


def test_checkpoints_are_the_first_a_middle_and_the_last():
    assert evidence.checkpoints_of([1, 2, 4, 8, 16, 20]) == [1, 8, 20]
    assert evidence.checkpoints_of([1, 2]) == [1, 2]
    assert evidence.checkpoints_of([5]) == [5]
    with pytest.raises(ValueError, match="iterations"):
        evidence.checkpoints_of([])


def test_what_holds_by_construction_is_told_by_the_scopes():
    roles = {role: role for role in COUPLINGS["null"] if role != "skew"}

    def held(coupling, skew=(), **more):
        scopes = fedmi.scopes.resolve(coupling, roles | dict.fromkeys(skew, "skew"))
        attrs = dict(scopes=scopes, rounds=1, client_examples=[16, 16, 16]) | more
        return [name for name in TESTS if evidence.by_construction(name, attrs)]

    assert held("shared-source") == held("shared-source-order") == list(evidence.OF_COVARIANCES)
    assert held("null") == held("independent") == list(TESTS)  # nothing is shared
    assert held("shared-init") == held("shared-order") == []  # data of each client's own
    assert held("shared-source", skew=["skew"]) == []
    assert held("shared-source", client_examples=[8, 16, 16]) == []
    assert held("null", rounds=2) == []  # the download is shared
    assert held("independent", rounds=2) == list(evidence.OF_COVARIANCES)


def test_an_additive_study_is_not_rejected(tables):
    tests, noise, decomposition = tables
    assert len(tests) == 3 * 7 and set(tests.test) == set(TESTS)
    assert (tests.p_holm >= tests.p_value).all()
    held = tests.test.isin(evidence.OF_COVARIANCES)
    assert (tests.by_construction == held).all()
    assert (tests.verdict[held] == evidence.NO_EVIDENCE).all()
    assert (tests.verdict[~held] == "not rejected").all()
    assert (noise.low == 0).all() and (noise.high < 0.2).all()
    found = evidence.facts(*tables)
    assert (found["outcome"], found["count"], found["seeds"]) == ("not rejected", 21, [SEEDS])
    assert set(found["tests"]) == set(TESTS)
    assert found["parts"]["shared"] == found["parts"]["own"] == "yes"


def test_the_decomposition_of_a_known_law(tables):
    decomposition = tables[2]
    assert len(decomposition) == 3 * 6
    means = evidence.means_of(decomposition)
    kept, rate = 1 - tiny.task.learning_rate, tiny.task.learning_rate
    for k, row in means.iterrows():
        shared = tiny.SIZE * (1 - kept**k) ** 2
        weights = rate * kept ** np.arange(k)
        own = tiny.SIZE * tiny.NOISE**2 / tiny.task.batch_size * np.sum(weights**2)
        assert abs(row.shared - shared) < 3 * row.shared_se
        assert abs(row.own - own) < 3 * row.own_se
        assert abs(row.separation) < 3 * row.separation_se


def test_two_clients_have_no_third(samples):
    rows = evidence.rows(samples.isel(client=slice(2)), 4)
    assert [row["test"] for row in rows] == ["symmetry", "definiteness"]
    with pytest.raises(ValueError, match="3 clients; this splits four"):
        evidence.noise_rows(samples.isel(client=slice(3)), 4)


def test_the_facts_follow_the_verdicts(tables):
    tests, noise, decomposition = tables

    def said(free=False, **p_values):
        rows = tests.to_dict("records")
        for row in rows:
            row["p_value"] = p_values.get(row["test"].replace(" ", "_"), 0.5)
            row["by_construction"] = row["by_construction"] and not free
        found = pd.DataFrame(evidence.with_verdicts(rows))
        return evidence.facts(found, noise, decomposition)

    found = said(noises_on_each_other=1e-9)
    assert (found["outcome"], found["rejecting"]) == ("noise", ["noises on each other"])
    assert found["alike"] and not found["covariances_tried"]
    of_test = found["tests"]["noises on each other"]
    assert [row["p_holm"] for row in of_test["rows"]] == pytest.approx([2.1e-8] * 3)
    assert of_test["verdicts"] == {"rejected": []}
    assert said(symmetry=1e-9)["tests"]["symmetry"]["verdicts"] == {evidence.AMISS: []}
    assert said(symmetry=1e-9)["outcome"] == "not rejected"
    apart = said(symmetry=1e-9, free=True)
    assert (apart["outcome"], apart["rejecting"]) == ("covariances", ["symmetry"])
    apart = said(noises_on_each_other=1e-9, free=True)
    assert apart["outcome"] == "noise" and apart["covariances_tried"] and not apart["alike"]
    nothing = tests.assign(by_construction=True, verdict=evidence.NO_EVIDENCE)
    assert evidence.facts(nothing, noise, decomposition)["outcome"] == "constructed"


@pytest.mark.parametrize(
    ("interval", "shares", "expected"),
    [
        ((0.2, 0.3), None, "holds"),
        ((0.0, 0.05), None, "fails"),
        ((0.05, 0.15), None, "open"),
        ((0.0, 0.05), (1.0, 1.0, 3.0), "holds"),  # the noise is constant; what pairs share differs
        ((0.0, 0.05), (1.0, 1.0, 1.01), "fails"),
        ((0.0, 0.05), (1.0, 1.0, 1.1), "open"),
        ((0.2, 0.3), (1.0, 1.0, 1.01), "holds"),
    ],
)
def test_a_departure_is_one_of_the_noise_or_of_what_pairs_share(tables, interval, shares, expected):
    tests, noise, decomposition = tables
    noise = noise.assign(low=interval[0], high=interval[1])
    if shares:
        tests = tests.assign(by_construction=False)
        decomposition = decomposition.loc[decomposition.pair.isin(["0-1", "0-2", "1-2"])]
        shared = decomposition.pair.map(dict(zip(("0-1", "0-2", "1-2"), shares, strict=True)))
        decomposition = decomposition.assign(shared=shared, shared_se=0.01)
    found = evidence.facts(tests, noise, decomposition)
    assert found["departure"] == expected
    assert (found["spread"] is None) == (shares is None)


def test_the_facts_of_the_parts(tables):
    tests, noise, decomposition = tables

    def parts(**columns):
        return evidence.facts(tests, noise, decomposition.assign(**columns))["parts"]

    assert parts()["peak"] is None
    peak = parts(own_x=decomposition.own_x.where(decomposition.iteration != 2, 9))["peak"]
    assert peak["iteration"] == 2
    # Neither part is seen to change: that is not to say that they do not.
    unsure = parts(**{name: 1e3 for name in decomposition if name.endswith("_se")})
    assert unsure["shared"] == unsure["own"] == "open"


def test_a_verdict_at_some_checkpoints_names_them(tables):
    tests, noise, decomposition = tables
    some = tests.copy()
    some.loc[(some.test == TESTS[-1]) & (some.iteration == 4), "verdict"] = "rejected"
    found = evidence.facts(some, noise, decomposition)["tests"][TESTS[-1]]["verdicts"]
    assert found == {"not rejected": [1, 2], "rejected": [4]}


def test_the_figure_shows_its_tables(tables):
    example = pd.DataFrame(additive.counter_example(12))
    a, b, c, d, distance = figures.proposition(*tables, example).axes
    shared = a.containers[0].lines[0].get_xydata()
    means = evidence.means_of(tables[2])
    assert np.allclose(shared, means.reset_index()[["iteration", "shared"]])
    filled = [line for line in b.get_lines() if line.get_label().startswith("iteration")]
    assert sum(len(line.get_xdata()) for line in filled) == len(tables[0])
    assert np.allclose(c.containers[0].lines[0].get_ydata(), 100 * tables[1].variation)
    assert np.allclose(d.get_lines()[0].get_ydata(), example.mi_bits)
    assert np.allclose(distance.get_lines()[0].get_ydata(), example.distance)
