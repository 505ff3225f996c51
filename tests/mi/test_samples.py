import jax
import numpy as np
import pytest

from fedmi import mi

GOOD = np.random.default_rng(0).standard_normal((40, 2))
ESTIMATORS = [mi.gaussian, mi.ksg]


def spoiled(value):
    array = GOOD.copy()
    array[3, 1] = value
    return array


BAD = [
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
    ([[1.0, 2.0], [3.0]], "rows of unequal length"),
]


@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize(("bad", "message"), BAD)
def test_bad_input_is_refused_and_named(estimator, bad, message):
    with pytest.raises(ValueError, match=f"^x .*{message}"):
        estimator(bad, GOOD)
    with pytest.raises(ValueError, match=f"^y .*{message}"):
        estimator(GOOD, bad)


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
