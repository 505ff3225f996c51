import importlib
from types import SimpleNamespace

import jax
import numpy as np
import pytest

from fedmi import mi
from fedmi.mi.trust.laws import Normal, dense, paired
from fedmi.mi.trust.subsample import Subsamples

LAW = Normal(paired([0.6]), 1)
subsampling = importlib.import_module("fedmi.mi.trust.subsample")


def made(sizes, n, spread, mean, repeats=400, seed=0):
    """Subsamples whose estimates have a known mean and variance at every size."""
    rng = np.random.default_rng(seed)
    estimates = tuple(
        mean(size) + spread(size) * rng.standard_normal((repeats, n // size)) for size in sizes
    )
    return Subsamples(mean(n), n, np.array(sizes), estimates)


@pytest.mark.parametrize("exponent", [0.5, 1.0, 1.7])
def test_the_exponent_of_the_variance_is_found_and_carried_on(exponent):
    n = 1600
    found = made([800, 400, 200, 100], n, lambda s: 3 * s ** (-exponent / 2), lambda s: 1.0)
    assert found.exponent == pytest.approx(exponent, abs=0.1)
    assert found.sd == pytest.approx(3 * n ** (-exponent / 2), rel=0.1)
    # So many repeats leave the variance little uncertainty, and Student's t is the normal law.
    assert (found.interval[1] - 1) / found.sd == pytest.approx(1.96, rel=0.02)
    assert (1 - found.interval[0]) / found.sd == pytest.approx(1.96, rel=0.02)


def test_an_uncertain_variance_makes_the_interval_wider():
    settings = [800, 400], 1600, lambda s: 3 / s**0.5, lambda s: 1.0
    few, many = (made(*settings, repeats=repeats) for repeats in (2, 400))
    assert (few.interval[1] - 1) / few.sd > 1.2 * (many.interval[1] - 1) / many.sd


def test_the_interval_holds_the_truth_as_often_as_it_says():
    """Normal estimates whose variance falls as N^-1.3, with few parts and repeats."""
    n, inside = 1600, 0
    for seed in range(400):
        found = made([800, 400, 200], n, lambda s: s**-0.65, lambda s: 0.0, repeats=4, seed=seed)
        error = n**-0.65 * np.random.default_rng([1, seed]).standard_normal()
        inside += abs(error) < found.interval[1] - found.bits
    assert 0.92 <= inside / 400 <= 0.98


def test_the_limit_of_infinitely_many_samples_is_found():
    found = made([800, 400, 200, 100], 1600, lambda s: 0.01, lambda s: 2.0 - 50 / s)
    limit, sd = found.limit
    assert abs(limit - 2.0) < 4 * sd
    assert sd < 0.05


def test_parts_are_disjoint_and_estimated_as_they_are():
    x, y = LAW.sample(jax.random.key(0), 403)
    settings = dict(estimator="gaussian", parts=[2, 4], repeats=2, key=jax.random.key(1))
    found = mi.subsample(x, y, **settings)
    assert found.bits == mi.gaussian(x, y).bits
    assert found.sizes.tolist() == [201, 100]
    assert [e.shape for e in found.estimates] == [(2, 2), (2, 4)]
    again = mi.subsample(x, y, **settings)
    np.testing.assert_array_equal(found.estimates[1], again.estimates[1])


def test_no_sample_is_used_twice_within_a_repeat(monkeypatch):
    used = []

    def spy(x, y, estimator, **_):
        used.append(x[:, 0])
        return SimpleNamespace(estimate=SimpleNamespace(bits=float(x[0, 0])))

    monkeypatch.setattr(subsampling, "estimate_pair", spy)
    index = np.arange(403.0)
    settings = dict(parts=[2, 4], repeats=3, key=jax.random.key(1))
    mi.subsample(index, index, estimator="gaussian", **settings)
    of_four = [part for part in used if len(part) == 100]
    assert len(of_four) == 12
    for repeat in range(3):
        together = np.concatenate(of_four[4 * repeat : 4 * repeat + 4])
        assert len(np.unique(together)) == 400


def test_the_standard_error_is_that_of_repeated_experiments():
    keys = jax.random.split(jax.random.key(2), 400)
    bits = np.std([mi.gaussian(*LAW.sample(key, 512)).bits for key in keys], ddof=1)
    settings = dict(estimator="gaussian", parts=[2, 4, 8, 16], repeats=4)
    sds = [mi.subsample(*LAW.sample(key, 512), key=key, **settings).sd for key in keys[:40]]
    assert np.exp(np.mean(np.log(sds))) == pytest.approx(bits, rel=0.2)


def test_too_few_samples_and_impossible_arguments_are_refused():
    x, y = Normal(dense(20, 1.0), 20).sample(jax.random.key(0), 300)
    key = jax.random.key(0)
    with pytest.raises(ValueError, match="300 samples: a quarter .* at least 80.*take 320 samples"):
        mi.subsample(x, y, key=key)
    with pytest.raises(ValueError, match="parts: .* at least two different numbers"):
        mi.subsample(x, y, parts=[2], key=key)
    with pytest.raises(ValueError, match="cannot be cut into 100 parts"):
        mi.subsample(x, y, parts=[2, 100], key=key)
    with pytest.raises(ValueError, match="repeats: 1 is below 2"):
        mi.subsample(x, y, parts=[2, 4], repeats=1, key=key)
    with pytest.raises(ValueError, match="'kde' is not one of gaussian, .*ksg, .*neural"):
        mi.subsample(x, y, estimator="kde", key=key)
    with pytest.raises(ValueError, match="60 samples of ranks 40"):
        mi.subsample(
            np.hstack([x, x**2]), y, estimator="gaussian", parts=[2, 5], repeats=2, key=key
        )
    with pytest.raises(ValueError, match=r"k is \[1, 3\]; name a single number"):
        mi.subsample(x, y, parts=[2, 4], repeats=2, k=[1, 3], key=key)
    with pytest.raises(ValueError, match="parts of 150 samples read .*share directions"):
        mi.subsample(x, x, estimator="gaussian", parts=[2, 3], repeats=2, key=key)
