import jax
import numpy as np
import pytest

from fedmi import mi
from fedmi.mi.trust.laws import Normal, dense, paired
from fedmi.mi.trust.parts import CLEAR, gaussian_on_parts, joined
from fedmi.mi.whitening import whiten

LAWS = {"dense": Normal(dense(6, 2.0), 6), "one direction": Normal(paired([0.95]), 1)}


def on_parts(x, y, order, parts):
    of = whiten(x, "x"), whiten(y, "y")
    return gaussian_on_parts(joined(*of), (of[0].rank, of[1].rank), order, parts)


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("n", [600, 607])
def test_each_part_is_read_as_it_is_by_itself(law, n):
    x, y = LAWS[law].sample(jax.random.key(3), n)
    x = x * np.logspace(0, 4, x.shape[1]) + 5  # units and means play no part
    order = np.random.default_rng(1).permutation(n)
    for m, bits in zip((2, 3, 4, 8), on_parts(x, y, order, (2, 3, 4, 8)), strict=True):
        rows = order[: n - n % m].reshape(m, -1)
        alone = [mi.gaussian(x[part], y[part]).bits for part in rows]
        # Moments of float32: each is off by sqrt(size) eps at most, or they would cancel; the
        # logarithm of what is left of a direction by 1 / CLEAR times that.
        apart = x.shape[1] * np.sqrt(n / m) * np.finfo(np.float32).eps / CLEAR
        np.testing.assert_allclose(bits, alone, atol=apart)
        assert apart < 0.02


def test_what_these_products_cannot_tell_is_left_to_others():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((400, 3))
    nearly = x + 1e-3 * rng.standard_normal((400, 3))
    order = np.arange(400)
    assert on_parts(x, nearly, order, (2, 4)) is None
    rare = np.column_stack([x[:, 0], order < 5])  # a direction that most parts do not have
    assert on_parts(rare, x, order, (2, 4)) is None
    assert on_parts(x, rng.standard_normal((400, 3)), order, (2, 100)) is None


@pytest.mark.parametrize("spread", [1e-3, 1.0])
def test_subsamples_are_estimated_alike_whichever_way_they_take(spread):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((400, 2))
    y = x + spread * rng.standard_normal((400, 2))
    found = mi.subsample(x, y, estimator="gaussian", parts=[2, 4], repeats=2)
    alone = mi.subsample(x, y, estimator="gaussian", parts=[2, 4], repeats=2, rtol=1e-12)
    for one, other in zip(found.estimates, alone.estimates, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-3)
