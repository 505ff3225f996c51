import jax
import numpy as np
import pytest

from fedmi import mi
from fedmi.mi.trust.against import PILOT, ksg_against, ksg_on_parts

KEY = jax.random.key(0)


def clients(n, p, q, dtype=np.float32, seed=0):
    """x, and others that have ever more in common with it."""
    rng = np.random.default_rng(seed)
    x, noise = rng.standard_normal((n, p)), rng.standard_normal((3, n, q))
    for shared, y in zip((0.0, 0.5, 2.0), noise, strict=True):
        y[:, : min(p, q)] += shared * x[:, :q]
    return x.astype(dtype), [y.astype(dtype) for y in noise]


OPTIONS = [
    dict(),
    dict(k=1),
    dict(metric="chebyshev"),
    dict(scale="standardised"),
    dict(k=30, scale="scores"),
]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize(("p", "q", "dtype"), [(12, 9, np.float32), (12, 12, float), (2, 2, float)])
def test_readings_of_all_points_are_the_estimator_s_own(options, p, q, dtype):
    x, others = clients(300, p, q, dtype)
    bits, errors = ksg_against(x, others, error=0, key=KEY, **options)
    own = [mi.ksg(x, y, **options).bits for y in others]
    np.testing.assert_allclose(bits, own, atol=1e-3 if dtype == np.float32 else 1e-9)
    assert (errors == 0).all()


def test_readings_at_some_points_differ_by_no_more_than_their_error():
    x, others = clients(2 * PILOT, 12, 12)
    whole = np.array([mi.ksg(x, y).bits for y in others])
    wanted = 0.02
    scores, most = [], []
    for key in jax.random.split(KEY, 20):
        bits, errors = ksg_against(x, others, error=wanted, key=key)
        scores.append((bits - whole) / errors)
        most.append(errors.max())
    # Twenty choices of points: standard scores of variance 1, within the bounds of chi-squared.
    assert np.max(most) < 1.1 * wanted
    assert np.min(most) > 0
    assert (np.square(scores).sum(axis=0) < 45).all()  # 0.1 % of chi-squared with 20 degrees
    assert (np.square(scores).sum(axis=0) > 5.9).all()


def test_no_more_points_are_read_than_there_are():
    x, others = clients(PILOT + 100, 12, 12)
    bits, errors = ksg_against(x, others, error=1e-9, key=KEY)
    np.testing.assert_allclose(bits, [mi.ksg(x, y).bits for y in others], atol=1e-3)
    np.testing.assert_allclose(errors, 0, atol=1e-8)


@pytest.mark.parametrize("options", [{}, dict(k=5, metric="chebyshev")], ids=str)
@pytest.mark.parametrize("p", [2, 12])
def test_parts_read_what_they_read_alone(options, p):
    x, (_, y, _) = clients(203, p, p, np.float64)
    order = np.random.default_rng(1).permutation(203)
    splits = [np.arange(203)[None], order[:202].reshape(2, -1), order[:200].reshape(8, -1)]
    found = ksg_on_parts(x, y, splits, **options)
    for split, bits in zip(splits, found, strict=True):
        alone = [mi.ksg(x[rows], y[rows], **options).bits for rows in split]
        np.testing.assert_allclose(bits, alone, atol=1e-9)


def test_parts_need_more_points_than_neighbours():
    x, (y, *_) = clients(40, 12, 12)
    with pytest.raises(ValueError, match="k is 10; in parts of 10 samples it must be below that"):
        ksg_on_parts(x, y, [np.arange(40).reshape(4, 10)], k=10)


def test_what_rounds_badly_is_read_from_differences():
    """A direction far wider than all others leaves a float32 product no digit of these."""
    x, others = clients(200, 12, 12)
    far = [a.astype(np.float32) for a in (x, *others)]
    for a in far:
        a[:, 0] = 1e5 * np.random.default_rng(3).integers(0, 2, 200)
    bits, _ = ksg_against(far[0], far[1:], error=0, key=KEY)
    own = [mi.ksg(far[0].astype(float), y.astype(float)).bits for y in far[1:]]
    np.testing.assert_allclose(bits, own, atol=1e-3)
