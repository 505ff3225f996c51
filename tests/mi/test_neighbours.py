import jax
import numpy as np
import pytest
from scipy.spatial.distance import cdist

from fedmi.mi import neighbours
from fedmi.mi.terms import queries_a_tile
from tests.mi.plain import correlated

pytestmark = pytest.mark.usefixtures("quickly_compiled")


@pytest.mark.parametrize("k", [1, 3, 8, 20, 64])
@pytest.mark.parametrize("n", [5, 64, 500, 1000])
def test_kth_joint_distance_counts_ties(n, k):
    if k > n:
        return
    rng = np.random.default_rng(n + k)
    # Few distinct values, so that ties straddle the k-th place and the blocks.
    x = rng.integers(0, 40, (n, 9)).astype(np.float32)
    y = rng.integers(0, 40, (n + 2, 11)).astype(np.float32)
    joint = np.maximum(x, y[2 : n + 2, 2:11])
    got = neighbours.joint_kth(x, y, jax.numpy.int32(2), (k,))[0]
    np.testing.assert_array_equal(got, np.sort(joint, axis=0)[k - 1])
    bound = np.asarray(got)
    got = neighbours.count_below(jax.numpy.asarray(y), 2, n, bound)
    np.testing.assert_array_equal(got, (y[2 : n + 2, 2:11] < bound).sum(axis=0))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_any_number_is_found_by_its_bits(dtype):
    rng = np.random.default_rng(0)
    values = (10 ** rng.uniform(-30, 30, (40, 5))).astype(dtype)
    values[3], values[7], values[20:22] = 0, np.inf, values[19]
    ks = (1, 2, 20, 21, 40)
    with jax.enable_x64(dtype == np.float64):
        got = neighbours.kth_by_bits(jax.numpy.asarray(values), ks)
        np.testing.assert_array_equal(got, np.sort(values, axis=0)[np.array(ks) - 1])


def test_distances():
    x, y = correlated(0, 50, 37, 37)
    with jax.enable_x64(True):
        square = cdist(x, y, "sqeuclidean")
        # Each of d = 37 products rounds by eps of the squared norms, some 40 each.
        bound = 37 * np.finfo(float).eps * 4 * max((x**2).sum(1).max(), (y**2).sum(1).max())
        got = neighbours.product_distances(x, y)
        np.testing.assert_allclose(got, square, rtol=0, atol=bound)
        for metric, want in (("euclidean", square), ("chebyshev", cdist(x, y, "chebyshev"))):
            got = neighbours.direct_distances(jax.numpy.asarray(x), y, metric=metric)
            np.testing.assert_allclose(got, want)


def test_a_tile_of_queries_fills_a_quarter_of_a_devices_memory():
    n, clients = 22_000, 3
    for memory in (2**30, 2**36):
        tile = queries_a_tile(n, clients, memory)
        assert tile * 8 * n * (clients + 2) <= memory / 4
        assert tile == 4096 or 2 * tile * 8 * n * (clients + 2) > memory / 4
    assert queries_a_tile(n, clients, None) == 64
    assert queries_a_tile(10, clients, 2**36) == 10
    assert queries_a_tile(10**9, clients, 2**20) == 1
