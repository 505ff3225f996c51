import jax
import numpy as np
import pytest
from scipy.special import psi

from fedmi import mi
from fedmi.mi.trust.laws import Normal, paired
from tests.mi.plain import METRICS, correlated, distances


def second(x, y, **options):
    return [p.estimate for p in mi.pairwise([x, y], estimator="ksg2", permutations=0, **options)]


def plain_bits(x, y, k, metric):
    """Kraskov's second estimator, point by point."""
    total = 0.0
    for dx, dy in zip(*distances(x, y, metric), strict=True):
        nearest = np.argsort(np.maximum(dx, dy))[:k]
        total += sum(psi((d <= d[nearest].max()).sum()) for d in (dx, dy))
    return (psi(k) - 1 / k - total / len(x) + psi(len(x))) / np.log(2)


def test_known_values():
    law = Normal(paired([0.75]), 1)
    keys = jax.random.split(jax.random.key(1), 10)
    draws = [second(*law.sample(key, 1000))[0].bits for key in keys]
    assert abs(np.mean(draws) - 0.5963) < 4 * np.std(draws, ddof=1) / np.sqrt(10)


@pytest.mark.parametrize("p", [1, 12])
def test_a_copy_reads_the_ceiling(p):
    x = np.random.default_rng(0).standard_normal((200, p))
    for e in (*second(x, x, k=[1, 4]), *second(x, 2 * x, k=[1, 4])):
        assert e.bits == pytest.approx(e.ceiling_bits, abs=1e-9)
        assert e.ceiling_bits == pytest.approx((psi(200) - psi(e.k + 1)) / np.log(2))


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize(("n", "p", "q"), [(30, 1, 1), (130, 2, 5), (350, 12, 12)])
def test_agrees_with_the_plain_reference(metric, n, p, q, monkeypatch):
    monkeypatch.setattr("fedmi.mi.variants.ksg2.DISTANCES", 7 * n)
    x, y = correlated(0, n, p, q)
    for e in second(x, y, k=[1, 3, n - 1], metric=metric):
        assert e.bits == pytest.approx(plain_bits(x, y, e.k, metric), abs=1e-12)
        assert (e.estimator, e.metric, e.n) == ("ksg2", metric, n)


def test_re_pairings_are_estimates_of_re_paired_samples():
    x, y = correlated(1, 60, 2, 2)
    key = jax.random.key(0)
    null = mi.permutation_null(x, y, estimator="ksg2", m=3, key=key)
    shifts = mi.null.repairing(60, 3, key)
    want = [second(x, y[shifts.partners(s)])[0].bits for s in shifts.shifts]
    np.testing.assert_allclose(null, want, atol=1e-12)


def test_ties_and_far_samples_are_as_with_the_first():
    x, y = correlated(2, 3000, 1, 1, np.float32)
    x[17] = x[4]
    (e,) = second(x, y)
    assert e.ties == sum(3000 - len(np.unique(z)) for z in (x, y)) > 0
    assert e.bits == pytest.approx(mi.ksg(x, y).bits, abs=0.1)
    with pytest.raises(ValueError, match=r"^clients\[0\] holds .* duplicate"):
        second(x.round(1), y)
    with pytest.raises(ValueError, match="'manhattan' is not one of euclidean, chebyshev"):
        second(x, y, metric="manhattan")
    x[7] = 1e38
    assert np.isfinite(second(x, y)[0].bits)
    x, y = correlated(3, 100, 2, 2)
    x[7] = 1e308
    with pytest.raises(ValueError, match="nearer to their neighbours than float64 can tell"):
        second(x, y)
