"""Functions of seeds, computed tile by tile on all devices of a process.

A tile is what is computed for a store at once, and a shard of it. It is made of blocks, which the
devices share out between them: a block is what one device computes side by side, and its size
depends on neither the number of seeds nor that of the devices. So no bit of a seed does.

One program serves all cores of a CPU, which run it side by side on one device; every GPU has one of
its own. One program partitioned over a mesh (`jax.shard_map`) would be compiled once for these too;
but XLA rounds otherwise in partitioned programs than in those for one device.
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from math import gcd
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from fedmi import devices
from fedmi.progress import compiling, interruptible
from fedmi.sampling.design import Design
from fedmi.sampling.programs import make_room

OfSeeds = Callable[[Array, Array, Any], Any]
"""(root key, seeds (n,), constants) -> a pytree of arrays (n, ...)."""

TILE = 256
LARGEST_TILE = 4096
TILE_BYTES = 2**28  # of the parameters that a tile on a CPU leaves
NETWORKS_IN_CACHE = 128
PARAMETERS_IN_CACHE = 2**17


def block_size(tile: int, clients: int, parameters: int) -> int:
    """How many of a tile's seeds are trained side by side.

    On a CPU about a hundred small networks at a time stay in its caches, and of large ones as many
    as have `PARAMETERS_IN_CACHE` together; a GPU wants the whole tile.
    """
    if jax.default_backend() != "cpu":
        return tile
    networks = min(NETWORKS_IN_CACHE, PARAMETERS_IN_CACHE // parameters)
    most = max(networks // clients, 1)
    return max(size for size in range(1, min(most, tile) + 1) if tile % size == 0)


def fitting_tile(design: Design, of_seeds: OfSeeds, constants: Any, seeds: int) -> int:
    """How many seeds a tile may have, by default.

    On a CPU `TILE`, or fewer where there are fewer (a few whole blocks, so that their parameters
    are the same) or where their parameters would take more than `TILE_BYTES`; on a GPU what half of
    its memory holds.

    Args:
        design: of the samples.
        of_seeds: the function that samples seeds.
        constants: that it is given.
        seeds: how many there shall be.

    Returns:
        A power of two, at most `LARGEST_TILE`.
    """
    memory, clients, parameters = devices.memory(), design.clients, design.task.parameter_count
    if memory is None:
        kept = 4 * clients * len(design.checkpoints) * parameters
        tile = min(devices.power_of_two(TILE_BYTES // kept), TILE)
        block = block_size(tile, clients, parameters)
        while seeds <= tile // 2 and tile // 2 % block == 0:
            tile //= 2
        return tile
    block = block_size(TILE, clients, parameters)
    blocks = jnp.zeros((TILE // block, block), jnp.int32)
    needs = (
        devices.jit(_over_blocks)
        .lower(of_seeds, design.root, blocks, constants)
        .compile()
        .memory_analysis()
    )
    assert needs is not None  # a GPU's compiler tells
    a_seed = (needs.temp_size_in_bytes + needs.output_size_in_bytes) / TILE
    return min(devices.power_of_two(int(memory / 2 / a_seed)), LARGEST_TILE)


def compute_tiles(
    of_seeds: OfSeeds,
    root: Array,
    constants: Any,
    *,
    tile: int,
    block: int,
    pending: Sequence[int],
    what: str,
) -> Iterator[tuple[int, Any]]:
    """Maps a function over tiles of seeds; the next ones are computed while one is used.

    It is compiled before this returns.

    Args:
        of_seeds: the function.
        root: the root key.
        constants: all else that it is given, a pytree of arrays.
        tile: seeds.
        block: seeds, of which a tile has a whole number (`block_size`).
        pending: the tiles, by index.
        what: is being done, to be shown.

    Returns:
        For every tile its index, and a pytree of NumPy arrays (tile, ...), in order.
    """
    make_room(of_seeds)
    lanes = devices.lanes()
    together = tiles_at_once(len(lanes), tile // block)
    given = {device: jax.device_put((root, constants), device) for device in lanes}
    a_share = np.zeros((together * (tile // block) // len(lanes), block), np.int32)
    with compiling(what):
        for device, (root_there, constants_there) in given.items():
            blocks_there = jax.device_put(a_share, device)
            lowered = devices.jit(_over_blocks).lower(
                of_seeds, root_there, blocks_there, constants_there
            )
            interruptible(lowered.compile)

    def part(lane: int, blocks: np.ndarray) -> Any:
        root_there, constants_there = given[lanes[lane]]
        blocks_there = jax.device_put(blocks, lanes[lane])
        return jax.device_get(
            devices.jit(_over_blocks)(of_seeds, root_there, blocks_there, constants_there)
        )

    def arrays_of(tiles: Sequence[int], parts: Sequence[Future]) -> Iterator[tuple[int, Any]]:
        found = jax.tree.map(
            lambda *a: np.concatenate(a).reshape(together, tile, *a[0].shape[2:]),
            *(running.result() for running in parts),
        )
        for place, index in enumerate(tiles):
            yield index, jax.tree.map(lambda a, place=place: a[place], found)

    def computed() -> Iterator[tuple[int, Any]]:
        with ThreadPoolExecutor(len(lanes)) as pool:
            running: deque[tuple[Sequence[int], Sequence[Future]]] = deque()
            for start in range(0, len(pending), together):
                tiles = pending[start : start + together]
                filled = [*tiles, *([tiles[-1]] * (together - len(tiles)))]  # no lane gets less
                seeds = np.add.outer(np.multiply(filled, tile), np.arange(tile)).astype(np.int32)
                shares = np.split(seeds.reshape(-1, block), len(lanes))
                running.append((tiles, [pool.submit(part, *share) for share in enumerate(shares)]))
                if len(running) > 1:
                    yield from arrays_of(*running.popleft())
            if running:
                yield from arrays_of(*running.popleft())

    return computed()


def tiles_at_once(lanes: int, blocks: int) -> int:
    """The fewest tiles, of so many blocks each, whose blocks the lanes share out evenly."""
    return lanes // gcd(lanes, blocks)


def _over_blocks(of_seeds: OfSeeds, root: Array, blocks: Array, constants: Any) -> Any:
    """Maps a function of a block's seeds over blocks (n, seeds), one after the other."""
    return jax.lax.map(lambda seeds: of_seeds(root, seeds, constants), blocks)
