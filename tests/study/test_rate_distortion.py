import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedmi.mi.null import repairing
from fedmi.study import rate_distortion as rd

spectra = st.lists(st.floats(1e-3, 1e3), min_size=1, max_size=8)


def test_reverse_water_filling_by_hand():
    variances = [4, 0.25, 1]
    assert rd.distortion(variances, 0.5) == 0.5 + 0.25 + 0.5
    assert rd.water_level(variances, 1.25) == pytest.approx(0.5)
    assert rd.rate(variances, 1.25) == pytest.approx(0.5 * np.log2(8) + 0.5 * np.log2(2))


def test_one_normal_number():
    assert rd.rate([9.0], 1.0) == pytest.approx(np.log2(3))


def test_at_small_errors_only_the_determinant_counts():
    variances = np.array([5.0, 2.0, 0.3])
    expected = 0.5 * np.log2(variances.prod() / (1e-4 / 3) ** 3)
    assert rd.rate(variances, 1e-4) == pytest.approx(expected)


@pytest.mark.parametrize("error", [3.0, 4.0, np.inf])
def test_nothing_is_sent_where_the_error_may_be_the_variance(error):
    assert rd.rate([2.0, 1.0], error) == 0
    assert rd.water_level([2.0, 1.0], error) == 2


def test_what_is_known_without_error_takes_no_bits():
    assert rd.rate(np.zeros(3), 0.1) == 0
    assert rd.rate([4.0, 0.0], 1.0) == pytest.approx(1)


@given(spectra, st.floats(1e-3, 0.999))
def test_the_level_gives_the_error_that_was_asked_for(variances, share):
    error = share * sum(variances)
    level = rd.water_level(variances, error)
    assert rd.distortion(variances, level) == pytest.approx(error, rel=1e-9)


@given(spectra, st.floats(1e-3, 2), st.floats(1e-3, 2))
def test_the_rate_falls_and_is_convex(variances, a, b):
    low, high = sorted([a * sum(variances), b * sum(variances)])
    rates = [rd.rate(variances, error) for error in (low, (low + high) / 2, high)]
    assert rates[0] >= rates[1] - 1e-9 and rates[1] >= rates[2] - 1e-9 and rates[2] >= 0
    assert rates[1] <= (rates[0] + rates[2]) / 2 + 1e-9


@given(spectra, st.integers(0, 2**32 - 1), st.floats(0.01, 0.9))
@settings(max_examples=30)
def test_coordinates_by_themselves_never_take_fewer_bits(variances, seed, share):
    rotation, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(len(variances),) * 2))
    coordinates = (rotation**2) @ variances
    error = share * sum(variances)
    assert rd.rate(coordinates, error) >= rd.rate(variances, error) - 1e-9


def test_impossible_arguments_are_named():
    with pytest.raises(ValueError, match="error: 0 is not above 0"):
        rd.rate([1.0], 0)
    with pytest.raises(ValueError, match="error: nan"):
        rd.water_level([1.0], np.nan)
    for variances in ([], [[1.0]], [-1.0], [np.nan]):
        with pytest.raises(ValueError, match="variances: pass"):
            rd.rate(variances, 1.0)


def test_the_law_of_samples_leaves_rounding_out():
    rng = np.random.default_rng(0)
    axes, _ = np.linalg.qr(rng.normal(size=(20, 3)))
    truth = np.array([0.25, 1.0, 9.0])
    samples = 5 + (rng.normal(size=(20_000, 3)) * np.sqrt(truth)) @ axes.T
    law = rd.fit(samples.astype(np.float32)).law
    np.testing.assert_allclose(np.sort(law.variances), truth, rtol=0.04)
    np.testing.assert_allclose(law.axes.T @ law.axes, np.eye(3), atol=1e-6)
    np.testing.assert_allclose(law.axes @ law.axes.T, axes @ axes.T, atol=1e-4)
    np.testing.assert_allclose(law.mean, 5, atol=0.1)
    assert law.coordinate_variances.sum() == pytest.approx(law.variances.sum(), rel=1e-5)
    with pytest.raises(ValueError, match="client 3 does not vary"):
        rd.fit(np.ones((10, 2)), "client 3")


VARIANCES = np.geomspace(0.01, 10, 12)
CORRELATIONS = np.linspace(0.2, 0.9, 12)


def pair(n, correlations, seed):
    """Two clients of VARIANCES, correlated coordinate by coordinate, and rotated differently."""
    rng = np.random.default_rng(seed)
    x, noise = rng.normal(size=(2, n, 12))
    y = correlations * x + np.sqrt(1 - correlations**2) * noise
    rotations = np.linalg.qr(rng.normal(size=(2, 12, 12)))[0]
    return [(z * np.sqrt(VARIANCES)) @ r for z, r in zip((x, y), rotations, strict=True)]


def crossed(x, y):
    pairing = repairing(len(x), 4, jax.random.key(0))
    return rd.cross_correlations(rd.fit(x, "x"), rd.fit(y, "y"), pairing)


def told(x, y, kept=None):
    return rd.side_information(rd.fit(x).law.variances, crossed(x, y), len(x), kept)


@pytest.mark.parametrize("share", [1e-6, 0.01, 0.1, 0.4])
def test_the_saving_of_a_known_law(share):
    error = share * VARIANCES.sum()
    conditional = VARIANCES * (1 - CORRELATIONS**2)
    expected = rd.rate(VARIANCES, error) - rd.rate(conditional, error)
    saved, standard_error = told(*pair(40_000, CORRELATIONS, 1)).saving(error)
    assert saved == pytest.approx(expected, abs=4 * standard_error)
    assert standard_error < 0.03


def test_at_small_errors_the_saving_is_the_mutual_information():
    clients = pair(5_000, CORRELATIONS, 2)
    saved, standard_error = told(*clients).saving(1e-8)
    mi, mi_error = rd.mutual_information(crossed(*clients), 5_000)
    assert saved == pytest.approx(mi, abs=1e-6)
    assert standard_error == pytest.approx(mi_error, rel=1e-6)
    assert mi == pytest.approx(-0.5 * np.log2(1 - CORRELATIONS**2).sum(), abs=4 * mi_error)


@pytest.fixture(scope="module")
def unrelated():
    # 60 seeds for 12 + 12 dimensions: in sample, regression seems to explain a fifth.
    return [told(*pair(60, 0.0, seed)) for seed in range(150)]


@pytest.mark.parametrize("share", [1e-6, 0.03, 0.3])
def test_unrelated_clients_save_nothing_however_few_the_seeds(unrelated, share):
    error = share * VARIANCES.sum()
    saved, errors = np.array([side.saving(error) for side in unrelated]).T
    assert abs(saved.mean()) < 3.5 * saved.std() / np.sqrt(150)
    assert (saved > 0).any() and (saved < 0).any()
    # The errors are those that are made, though each is told from four re-pairings only.
    assert np.sqrt((errors**2).mean()) == pytest.approx(saved.std(), rel=0.35)
    assert (saved > 3 * errors).mean() < 0.05


def test_what_regression_leaves_by_chance_is_not_taken_for_less_variance(unrelated):
    left = np.array([side.variances.sum() for side in unrelated])
    assert left.mean() == pytest.approx(VARIANCES.sum(), abs=3.5 * left.std() / np.sqrt(150))


def test_several_clients_are_one_of_more_dimensions():
    x, y = pair(3_000, CORRELATIONS, 8)
    z = np.random.default_rng(9).normal(size=(3_000, 4)) + x[:, :4]
    z = np.hstack([z, y[:, :2]])  # two directions are those of y: they count once
    bases = [rd.fit(samples).basis for samples in (y, z)]
    within = np.block([[a.T @ b for b in bases] for a in bases])
    joint = rd.jointly([crossed(x, y), crossed(x, z)], within)
    assert joint.shape == (5, 12, 16)
    whole = told(x, np.hstack([y, z]))
    found = rd.side_information(rd.fit(x).law.variances, joint, 3_000)
    np.testing.assert_allclose(found.variances, whole.variances, rtol=1e-6)
    np.testing.assert_allclose(found.repaired, whole.repaired, rtol=1e-6)


def test_a_copy_sent_at_an_error_tells_less():
    clients = pair(40_000, CORRELATIONS, 3)
    whole = told(*clients)
    variances = rd.fit(clients[1]).law.variances
    for level in (1e-9, 0.02, 0.5):
        kept = np.maximum(1 - level / variances, 0)
        told_kept = np.maximum(1 - level / VARIANCES, 0) * CORRELATIONS**2
        error = rd.distortion(VARIANCES, level)
        expected = rd.rate(VARIANCES, error) - rd.rate(VARIANCES * (1 - told_kept), error)
        saved, standard_error = told(*clients, kept=kept).saving(error)
        assert saved == pytest.approx(expected, abs=4 * standard_error)
        assert saved <= whole.saving(error)[0] + 1e-6
    assert told(*clients, kept=np.zeros(12)).saving(0.1)[0] == pytest.approx(0, abs=1e-9)


def test_a_client_that_the_other_determines_takes_no_bits():
    x, _ = pair(500, 0.0, 4)
    side = told(x, 2 * x[:, ::-1])
    assert rd.mutual_information(crossed(x, 2 * x[:, ::-1]), 500)[0] == np.inf
    assert rd.rate(side.variances, 1e-6) == pytest.approx(0, abs=1e-6)
    assert side.saving(1e-3)[0] > 0.9 * rd.rate(rd.fit(x).law.variances, 1e-3)


def test_too_few_seeds_tell_nothing():
    x, y = pair(24, 0.0, 5)
    assert not rd.enough_seeds(crossed(x, y), 24)
    with pytest.raises(ValueError, match="24 seeds are too few for ranks 12 and 12; give 25"):
        told(x, y)
    x, y = pair(25, 0.0, 5)
    assert rd.enough_seeds(crossed(x, y), 25)
    told(x, y)


def test_what_cannot_be_paired_is_refused():
    x, y = (rd.fit(z) for z in pair(50, 0.0, 6))
    with pytest.raises(ValueError, match="repairing: 1 re-pairings"):
        rd.cross_correlations(x, y, repairing(50, 1, jax.random.key(0)))
    with pytest.raises(ValueError, match="y: 50 samples, but x has 40"):
        shorter = rd.fit(pair(40, 0.0, 7)[0])
        rd.cross_correlations(shorter, y, repairing(40, 2, jax.random.key(0)))
