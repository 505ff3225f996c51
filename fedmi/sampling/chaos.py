"""How chaotic a training is: whether it can be made again on another machine.

Processors round differently, and so do versions of the same program. Where training is stable, a
difference in the last digit stays one; where it is chaotic the difference grows until two trainings
of one seed end as far apart as those of two seeds. What is said of a law of parameters may still
hold then, but no sample can be made again, and a dependence between clients may be lost in it.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import xarray as xr
from jax import Array
from jax.flatten_util import ravel_pytree

from fedmi.sampling.checks import check_whole
from fedmi.sampling.design import Design
from fedmi.sampling.download import Constants, constants, starting
from fedmi.sampling.programs import Program
from fedmi.sampling.sgd import over_seeds_and_clients, train_on
from fedmi.sampling.tiles import TILE, block_size, compute_tiles
from fedmi.tasks.task import Assets, Keys, Task

RELATIVE = 1e-6
"""The size of the perturbation, relative to the download: eight times float32's precision."""
LARGEST_GROWTH = 10.0
"""The median growth over an epoch above which training is called chaotic."""
MEASURES = ("apart", "growth", "share")
LEVELS = {"median": 0.5, "90": 0.9, "most": 1.0}
SEEDS = 256
"""Of which the median is taken: its rank is then known to 6 % (95 %)."""


def perturbed(design: Design, *, seeds: int = SEEDS) -> xr.Dataset:
    """Trains the same clients twice, from a download and from one changed by a millionth.

    Data, order and dropout are the same in both. The change has a direction of its own for every
    client of every seed, uniform on the sphere, and the length 1e-6 of the download's (of 1 where
    the download is zero). It is the first epoch of all of a client's examples that is trained.

    Args:
        design: of the samples.
        seeds: how many, from the first on.

    Returns:
        A dataset over (seed, client, iteration) of `apart`, the distance between the two trainings;
        `growth`, the same in units of that between their downloads; and `share`, in units of the
        way that training has gone from its download.

    Raises:
        ValueError: for an impossible number of seeds.
    """
    check_whole("seeds", seeds, 1)
    task, scopes = design.task, {**design.scopes, "perturbation": "independent"}

    def one(task: Task, keys: Keys, assets: Assets) -> Array:
        download, unravel = ravel_pytree(task.init(keys))
        direction = jax.random.normal(keys["perturbation"], download.shape, download.dtype)
        length = RELATIVE * _unless_zero(jnp.linalg.norm(download))
        other = download + length * direction / jnp.linalg.norm(direction)
        data = task.data(keys, assets)

        def trained(start: Array) -> Array:
            return train_on(
                task, keys, data, checkpoints=design.checkpoints, params=unravel(start)
            )[0]

        ways = jax.vmap(trained)(jnp.stack([download, other]))
        apart = jnp.linalg.norm(ways[1] - ways[0], axis=1)
        trained_for = jnp.linalg.norm(ways[0] - download, axis=1)
        begun_apart = jnp.linalg.norm(other - download)
        return jnp.stack([apart, apart / begun_apart, apart / trained_for])

    def of_seeds(root: Array, numbers: Array, given: Constants) -> Array:
        assets, downloads = given
        (begun,) = starting([design], downloads)
        mapped = over_seeds_and_clients(
            lambda keys: one(begun.task, keys, assets), root, scopes, design.clients
        )
        return mapped(numbers)

    tile = min(seeds, TILE)
    tiles = compute_tiles(
        Program(of_seeds, ("perturbed", design.identity)),
        design.root,
        constants([design], task.assets()),
        tile=tile,
        block=block_size(tile, 2 * design.clients, task.parameter_count),
        pending=range(-(-seeds // tile)),
        what="perturbing",
    )
    found = np.concatenate([arrays for _, arrays in tiles])[:seeds].astype(float)
    dims = ("seed", "client", "iteration")
    return xr.Dataset(
        {name: (dims, found[:, :, i]) for i, name in enumerate(MEASURES)},
        coords=dict(seed=np.arange(seeds), iteration=list(design.checkpoints)),
    )


def table(found: xr.Dataset) -> pd.DataFrame:
    """Median, 90 % quantile and maximum of all measures at each checkpoint, over seeds and clients.

    Args:
        found: as `perturbed` returns it. A training that diverged counts as infinitely far off.

    Returns:
        Columns iteration, and `<measure>_median`, `<measure>_90` and `<measure>_most` of each of
        `MEASURES`.
    """
    far = found.fillna(np.inf)
    # An order statistic each: between infinite values nothing can be interpolated.
    at = {
        name: far.quantile(level, ("seed", "client"), method="higher")
        for name, level in LEVELS.items()
    }
    columns = {f"{of}_{name}": at[name][of].values for of in MEASURES for name in at}
    return pd.DataFrame(dict(iteration=found.iteration.values) | columns)


def is_chaotic(rows: pd.DataFrame) -> bool:
    """Whether a `table` tells of chaotic training: its last median growth is above 10."""
    return bool(rows.growth_median.iloc[-1] > LARGEST_GROWTH)


def _unless_zero(length: Array) -> Array:
    return jnp.where(length > 0, length, 1)
