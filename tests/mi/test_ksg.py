import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import psi
from sklearn.feature_selection._mutual_info import _compute_mi_cc

from fedmi import mi
from fedmi.mi.trust.laws import Normal, StudentT, paired
from tests.mi.plain import METRICS, correlated, ksg_bits, tree_bits

pytestmark = pytest.mark.usefixtures("quickly_compiled")


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
    # In float64 the counts are the same. float32 may count a point more or fewer here and there,
    # which moves a term by a bit or two at most.
    tolerance = 1e-12 if dtype == np.float64 else 3 / n
    assert e.bits == pytest.approx(ksg_bits(x, y, k, metric), abs=tolerance)
    assert (e.n, e.k, e.metric, e.estimator) == (n, k, metric, "ksg")
    assert np.isnan(e.interval).all() and np.isnan(e.null_sd)


def test_standardisation_is_a_choice_that_changes_the_answer():
    x, y = correlated(2, 400, 3, 3)
    stretched = x * np.array([1.0, 1.0, 1e3])
    assert mi.ksg(x, y).bits - mi.ksg(stretched, y).bits > 0.02
    kept = [mi.ksg(a, y, scale="standardised").bits for a in (x, stretched)]
    assert kept[0] == pytest.approx(kept[1], abs=1e-9)
    x[:, 1] = 3.0
    with pytest.raises(ValueError, match=r"x has 1 constant components \(the first: 1;"):
        mi.ksg(x, y, scale="standardised")


@pytest.mark.parametrize(("p", "q"), [(2, 3), (4, 5)])
def test_agrees_with_trees_as_they_are_usually_used(p, q):
    x, y = correlated(1, 2000, p, q)
    assert mi.ksg(x, y, metric="chebyshev").bits == pytest.approx(tree_bits(x, y, 3), abs=1e-12)


@pytest.mark.parametrize("k", [1, 3, 10])
def test_agrees_with_scikit_learn(k):
    x, y = np.random.default_rng(7).standard_normal((2, 500))
    y += x**2
    nats = mi.ksg(x, y, k=k).bits * np.log(2)
    assert nats == pytest.approx(_compute_mi_cc(x, y, k), abs=1e-12)


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
    assert e.bits == pytest.approx(e.ceiling_bits, abs=1e-9)


@pytest.mark.parametrize("k", [1, 4])
@pytest.mark.parametrize("p", [1, 12])
def test_only_an_exact_copy_reads_more_than_the_ceiling(p, k):
    n = 200
    x = np.random.default_rng(0).standard_normal((n, p))
    e = mi.ksg(x, x, k=k)
    assert e.bits == pytest.approx((psi(n) - psi(k)) / np.log(2), abs=1e-9)
    assert e.bits == pytest.approx(e.ceiling_bits + 1 / (k * np.log(2)), abs=1e-9)
    for y in (x + 1e-6 * x**2, 2 * x, np.tanh(x)):
        assert mi.ksg(x, y, k=k).bits <= e.ceiling_bits + 1e-9


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


@pytest.mark.parametrize(("p", "metric"), [(12, "euclidean"), (2, "chebyshev")])
def test_large_k(p, metric):
    n, ks = 350, [1, 3, 50, 300, 349]
    x, y = correlated(4, n, p, p)
    together = mi.ksg(x, y, k=ks, metric=metric)
    for e, k in zip(together, ks, strict=True):
        assert e.bits == pytest.approx(ksg_bits(x, y, k, metric), abs=1e-12)
    assert mi.ksg(x, y, k=300, metric=metric).bits == together[3].bits


# ---- scale ----


def test_scores_do_not_change_under_monotone_maps():
    x, y = correlated(5, 300, 2, 5)
    scores = mi.ksg(x, y, scale="scores").bits
    assert mi.ksg(np.exp(x), y**3, scale="scores").bits == scores
    assert mi.ksg(np.exp(x), y**3).bits != scores


@pytest.mark.parametrize("p", [2, 12])
def test_components_that_do_not_vary_add_nothing_to_scores(p):
    x, y = correlated(5, 300, p, p)
    wider = np.insert(x, 1, 7.0, axis=1)
    assert mi.ksg(wider, y, scale="scores").bits == pytest.approx(
        mi.ksg(x, y, scale="scores").bits, abs=1e-12
    )
    wider[:, 1] = np.arange(300) % 3  # tied, but beside others that are not
    assert np.isfinite(mi.ksg(wider, y, scale="scores").bits)


def test_scores_see_through_heavy_tails():
    law = StudentT(paired([0.0, 0.0]), 2, df=1.0)
    draws = [law.sample(key, 4000) for key in jax.random.split(jax.random.key(0), 5)]
    found = {
        scale: np.mean([mi.ksg(*draw, scale=scale).bits for draw in draws])
        for scale in ("raw", "standardised", "scores")
    }
    assert abs(found["scores"] - law.mi_bits) < 0.1
    assert max(found["raw"], found["standardised"]) < law.mi_bits - 0.15


# ---- refusals ----


def test_impossible_options_are_refused():
    x, y = correlated(0, 10, 1, 1)
    for k in (0, 10, 2.5, -1, True):
        with pytest.raises(ValueError, match=f"k is {k}; with 10 samples"):
            mi.ksg(x, y, k=k)
    with pytest.raises(ValueError, match="'manhattan' is not one of euclidean, chebyshev"):
        mi.ksg(x, y, metric="manhattan")
    with pytest.raises(ValueError, match="'ranks' is not one of raw, standardised, scores"):
        mi.ksg(x, y, scale="ranks")
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
    assert e.bits == pytest.approx(ksg_bits(x, y, 3, metric), abs=1e-12)
    assert mi.ksg(y, x, metric=metric).bits == pytest.approx(e.bits, abs=1e-12)
    moved = mi.ksg((x + shift) * 2.0**exponent, y * 2.0**exponent, metric=metric)
    assert moved.bits == pytest.approx(e.bits, abs=1e-9)
    assert e.bits <= e.ceiling_bits + 1e-12
