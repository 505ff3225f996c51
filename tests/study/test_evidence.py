import numpy as np
import pandas as pd
import pytest

import fedmi
from fedmi.scopes import COUPLINGS
from fedmi.study import additive, evidence, plotting
from tests import tiny

pytestmark = pytest.mark.usefixtures("quickly_compiled")

SEEDS = 600


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
    tests = [row for i in iterations for row in evidence.test_rows(samples, i)]
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
        return [name for name in evidence.CLAIMS if evidence.by_construction(name, attrs)]

    assert held("shared-source") == held("shared-source-order") == list(evidence.OF_COVARIANCES)
    assert held("null") == held("independent") == list(evidence.CLAIMS)  # nothing is shared
    assert held("shared-init") == held("shared-order") == []  # data of each client's own
    assert held("shared-source", skew=["skew"]) == []
    assert held("shared-source", client_examples=[8, 16, 16]) == []
    assert held("null", rounds=2) == []  # the download is shared
    assert held("independent", rounds=2) == list(evidence.OF_COVARIANCES)


def test_an_additive_study_is_not_rejected(tables):
    tests, noise, decomposition = tables
    assert len(tests) == 3 * 7 and set(tests.test) == set(evidence.CLAIMS)
    assert (tests.p_holm >= tests.p_value).all()
    held = tests.test.isin(evidence.OF_COVARIANCES)
    assert (tests.by_construction == held).all()
    assert (tests.verdict[held] == evidence.NO_EVIDENCE).all()
    assert (tests.verdict[~held] == "not rejected").all()
    assert (noise.low == 0).all() and (noise.high < 0.2).all()
    text = evidence.words(*tables)
    assert "The additive model is not rejected" in text and text.count("|\n") == 9
    assert "21 tests, on 600 seeds" in text and "Both variances grow" in text


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
    rows = evidence.test_rows(samples.isel(client=slice(2)), 4)
    assert [row["test"] for row in rows] == ["symmetry", "definiteness"]
    with pytest.raises(ValueError, match="3 clients; this splits four"):
        evidence.noise_rows(samples.isel(client=slice(3)), 4)


def test_the_words_follow_the_verdicts(tables):
    tests, noise, decomposition = tables

    def said(**p_values):
        rows = tests.to_dict("records")
        for row in rows:
            row["p_value"] = p_values.get(row["test"].replace(" ", "_"), 0.5)
            row["by_construction"] = row["by_construction"] and not p_values.get("free")
        found = pd.DataFrame(evidence.with_verdicts(rows))
        return evidence.words(found, noise, decomposition)

    text = said(noises_on_each_other=1e-9)
    assert "no evidence against averaging" in text and "1: 2e-08; 2: 2e-08; 4: 2e-08 | rej" in text
    assert evidence.AMISS in said(symmetry=1e-9)
    assert "covariances of clients are not one (symmetry)" in said(symmetry=1e-9, free=True)
    apart = said(noises_on_each_other=1e-9, free=True)
    assert "The covariances of clients do not reject it" in apart
    peaked = decomposition.assign(own_x=decomposition.own_x.where(decomposition.iteration != 2, 9))
    assert "own is largest at 2" in evidence.words(tests, noise, peaked)
    assert "own is largest" not in text
    # Neither part is seen to change: that is not to say that they do not.
    wide = {name: 1e3 for name in decomposition if name.endswith("_se")}
    unsure = evidence.words(tests, noise, decomposition.assign(**wide))
    assert "The noise may grow or shrink, what is shared may grow or shrink." in unsure
    nothing = tests.assign(by_construction=True, verdict=evidence.NO_EVIDENCE)
    assert "share nothing that changes" in evidence.words(nothing, noise, decomposition)


def test_the_figure_shows_its_tables(tables):
    example = pd.DataFrame(additive.counter_example(12))
    a, b, c, d, distance = plotting.proposition(*tables, example).axes
    shared = a.containers[0].lines[0].get_xydata()
    means = evidence.means_of(tables[2])
    assert np.allclose(shared, means.reset_index()[["iteration", "shared"]])
    filled = [line for line in b.get_lines() if line.get_label().startswith("iteration")]
    assert sum(len(line.get_xdata()) for line in filled) == len(tables[0])
    assert np.allclose(c.containers[0].lines[0].get_ydata(), 100 * tables[1].variation)
    assert np.allclose(d.get_lines()[0].get_ydata(), example.mi_bits)
    assert np.allclose(distance.get_lines()[0].get_ydata(), example.distance)
