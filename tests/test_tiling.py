import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fedmi import sampling, scopes, tiling
from tests import tiny


def test_a_tile_is_as_large_as_the_memory_of_the_device_allows():
    coupling = scopes.resolve("null", tiny.task.streams)
    of_seeds = sampling.sampler(tiny.task, coupling, 3, [4])
    fitting = functools.partial(tiling.fitting_tile, of_seeds, jax.random.key(0), (), clients=3)
    tiles = [fitting(memory=memory) for memory in (2**20, 2**21, 2**40)]
    assert 1 <= tiles[0] < tiling.LARGEST_TILE
    assert tiles[1] == 2 * tiles[0]
    assert tiles[2] == tiling.LARGEST_TILE
    assert fitting(memory=None) == tiling.TILE


@pytest.mark.parametrize("clients", [1, 3, 100, 1000])
def test_a_block_is_a_whole_part_of_a_tile(clients):
    for tile in (1, 7, 16, 256):
        size = tiling.block_size(tile, clients)
        assert tile % size == 0
        assert size == 1 or size * clients <= tiling.NETWORKS_IN_CACHE


def test_devices_have_equally_much_to_do():
    for devices in range(1, 40):
        for blocks in (1, 2, 6, 8, 32):
            tiles = tiling.tiles_at_once(devices, blocks)
            assert tiles * blocks % devices == 0
            assert all(t * blocks % devices for t in range(1, tiles))


def test_tiles_come_in_order_with_the_values_of_their_seeds():
    def of_seeds(root, seeds, assets):
        return dict(square=seeds**2 + assets, twice=jnp.stack([seeds, 2 * seeds], axis=1))

    found = tiling.compute_tiles(
        of_seeds, jax.random.key(0), np.float32(0.5), clients=3, tile=20, pending=[0, 3, 4, 7]
    )
    for (index, arrays), expected in zip(found, [0, 3, 4, 7], strict=True):
        seeds = 20 * expected + np.arange(20)
        assert index == expected
        np.testing.assert_array_equal(arrays["square"], seeds**2 + 0.5)
        np.testing.assert_array_equal(arrays["twice"], np.stack([seeds, 2 * seeds], axis=1))
