import jax
import numpy as np
import pytest

from fedmi import mi
from fedmi.mi.null import repairing

KEY = jax.random.key(5)


def heavy(seed, n, p, dtype=np.float64):
    """Samples whose few far points are everybody's neighbours or nobody's: hubs."""
    rng = np.random.default_rng(seed)
    return (rng.standard_normal((n, p)) / np.sqrt(rng.chisquare(4, (n, 1)) / 4)).astype(dtype)


def test_repairings_are_permutations_without_fixed_points():
    r = repairing(11, 10, KEY)
    partners = np.array([r.partners(s) for s in r.shifts])
    np.testing.assert_array_equal(np.sort(partners, axis=1), np.tile(np.arange(11), (10, 1)))
    assert (partners != np.arange(11)).all()
    # Over all shifts every seed meets every other once.
    np.testing.assert_array_equal(np.sort(partners, axis=0)[:, 0], np.arange(1, 11))
    assert not np.array_equal(r.order, repairing(11, 10, jax.random.key(6)).order)


def test_extended_holds_the_repaired_samples_at_an_offset():
    r, y = repairing(11, 3, KEY), np.arange(11)
    for s in r.shifts:
        np.testing.assert_array_equal(r.extended(y)[s : s + 11], r.partners(s)[r.order])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    ("estimator", "options"),
    [("gaussian", {}), ("ksg", {"k": 2}), ("ksg", {"metric": "chebyshev"})],
)
def test_values_are_the_estimates_of_repaired_samples(estimator, options, dtype):
    x, y = heavy(0, 150, 12, dtype), heavy(1, 150, 10, dtype)
    y[:, :10] += x[:, :10]
    values = mi.permutation_null(x, y, estimator=estimator, m=5, key=KEY, **options)
    r = repairing(150, 5, KEY)
    estimate = getattr(mi, estimator)
    want = [estimate(x, y[r.partners(s)], **options).bits for s in r.shifts]
    # Gaussian re-pairings are products of float32. Where float32 distances are all but equal, one
    # point more or less may count as a neighbour, which is at most a nat of one of 150 terms.
    exact = estimator == "ksg" and dtype == np.float64
    flip = 1 / np.log(2) / 150
    allowed = 1e-9 if exact else flip if estimator == "ksg" else 2e-4
    np.testing.assert_allclose(values, want, atol=allowed, rtol=0)


def test_gaussian_null_where_few_degrees_of_freedom_are_left():
    x, y = heavy(0, 100, 49), heavy(1, 100, 49)
    values = mi.permutation_null(x, y, m=3, key=KEY)
    r = repairing(100, 3, KEY)
    want = [mi.gaussian(x, y[r.partners(s)]).bits for s in r.shifts]
    np.testing.assert_allclose(values, want, rtol=1e-6)


@pytest.mark.parametrize("estimator", ["gaussian", "ksg"])
def test_shifts_have_the_mean_and_spread_of_random_permutations(estimator):
    n, m = 200, 80
    x, y = heavy(0, n, 15), heavy(1, n, 15)
    y += x
    shifted = mi.permutation_null(x, y, estimator=estimator, m=m, key=KEY)
    rng = np.random.default_rng(0)
    estimate = getattr(mi, estimator)
    random = np.array([estimate(x, y[rng.permutation(n)]).bits for _ in range(m)])
    error = np.hypot(shifted.std(ddof=1), random.std(ddof=1)) / np.sqrt(m)
    assert abs(shifted.mean() - random.mean()) < 4 * error
    assert 0.6 < shifted.std(ddof=1) / random.std(ddof=1) < 1.6


def test_gaussian_spread_on_independent_normals_is_the_analytic_one():
    x, y = np.random.default_rng(0).standard_normal((2, 1000, 40))
    (result,) = mi.pairwise([x, y], permutations=200, key=KEY)
    assert result.perm_sd / result.estimate.null_sd == pytest.approx(1, abs=0.3)
    assert abs(result.perm_bits) < 4 * result.estimate.null_sd / np.sqrt(200)


@pytest.mark.parametrize("estimator", ["gaussian", "ksg"])
def test_p_value_by_repairing_is_uniform_without_dependence(estimator):
    m, draws = 9, 150
    ranks = []
    for seed in range(draws):
        x, y = np.random.default_rng(seed).standard_normal((2, 40, 2))
        pair = mi.pairwise([x, y], estimator=estimator, permutations=m, key=jax.random.key(seed))
        ranks.append(round(pair[0].p_value * (m + 1)))
    counts = np.bincount(ranks, minlength=m + 2)[1:]
    # Chi-squared with 9 degrees of freedom: 27.9 at one in a thousand.
    assert ((counts - draws / (m + 1)) ** 2).sum() / (draws / (m + 1)) < 27.9


@pytest.mark.parametrize("estimator", ["gaussian", "ksg"])
def test_dependence_stands_out_of_the_null(estimator):
    x, y = heavy(0, 300, 3), heavy(1, 300, 3)
    y += x
    (result,) = mi.pairwise([x, y], estimator=estimator, permutations=20, key=KEY)
    assert result.z > 5
    assert result.p_value == 1 / 21


def test_a_shared_direction_leaves_a_finite_null():
    x = heavy(0, 100, 3)
    (result,) = mi.pairwise([x, x], permutations=5, key=KEY)
    assert result.net_bits == np.inf
    assert np.isfinite(result.permuted).all()


def test_without_a_key_the_null_is_that_of_key_zero():
    x = heavy(0, 40, 2)
    found = mi.permutation_null(x, x**2, m=3)
    np.testing.assert_array_equal(found, mi.permutation_null(x, x**2, m=3, key=jax.random.key(0)))
    (pair,) = mi.pairwise([x, x**2], permutations=3)
    np.testing.assert_array_equal(pair.permuted, found)


def test_refusals():
    x = heavy(0, 10, 1)
    with pytest.raises(ValueError, match="10 re-pairings of 10 samples; ask for 0 to 9"):
        mi.permutation_null(x, x**2, m=10, key=KEY)
    np.testing.assert_array_equal(repairing(9, 2).order, repairing(9, 2, jax.random.key(0)).order)
