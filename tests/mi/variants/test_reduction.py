import jax
import numpy as np
import pytest

from fedmi import mi
from fedmi.mi.trust import laws
from fedmi.mi.variants import reduction

D, N = 30, 2000
KEY = jax.random.key(0)


@pytest.fixture(scope="module")
def samples():
    """One strong pair of directions among thirty, hidden by mixing maps."""
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((2, D, D))
    law = laws.Mapped(laws.Normal(laws.sparse(D, 1, 1.5), D), lambda x: x @ a.T, lambda y: y @ b.T)
    return law, *law.sample(KEY, N)


def test_canonical_directions_bring_dependence_within_reach_of_neighbours(samples):
    law, x, y = samples
    assert mi.ksg(x, y).bits < 0.5
    few = mi.reduce(x, y, components=1, key=KEY)
    assert few.x.shape == few.y.shape == (N // 2, 1)
    assert mi.ksg(few.x, few.y).bits == pytest.approx(law.mi_bits, abs=0.15)
    assert few.strength[0] == pytest.approx(laws.correlation(1.5), abs=0.02)
    np.testing.assert_allclose(few.x.std(), 1, rtol=0.1)


def test_directions_are_fitted_on_other_seeds(samples):
    _, x, y = samples
    few = mi.reduce(x, y, components=5, key=KEY)
    assert set(few.fitted_on) | set(few.kept) == set(range(N))
    assert not set(few.fitted_on) & set(few.kept)
    changed = x.copy()
    changed[few.kept] = 0.0
    again = mi.reduce(changed, y, components=5, key=KEY)
    np.testing.assert_allclose(again.strength, few.strength)
    assert not np.allclose(again.x, few.x)


def test_no_dependence_is_made_up(samples):
    _, x, y = samples
    y = y[np.roll(np.arange(N), 7)]
    few = mi.reduce(x, y, components=3, key=KEY)
    assert few.strength[0] > 0.1  # by chance, where they were fitted
    e = mi.gaussian(few.x, few.y)
    assert abs(e.bits) < 4 * e.null_sd


def test_components_that_do_not_vary_are_left_out():
    x, y = np.random.default_rng(0).standard_normal((2, 400, 4))
    wide = np.hstack([x, np.full((400, 1), 1e9)])
    few = mi.reduce(wide, y, key=KEY)
    np.testing.assert_allclose(few.x.std(axis=0), 1, rtol=0.2)
    np.testing.assert_allclose(few.x.mean(axis=0), 0, atol=0.3)
    plain = mi.reduce(x, y, key=KEY)
    np.testing.assert_allclose(np.abs(few.x), np.abs(plain.x), rtol=1e-6, atol=1e-9)


def test_random_directions_are_orthonormal_and_see_their_share_of_what_is_spread_evenly():
    drawn = reduction.random_directions(D, 6, KEY)
    np.testing.assert_allclose(drawn.T @ drawn, np.eye(6), atol=1e-12)
    shared, own, others = np.random.default_rng(0).standard_normal((3, 8000, D))
    low, high = mi.gaussian((shared + own) @ drawn, (shared + others) @ drawn).interval
    assert low < -6 / 2 * np.log2(1 - 0.5**2) < high


def test_impossible_arguments_are_refused(samples):
    _, x, y = samples
    with pytest.raises(ValueError, match="components: 31 is not one of 1 to 30"):
        mi.reduce(x, y, components=31, key=KEY)
    with pytest.raises(ValueError, match="half of them must be at least 61"):
        mi.reduce(x[:100], y[:100], key=KEY)
