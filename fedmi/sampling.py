"""The sampler: local SGD of every client, repeated over seeds.

It is `jax.vmap` of one client's epoch over clients and seeds, compiled once for a tile of
seeds. Tiles have one fixed size, so that a seed's numbers do not depend on how many others are
asked for, and each tile runs whole on one device, so that they do not depend on the devices.
"""

import json
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jax import Array

from fedmi import devices, federation, provenance, scopes, store, tasks
from fedmi.progress import track
from fedmi.tasks.base import Assets, Keys, Task
from fedmi.training import over_seeds_and_clients, train, train_on

TILE = 256
LARGEST_TILE = 4096
TILE_BYTES = 2**28  # of the parameters that a tile on a CPU leaves
NETWORKS_IN_CACHE = 128
PARAMETERS_IN_CACHE = 2**17


def tile_sampler(
    task: Task,
    coupling: Mapping[str, str],
    clients: int,
    checkpoints: Sequence[int],
    tile: int,
    *,
    rounds: int = 1,
    aggregator: str = federation.MEAN,
    client_examples: Sequence[int] | None = None,
) -> Callable[[Array, Array, Assets], dict[str, Array]]:
    """The function, to be compiled, that samples one tile of seeds.

    Args:
        rounds, aggregator, client_examples: as `fedmi.federation.describe` gives them.

    Returns:
        A function (root key, index of the tile's first seed, assets) -> theta of shape
        (tile, clients, checkpoints, t), metric (tile, clients, steps) and the number of clipped
        steps (tile, clients); from the second round on also the download (tile, t).
    """

    def one(keys: Keys, assets: Assets) -> dict[str, Array]:
        if rounds == 1 and client_examples is None:
            return _kept(*train(task, keys, assets, checkpoints=checkpoints))
        history, servers = federation.train_rounds(
            task, keys, assets, rounds=rounds, aggregator=federation.aggregator_of(aggregator),
            examples=client_examples or [task.examples] * clients, checkpoints=checkpoints,
        )  # fmt: skip
        return _kept(*history) | (dict(download=servers[-2]) if rounds > 1 else {})

    sample_tile = _tile_of(one, coupling, clients, tile, task.parameter_count)

    def with_one_download(root: Array, first: Array, assets: Assets) -> dict[str, Array]:
        arrays = sample_tile(root, first, assets)
        return arrays | (dict(download=arrays["download"][:, 0]) if rounds > 1 else {})

    return with_one_download


def grid_sampler(
    variants: Sequence[Task],
    coupling: Mapping[str, str],
    clients: int,
    checkpoints: Sequence[Sequence[int]],
    tile: int,
) -> Callable[[Array, Array, Assets], list[dict[str, Array]]]:
    """The same for several tasks that have their data in common, which are made once.

    Args:
        variants: tasks that differ in nothing that their data depend on.
        checkpoints: of each.

    Returns:
        A function as `tile_sampler`'s, with such a result for each task.
    """

    def one(keys: Keys, assets: Assets) -> list[dict[str, Array]]:
        data = variants[0].data(keys, assets)
        return [
            _kept(*train_on(task, keys, data, checkpoints=kept))
            for task, kept in zip(variants, checkpoints, strict=True)
        ]

    return _tile_of(one, coupling, clients, tile, variants[0].parameter_count)


def _kept(theta: Array, metric: Array, clipped: Array) -> dict[str, Array]:
    """What a store keeps of a training."""
    return dict(theta=theta, metric=metric, clipped=jnp.sum(clipped))


def _tile_of(
    one: Callable[[Keys, Assets], Any],
    coupling: Mapping[str, str],
    clients: int,
    tile: int,
    parameters: int,
) -> Callable[[Array, Array, Assets], Any]:
    """Maps a function of one client of one seed over a tile."""

    def of_seeds(root: Array, seeds: Array, assets: Assets) -> Any:
        mapped = over_seeds_and_clients(lambda keys: one(keys, assets), root, coupling, clients)
        return mapped(seeds)

    return over_tile(of_seeds, clients, tile, parameters)


def over_tile(
    of_seeds: Callable[[Array, Array, Assets], Any], clients: int, tile: int, parameters: int
) -> Callable[[Array, Array, Assets], Any]:
    """Maps a function of several seeds over a tile, block by block.

    Args:
        of_seeds: (root key, seeds (n,), assets) -> a pytree of arrays (n, ...).
        clients: of a seed.
        tile: seeds.
        parameters: of a network.

    Returns:
        A function (root key, index of the tile's first seed, assets) -> arrays (tile, ...).
    """

    def sample_tile(root: Array, first: Array, assets: Assets) -> Any:
        seeds = (first + jnp.arange(tile)).reshape(-1, block_size(tile, clients, parameters))
        blocks = jax.lax.map(lambda block: of_seeds(root, block, assets), seeds)
        return jax.tree.map(lambda a: a.reshape(tile, *a.shape[2:]), blocks)

    return sample_tile


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


def fitting_tile(
    sampler: Callable[[int], Callable[..., dict[str, Array]]],
    arguments: tuple[Any, ...],
    memory: int | None,
    seed_bytes: int,
) -> int:
    """How many seeds a tile may have, by default.

    On a CPU `TILE`, or fewer where their parameters would take more than `TILE_BYTES`; on a GPU
    what half of its memory holds.

    Args:
        sampler: tile -> the function that samples such a tile.
        arguments: of that function.
        memory: of the device in bytes; None for a CPU.
        seed_bytes: what the kept parameters of a seed take.

    Returns:
        A power of two, at most `LARGEST_TILE`.
    """
    if memory is None:
        return min(devices.power_of_two(TILE_BYTES // seed_bytes), TILE)
    needs = jax.jit(sampler(TILE)).lower(*arguments).compile().memory_analysis()
    a_seed = (needs.temp_size_in_bytes + needs.output_size_in_bytes) / TILE
    return min(devices.power_of_two(int(memory / 2 / a_seed)), LARGEST_TILE)


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
    aggregator: str = federation.MEAN,
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
        fedmi.store.StoreError: (a ValueError) if the store holds samples of other parameters.
        OSError: if the store cannot be written; it stays whole.
    """
    task = tasks.get(task)
    checkpoints = check_arguments(task, seeds, clients, checkpoints, root_seed, tile)
    coupling = scopes.resolve(coupling, task.streams)
    scopes.check_varies(coupling)
    assets = task.assets()
    root = jax.random.key(root_seed)
    federated = federation.describe(task, clients, rounds, aggregator, examples)
    sampler = partial(tile_sampler, task, coupling, clients, checkpoints, **federated)
    samples = existing(store)
    if tile is None:
        seed_bytes = 4 * task.parameter_count * clients * len(checkpoints)
        fitting = partial(
            fitting_tile, sampler, (root, np.int32(0), assets), devices.memory(), seed_bytes
        )
        tile = fitting() if samples is None else samples.tile
    parameters = describe(
        task, assets, coupling, clients=clients, checkpoints=checkpoints, root_seed=root_seed,
        tile=tile, **federated,
    )  # fmt: skip
    samples = matching(samples, store, parameters, task)
    if samples.pending(seeds):
        sample_tile = sampler(tile)
        fill([samples], lambda *a: [sample_tile(*a)], root, assets, seeds)
    return samples.dataset(seeds)


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
        if isinstance(value, bool) or not isinstance(value, int | np.integer):
            raise ValueError(f"{name}: {value!r} is not a whole number")
        if value < least:
            raise ValueError(f"{name}: {value} is below {least}")
    if root_seed >= 2**32:
        raise ValueError(f"root_seed: {root_seed} is not below 2**32")
    if checkpoints is None:
        return [task.steps]
    kept = list(checkpoints)
    if not kept or kept != sorted(set(kept)):
        raise ValueError(f"checkpoints: {kept} must be ascending, without repeats, at least one")
    for iteration in kept:
        whole = isinstance(iteration, int | np.integer) and not isinstance(iteration, bool)
        if not (whole and 1 <= iteration <= task.steps):
            raise ValueError(
                f"checkpoints: {iteration!r} is not an iteration of the epoch, which are 1 to "
                f"{task.steps}"
            )
    return [int(iteration) for iteration in kept]


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
        **federated: as `fedmi.federation.describe` gives it.

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
        root_seed=int(root_seed),
        clients=int(clients),
        checkpoints=list(checkpoints),
        tile=int(tile),
        **({} if task.epochs == 1 else dict(epochs=task.epochs)),
        **federated,
    )
    try:
        return json.loads(json.dumps(description))
    except TypeError as error:
        raise ValueError(
            f"options: {dict(task.options)!r} of the task {task.name!r} cannot be written as "
            f"JSON ({error}); use plain numbers, strings, lists and mappings"
        ) from None


def existing(path: str | Path | None) -> store.SampleStore | None:
    """The store in a folder, None where there is none."""
    return store.open_existing(Path(path)) if path is not None and Path(path).exists() else None


def matching(
    samples: store.SampleStore | None,
    path: str | Path | None,
    parameters: Mapping[str, Any],
    task: Task,
) -> store.SampleStore:
    """The existing store, if its samples are those asked for, or a new one."""
    if samples is None:
        path = None if path is None else Path(path)
        return store.create(path, parameters, steps=task.steps, size=task.parameter_count)
    store.check_parameters(samples, parameters)
    return samples


def fill(
    stores: Sequence[store.SampleStore],
    sample_tile: Callable[[Array, Array, Assets], Sequence[dict[str, Array]]],
    root: Array,
    assets: Assets,
    seeds: int,
) -> None:
    """Computes the tiles that any store lacks, writes each as it is done, and records the run.

    Args:
        stores: of equal tiles, at least one unfinished; a tile that one has already it keeps.
        sample_tile: the function that samples a tile for each of them.
        root, assets: its arguments.
        seeds: how many the stores shall hold.
    """
    wanted = [set(samples.pending(seeds)) for samples in stores]
    pending = sorted(set().union(*wanted))
    versions = provenance.versions()
    entry = dict(
        run=uuid.uuid4().hex,
        first_seed=pending[0] * stores[0].tile,
        seeds=int(seeds),
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
        samples.clear_partial_files()
        samples.grow(seeds)
        samples.record(entry)
    results = compute_tiles(jax.jit(sample_tile), root, assets, stores[0].tile, pending)
    for tile, parts in track(results, total=len(pending), what="sampling", unit="tile"):
        for samples, own, arrays in zip(stores, wanted, parts, strict=True):
            if tile not in own:
                continue
            last = min(seeds - tile * samples.tile, samples.tile)  # the padding is not kept
            samples.write(tile, {name: array[:last] for name, array in arrays.items()})
    finished = dict(end=provenance.now(), seconds=round(time.monotonic() - started, 3))
    for samples in stores:
        samples.record(entry | finished)


def compute_tiles(
    sample_tile: Callable[..., Sequence[dict[str, Array]]],
    root: Array,
    assets: Assets,
    tile: int,
    pending: Sequence[int],
) -> Iterator[tuple[int, Sequence[dict[str, np.ndarray]]]]:
    """The tiles' arrays in order; every device has one tile in work at a time."""
    devices = jax.local_devices()
    with ThreadPoolExecutor(len(devices)) as pool:
        constants = [jax.device_put((root, assets), device) for device in devices]

        def compute(slot: int, index: int) -> Sequence[dict[str, np.ndarray]]:
            first = jax.device_put(np.int32(index * tile), devices[slot])
            root_there, assets_there = constants[slot]
            return jax.device_get(sample_tile(root_there, first, assets_there))

        running: deque[tuple[int, int, Future]] = deque()
        waiting = deque(pending)
        for slot in range(min(len(devices), len(waiting))):
            index = waiting.popleft()
            running.append((index, slot, pool.submit(compute, slot, index)))
        while running:
            index, slot, future = running.popleft()
            arrays = future.result()
            if waiting:
                following = waiting.popleft()
                running.append((following, slot, pool.submit(compute, slot, following)))
            yield index, arrays


def finite(samples: xr.Dataset) -> xr.Dataset:
    """The seeds whose parameters and metric are finite everywhere, at all clients.

    Args:
        samples: a dataset as `sample` returns it. It is read one client, one checkpoint and
            `TILE` seeds at a time.

    Returns:
        The same dataset without the other seeds; its attribute `excluded` says how many they are.
    """
    good = np.isfinite(samples.metric.values).all(axis=(1, 2))
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
