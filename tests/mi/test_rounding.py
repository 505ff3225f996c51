import jax
import numpy as np
import pytest

from fedmi import mi
from fedmi.mi.null import repairing
from fedmi.mi.rounding import ROUNDING, blur, spot_checks
from fedmi.mi.terms import prepared
from tests.mi.plain import METRICS, correlated, ksg_bits

pytestmark = pytest.mark.usefixtures("quickly_compiled")


def test_rounding_is_measured_and_small():
    x, y = correlated(0, 1500, 60, 60, np.float32)
    (result,) = mi.pairwise([x, y], estimator="ksg", permutations=0)
    exact = ksg_bits(x, y, 3, "euclidean")
    assert abs(result.estimate.bits - exact) < ROUNDING
    assert 0 <= result.rounding_bits < ROUNDING


def clusters(x, y):
    """Two in each client, at different seeds, far from each other."""
    x[::2] += 3e4
    y[1::2] += 3e4


def a_late_cluster(x, y):
    """Among the last seeds only."""
    x[400:480] += 1e5
    y[400:480] += 1e5


def columns_of_unlike_units(x, y):
    units = 10.0 ** np.arange(-6, 6).astype(x.dtype)
    x *= units
    y *= units


def an_offset(x, y):
    x += 1e4
    y -= 1e4


def tiny_units(x, y):
    x *= 1e-30
    y *= 1e-30


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    "change", [clusters, a_late_cluster, columns_of_unlike_units, an_offset, tiny_units]
)
def test_rounding_does_not_show_whatever_the_samples(change, dtype):
    x, y = correlated(0, 500, 12, 12, dtype)
    change(x, y)
    (result,) = mi.pairwise([x, y], estimator="ksg", permutations=0)
    exact = ksg_bits(x, y, 3, "euclidean")
    assert result.estimate.bits == pytest.approx(exact, abs=2 * ROUNDING)
    if dtype == np.float64 or change in (clusters, a_late_cluster):
        assert np.isnan(result.rounding_bits)


def test_clusters_that_float64_cannot_multiply():
    x, y = correlated(0, 500, 20, 20)
    x[::2] += 2.0**33
    y[1::2] += 2.0**33
    # The same distances, without the clusters' place: between them all are far away.
    exact = ksg_bits(x, y, 3, "euclidean")
    assert mi.ksg(x, y).bits == pytest.approx(exact, abs=1e-9)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("p", [1, 3, 12])
@pytest.mark.parametrize(
    ("far", "dtype"),
    [(1e6, np.float32), (3e12, np.float32), (1e30, np.float32), (1e6, np.float64),
     (3e12, np.float64), (1e200, np.float64), (1e300, np.float64)],
)  # fmt: skip
def test_a_far_seed_moves_nothing_but_itself(far, dtype, p, metric):
    n = 400
    x, y = correlated(0, n, p, p, dtype)
    others = np.arange(n) != 7
    without = ksg_bits(x[others], y[others], 3, metric)
    x[7] = far
    # One term of log2(N) bits at most changes, and counts of others by one.
    assert mi.ksg(x, y, metric=metric).bits == pytest.approx(without, abs=10 / n)
    y[11, 0] = -far
    x[12, p - 1] = -far
    assert mi.ksg(x, y, metric=metric).bits == pytest.approx(without, abs=40 / n)


def test_far_seeds_leave_the_repairings_as_they_are():
    x, y = correlated(0, 600, 12, 12, np.float32)
    x[7], y[9] = 3e12, -1e20
    (pair,) = mi.pairwise([x, y], estimator="ksg", permutations=5, key=jax.random.key(0))
    assert np.isfinite(pair.permuted).all() and abs(pair.perm_bits) < 0.1


def test_distances_that_float64_cannot_hold_are_refused():
    x, y = correlated(0, 100, 12, 12)
    x[7] = 1e308
    with pytest.raises(ValueError, match="99 samples are nearer .* than float64 can tell"):
        mi.ksg(x, y)


@pytest.mark.parametrize("n", [5, 100, 30_000])
def test_spot_checks_stand_for_all_points_and_include_the_riskiest(n):
    risk = np.random.default_rng(0).random(n)
    chosen, weights = spot_checks(risk)
    assert weights.sum() == pytest.approx(1)
    assert risk.argmax() in chosen and len(chosen) == len(weights) <= 2 * 64
    # A handful of points that rounding has spoilt is seen at its size.
    spoilt = risk >= np.sort(risk)[-5]
    assert (spoilt[chosen] * weights).sum() == pytest.approx(spoilt.mean(), rel=1e-12)


def test_lost_distances_count_as_lost():
    points = prepared(correlated(0, 50, 12, 12, np.float32), np.float32, centred=True)
    nearest = np.ones((1, 1, 1, 50), np.float32)
    nearest[..., 0], nearest[..., 1] = 0, np.nan
    for product in (True, False):
        lost = blur(points, repairing(50, 0), nearest, "euclidean", product)
        assert (lost[..., :2] == 1).all()


@pytest.mark.parametrize("components", [2, 3, 5, 12])
def test_distances_whose_squares_lose_digits_are_refused(components):
    """No number is made of what float64 cannot hold beside the largest value."""
    draw = np.random.default_rng(3)
    x = draw.standard_normal((300, components))
    y = x + draw.standard_normal((300, components))
    x[7] = 1.5e308 / components
    with pytest.raises(ValueError, match="nearer to their neighbours than float64 can tell"):
        mi.ksg(x, y)
