import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial import cKDTree
from scipy.spatial.distance import cdist
from scipy.special import psi
from sklearn.feature_selection._mutual_info import _compute_mi_cc

from fedmi import mi
from fedmi.mi import neighbours
from fedmi.mi.ksg import queries_a_tile
from fedmi.mi.laws import Normal, StudentT, paired

METRICS = ["euclidean", "chebyshev"]


def reference_bits(x, y, k, metric):
    """Kraskov's first estimator from the full distance matrices, in float64."""
    x, y = x.astype(float), y.astype(float)
    dx, dy = cdist(x, x, metric), cdist(y, y, metric)
    np.fill_diagonal(dx, np.inf)
    np.fill_diagonal(dy, np.inf)
    nearest = np.sort(np.maximum(dx, dy), axis=1)[:, k - 1, None]
    terms = psi((dx < nearest).sum(axis=1) + 1) + psi((dy < nearest).sum(axis=1) + 1)
    return (psi(k) - terms.mean() + psi(len(x))) / np.log(2)


def second_reference_bits(x, y, k, metric):
    """Kraskov's second estimator likewise: rectangles around the k nearest."""
    x, y = x.astype(float), y.astype(float)
    dx, dy = cdist(x, x, metric), cdist(y, y, metric)
    np.fill_diagonal(dx, np.inf)
    np.fill_diagonal(dy, np.inf)
    total = 0.0
    for i in range(len(x)):
        nearest = np.argsort(np.maximum(dx[i], dy[i]))[:k]
        nx = (dx[i] <= dx[i, nearest].max()).sum()
        ny = (dy[i] <= dy[i, nearest].max()).sum()
        total += psi(nx) + psi(ny)
    return (psi(k) - 1 / k - total / len(x) + psi(len(x))) / np.log(2)


def tree_bits(x, y, k):
    """The same in the max norm by SciPy's trees, as it is usually done."""
    n = len(x)
    radius = cKDTree(np.hstack([x, y])).query(np.hstack([x, y]), k + 1, p=np.inf)[0][:, -1]
    inside = np.nextafter(radius, 0)
    nx, ny = (cKDTree(z).query_ball_point(z, inside, p=np.inf, return_length=True) for z in (x, y))
    return (psi(k) - (psi(nx) + psi(ny)).mean() + psi(n)) / np.log(2)


def correlated(seed, n, p, q, dtype=np.float64):
    rng = np.random.default_rng(seed)
    common = rng.standard_normal((n, 1))
    x = rng.standard_normal((n, p)) + common
    y = rng.standard_normal((n, q)) + common
    return x.astype(dtype), y.astype(dtype)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize(
    ("n", "p", "q", "k", "dtype"),
    [
        (30, 1, 1, 1, np.float64),  # fewer points than a block
        (130, 2, 5, 3, np.float64),  # fewer blocks than k
        (700, 3, 40, 3, np.float64),  # two ways of computing distances
        (700, 30, 20, 5, np.float32),
    ],
)
def test_agrees_with_the_plain_reference(metric, n, p, q, k, dtype):
    x, y = correlated(0, n, p, q, dtype)
    e = mi.ksg(x, y, k=k, metric=metric)
    tolerance = 1e-12 if dtype == np.float64 else 1e-4
    assert e.bits == pytest.approx(reference_bits(x, y, k, metric), abs=tolerance)
    assert (e.n, e.k, e.metric, e.estimator) == (n, k, metric, "ksg")
    assert np.isnan(e.interval).all() and np.isnan(e.null_sd)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize(("n", "p", "q", "k"), [(30, 1, 1, 1), (130, 2, 5, 3), (500, 3, 20, 4)])
def test_the_second_estimator_agrees_with_the_plain_reference(metric, n, p, q, k):
    x, y = correlated(0, n, p, q)
    e = mi.ksg(x, y, k=k, metric=metric, variant=2)
    assert e.bits == pytest.approx(second_reference_bits(x, y, k, metric), abs=1e-12)
    assert e.estimator == "ksg2"


def test_the_second_estimator_finds_known_values():
    law = Normal(paired([0.75]), 1)
    keys = jax.random.split(jax.random.key(1), 10)
    draws = [mi.ksg(*law.sample(key, 2000), variant=2).bits for key in keys]
    assert np.mean(draws) == pytest.approx(0.5963, abs=0.04)
    x = np.random.default_rng(0).standard_normal((300, 1))
    e = mi.ksg(x, 2 * x, variant=2)
    assert e.bits == pytest.approx(e.ceiling_bits, abs=1e-9)


def test_standardisation_is_a_choice_that_changes_the_answer():
    x, y = correlated(2, 400, 3, 3)
    stretched = x * np.array([1.0, 1.0, 1e3])
    assert mi.ksg(x, y).bits - mi.ksg(stretched, y).bits > 0.02
    kept = [mi.ksg(a, y, scale="standardised").bits for a in (x, stretched)]
    assert kept[0] == pytest.approx(kept[1], abs=1e-9)
    x[:, 1] = 3.0
    with pytest.raises(ValueError, match=r"x has 1 constant components \(the first: 1\)"):
        mi.ksg(x, y, scale="standardised")


def test_agrees_with_trees():
    x, y = correlated(1, 2000, 2, 3)
    assert mi.ksg(x, y, metric="chebyshev").bits == pytest.approx(tree_bits(x, y, 3), abs=1e-12)


@pytest.mark.parametrize("k", [1, 3, 10])
def test_agrees_with_scikit_learn(k):
    x, y = np.random.default_rng(7).standard_normal((2, 500))
    y += x**2
    nats = mi.ksg(x, y, k=k).bits * np.log(2)
    assert nats == pytest.approx(_compute_mi_cc(x, y, k), abs=1e-6)


def test_binormal():
    law = Normal(paired([0.75]), 1)
    keys = jax.random.split(jax.random.key(0), 20)
    draws = [mi.ksg(*law.sample(key, 5000)).bits for key in keys]
    assert np.mean(draws) == pytest.approx(0.5963, abs=0.02)


@pytest.mark.parametrize("metric", METRICS)
def test_copy_reads_the_ceiling(metric):
    n, k = 5000, 3
    rng = np.random.default_rng(0)
    x = rng.standard_normal(n)
    e = mi.ksg(x, x + 1e-12 * rng.standard_normal(n), k=k, metric=metric)
    assert e.ceiling_bits == pytest.approx((psi(n) - psi(k + 1)) / np.log(2))
    assert e.bits == pytest.approx(e.ceiling_bits, abs=2e-3)


def test_independent_heavy_tails_read_zero():
    rng = np.random.default_rng(0)
    sizes = np.sqrt(rng.chisquare(2, (10, 2, 1000, 1)) / 2)
    samples = rng.standard_normal((10, 2, 1000, 2)) / sizes
    draws = [mi.ksg(x, y).bits for x, y in samples]
    assert abs(np.mean(draws)) < 4 * np.std(draws, ddof=1) / np.sqrt(10) + 0.01


def test_heavy_tailed_dependence_beyond_correlation_is_seen():
    law = StudentT(paired([0.0]), 1, df=1.0)
    assert law.mi_bits > 0.2
    keys = jax.random.split(jax.random.key(0), 10)
    # Invertible maps of x and of y leave the mutual information as it is.
    draws = [mi.ksg(*map(np.arcsinh, law.sample(key, 2000))).bits for key in keys]
    assert np.mean(draws) == pytest.approx(law.mi_bits, abs=0.04)


def test_several_k_are_each_ones_own_estimate():
    x, y = correlated(3, 300, 12, 20)
    together = mi.ksg(x, y, k=[3, 1])
    assert together == [mi.ksg(x, y, k=k) for k in (3, 1)]
    key = jax.random.key(0)
    pairs = mi.pairwise([x, y], estimator="ksg", k=[1, 3], permutations=4, key=key)
    assert [(p.pair, p.estimate.k) for p in pairs] == [((0, 1), 1), ((0, 1), 3)]
    nulls = mi.permutation_null(x, y, estimator="ksg", k=[1, 3], m=4, key=key)
    np.testing.assert_array_equal(nulls, [p.permuted for p in pairs])
    one = mi.permutation_null(x, y, estimator="ksg", k=3, m=4, key=key)
    np.testing.assert_array_equal(nulls[1], one)


# ---- parts ----


def test_a_tile_of_queries_fills_a_quarter_of_a_devices_memory():
    n, clients = 22_000, 3
    for memory in (2**30, 2**36):
        tile = queries_a_tile(n, clients, memory)
        assert tile * 8 * n * (clients + 2) <= memory / 4
        assert tile == 4096 or 2 * tile * 8 * n * (clients + 2) > memory / 4
    assert queries_a_tile(n, clients, None) == 64
    assert queries_a_tile(10, clients, 2**36) == 10
    assert queries_a_tile(10**9, clients, 2**20) == 1


@pytest.mark.parametrize("k", [1, 3, 8])
@pytest.mark.parametrize("n", [5, 64, 500, 1000])
def test_kth_joint_distance_counts_ties(n, k):
    if k > n:
        return
    rng = np.random.default_rng(n + k)
    # Few distinct values, so that ties straddle the k-th place and the blocks.
    x = rng.integers(0, 40, (n, 9)).astype(np.float32)
    y = rng.integers(0, 40, (n + 2, 11)).astype(np.float32)
    joint = np.maximum(x, y[2 : n + 2, 2:11])
    got = neighbours.joint_kth(x, y, jax.numpy.int32(2), (k,))[0]
    np.testing.assert_array_equal(got, np.sort(joint, axis=0)[k - 1])
    bound = np.asarray(got)
    got = neighbours.count_below(jax.numpy.asarray(y), 2, n, bound)
    np.testing.assert_array_equal(got, (y[2 : n + 2, 2:11] < bound).sum(axis=0))


def test_distances():
    x, y = correlated(0, 50, 37, 37)
    with jax.enable_x64(True):
        square = cdist(x, y, "sqeuclidean")
        np.testing.assert_allclose(neighbours.product_distances(x, y), square)
        for metric, want in (("euclidean", square), ("chebyshev", cdist(x, y, "chebyshev"))):
            got = neighbours.direct_distances(jax.numpy.asarray(x), y, metric=metric)
            np.testing.assert_allclose(got, want)


# ---- rounding ----


def test_rounding_is_measured_and_small():
    x, y = correlated(0, 1500, 60, 60, np.float32)
    (result,) = mi.pairwise([x, y], estimator="ksg", permutations=0)
    exact = reference_bits(x, y, 3, "euclidean")
    assert abs(result.estimate.bits - exact) < 1e-4
    assert 0 <= result.rounding_bits < 1e-4


def test_where_float32_would_lose_the_neighbours_float64_takes_over():
    # Two distant clusters: squared distances within one drown in the rounding of the norms.
    x, y = correlated(0, 500, 20, 20)
    x[::2] += 3e4
    y[1::2] += 3e4
    x, y = x.astype(np.float32), y.astype(np.float32)
    (result,) = mi.pairwise([x, y], estimator="ksg", permutations=0)
    assert np.isnan(result.rounding_bits)
    assert result.estimate.bits == pytest.approx(reference_bits(x, y, 3, "euclidean"), abs=1e-6)


# ---- refusals ----


def test_duplicates_are_counted_and_refused():
    x, y = correlated(0, 50, 2, 2)
    x[7] = x[3]
    x[8] = x[3]
    with pytest.raises(ValueError, match="^x holds 2 duplicate samples among 50.*noise"):
        mi.ksg(x, y)
    with pytest.raises(ValueError, match="^y holds 2 duplicate"):
        mi.ksg(y, x)
    y[4], y[9] = [0.0, 1.0], [-0.0, 1.0]
    with pytest.raises(ValueError, match="^y holds 1 duplicate"):
        mi.ksg(correlated(1, 50, 2, 2)[0], y)


def test_impossible_options_are_refused():
    x, y = correlated(0, 10, 1, 1)
    for k in (0, 10, 2.5, -1, True):
        with pytest.raises(ValueError, match=f"k is {k}; with 10 samples"):
            mi.ksg(x, y, k=k)
    with pytest.raises(ValueError, match="'manhattan' is not one of euclidean, chebyshev"):
        mi.ksg(x, y, metric="manhattan")
    with pytest.raises(ValueError, match="variant is 3; Kraskov's estimators are 1 and 2"):
        mi.ksg(x, y, variant=3)
    with pytest.raises(ValueError, match="k is empty"):
        mi.ksg(x, y, k=[])
    with pytest.raises(ValueError, match="k is 10; with 10 samples"):
        mi.ksg(x, y, k=[3, 10])
    assert np.isfinite(mi.ksg(x, y, k=9).bits)


# ---- properties ----


@given(
    seed=st.integers(0, 2**32 - 1),
    exponent=st.integers(-20, 20),
    shift=st.floats(-100, 100),
    metric=st.sampled_from(METRICS),
)
@settings(max_examples=40, deadline=None)
def test_symmetry_and_invariance(seed, exponent, shift, metric):
    x, y = correlated(seed, 70, 2, 2)
    e = mi.ksg(x, y, metric=metric)
    assert e.bits == pytest.approx(reference_bits(x, y, 3, metric), abs=1e-12)
    assert mi.ksg(y, x, metric=metric).bits == pytest.approx(e.bits, abs=1e-12)
    moved = mi.ksg((x + shift) * 2.0**exponent, y * 2.0**exponent, metric=metric)
    assert moved.bits == pytest.approx(e.bits, abs=1e-9)
    assert e.bits <= e.ceiling_bits + 1e-12
