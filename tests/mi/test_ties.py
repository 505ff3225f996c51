import jax
import numpy as np
import pytest

from fedmi import mi
from fedmi.mi.ties import expected_ties
from tests.mi.plain import correlated, tree_bits

pytestmark = pytest.mark.usefixtures("quickly_compiled")


def npeet_bits(x, y, k):
    """As NPEET does it: noise far below the resolution breaks ties."""
    rng = np.random.default_rng(0)
    return tree_bits(*(z.astype(float) + 1e-10 * rng.random(z.shape) for z in (x, y)), k)


@pytest.mark.parametrize("seed", range(4))
def test_a_handful_of_chance_collisions_is_taken(seed):
    n = 10_000
    rng = np.random.default_rng(seed)
    x = np.array(jax.random.normal(jax.random.key(seed), (n, 1)))
    y = (x + rng.standard_normal((n, 1))).astype(np.float32)
    x[17] = x[4]  # at least one
    repeated = sum(n - len(np.unique(z)) for z in (x, y))
    e = mi.ksg(x, y)
    assert e.ties == repeated > 0
    assert e.bits == pytest.approx(npeet_bits(x, y, 3), abs=0.03)
    assert mi.ksg(x.astype(float), y).bits == e.bits
    for k in (1, 3):  # here repeated in x and y at once
        assert np.isfinite(mi.ksg(x, x, k=k).bits)


def test_expected_ties_are_those_that_rounding_makes():
    x = np.random.default_rng(0).standard_normal((20_000, 1))
    for coarse in (x.astype(np.float16), (x + 2.0**12).astype(np.float32)):
        # Pairs that meet: the expectation is of these, and ties are rare among them.
        sizes = np.unique(coarse, return_counts=True)[1]
        pairs = (sizes * (sizes - 1) / 2).sum()
        assert expected_ties(coarse) == pytest.approx(pairs, rel=0.35)
    assert expected_ties(x) < 1e-6
    assert expected_ties(np.hstack([x, x[::-1]]).astype(np.float32)) < 1e-6


@pytest.mark.parametrize(
    "discrete",
    [
        lambda x: np.arange(len(x))[:, None] // 2,
        lambda x: (100 * x).astype(int),
        lambda x: x.round(3),
        lambda x: x.round(3).astype(np.float32),
        lambda x: (x + 1e6).astype(np.float32),
        lambda x: np.vstack([x[:-3], x[:3]]),
        lambda x: np.random.default_rng(0).choice(x, len(x)),
        lambda x: np.vstack([np.hstack([x, x**2])[:-1], [[x[0, 0], x[0, 0] ** 2]]]),
    ],
)
def test_discrete_and_copied_samples_are_refused(discrete):
    x, y = correlated(0, 1000, 1, 1)
    with pytest.raises(ValueError, match="^x holds .* duplicate samples .* noise well below"):
        mi.ksg(discrete(x), y)


def test_duplicates_are_counted_and_refused():
    x, y = correlated(0, 50, 2, 2)
    x[7] = x[3]
    x[8] = x[3]
    with pytest.raises(ValueError, match="^x holds 2 duplicate samples among 50.*noise"):
        mi.ksg(x, y)
    with pytest.raises(ValueError, match="^y holds 2 duplicate"):
        mi.ksg(y, x)
    y[4], y[9] = [0.0, 1.0], [-0.0, 1.0]
    with pytest.raises(ValueError, match="^y holds 1 duplicate"):
        mi.ksg(correlated(1, 50, 2, 2)[0], y)
