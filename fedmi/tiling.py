"""Functions of seeds, computed tile by tile on all devices of a process.

A tile is what is computed for a store at once, and a shard of it. It is made of blocks, which the
devices share out between them: a block is what one device computes side by side, and its size
depends on neither the number of seeds nor that of the devices. So no bit of a seed does.
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from math import gcd
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from fedmi import devices
from fedmi.tasks.base import Assets

OfSeeds = Callable[[Array, Array, Assets], Any]
"""(root key, seeds (n,), assets) -> a pytree of arrays (n, ...)."""

TILE = 256
LARGEST_TILE = 4096
NETWORKS_IN_CACHE = 128
SEEDS = "seed"


def block_size(tile: int, clients: int) -> int:
    """How many of a tile's seeds are trained side by side.

    On a CPU about a hundred networks at a time stay in its caches; a GPU wants the whole tile.
    """
    if jax.default_backend() != "cpu":
        return tile
    most = max(NETWORKS_IN_CACHE // clients, 1)
    return max(size for size in range(1, min(most, tile) + 1) if tile % size == 0)


def fitting_tile(
    of_seeds: OfSeeds, root: Array, assets: Assets, *, clients: int, memory: int | None
) -> int:
    """How many seeds a tile may have: `TILE` on a CPU, on a GPU what half of its memory holds.

    Args:
        of_seeds, root, assets, clients: as for `compute_tiles`.
        memory: of the device in bytes; None for a CPU.

    Returns:
        A power of two, at most `LARGEST_TILE`.
    """
    if memory is None:
        return TILE
    blocks = jnp.zeros((TILE // block_size(TILE, clients), block_size(TILE, clients)), jnp.int32)
    needs = jax.jit(_over_blocks(of_seeds)).lower(root, blocks, assets).compile().memory_analysis()
    a_seed = (needs.temp_size_in_bytes + needs.output_size_in_bytes) / TILE
    return min(devices.power_of_two(int(memory / 2 / a_seed)), LARGEST_TILE)


def compute_tiles(
    of_seeds: OfSeeds,
    root: Array,
    assets: Assets,
    *,
    clients: int,
    tile: int,
    pending: Sequence[int],
) -> Iterator[tuple[int, Any]]:
    """Maps a function over tiles of seeds; the next ones are computed while one is used.

    Args:
        of_seeds: the function.
        root, assets: its other arguments.
        clients: of a seed.
        tile: seeds.
        pending: the tiles, by index.

    Yields:
        A tile's index, and a pytree of NumPy arrays (tile, ...), in order.
    """
    mesh = Mesh(np.array(jax.local_devices()), (SEEDS,))
    everywhere, shared_out = (NamedSharding(mesh, PartitionSpec(*n)) for n in ((), (SEEDS,)))
    size = block_size(tile, clients)
    together = tiles_at_once(mesh.size, tile // size)
    compute = jax.jit(
        jax.shard_map(
            _over_blocks(of_seeds),
            mesh=mesh,
            in_specs=(PartitionSpec(), PartitionSpec(SEEDS), PartitionSpec()),
            out_specs=PartitionSpec(SEEDS),
            check_vma=False,
        )
    )
    root, assets = jax.device_put((root, assets), everywhere)

    def arrays_of(tiles: Sequence[int], blocks: Any) -> Iterator[tuple[int, Any]]:
        found = jax.tree.map(
            lambda a: a.reshape(together, tile, *a.shape[2:]), jax.device_get(blocks)
        )
        for place, index in enumerate(tiles):
            yield index, jax.tree.map(lambda a, place=place: a[place], found)

    running: deque[tuple[Sequence[int], Any]] = deque()
    for start in range(0, len(pending), together):
        tiles = pending[start : start + together]
        filled = [*tiles, *tiles[-1:] * (together - len(tiles))]  # no device waits for another
        seeds = np.add.outer(np.multiply(filled, tile), np.arange(tile)).astype(np.int32)
        blocks = jax.device_put(seeds.reshape(-1, size), shared_out)
        running.append((tiles, compute(root, blocks, assets)))
        if len(running) > 1:
            yield from arrays_of(*running.popleft())
    if running:
        yield from arrays_of(*running.popleft())


def tiles_at_once(devices: int, blocks: int) -> int:
    """The fewest tiles, of so many blocks each, whose blocks the devices share out evenly."""
    return devices // gcd(devices, blocks)


def _over_blocks(of_seeds: OfSeeds) -> OfSeeds:
    """Maps a function of a block's seeds over blocks (n, seeds), one after the other."""

    def over_blocks(root: Array, blocks: Array, assets: Assets) -> Any:
        return jax.lax.map(lambda seeds: of_seeds(root, seeds, assets), blocks)

    return over_blocks
