"""The sampler: local SGD of every client, repeated over seeds.

It is `jax.vmap` of one client's epoch over clients and seeds, which `fedmi.sampling.tiles` maps
over tiles of seeds on all devices. Who else fills the same store, and how far it has come, changes
no seed.
"""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import jax
import numpy as np
import xarray as xr

from fedmi import devices
from fedmi.progress import tell, track
from fedmi.sampling import provenance
from fedmi.sampling.checks import check_local, check_whole
from fedmi.sampling.design import Design
from fedmi.sampling.download import constants
from fedmi.sampling.server import MEAN, check_aggregator
from fedmi.sampling.store import SampleStore, check_parameters, create, existing, warn_of_versions
from fedmi.sampling.tiles import TILE, block_size, compute_tiles, fitting_tile
from fedmi.sampling.training import training
from fedmi.tasks.task import Assets, Task

Block = tuple[int, int]
"""(i, n): the block i = 0 ... n - 1 of n that all seeds are divided into."""

WHOLE: Block = (0, 1)


def sample(
    task: Task | str,
    *,
    seeds: int,
    clients: int = 3,
    coupling: str | Mapping[str, str] = "shared-source",
    checkpoints: Sequence[int] | None = None,
    root_seed: int = 0,
    store: str | Path | None = None,
    tile: int | None = None,
    rounds: int = 1,
    aggregator: str = MEAN,
    examples: Sequence[int] | None = None,
) -> xr.Dataset:
    """Samples client-computed parameters: one epoch of local SGD for every client of every seed.

    By default that epoch is the first; with `rounds` R it is the epoch of round R, after R - 1
    rounds of download, local SGD, and aggregation. What the clients of a seed download then differs
    from seed to seed, and they share it.

    Seeds that the store holds already are not computed again, so that an interrupted call goes on
    where it stopped and a larger `seeds` adds to a smaller one: the first 2,000 of 22,000 are the
    same to the bit. The call spreads its tiles over all devices that JAX sees.

    Args:
        task: a task or its name (see `fedmi.tasks.get`).
        seeds: number of repetitions N.
        clients: number of clients Q, at least 2.
        coupling: a named coupling or a mapping stream -> scope (see `fedmi.scopes`).
        checkpoints: the iterations whose parameters are kept, ascending, from 1 to the steps of
            the epoch; None for the last alone.
        root_seed: the seed of all randomness.
        store: folder of the zarr store; None keeps the samples in memory.
        tile: seeds a tile: what is computed at once, and a shard of the store. Memory grows with
            it. By default that of the store if it is there already, else 256 on a CPU (fewer where
            there are fewer seeds, or their parameters would take more than 256 MiB), and on a GPU
            as many as half of its memory holds.
        rounds: the round R of federated learning whose epoch is sampled.
        aggregator: how the server makes one model of the clients', by name: "weighted_mean" or
            another of `fedmi.sampling.server.AGGREGATORS`, or a function of your own as
            "package.module:attribute", of the uploads (Q, t), their weights (Q,) and, if it has
            an argument of that name, the download (t,); or one with a state, which goes from round
            to round (see `fedmi.aggregation.stateful`).
        examples: n_q, how many of the task's examples each client has, in whole minibatches; it
            weighs by them in the aggregate, and after as many steps rests. All by default.

    Returns:
        A dataset, opened lazily, of theta (seed, client, iteration, parameter) float32, metric
        (seed, client, step) float32, taken on each step's minibatch before the step, and clipped
        (seed, client), the number of steps whose gradient was clipped; for `rounds` above 1 also
        download (seed, parameter), where the clients started. Its attributes are what the samples
        depend on.

    Raises:
        ValueError: for impossible arguments.
        fedmi.sampling.store.StoreError: (a ValueError) if the store holds samples of other
        parameters.
        OSError: if the store cannot be written; it stays whole.
    """
    design = Design.of(
        task,
        clients=clients,
        coupling=coupling,
        checkpoints=checkpoints,
        root_seed=root_seed,
        rounds=rounds,
        aggregator=aggregator,
        examples=examples,
    )
    return sample_block(design, seeds=seeds, store=store, tile=tile).dataset(seeds)


def sample_block(
    design: Design,
    *,
    seeds: int,
    block: Block | None = WHOLE,
    store: str | Path | None = None,
    tile: int | None = None,
) -> SampleStore:
    """`sample`, but only one of the blocks that the seeds are divided into.

    Blocks are whole tiles, so that several may fill one store at the same time, from wherever it
    can be written: no two write to one file. Where JAX runs in several processes
    (`jax.distributed`) they share out a block's tiles in the same way, and wait for each other at
    the end.

    Args:
        design: all that the samples depend on.
        seeds: of all blocks together.
        block: the one that is sampled; None makes the store, and no more.
        store: folder of the zarr store; None keeps the samples in memory.
        tile: seeds a tile, by default as `sample` says.

    Returns:
        The store.

    Raises:
        ValueError, fedmi.sampling.store.StoreError, OSError: as `sample` does.
    """
    return sample_together([design], [store], seeds=seeds, block=block, tile=tile)[0]


def sample_together(
    designs: Sequence[Design],
    stores: Sequence[str | Path | None],
    *,
    seeds: int,
    block: Block | None = WHOLE,
    tile: int | None = None,
) -> list[SampleStore]:
    """`sample_block` of several designs whose clients have the same data, which are drawn once.

    Args:
        designs: those that differ in nothing that their data depend on.
        stores: folder of each.
        seeds, block, tile: of all of them, as `sample_block` explains them.

    Returns:
        The store of each.

    Raises:
        ValueError, fedmi.sampling.store.StoreError, OSError: as `sample` does.
    """
    check_whole("seeds", seeds, 1)
    check_whole("tile", TILE if tile is None else tile, 1)
    check_block(block)
    if None in stores and jax.process_count() > 1:
        raise ValueError("store: None; several processes need a folder that all of them see")
    paths = [None if store is None else check_local("store", store) for store in stores]
    with devices.first_process_first():
        there = [existing(path) for path in paths]
        for design, found in zip(designs, there, strict=True):
            if found is None or found.seeds() < seeds:
                check_aggregator(design.aggregator, design.task.parameter_count, design.examples)
        assets = designs[0].task.assets()
        digest = provenance.digest(assets)
        if tile is None:
            tiles = [found.tile for found in there if found is not None]
            tile = tiles[0] if tiles else None
        if tile is None:
            given = constants(designs, assets)
            tile = fitting_tile(designs[0], training(designs), given, seeds)
        filled = []
        for design, path, found in zip(designs, paths, there, strict=True):
            description = design.describe(assets=digest, tile=tile)
            if found is None:
                found = create(path, description)
            check_parameters(found, description)
            found.grow(seeds)
            filled.append(found)
    if block is not None:
        _fill(designs, filled, assets, seeds, block)
        devices.wait_for_all_processes()
    return filled


def check_block(block: Block | None) -> None:
    """Raises ValueError unless a block is None or the number of one of several, from 0."""
    if block is None:
        return
    index, count = block
    check_whole("block", count, 1)
    check_whole("block", index, 0)
    if index >= count:
        raise ValueError(f"block: {index} is not from 0 to {count - 1}, of {count} blocks")


def tiles_of(seeds: int, tile: int, block: Block) -> list[int]:
    """The tiles, by index, of a block: equal parts of all, one after the other, to a tile."""
    index, count = block
    return np.array_split(np.arange(-(-seeds // tile)), count)[index].tolist()


def _fill(
    designs: Sequence[Design],
    stores: Sequence[SampleStore],
    assets: Assets,
    seeds: int,
    block: Block,
) -> None:
    """Computes the tiles that any store lacks, writes each as it is done, and records the run.

    Args:
        designs: as for `sample_together`.
        stores: of each, of equal tiles, with room for the seeds; a tile that one has it keeps.
        assets: of the task.
        seeds: how many the stores shall hold.
        block: of these, the one that is computed.
    """
    first, tile = designs[0], stores[0].tile
    own = tiles_of(seeds, tile, block)[jax.process_index() :: jax.process_count()]
    lacking = [(at, store, set(store.pending(seeds, own))) for at, store in enumerate(stores)]
    lacking = [found for found in lacking if found[2]]
    pending = sorted(set().union(*(tiles for *_, tiles in lacking)))
    if not pending:
        return
    entry = provenance.run_begins(
        first_seed=pending[0] * tile, seeds=int(seeds), block=list(block), tiles=len(pending)
    )
    started = time.monotonic()
    for _, store, _ in lacking:
        warn_of_versions(store, entry["versions"])
        store.clear_partial_files(pending)
        store.record(entry)
    trained = [designs[at] for at, *_ in lacking]
    results = compute_tiles(
        training(trained),
        first.root,
        constants(trained, assets),
        tile=tile,
        block=block_size(tile, first.clients, first.task.parameter_count),
        pending=pending,
        what="sampling",
    )
    count, kept = len(pending), len(own) - len(pending)
    for index, parts in track(results, total=count, what="sampling", unit="tile", kept=kept):
        for (_, store, tiles), arrays in zip(lacking, parts, strict=True):
            if index in tiles:
                last = min(seeds - index * tile, tile)  # the padding is not kept
                store.write(index, {name: array[:last] for name, array in arrays.items()})
    finished = dict(end=provenance.now(), seconds=round(time.monotonic() - started, 3))
    for _, store, _ in lacking:
        store.record(entry | finished)


def finite(samples: xr.Dataset) -> xr.Dataset:
    """The seeds whose parameters, download and metric are finite everywhere, at all clients.

    Args:
        samples: a dataset as `sample` returns it. It is read one client, one checkpoint and
            `TILE` seeds at a time.

    Returns:
        The same dataset without the other seeds; its attribute `excluded` says how many they are.

    Raises:
        fedmi.sampling.store.StoreError: (a ValueError) if the store is damaged.
    """
    good = np.isfinite(samples.metric.values).all(axis=(1, 2))
    if "download" in samples:
        good &= np.isfinite(samples.download.values).all(axis=1)
    for client in range(samples.sizes["client"]):
        for kept in range(samples.sizes["iteration"]):
            theta = samples.theta.isel(client=client, iteration=kept)
            for first in range(0, good.size, TILE):
                rows = slice(first, first + TILE)
                good[rows] &= np.isfinite(theta.isel(seed=rows).values).all(axis=1)
    excluded = int((~good).sum())
    if excluded:
        tell(f"{excluded} of {good.size} seeds are not finite and are left out")
        samples = samples.isel(seed=np.flatnonzero(good))
    return samples.assign_attrs(excluded=excluded)
