"""Client-trainings: fedmi's sampler, and the same epochs of the plain Flax network."""

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp

from benchmarks.work import Work
from fedmi import Task, scopes, tasks
from fedmi.models.recurrent import RecurrentRegressor, dropout_masks
from fedmi.sampling import sgd
from fedmi.sampling.design import Design
from fedmi.sampling.download import constants
from fedmi.sampling.tiles import block_size, compute_tiles
from fedmi.sampling.training import training
from fedmi.tasks.signal import frames

CLIENTS = 3
CHECKPOINTS = (1, 2, 4, 8, 16, 20)
COUPLING = "shared-source"
UNIT = "trainings"


def tiles(*, task: str, seeds: int, tile: int) -> Work:
    """fedmi's compiled tile, one tile a device at a time, as `fedmi.sample` runs it."""
    made = tasks.get(task)
    kept = [iteration for iteration in CHECKPOINTS if iteration <= made.steps]
    design = Design.of(made, clients=CLIENTS, coupling=COUPLING, checkpoints=kept)
    of_seeds = training([design])
    given = constants([design], made.assets())
    block = block_size(tile, CLIENTS, made.parameter_count)

    def run(count: int) -> None:
        told = dict(tile=tile, block=block, pending=range(count), what="sampling")
        for _ in compute_tiles(of_seeds, design.root, given, **told):
            pass

    devices = jax.local_device_count()
    run(devices)  # compiles
    count = -(-seeds // tile)
    note = f"{count} tiles of {tile} seeds on {devices} {jax.devices()[0].platform} device(s)"
    return Work(partial(run, count), seeds * CLIENTS, UNIT, note)


def plain_vmap(*, seeds: int) -> Work:
    """The plain Flax network's epochs under `jax.vmap`, all at once, on one device."""
    task = plain_signal()
    coupling = scopes.resolve(COUPLING, task.streams)
    root = jax.random.key(0)

    def one(keys):
        return sgd.train_on(task, keys, task.data(keys, ()), checkpoints=CHECKPOINTS)

    train = jax.jit(sgd.over_seeds_and_clients(one, root, coupling, CLIENTS))

    def run() -> None:
        jax.block_until_ready(train(jnp.arange(seeds)))

    run()
    return Work(run, seeds * CLIENTS, UNIT, f"{seeds * CLIENTS} networks at once, one device")


def plain_signal() -> Task:
    """The signal task with the plain Flax network in its loss."""
    task = tasks.get("signal")
    names = ("layers", "units", "cell", "initialiser", "recurrent_gain")
    network = RecurrentRegressor(**{name: task.options[name] for name in names})

    def loss(params, batch, key):
        x, y = batch
        shape = (len(x), network.layers, network.units)
        masks = None if key is None else dropout_masks(key, shape, task.options["dropout"])
        sequence = frames(x, task.options["frame"], task.options["hop"])
        error = jnp.mean((network.apply({"params": params}, sequence, masks) - y) ** 2)
        return error, error

    return dataclasses.replace(task, loss=loss)
