"""The sampler: local SGD of every client, repeated over seeds.

It is `jax.vmap` of one client's epoch over clients and seeds, which `fedmi.sampling.tiles` maps
over tiles of seeds on all devices. Who else fills the same store, and how far it has come, changes
no seed.
"""

import time
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jax import Array

from fedmi import devices, scopes, tasks
from fedmi.progress import track
from fedmi.sampling import provenance, store
from fedmi.sampling import rounds as federated_rounds
from fedmi.sampling.checks import check_local, check_whole, is_whole
from fedmi.sampling.sgd import over_seeds_and_clients, train, train_on
from fedmi.sampling.tiles import TILE, OfSeeds, block_size, compute_tiles, fitting_tile
from fedmi.tasks.task import Assets, Keys, Task, in_json

WHOLE = (0, 1)
"""The block that holds all seeds: the first of one."""


def sampler(
    task: Task,
    coupling: Mapping[str, str],
    clients: int,
    checkpoints: Sequence[int],
    *,
    rounds: int = 1,
    aggregator: str = federated_rounds.MEAN,
    client_examples: Sequence[int] | None = None,
) -> OfSeeds:
    """The function that samples seeds, to be compiled.

    Args:
        rounds, aggregator, client_examples: as `fedmi.sampling.rounds.describe` gives them.

    Returns:
        A function (root key, seeds (n,), assets) -> theta of shape (n, clients, checkpoints, t),
        metric (n, clients, steps) and the number of clipped steps (n, clients); from the second
        round on also the download (n, t).
    """

    def one(keys: Keys, assets: Assets) -> dict[str, Array]:
        if rounds == 1 and client_examples is None:
            return _kept(*train(task, keys, assets, checkpoints=checkpoints))
        history, servers = federated_rounds.train_rounds(
            task, keys, assets, rounds=rounds,
            aggregator=federated_rounds.aggregator_of(aggregator),
            examples=client_examples or [task.examples] * clients, checkpoints=checkpoints,
        )  # fmt: skip
        return _kept(*history) | (dict(download=servers[-2]) if rounds > 1 else {})

    of_seeds = _mapped(one, coupling, clients)

    def with_one_download(root: Array, seeds: Array, assets: Assets) -> dict[str, Array]:
        arrays = of_seeds(root, seeds, assets)
        return arrays | (dict(download=arrays["download"][:, 0]) if rounds > 1 else {})

    return with_one_download


def grid_sampler(
    variants: Sequence[Task],
    coupling: Mapping[str, str],
    clients: int,
    checkpoints: Sequence[Sequence[int]],
) -> OfSeeds:
    """The same for several tasks that have their data in common, which are made once.

    Args:
        variants: tasks that differ in nothing that their data depend on.
        checkpoints: of each.

    Returns:
        A function as `sampler`'s, with a list of such results, one for each task.
    """

    def one(keys: Keys, assets: Assets) -> list[dict[str, Array]]:
        data = variants[0].data(keys, assets)
        return [
            _kept(*train_on(task, keys, data, checkpoints=kept))
            for task, kept in zip(variants, checkpoints, strict=True)
        ]

    return _mapped(one, coupling, clients)


def _kept(theta: Array, metric: Array, clipped: Array) -> dict[str, Array]:
    """What a store keeps of a training."""
    return dict(theta=theta, metric=metric, clipped=jnp.sum(clipped))


def _mapped(
    one: Callable[[Keys, Assets], Any], coupling: Mapping[str, str], clients: int
) -> OfSeeds:
    """Maps a function of one client of one seed over seeds and clients."""

    def of_seeds(root: Array, seeds: Array, assets: Assets) -> Any:
        mapped = over_seeds_and_clients(lambda keys: one(keys, assets), root, coupling, clients)
        return mapped(seeds)

    return of_seeds


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
    aggregator: str = federated_rounds.MEAN,
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
            their parameters would take more than 256 MiB), and on a GPU as many as half of its
            memory holds.
        rounds: the round R of federated learning whose epoch is sampled.
        aggregator: how the server makes one model of the clients', by name: "weighted_mean",
            "coordinate_median", "geometric_median", or a function of your own as
            "package.module:attribute", of the uploads (Q, t), their weights (Q,) and, if it has
            an argument of that name, the download (t,).
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
    samples = sample_block(
        task, seeds=seeds, clients=clients, coupling=coupling, checkpoints=checkpoints,
        root_seed=root_seed, store=store, tile=tile, rounds=rounds, aggregator=aggregator,
        examples=examples,
    )  # fmt: skip
    return samples.dataset(seeds)


def sample_block(
    task: Task | str,
    *,
    seeds: int,
    block: tuple[int, int] | None = WHOLE,
    clients: int = 3,
    coupling: str | Mapping[str, str] = "shared-source",
    checkpoints: Sequence[int] | None = None,
    root_seed: int = 0,
    store: str | Path | None = None,
    tile: int | None = None,
    rounds: int = 1,
    aggregator: str = federated_rounds.MEAN,
    examples: Sequence[int] | None = None,
) -> store.SampleStore:
    """`sample`, but only one of the blocks that the seeds are divided into.

    Blocks are whole tiles, so that several may fill one store at the same time, from wherever it
    can be written: no two write to one file. Where JAX runs in several processes
    (`jax.distributed`) they share out a block's tiles in the same way, and wait for each other at
    the end.

    Args:
        block: (i, n), the block i = 0 ... n - 1 of n; None makes the store, and no more.
        seeds: of all blocks together.
        task, clients, coupling, checkpoints, root_seed, store, tile, rounds, aggregator, examples:
            as for `sample`.

    Returns:
        The store.

    Raises:
        ValueError, fedmi.sampling.store.StoreError, OSError: as `sample` does.
    """
    task = tasks.get(task)
    checkpoints = check_arguments(task, seeds, clients, checkpoints, root_seed, tile)
    check_block(block)
    if store is not None:
        store = check_local("store", store)
    elif jax.process_count() > 1:
        raise ValueError("store: None; several processes need a folder that all of them see")
    coupling = scopes.resolve(coupling, task.streams)
    scopes.check_varies(coupling)
    federated = federated_rounds.describe(task, clients, rounds, aggregator, examples)
    root = scopes.root_key(root_seed)
    of_seeds = sampler(task, coupling, clients, checkpoints, **federated)
    with devices.first_process_first():
        assets = task.assets()
        samples = existing(store)
        if tile is None:
            tile = samples.tile if samples is not None else fitting_tile(
                of_seeds, root, assets,
                block=partial(block_size, clients=clients, parameters=task.parameter_count),
                memory=devices.memory(),
                seed_bytes=4 * clients * len(checkpoints) * task.parameter_count,
            )  # fmt: skip
        parameters = describe(
            task, assets, coupling, clients=clients, checkpoints=checkpoints, root_seed=root_seed,
            tile=tile, **federated,
        )  # fmt: skip
        samples = matching(samples, store, parameters, task)
        samples.grow(seeds)
    if block is not None:
        side_by_side = block_size(tile, clients, task.parameter_count)
        fill([samples], lambda *a: [of_seeds(*a)], root, assets, side_by_side, seeds, block)
        devices.wait_for_all_processes()
    return samples


def check_arguments(
    task: Task,
    seeds: int,
    clients: int,
    checkpoints: Sequence[int] | None,
    root_seed: int,
    tile: int | None,
) -> list[int]:
    """Refuses impossible arguments of `sample`; returns the checkpoints as a list of int.

    Raises:
        ValueError: naming the argument, what was wrong, and what would be right.
    """
    for name, value, least in (
        ("seeds", seeds, 1),
        ("clients", clients, 2),
        ("root_seed", root_seed, 0),
        ("tile", TILE if tile is None else tile, 1),
    ):
        check_whole(name, value, least)
    if root_seed >= 2**32:
        raise ValueError(f"root_seed: {root_seed} is not below 2**32")
    if checkpoints is None:
        return [task.steps]
    kept = list(checkpoints) if isinstance(checkpoints, Iterable) else [checkpoints]
    if not kept or kept != sorted(set(kept)):
        raise ValueError(f"checkpoints: {kept} must be ascending, without repeats, at least one")
    for iteration in kept:
        if not (is_whole(iteration) and 1 <= iteration <= task.steps):
            raise ValueError(
                f"checkpoints: {iteration!r} is not an iteration of the epoch, which are 1 to "
                f"{task.steps}"
            )
    return [int(iteration) for iteration in kept]


def check_block(block: tuple[int, int] | None) -> None:
    """Raises ValueError unless a block is None or the number of one of several, from 0."""
    if block is None:
        return
    index, count = block
    check_whole("block", count, 1)
    check_whole("block", index, 0)
    if index >= count:
        raise ValueError(f"block: {index} is not from 0 to {count - 1}, of {count} blocks")


def describe(
    task: Task,
    assets: Assets,
    coupling: Mapping[str, str],
    *,
    clients: int,
    checkpoints: Sequence[int],
    root_seed: int,
    tile: int,
    **federated: Any,
) -> dict[str, Any]:
    """What samples depend on, in JSON's types.

    Args:
        task, assets, coupling, clients, checkpoints, root_seed, tile: as for `sample`, checked.
        **federated: as `fedmi.sampling.rounds.describe` gives it.

    Raises:
        ValueError: if the task's options cannot be written as JSON.
    """
    description = dict(
        task=task.name,
        options=dict(task.options),
        examples=task.examples,
        batch_size=task.batch_size,
        learning_rate=task.learning_rate,
        clip_norm=task.clip_norm,
        metric=task.metric,
        parameters=task.parameter_count,
        assets=provenance.digest(assets),
        coupling=scopes.name_of(coupling, task.streams),
        scopes=dict(coupling),
        generator=scopes.GENERATOR,
        root_seed=int(root_seed),
        clients=int(clients),
        checkpoints=list(checkpoints),
        tile=int(tile),
        **({} if task.epochs == 1 else dict(epochs=task.epochs)),
        **federated,
    )
    return in_json(description, task)


def existing(path: Path | None) -> store.SampleStore | None:
    """The store in a folder, None where there is none."""
    return store.open_existing(path) if path is not None and path.exists() else None


def matching(
    samples: store.SampleStore | None,
    path: Path | None,
    parameters: Mapping[str, Any],
    task: Task,
) -> store.SampleStore:
    """The existing store, if its samples are those asked for, or a new one."""
    if samples is None:
        return store.create(path, parameters, steps=task.steps, size=task.parameter_count)
    store.check_parameters(samples, parameters)
    return samples


def tiles_of(seeds: int, tile: int, block: tuple[int, int]) -> list[int]:
    """The tiles, by index, of a block: equal parts of all, one after the other, to a tile."""
    index, count = block
    return np.array_split(np.arange(-(-seeds // tile)), count)[index].tolist()


def fill(
    stores: Sequence[store.SampleStore],
    of_seeds: Callable[[Array, Array, Assets], Sequence[dict[str, Array]]],
    root: Array,
    assets: Assets,
    side_by_side: int,
    seeds: int,
    block: tuple[int, int] = WHOLE,
) -> None:
    """Computes the tiles that any store lacks, writes each as it is done, and records the run.

    Args:
        stores: of equal tiles, with room for the seeds; a tile that one has already it keeps.
        of_seeds: the function that samples seeds for each of them.
        root, assets: its arguments.
        side_by_side: seeds that a device computes at once (`fedmi.sampling.tiles.block_size`).
        seeds: how many the stores shall hold.
        block: of these, as for `sample_block`.
    """
    tile = stores[0].tile
    own = tiles_of(seeds, tile, block)[jax.process_index() :: jax.process_count()]
    wanted = [set(samples.pending(seeds, own)) for samples in stores]
    pending = sorted(set().union(*wanted))
    if not pending:
        return
    versions = provenance.versions()
    entry = dict(
        run=uuid.uuid4().hex,
        first_seed=pending[0] * tile,
        seeds=int(seeds),
        block=list(block),
        tiles=len(pending),
        versions=versions,
        devices=provenance.devices(),
        hardware=provenance.hardware(),
        code=provenance.code(),
        start=provenance.now(),
        end=None,
        seconds=None,
    )
    started = time.monotonic()
    for samples in stores:
        store.warn_of_versions(samples, versions)
        samples.clear_partial_files(pending)
        samples.record(entry)
    results = compute_tiles(of_seeds, root, assets, tile=tile, block=side_by_side, pending=pending)
    for index, parts in track(results, total=len(pending), what="sampling", unit="tile"):
        for samples, lacking, arrays in zip(stores, wanted, parts, strict=True):
            if index not in lacking:
                continue
            last = min(seeds - index * tile, tile)  # the padding is not kept
            samples.write(index, {name: array[:last] for name, array in arrays.items()})
    finished = dict(end=provenance.now(), seconds=round(time.monotonic() - started, 3))
    for samples in stores:
        samples.record(entry | finished)


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
        print(f"{excluded} of {good.size} seeds are not finite and are left out")
        samples = samples.isel(seed=np.flatnonzero(good))
    return samples.assign_attrs(excluded=excluded)
