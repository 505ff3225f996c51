from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fedmi import devices
from fedmi.sampling import tiles, training
from fedmi.sampling.design import Design
from fedmi.sampling.download import constants
from tests import tiny

pytestmark = pytest.mark.usefixtures("quickly_compiled")


def test_a_tile_is_as_large_as_the_memory_of_the_device_allows(monkeypatch):
    design = Design.of(tiny.task, coupling="null")
    found = []
    for memory in (2**20, 2**21, 2**40):
        monkeypatch.setattr(devices, "memory", lambda memory=memory: memory)
        found.append(
            tiles.fitting_tile(design, training.training([design]), constants([design], ()), 10**6)
        )
    assert 1 <= found[0] < tiles.LARGEST_TILE
    assert found[1] == 2 * found[0]
    assert found[2] == tiles.LARGEST_TILE


@pytest.mark.parametrize(
    ("parameters", "clients", "checkpoints", "tile"),
    [
        (394, 3, 20, 256), (850, 3, 20, 256), (850, 100, 6, 128), (61_706, 3, 6, 32),
        (10**8, 3, 6, 1),
    ],
)  # fmt: skip
def test_on_a_cpu_a_tile_leaves_no_more_than_so_much(parameters, clients, checkpoints, tile):
    task = SimpleNamespace(parameter_count=parameters)
    design = SimpleNamespace(task=task, clients=clients, checkpoints=range(checkpoints))
    assert tiles.fitting_tile(design, None, (), 10**6) == tile


@pytest.mark.parametrize(
    ("parameters", "clients", "seeds"),
    [(12, 3, 32), (394, 3, 32), (850, 3, 32), (850, 100, 1), (61_706, 3, 1), (10_000, 3, 4)],
)
def test_as_many_networks_side_by_side_as_stay_in_a_cache(parameters, clients, seeds):
    assert tiles.block_size(256, clients, parameters) == seeds


@pytest.mark.parametrize("clients", [1, 3, 100, 1000])
def test_a_block_is_a_whole_part_of_a_tile(clients):
    for tile in (1, 7, 16, 256):
        assert tile % tiles.block_size(tile, clients, 12) == 0


def test_devices_have_equally_much_to_do():
    for count in range(1, 40):
        for blocks in (1, 2, 6, 8, 32):
            found = tiles.tiles_at_once(count, blocks)
            assert found * blocks % count == 0
            assert all(t * blocks % count for t in range(1, found))


def test_tiles_come_in_order_with_the_values_of_their_seeds():
    def of_seeds(root, seeds, assets):
        return dict(square=seeds**2 + assets, twice=jnp.stack([seeds, 2 * seeds], axis=1))

    found = tiles.compute_tiles(
        of_seeds,
        jax.random.key(0),
        np.float32(0.5),
        tile=20,
        block=5,
        pending=[0, 3, 4, 7],
        what="squaring",
    )
    for (index, arrays), expected in zip(found, [0, 3, 4, 7], strict=True):
        seeds = 20 * expected + np.arange(20)
        assert index == expected
        np.testing.assert_array_equal(arrays["square"], seeds**2 + 0.5)
        np.testing.assert_array_equal(arrays["twice"], np.stack([seeds, 2 * seeds], axis=1))
