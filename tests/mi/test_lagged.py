import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedmi.mi import lagged
from fedmi.mi.lagged import lagged_products


def bare_products(x, y, m):
    """What `lagged_products` replaces: one product a lag."""
    return [x.T @ y[s : s + len(x)] for s in range(1, m + 1)]


def samples(n, p, q, m, dtype=np.float64):
    rng = np.random.default_rng(0)
    return rng.standard_normal((n, p)).astype(dtype), rng.standard_normal((n + m, q)).astype(dtype)


def check(x, y, m):
    found = list(lagged_products(x, y, m))
    assert [one.shape for one in found] == [(x.shape[1], y.shape[1])] * m
    assert all(one.dtype == x.dtype for one in found)
    # A sum of N products is precise to N eps of the sum of their sizes, and transforms of 4 m
    # points to that many eps of the norms.
    fine = [a.astype(np.float64) for a in (x, y)]
    norms = np.linalg.norm(fine[0], axis=0)[:, None] * np.linalg.norm(fine[1], axis=0)
    for one, right in zip(found, bare_products(*fine, m), strict=True):
        assert (np.abs(one - right) <= 4 * m * np.finfo(x.dtype).eps * norms).all()


@settings(deadline=None, max_examples=60)
@given(n=st.integers(2, 90), p=st.integers(1, 5), q=st.integers(1, 5), m=st.integers(0, 89))
def test_products_are_those_of_each_lag(n, p, q, m):
    check(*samples(n, p, q, m), m)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_neither_slabs_nor_parts_change_a_product(monkeypatch, dtype):
    x, y = samples(203, 7, 6, 50, dtype)
    monkeypatch.setattr(lagged, "LAGS_BYTES", 20 * 7 * 6 * x.itemsize)
    monkeypatch.setattr(lagged, "SLAB_BYTES", 3 * 2 * 41 * 6 * x.itemsize)
    check(x, y, 50)


def test_a_far_sample_is_heard_at_its_own_lags_only():
    """A window's end is not the beginning of another."""
    x, y = np.zeros((100, 1)), np.zeros((110, 1))
    x[50], y[57] = 1, 1
    found = [float(one.item()) for one in lagged_products(x, y, 10)]
    np.testing.assert_allclose(found, np.eye(10)[6], atol=1e-12)
