import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedmi import distance

METRICS = ["euclidean", "manhattan", "chebyshev"]
ORDERS = {"euclidean": 2, "manhattan": 1, "chebyshev": np.inf}


def test_known_answers():
    x, y = np.array([[0.0, 0.0], [1.0, 1.0]]), np.array([[3.0, -4.0], [1.0, 3.0]])
    assert distance.euclidean(x, y) == (5 + 2) / 2
    assert distance.manhattan(x, y) == (7 + 2) / 2
    assert distance.chebyshev(x, y) == (4 + 2) / 2


@pytest.mark.parametrize("metric", METRICS)
def test_agrees_with_norms_beyond_one_block_of_rows(metric):
    x, y = np.random.default_rng(0).standard_normal((2, 5000, 3)).astype(np.float32)
    norms = np.linalg.norm(x.astype(float) - y.astype(float), ord=ORDERS[metric], axis=1)
    value = getattr(distance, metric)(x, y)
    assert isinstance(value, float)
    assert value == pytest.approx(norms.mean(), rel=1e-12)


def test_small_differences_of_large_float32_numbers_survive():
    x = np.full((2, 4), 3e7, np.float32)
    y = np.nextafter(x, np.float32(np.inf))
    assert distance.manhattan(x, y) == 4 * 2.0


@given(seed=st.integers(0, 2**32 - 1), scale=st.floats(1e-3, 1e3))
@settings(max_examples=25, deadline=None)
def test_metric_axioms(seed, scale):
    x, y, z = np.random.default_rng(seed).standard_normal((3, 7, 4)) * scale
    for metric in METRICS:
        d = getattr(distance, metric)
        assert d(x, x) == 0
        assert d(x, y) == d(y, x) > 0
        assert d(x, z) <= d(x, y) + d(y, z) + 1e-9 * scale
    assert distance.chebyshev(x, y) <= distance.euclidean(x, y) <= distance.manhattan(x, y)


@pytest.mark.parametrize("metric", METRICS)
def test_unmatched_equals_matched_when_clients_are_independent(metric):
    x, y = np.random.default_rng(0).standard_normal((2, 4000, 5))
    matched = getattr(distance, metric)(x, y)
    unmatched = distance.unmatched(x, y, metric=metric, key=jax.random.key(0))
    assert unmatched == pytest.approx(matched, rel=0.03)


@pytest.mark.parametrize("metric", METRICS)
def test_unmatched_exceeds_matched_when_clients_share(metric):
    common, *noise = np.random.default_rng(0).standard_normal((3, 1000, 5))
    x, y = common + 0.1 * noise[0], common + 0.1 * noise[1]
    unmatched = distance.unmatched(x, y, metric=metric, key=jax.random.key(0))
    assert unmatched > 5 * getattr(distance, metric)(x, y)


def test_unmatched_never_pairs_a_seed_with_itself():
    x = 10.0 ** np.arange(5)[:, None]
    assert distance.unmatched(x, x, m=4) == pytest.approx(
        np.mean([np.abs(a - b) for a in x for b in x if a != b])
    )


def test_bad_input_is_refused_and_named():
    good = np.zeros((4, 2))
    for metric in METRICS:
        d = getattr(distance, metric)
        with pytest.raises(ValueError, match="^y is not finite"):
            d(good, good + np.nan)
        with pytest.raises(ValueError, match="x has 2 components and y 1"):
            d(good, good[:, :1])
        with pytest.raises(ValueError, match="y holds 3 samples"):
            d(good, good[:3])
        with pytest.raises(ValueError, match="^x has 3 dimensions"):
            d(good[None], good)
        assert d(good, good) == 0  # constant samples have a distance
    with pytest.raises(ValueError, match="'cosine' is not one of"):
        distance.unmatched(good, good, metric="cosine", key=jax.random.key(0))
    for m in (0, 4):
        with pytest.raises(ValueError, match=f"{m} re-pairings"):
            distance.unmatched(good, good, m=m, key=jax.random.key(0))
