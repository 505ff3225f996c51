"""Medians against a general optimiser, and where theory says what they are."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import minimize

from fedmi.aggregation import coordinate_median, geometric_median, over_seeds

pytestmark = pytest.mark.usefixtures("quickly_compiled")


@pytest.fixture(params=["float32", "float64"])
def precision(request):
    """The type that aggregators compute in."""
    with jax.enable_x64(request.param == "float64"):
        yield np.dtype(request.param)


def rise(clients, weights, point, start):
    """The sum of distances at a point less that at a start, in float64, without cancellation.

    |c - p| - |c - s| = (|d|^2 - 2 d (c - s)) / (|c - p| + |c - s|) with d = p - s: the distance of
    a far client is taken off so.
    """
    clients, d = np.asarray(clients, np.float64) - start, np.asarray(point, np.float64) - start
    both = np.linalg.norm(clients - d, axis=1) + np.linalg.norm(clients, axis=1)
    return weights @ ((d @ d - 2 * clients @ d) / np.where(both > 0, both, 1))


def least(clients, weights, near):
    """The least rise above the middle of the near clients that a general optimiser finds."""
    middle = np.median(np.asarray(clients, np.float64)[near], axis=0)
    unit = np.linalg.norm(clients[near] - middle, axis=1).max()

    def above(z):
        return rise(clients, weights, middle + unit * z, middle) / unit

    started = min([np.zeros_like(middle), *((clients[near] - middle) / unit)], key=above)
    smooth = minimize(above, started + 1e-3, method="BFGS")
    best = minimize(above, smooth.x, method="Nelder-Mead", options=dict(maxiter=1000))
    return middle, unit, unit * min(above(started), best.fun)


CASES = {
    # Clients, parameters, far clients, where these are, and an offset that the near ones have.
    "no client is far": (5, 3, 0, 0.0, 0.0),
    "one of three": (3, 2, 1, 1e30, 0.0),
    "one of five at 1e4": (5, 3, 1, 1e4, 0.0),
    "one of five at 1e8": (5, 3, 1, 1e8, 0.0),
    "one of five, and an offset": (5, 3, 1, 1e20, 1e3),
    "three of ten": (10, 3, 3, 1e12, 0.0),
    "three of ten at 1e37": (10, 3, 3, 1e37, 0.0),
}


@pytest.mark.parametrize("unlike", [False, True], ids=["alike", "unlike"])
@pytest.mark.parametrize("case", CASES)
def test_the_geometric_median_is_where_the_distances_are_least(case, unlike, precision):
    q, t, far, distance, offset = CASES[case]
    for seed in range(3):
        draw = np.random.default_rng(seed)
        clients = offset + draw.standard_normal((q, t))
        clients[q - far :] = distance * draw.standard_normal((far, t))
        clients = clients.astype(precision)
        weights = draw.uniform(0.8, 1.2, q) if unlike else np.ones(q)
        weights /= weights.sum()
        found = np.asarray(geometric_median(clients, weights))
        assert found.dtype == precision
        middle, unit, best = least(clients, weights, np.arange(q - far))
        # Weights, and coordinates measured from the middle, have the precision's rounding; so has
        # the result, by its own size. Nothing has that of a far client.
        bound = np.finfo(precision).eps * (4 * q * unit + np.linalg.norm(found))
        assert rise(clients, weights, found, middle) <= best + bound


@pytest.mark.parametrize("unit", [1e-20, 1e-3, 1e6])
def test_the_far_client_of_the_smallest_example_does_not_decide(unit, precision):
    """Four normal clients and one of five 1e8; where it is, to the digits that a minimum has."""
    near = np.random.default_rng(0).standard_normal((4, 5))
    clients = unit * np.concatenate([near, np.full((1, 5), 1e8)])
    found = np.asarray(over_seeds(geometric_median, clients[None])[0])

    def distances(z):  # (|z - f| - |f|) for a far f is -z f / |f|, here the mean of z by sqrt(5)
        return np.linalg.norm(near - z, axis=1).sum() - z.sum() / np.sqrt(5)

    expected = minimize(distances, near.mean(axis=0), method="BFGS", options=dict(gtol=1e-9)).x
    np.testing.assert_allclose(found / unit, expected, atol=1e-6)
    assert not (found == clients[0]).any()


def test_a_client_that_holds_more_than_the_others_pull_is_the_median_itself(precision):
    draw = np.random.default_rng(1)
    clients = draw.standard_normal((5, 3)).astype(precision)
    # Half of the weight and more; and the middle of a cross, however far its arms reach.
    assert (geometric_median(clients, np.array([0.1, 0.2, 0.52, 0.1, 0.08])) == clients[2]).all()
    clients = np.array([[1, 0], [0, 1e12], [2.5, 7], [-3, 0], [0, -1]], precision)
    clients[[0, 1, 3, 4]] += clients[2]
    assert (geometric_median(clients, np.full(5, 0.2)) == clients[2]).all()
    # The same if there are two of it, each with half of the weight that one would need.
    twice = clients[[0, 1, 2, 2, 3, 4]]
    weights = np.array([0.2, 0.2, 0.1, 0.1, 0.2, 0.2])
    np.testing.assert_array_equal(geometric_median(twice, weights), clients[2])


def test_equal_clients_are_the_median_to_the_bit(precision):
    one = np.random.default_rng(2).standard_normal((1, 3)).astype(precision)
    for q in (1, 5, 10):
        found = geometric_median(one.repeat(q, axis=0), np.full(q, 1 / q))
        np.testing.assert_array_equal(found, one[0])


def test_on_a_line_it_is_the_weighted_median(precision):
    places = np.array([3.0, -1, 0, 7, 1e9])
    along = np.array([[0.6, 0.8]])
    for counts, expected in (
        ([1, 1, 1, 1, 1], 3),
        ([1, 1, 1, 1, 4], 1e9 / 2 + 3.5),  # half of the weight on either side of a gap
        ([2, 1, 1, 1, 1], 3),
        ([1, 3, 1, 1, 0.5], -0.0),
    ):
        weights = np.array(counts) / sum(counts)
        for clients in (places[:, None], places[:, None] * along):
            found = geometric_median(clients.astype(precision), weights)
            wanted = np.array([expected]) if clients.shape[1] == 1 else expected * along[0]
            np.testing.assert_allclose(found, wanted, rtol=8 * np.finfo(precision).eps, atol=1e-6)


def test_two_clients_of_equal_weight_have_their_mean_and_else_the_heavier(precision):
    clients = np.random.default_rng(3).standard_normal((2, 6)).astype(precision)
    found = geometric_median(clients, np.array([0.5, 0.5]))
    np.testing.assert_allclose(found, clients.mean(axis=0), rtol=4 * np.finfo(precision).eps)
    np.testing.assert_array_equal(geometric_median(clients, np.array([0.4, 0.6])), clients[1])


def test_what_is_symmetric_about_the_mean_has_its_medians_there(precision):
    draw = np.random.default_rng(4)
    centre, apart = draw.standard_normal((2, 4, 1, 5))
    w = np.concatenate([centre - apart, centre, centre + apart], axis=1)
    for median in (coordinate_median, geometric_median):
        found = over_seeds(median, w)
        np.testing.assert_allclose(found, centre[:, 0], rtol=2 * np.finfo(precision).eps)


def test_a_shift_and_a_unit_are_those_of_the_clients(precision):
    eps = np.finfo(precision).eps
    clients = np.random.default_rng(5).standard_normal((5, 3)).round(3).astype(precision)
    weights = np.array([0.1, 0.25, 0.2, 0.15, 0.3])
    plain = np.asarray(geometric_median(clients, weights), np.float64)
    for unit in (2.0**-90, 2.0**90):  # beyond these squares neither exist nor are zero
        found = np.asarray(geometric_median(unit * clients, weights), np.float64) / unit
        np.testing.assert_allclose(found, plain, atol=64 * eps)
    shifted = clients + 1024
    found = np.asarray(geometric_median(shifted, weights), np.float64) - 1024
    np.testing.assert_allclose(found, plain, atol=8 * 1024 * eps)


def test_mapping_and_compiling_change_nothing(precision):
    draw = np.random.default_rng(6)
    clients = draw.standard_normal((3, 5, 3))
    clients[1, 2:] = clients[1, 2]  # of one seed a client holds, of another one is far
    clients[2, 0] = 1e15
    weights = jnp.full(5, 0.2)
    found = jax.jit(jax.vmap(lambda of: geometric_median(of, weights)))(jnp.asarray(clients))
    alone = [geometric_median(of, weights) for of in clients]
    np.testing.assert_allclose(found, alone, rtol=1e3 * np.finfo(precision).eps)


@pytest.mark.parametrize("q", [10, 100])
def test_half_of_the_clients_are_half_of_the_weight(q):
    """Weights of 1 / q in float32 do not add up to a half."""
    clients = np.arange(q, dtype=np.float32)[:, None]
    assert coordinate_median(clients, np.full(q, 1 / q)) == (q - 1) / 2
    assert geometric_median(clients, np.full(q, 1 / q)) == (q - 1) / 2


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_where_half_of_the_weight_is_not_finite_there_is_no_median(bad):
    clients = np.random.default_rng(0).standard_normal((4, 3))
    for lost in (2, 3, 4):
        assert np.isnan(geometric_median(np.r_[clients[lost:], [[bad] * 3] * lost], WEIGHTS)).all()
    assert np.isfinite(geometric_median(np.r_[clients[1:], [[bad] * 3]], WEIGHTS)).all()


@pytest.mark.parametrize("far", [2e38, 3e38])
def test_clients_near_the_largest_number_pull_as_any_far_one_does(far):
    near = np.random.default_rng(0).standard_normal((4, 5))
    weights = np.full(6, 1 / 6)
    expected, found = (
        geometric_median(np.r_[near, [[size] * 5], [[-size] * 5]], weights) for size in (1e10, far)
    )
    np.testing.assert_allclose(found, expected, atol=1e-4)


WEIGHTS = np.full(4, 1 / 4)
