from math import inf, log

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.special import polygamma, psi

from fedmi import mi
from fedmi.mi.gaussian import PRODUCT
from fedmi.mi.trust.laws import Normal, paired
from fedmi.mi.whitening import EPS, whiten

KEY = jax.random.key(0)


def plug_in_bits(x, y):
    """Eqs 1-5 as they stand."""

    def entropy(z):
        return np.linalg.slogdet(2 * np.pi * np.e * np.cov(z.T).reshape(z.shape[1], -1))[1] / 2

    return (entropy(x) + entropy(y) - entropy(np.hstack([x, y]))) / log(2)


def normals(seed, n, *columns, dtype=np.float64):
    rng = np.random.default_rng(seed)
    return [rng.standard_normal((n, p)).astype(dtype) for p in columns]


def softmax_head(seeds, features, classes, seed=0):
    """Last layers after three float32 SGD steps, (seeds, (features + 1) * classes).

    The gradients of softmax cross-entropy sum to zero over classes, and steps from one download
    leave each feature's sum over classes as it was: rank (features + 1) * (classes - 1).
    """
    rng = np.random.default_rng(seed)
    head = rng.standard_normal((features + 1, classes)).astype(np.float32)
    head = np.repeat(head[None] / np.float32(5), seeds, axis=0)
    for _ in range(3):
        x = rng.standard_normal((seeds, 40, features + 1)).astype(np.float32)
        x[..., -1] = 1
        target = np.eye(classes, dtype=np.float32)[rng.integers(classes, size=(seeds, 40))]
        logits = x @ head
        weights = np.exp(logits - logits.max(axis=-1, keepdims=True))
        error = weights / weights.sum(axis=-1, keepdims=True) - target
        head = head - np.float32(0.05 / 40) * (x.transpose(0, 2, 1) @ error)
    return head.reshape(seeds, -1)


def test_agrees_with_determinants():
    x, noise, y = normals(0, 300, 5, 3, 4)
    x = x @ np.random.default_rng(1).standard_normal((5, 5)) + 3
    y[:, :3] += x[:, :3] + noise
    e = mi.gaussian(x, y)
    assert e.raw_bits == pytest.approx(plug_in_bits(x, y), rel=1e-10)
    assert (e.n, e.rank_x, e.rank_y, e.shared_directions) == (300, 5, 4, 0)
    assert (e.estimator, e.finite_bits) == ("gaussian", e.bits)
    assert np.isnan(e.ceiling_bits)


def test_correction_null_and_interval_are_the_formulas():
    x, y = normals(0, 80, 3, 2)
    y[:, 0] += x[:, 0]
    n, p, q = 80, 3, 2
    e = mi.gaussian(x, y)
    i = np.arange(1, p + 1)
    bias = (psi((n - i) / 2) - psi((n - q - i) / 2)).sum() / 2
    variance = (polygamma(1, (n - q - i) / 2) - polygamma(1, (n - i) / 2)).sum() / 4
    assert e.null_bits == pytest.approx(bias / log(2))
    assert e.bits == pytest.approx(e.raw_bits - bias / log(2))
    assert e.null_sd == pytest.approx(np.sqrt(variance) / log(2))
    qx, qy = (np.linalg.qr(z - z.mean(axis=0))[0] for z in (x, y))
    squares = np.linalg.svd(qx.T @ qy)[1] ** 2
    big_r = (squares.sum() - p * q / (n - 1)) / ((1 - p / (n - 1)) * (1 - q / (n - 1)))
    half = 1.96 * np.sqrt(variance + big_r / (n - 1)) / log(2)
    assert e.interval == pytest.approx((e.bits - half, e.bits + half))


def test_negative_dependence_estimates_do_not_shrink_the_interval():
    draws = [mi.gaussian(*normals(seed, 50, 2, 2)) for seed in range(20)]
    for e in draws:
        assert e.interval[1] - e.bits >= 1.96 * e.null_sd * (1 - 1e-12)
    assert any(e.bits < 0 for e in draws)


def test_null_at_the_size_of_the_signal_task():
    e = mi.gaussian(*normals(0, 5000, 394, 394, dtype=np.float32))
    assert e.null_bits == pytest.approx(24.35, abs=0.01)
    assert abs(e.raw_bits - e.null_bits) < 5 * e.null_sd


@pytest.mark.slow
def test_mean_over_draws_is_the_truth_for_394_correlated_components():
    law = Normal(paired(np.linspace(0, 0.6, 394)), 394)
    rng = np.random.default_rng(0)
    draws = []
    for _ in range(20):
        x = rng.standard_normal((5000, 394))
        y = rng.standard_normal((5000, 394))
        rho = np.diag(law.covariance[:394, 394:])
        draws.append(mi.gaussian(x, rho * x + np.sqrt(1 - rho**2) * y).bits)
    error = np.std(draws, ddof=1) / np.sqrt(20)
    assert abs(np.mean(draws) - law.mi_bits) < 4 * error


def test_mean_over_draws_is_the_truth_and_the_interval_covers_it():
    law = Normal(paired([0.9, 0.5, 0.0]), 3)
    draws = [mi.gaussian(*law.sample(key, 400)) for key in jax.random.split(jax.random.key(0), 200)]
    bits = np.array([e.bits for e in draws])
    assert abs(bits.mean() - law.mi_bits) < 4 * bits.std(ddof=1) / np.sqrt(200)
    covered = sum(e.interval[0] <= law.mi_bits <= e.interval[1] for e in draws)
    assert stats.binomtest(covered, 200, 0.95).pvalue > 1e-3


def test_p_values_are_uniform_for_independent_normals():
    p_values = [mi.gaussian(*normals(seed, 60, 4, 6)).p_value for seed in range(400)]
    assert stats.kstest(p_values, "uniform").pvalue > 1e-3


def test_heavy_tails_spread_wider_than_the_formula_but_not_than_repairings():
    rng = np.random.default_rng(0)
    spread, net = [], []
    for key in jax.random.split(jax.random.key(0), 12):
        sizes = np.sqrt(rng.chisquare(3, (2, 400, 1)) / 3)
        x, y = rng.standard_normal((2, 400, 30)) / sizes
        (result,) = mi.pairwise([x, y], key=key)
        spread.append(result.perm_sd / result.estimate.null_sd)
        net.append(result.z)
    assert np.abs(net).max() < 5
    assert np.mean(spread) > 1.5


# ---- support ----


def test_rank_of_a_float32_head():
    head = softmax_head(1200, 24, 10)
    assert head.dtype == np.float32
    w = whiten(head, "x")
    assert w.rank == 25 * 9
    # float64's own tolerance would take rounding for samples.
    assert whiten(head.astype(np.float64), "x").rank == 250
    assert whiten(head.astype(np.float64), "x", rtol=8 * np.finfo(np.float32).eps).rank == 25 * 9


def test_rank_of_a_float32_head_at_the_size_of_the_digits_task():
    assert whiten(softmax_head(1600, 84, 10), "x").rank == 765


@pytest.mark.parametrize("condition", [1e1, 1e4, 1e7, 1e11])
def test_basis_is_orthonormal_and_spans_the_samples(condition):
    x = normals(0, 500, 12)[0]
    x *= np.geomspace(1, 1 / condition, 12)
    x = x @ np.linalg.qr(np.random.default_rng(1).standard_normal((12, 12)))[0]
    w = whiten(x, "x")
    assert w.rank == 12
    np.testing.assert_allclose(w.basis.T @ w.basis, np.eye(12), atol=1e-12)
    centred = x - x.mean(axis=0)
    np.testing.assert_allclose(w.basis @ (w.basis.T @ centred), centred, atol=1e-12)


@pytest.mark.parametrize("condition", [1e1, 1e4, 1e7, 1e11])
def test_conditioning_does_not_change_the_estimate(condition):
    x, y = normals(0, 500, 12, 12)
    y += x
    turn = np.linalg.qr(np.random.default_rng(1).standard_normal((12, 12)))[0]
    scales = np.geomspace(1, 1 / condition, 12)
    want = mi.gaussian(x, y)
    got = mi.gaussian((x * scales) @ turn, (y * scales[::-1]) @ turn)
    assert got.rank_x == got.rank_y == 12
    # A product of the samples is off by EPS condition^2, and is taken where that is below `PRODUCT`
    # (times the root of N). The map itself rounds: by some EPS of the widest direction, which is
    # `condition` times as much of the narrowest.
    allowed = np.sqrt(500) * min(PRODUCT, EPS * condition**2) + 12 * EPS * condition
    assert abs(got.raw_bits - want.raw_bits) < 12 * allowed


def test_dependent_columns_are_no_obstacle():
    x, y = normals(0, 200, 3, 2)
    wide = np.hstack([x, x @ np.ones((3, 2)), np.zeros((200, 1))])
    e, want = mi.gaussian(wide, y), mi.gaussian(x, y)
    assert (e.rank_x, e.rank_y) == (3, 2)
    assert e.bits == pytest.approx(want.bits, abs=1e-9)


def test_too_few_samples_give_both_numbers():
    x, y = normals(0, 10, 6, 4)
    with pytest.raises(ValueError, match="10 samples .* at least 11 "):
        mi.gaussian(x, y)
    assert np.isfinite(mi.gaussian(x, y[:, :3]).bits)
    with pytest.raises(ValueError, match="20 samples of ranks 19 and 19"):
        mi.gaussian(*normals(0, 20, 50, 50))


def test_variation_below_rounding_is_refused():
    x, y = normals(0, 50, 2, 2, dtype=np.float32)
    with pytest.raises(ValueError, match="^x does not vary beyond rounding"):
        mi.gaussian(1 + 1e-7 * x, y)


# ---- units, offsets, and what does not vary ----


def dependent(seed, n, p=3):
    x, noise = normals(seed, n, p, p)
    return x, x + noise


def constant(n, value):
    return np.full((n, 1), value)


def jitter(n, value):
    """By one unit in the last place."""
    odd = np.arange(n)[:, None] % 2 == 1
    return np.where(odd, np.nextafter(value, value.dtype.type(np.inf)), value)


@pytest.mark.parametrize("n", [50, 997, 26_400])
@pytest.mark.parametrize("value", [0.1, -1 / 3, 1.7e9, 1e300, 1e-310])
@pytest.mark.parametrize("column", [constant, jitter])
def test_a_column_that_does_not_vary_changes_nothing(column, value, n):
    x, y = dependent(0, n)
    idle = column(n, np.float64(value))
    want = mi.gaussian(x, y)
    wide_x, wide_y = np.hstack([x[:, :1], idle, x[:, 1:]]), np.hstack([y, -idle, idle])
    for pair in ((wide_x, y), (x, wide_y), (wide_x, wide_y)):
        got = mi.gaussian(*pair)
        assert (got.rank_x, got.rank_y, got.shared_directions) == (3, 3, 0)
        assert got.bits == pytest.approx(want.bits, rel=1e-9)
        assert got.interval == pytest.approx(want.interval, rel=1e-9)
        assert (got.null_bits, got.null_sd) == (want.null_bits, want.null_sd)


@pytest.mark.parametrize("column", [constant, jitter])
def test_nor_does_it_in_float32_or_change_the_null(column):
    x, y = (z.astype(np.float32) for z in dependent(0, 3000))
    idle = column(3000, np.float32(1 / 3))
    (want,) = mi.pairwise([x, y], permutations=3, key=KEY)
    (got,) = mi.pairwise([np.hstack([x, idle]), np.hstack([idle, y])], permutations=3, key=KEY)
    assert got.estimate.bits == pytest.approx(want.estimate.bits, rel=1e-9)
    # Re-paired products are of float32.
    np.testing.assert_allclose(got.permuted, want.permuted, atol=1e-6)


def test_many_columns_that_do_not_vary_add_up_to_nothing():
    x, y = dependent(0, 500)
    wide = np.hstack([x, np.repeat(jitter(500, np.float64(0.7)), 400, axis=1)])
    assert mi.gaussian(wide, y).bits == pytest.approx(mi.gaussian(x, y).bits, rel=1e-9)


def test_a_large_column_does_not_erase_small_ones():
    a, b, *noise = np.random.default_rng(0).standard_normal((4, 500))
    row = np.arange(500.0)
    y = np.stack([a + noise[0], b + noise[1]], axis=1)
    got = mi.gaussian(np.stack([1.7e9 + row, 1e-6 * a, 1e-6 * b], axis=1), y)
    want = mi.gaussian(np.stack([row / 144, a, b], axis=1), y)
    assert got.rank_x == 3
    # The offset is stored to EPS of itself, which is 3e-9 of what the column varies by.
    assert got.bits == pytest.approx(want.bits, abs=1e-7)
    assert abs(got.bits - 1) < 4 * (got.interval[1] - got.bits) / 1.96


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_units_do_not_matter(dtype):
    x, y = (z.astype(dtype) for z in dependent(0, 2000, p=8))
    units = np.geomspace(1e-9, 1e9, 8).astype(dtype)
    want = mi.gaussian(x.astype(float), y.astype(float))
    got = mi.gaussian(x * units, y * units[::-1])
    assert got.rank_x == got.rank_y == 8
    # Every number is rounded to half an eps of itself.
    assert abs(got.bits - want.bits) < 8 * np.finfo(dtype).eps + 1e-9
    if dtype == np.float64:
        assert mi.gaussian(x * 1e-200, y * 1e200).bits == pytest.approx(want.bits, rel=1e-9)


def test_an_offset_leaves_what_is_above_its_own_rounding():
    x, y = ((1e6 + z).astype(np.float32) for z in dependent(0, 2000))
    eps = np.finfo(np.float32).eps
    got = mi.gaussian(x, y)
    want = mi.gaussian(x.astype(float) - 1e6, y.astype(float) - 1e6)
    assert (got.rank_x, got.rank_y) == (3, 3)
    assert got.bits == pytest.approx(want.bits, rel=1e-9)
    assert abs(got.bits - 1.5) < 4 * (got.interval[1] - got.bits) / 1.96
    # A column is idle below four eps of its offset, whatever the others are.
    noise = np.random.default_rng(1).standard_normal((2000, 1))
    for width, rank in ((3.5, 3), (4.5, 4)):
        column = (1e6 + width * eps * 1e6 * noise / noise.std()).astype(np.float32)
        assert whiten(np.hstack([x, column]), "x").rank == rank
    assert whiten(np.hstack([x, column]).astype(float), "x").rank == 4


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_the_tolerance_is_that_of_the_samples_precision(dtype):
    x, y = dependent(0, 300)
    low = np.asarray(jax.numpy.asarray(np.hstack([x, x.sum(axis=1, keepdims=True)]), dtype))
    e = mi.gaussian(low, y)
    assert e.rank_x == 3
    assert e.bits == pytest.approx(mi.gaussian(low[:, :3].astype(float), y).bits, abs=0.02)
    assert mi.gaussian(low.astype(float), y).rank_x == 4


def test_principal_directions_are_those_of_the_samples_in_their_own_units():
    x = normals(0, 300, 4)[0] * [1.0, 1e-3, 5.0, 0.1] @ np.random.default_rng(1).random((4, 4))
    x = np.hstack([x, x[:, :1] - x[:, 1:2], constant(300, 0.1)])
    w = whiten(x, "x")
    u, values, axes = np.linalg.svd(x - x.mean(axis=0), full_matrices=False)
    found = w.principal
    np.testing.assert_allclose(found.values, values[:4], rtol=1e-9)
    np.testing.assert_allclose(np.abs((found.axes * (axes[:4].T)).sum(axis=0)), 1, rtol=1e-9)
    np.testing.assert_allclose(np.abs(((w.basis @ found.rotation) * u[:, :4]).sum(axis=0)), 1)
    np.testing.assert_allclose(w.basis @ w.colour, x - x.mean(axis=0), atol=1e-12)


# ---- shared directions ----


def test_shared_directions_are_infinite_and_the_rest_is_estimated():
    law = Normal(paired([0.8, 0.0]), 2)
    x, y = law.sample(jax.random.key(0), 2000)
    shared = normals(1, 2000, 3)[0]
    mix = np.random.default_rng(2).standard_normal((5, 5))
    e = mi.gaussian(np.hstack([x, shared]) @ mix, np.hstack([shared, y]))
    assert (e.bits, e.raw_bits, e.p_value, e.shared_directions) == (inf, inf, 0.0, 3)
    assert e.finite_bits == pytest.approx(law.mi_bits, abs=0.1)


def test_finite_bits_are_unbiased_beside_many_shared_directions():
    n, finite = 60, []
    for seed in range(300):
        shared, x, y = normals(seed, n, 15, 8, 6)
        e = mi.gaussian(np.hstack([x, shared]), np.hstack([y, shared]))
        assert e.shared_directions == 15
        finite.append(e.finite_bits)
    assert abs(np.mean(finite)) < 4 * np.std(finite, ddof=1) / np.sqrt(300)


def test_nothing_remains_of_a_copy():
    x = normals(0, 100, 4)[0]
    e = mi.gaussian(x, x @ np.random.default_rng(1).standard_normal((4, 4)))
    assert (e.bits, e.finite_bits, e.shared_directions) == (inf, 0.0, 4)


@pytest.mark.parametrize("condition", [1.0, 1e6])
def test_almost_shared_is_not_shared(condition):
    x, noise, rest = normals(0, 400, 2, 2, 2)
    small = np.hstack([x, rest * condition])
    # 1 - r is about half the noise's variance.
    e = mi.gaussian(small, x + 1e-4 * noise)
    assert e.shared_directions == 0
    truth = 2 * np.log2(np.sqrt(1 + 1e-8) / 1e-4)
    assert e.bits == pytest.approx(truth, abs=0.5)
    e = mi.gaussian(small, x + 1e-6 * noise)
    assert e.shared_directions == 2


# ---- properties ----


@given(seed=st.integers(0, 2**32 - 1), p=st.integers(1, 6), q=st.integers(1, 6))
@settings(max_examples=40, deadline=None)
def test_symmetry_and_invariance_under_invertible_maps(seed, p, q):
    rng = np.random.default_rng(seed)
    x, y = rng.standard_normal((50, p)), rng.standard_normal((50, q))
    y[:, 0] += x[:, 0]
    e, mirrored = mi.gaussian(x, y), mi.gaussian(y, x)
    assert mirrored.bits == pytest.approx(e.bits, abs=1e-10)
    assert mirrored.interval == pytest.approx(e.interval)
    assert (mirrored.rank_x, mirrored.rank_y) == (e.rank_y, e.rank_x)
    # Orthogonal times diagonal keeps the map well conditioned whatever the draw.
    turn = np.linalg.qr(rng.standard_normal((p, p)))[0] * rng.uniform(0.1, 10, p)
    moved = mi.gaussian(x @ turn + rng.standard_normal(p), y)
    assert moved.bits == pytest.approx(e.bits, abs=1e-9)
    order = rng.permutation(50)
    assert mi.gaussian(x[order], y[order]).bits == pytest.approx(e.bits, abs=1e-10)


@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=25, deadline=None)
def test_more_components_never_lower_the_plug_in(seed):
    x, y = np.random.default_rng(seed).standard_normal((2, 40, 5))
    values = [mi.gaussian(x[:, :p], y).raw_bits for p in range(1, 6)]
    assert (np.diff(values) >= -1e-12).all()


@pytest.mark.parametrize("rtol", [-1.0, 1.0, np.nan])
def test_an_impossible_tolerance_is_refused(rtol):
    x = np.random.default_rng(0).standard_normal((40, 2))
    with pytest.raises(ValueError, match="rtol is .*from 0 up to 1"):
        mi.gaussian(x, x + 1, rtol=rtol)
