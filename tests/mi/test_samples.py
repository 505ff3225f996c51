import jax
import numpy as np
import pandas as pd
import pytest
import xarray as xr

from fedmi import distance, mi
from fedmi.mi.samples import as_samples, centred, standardised

GOOD = np.random.default_rng(0).standard_normal((40, 2))
ESTIMATORS = [mi.gaussian, mi.ksg]


def spoiled(value):
    array = GOOD.copy()
    array[3, 1] = value
    return array


def masked():
    """A masked entry with a number under the mask."""
    return np.ma.array(spoiled(-9999.0), mask=spoiled(0) == 0)


def missing(dtype):
    return pd.DataFrame(GOOD.round(), dtype=dtype).mask(pd.DataFrame(spoiled(99.0) == 99))


MASKED = [
    (masked(), "is masked in 1 of 40"),
    (list(masked()), "is masked in 1 of 40"),
    (masked()[:, 1], "is masked in 1 of 40"),
    (xr.DataArray(masked()), "is not finite in 1 of 40"),
    (missing("Float64"), "real numbers throughout, but <NA>"),
    (missing("Int64"), "real numbers throughout, but <NA>"),
    (missing("Int64")[1], "is not finite in 1 of 40"),
]
BAD = [
    *MASKED,
    (GOOD[None], "has 3 dimensions"),
    (np.float64(3), "has 0 dimensions"),
    (GOOD[:0], "is empty"),
    (GOOD[:, :0], "is empty"),
    (spoiled(np.nan), "is not finite in 1 of 40"),
    (spoiled(np.inf), "is not finite in 1 of 40"),
    (np.ones((40, 2)), "is constant"),
    (GOOD.astype(complex), "real numbers"),
    (np.array(["a"] * 40), "real numbers"),
    (np.array([None] * 40), "real numbers"),
    (np.arange(40).astype("datetime64[s]"), "real numbers"),
    (np.arange(40).astype("timedelta64[s]"), "real numbers"),
    (np.array([(v,) for v in GOOD[:, 0]], [("a", float)]), "real numbers"),
    (pd.DataFrame({"a": GOOD[:, 0], "b": ["1"] * 40}), "real numbers throughout, but '1'"),
    (jax.random.key(0), "real numbers"),
    ([[1.0, 2.0], [3.0]], "rows of unequal length"),
]


@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize(("bad", "message"), BAD)
def test_bad_input_is_refused_and_named(estimator, bad, message):
    with pytest.raises(ValueError, match=f"^x .*{message}"):
        estimator(bad, GOOD)
    with pytest.raises(ValueError, match=f"^y .*{message}"):
        estimator(GOOD, bad)


@pytest.mark.parametrize(("bad", "message"), MASKED)
def test_distances_refuse_what_is_masked(bad, message):
    with pytest.raises(ValueError, match=f"^x .*{message}"):
        distance.euclidean(bad, GOOD)


@pytest.mark.parametrize(
    "same",
    [
        np.ma.array(GOOD),
        np.ma.array(GOOD, mask=np.zeros(GOOD.shape, bool)),
        list(np.ma.array(GOOD)),
        xr.DataArray(GOOD),
        pd.DataFrame(GOOD),
        pd.DataFrame(GOOD, dtype="Float64"),
        GOOD.astype(object),
        GOOD.astype(np.longdouble),
    ],
)
def test_numbers_in_other_clothes_are_taken(same):
    found = as_samples(same, "x")
    assert type(found) is np.ndarray and found.dtype == np.float64
    np.testing.assert_array_equal(found, GOOD)


def test_precision_is_kept_where_there_is_one():
    for dtype in ("float16", "bfloat16", "float32", "float64"):
        with jax.enable_x64(True):
            assert as_samples(jax.numpy.asarray(GOOD, dtype), "x").dtype.name == dtype
    for dtype in (bool, np.int8, np.uint64):
        assert as_samples(GOOD.astype(dtype), "x").dtype == np.float64


@pytest.mark.parametrize("value", [0.1, 1e300, 1e-310, 0.0])
def test_the_rounding_of_a_mean_is_no_variation(value):
    n = 26_400
    column = np.full(n, value)
    jitter = np.where(np.arange(n) % 2, value, np.nextafter(value, np.inf))
    found = centred(np.stack([column, jitter, np.arange(n) * 0.1], axis=1))
    assert found.spread[:2].tolist() == [0, 0] and found.spread[2] > 0
    assert not found.columns[:, 0].any()
    assert found.units[2] * found.spread[2] == pytest.approx(0.1 * np.sqrt((n**2 - 1) / 12))
    with pytest.raises(ValueError, match="x has 1 constant components"):
        standardised(np.stack([np.arange(n) * 0.1, jitter], axis=1), "x")


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_standardised_samples_have_mean_zero_and_spread_one(dtype):
    x = (GOOD * [1e-8, 1e8] + [1e-6, 1e9]).astype(dtype)
    found = standardised(x, "x")
    assert found.dtype == dtype
    eps = np.finfo(dtype).eps
    np.testing.assert_allclose(found.mean(axis=0, dtype=float), 0, atol=eps)
    np.testing.assert_allclose(found.std(axis=0, dtype=float), 1, rtol=4 * eps)


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_unequal_lengths_name_both(estimator):
    with pytest.raises(ValueError, match="y holds 39 samples and x 40"):
        estimator(GOOD, GOOD[:-1])


def test_pairwise_names_the_client():
    with pytest.raises(ValueError, match=r"clients\[1\] is not finite"):
        mi.pairwise([GOOD, spoiled(np.nan)], permutations=0)
    with pytest.raises(ValueError, match="at least two"):
        mi.pairwise([GOOD], permutations=0)
    with pytest.raises(ValueError, match="'ksgg' is not one of gaussian, .*ksg"):
        mi.pairwise([GOOD, GOOD], estimator="ksgg", permutations=0)


def test_one_dimension_is_one_column_and_integers_count():
    x, y = np.random.default_rng(1).permutation(60).reshape(2, 30)
    for estimator in ESTIMATORS:
        want = estimator(x[:, None].astype(float), y[:, None].astype(float))
        assert estimator(x, y) == want
        assert estimator(list(x), y) == want


def test_low_precision_is_taken_as_numbers():
    half = jax.numpy.asarray(GOOD, jax.numpy.bfloat16)
    assert np.isfinite(mi.gaussian(half[:, 0], half[:, 1]).bits)


def test_global_precision_is_left_alone():
    before = jax.config.jax_enable_x64
    mi.ksg(GOOD[:, 0], GOOD[:, 1])
    assert jax.config.jax_enable_x64 == before
    assert jax.numpy.ones(2).dtype == (np.float64 if before else np.float32)


def test_a_matrix_is_samples_and_records_are_none():
    x = np.random.default_rng(0).standard_normal((30, 2))
    assert mi.gaussian(np.matrix(x), x[:, ::-1] ** 2).bits == mi.gaussian(x, x[:, ::-1] ** 2).bits
    with pytest.raises(ValueError, match="x does not hold real numbers.*records of f0, f1"):
        mi.gaussian(np.zeros(30, "f8,f8"), x)
