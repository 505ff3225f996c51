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


def test_principal_components_are_those_of_largest_variance():
    rng = np.random.default_rng(0)
    scales = np.array([1.0, 10.0, 3.0])
    x, y = rng.standard_normal((2, 4000, 3)) * scales
    few = mi.reduce(x, y, kind="principal", components=2, key=KEY)
    for kept, own in ((few.x, x), (few.y, y)):
        correlations = np.corrcoef(kept.T, own[few.kept].T)[:2, 2:]
        assert abs(correlations[0, 1]) > 0.99 and abs(correlations[1, 2]) > 0.99
    np.testing.assert_allclose(few.strength[0], scales[[1, 2]] ** 2 / 110, rtol=0.1)


def test_random_directions_see_their_share_of_information_that_is_spread_evenly():
    shared, own, others = np.random.default_rng(0).standard_normal((3, 8000, D))
    x, y = shared + own, shared + others
    few = mi.reduce(x, y, kind="random", components=6, key=KEY)
    low, high = mi.gaussian(few.x, few.y).interval
    assert low < -6 / 2 * np.log2(1 - 0.5**2) < high
    # They are the same on both sides: y's in another order see next to nothing of x.
    turned = mi.reduce(x, y[:, ::-1], kind="random", components=6, key=KEY)
    assert mi.gaussian(turned.x, turned.y).bits < low / 2
    np.testing.assert_allclose(few.x.std(axis=0), 1, rtol=0.1)
    np.testing.assert_allclose(few.strength, 1 / D, rtol=0.2)


@pytest.mark.parametrize("kind", ["canonical", "principal", "random"])
def test_components_that_do_not_vary_are_left_out(kind):
    x, y = np.random.default_rng(0).standard_normal((2, 400, 4))
    wide = np.hstack([x, np.full((400, 1), 1e9)])
    few = mi.reduce(wide, y, kind=kind, components=2, key=KEY)
    np.testing.assert_allclose(few.x.std(axis=0), 1, rtol=0.2)
    np.testing.assert_allclose(few.x.mean(axis=0), 0, atol=0.3)
    if kind != "random":
        plain = mi.reduce(x, y, kind=kind, components=2, key=KEY)
        np.testing.assert_allclose(np.abs(few.x), np.abs(plain.x), rtol=1e-6, atol=1e-9)


def test_random_directions_are_orthonormal():
    drawn = reduction.random_directions(50, 7, KEY)
    np.testing.assert_allclose(drawn.T @ drawn, np.eye(7), atol=1e-12)


def test_impossible_arguments_are_refused(samples):
    _, x, y = samples
    with pytest.raises(ValueError, match="kind 'best' is not one of canonical, principal, random"):
        mi.reduce(x, y, kind="best", key=KEY)
    with pytest.raises(ValueError, match="components: 31 is not one of 1 to 30"):
        mi.reduce(x, y, components=31, key=KEY)
    with pytest.raises(ValueError, match="half of them must be at least 61.*principal"):
        mi.reduce(x[:100], y[:100], key=KEY)
    assert mi.reduce(x[:100], y[:100], kind="principal", key=KEY).x.shape == (50, 2)
