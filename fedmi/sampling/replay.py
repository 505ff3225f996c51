"""How good the sampled networks are on data that their clients have not trained on."""

from collections.abc import Iterator
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jax import Array
from jax.flatten_util import ravel_pytree

from fedmi.sampling.checks import check_whole
from fedmi.sampling.sgd import over_seeds_and_clients
from fedmi.scopes import root_key
from fedmi.tasks.task import Assets, Keys, Task

SEEDS_AT_ONCE = 32


def held_out_metric(task: Task, samples: xr.Dataset, *, seeds: int) -> xr.DataArray:
    """The metric on held-out data, without dropout, of the download and of every checkpoint.

    The data are drawn anew from the samples' own keys (`Task.held_out`): for each client of each
    seed from the same source as its training data.

    Args:
        task: the task that the samples are of.
        samples: a dataset as `fedmi.sample` returns it.
        seeds: how many of its seeds, from the first on, are evaluated; all if there are fewer.

    Returns:
        The metric, (seed, client, iteration), where iteration 0 is the download.

    Raises:
        ValueError: if the task has no held-out data, or the samples are of another task, none, or
            not finite.
    """
    check_whole("seeds", seeds, 1)
    if task.held_out is None:
        raise ValueError(f"task: {task.name!r} has no held-out data")
    if samples.attrs["task"] != task.name:
        raise ValueError(f"task: {task.name!r}, but the samples are of {samples.attrs['task']!r}")
    coupling, clients = samples.attrs["scopes"], samples.sizes["client"]
    root, assets = root_key(samples.attrs["root_seed"]), task.assets()

    def one(keys: Keys, thetas: Array, later: Array | None, assets: Assets) -> Array:
        download, unravel = ravel_pytree(task.init(keys))
        download = download if later is None else later
        data = task.held_out(keys, assets)

        def metric(theta):
            return task.loss(unravel(theta), data, None)[1]

        return jax.lax.map(metric, jnp.concatenate([download[None], thetas]))

    @jax.jit
    def evaluate(seeds: Array, thetas: Array, later: Array | None, assets: Assets) -> Array:
        with_assets = partial(one, assets=assets)
        return over_seeds_and_clients(with_assets, root, coupling, clients)(seeds, thetas, later)

    if not samples.sizes["seed"]:
        raise ValueError(
            "samples: no finite seed is left to evaluate; lower the task's learning rate or clip "
            "its gradients"
        )
    samples = samples.isel(seed=slice(seeds))
    parts = []
    for block, filled in blocks(samples, SEEDS_AT_ONCE):
        block = block[["theta", *({"download"} & set(block))]].compute()
        if not all(np.isfinite(values).all() for values in block.data_vars.values()):
            raise ValueError(
                "samples: seeds whose parameters are not finite have no metric; leave them out "
                "with fedmi.finite"
            )
        later = None
        if "download" in block:  # of a later round, the same for all clients
            later = np.repeat(block.download.values[filled][:, None], clients, axis=1)
        values = evaluate(block.seed.values[filled], block.theta.values[filled], later, assets)
        parts.append(np.asarray(values)[: block.sizes["seed"]])
    return xr.DataArray(
        np.concatenate(parts),
        dims=("seed", "client", "iteration"),
        coords=dict(seed=samples.seed, iteration=[0, *samples.iteration.values]),
        name=task.metric,
    )


def blocks(samples: xr.Dataset, size: int) -> Iterator[tuple[xr.Dataset, np.ndarray]]:
    """Samples in blocks of seeds, each with the indices in it that fill it up to one size.

    The last block is filled up with its own first seeds, so that all compile to one call.

    Args:
        samples: a dataset as `fedmi.sample` returns it.
        size: seeds a block.
    """
    for first in range(0, samples.sizes["seed"], size):
        block = samples.isel(seed=slice(first, first + size))
        yield block, np.resize(np.arange(block.sizes["seed"]), size)
