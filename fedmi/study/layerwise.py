"""Mutual information and distance of two clients layer by layer, however large the network.

A network may have more parameters than there are seeds, so that no covariance of it can be
estimated. Mutual information is then read layer by layer, and of each layer in a few directions
that were fitted on other seeds. A function of x and a function of y never share more information
than x and y do (data processing), so that each reading stands for a lower bound of the layer's.

Samples are read from the store a block of seeds at a time, so that memory is that of a block; what
grows with the seeds are a few directions of each. (All directions of a layer are read only where
there are more seeds than twice its parameters, so that it is small.)
"""

import zlib
from collections.abc import Iterator, Mapping, Sequence

import jax
import numpy as np
import xarray as xr
from jax import Array
from sklearn.decomposition import IncrementalPCA

from fedmi import distance, mi, scopes
from fedmi.mi.gaussian import whiten
from fedmi.mi.variants.reduction import halves, random_directions
from fedmi.stats import ratio_and_error
from fedmi.study.tables import mean_of, net_error
from fedmi.tasks.layers import WHOLE, layers
from fedmi.tasks.task import Task

ALL, RANDOM, CANONICAL = "all", "random", "canonical"
"""The directions of a layer in which mutual information is read."""

SEEDS_AT_ONCE = 512  # half of a block must be as many as the components, `kinds.MOST_AMONG`

WHERE = ["case", "task", "parameters", "clients", "iteration"]
"""What all tables of larger networks and more clients begin with."""
MI_COLUMNS = [
    *WHERE, "layer", "size", "kind", "directions", "estimator", "net_bits", "net_se", "bits",
    "perm_bits", "perm_sd", "p_value", "low", "high", "ceiling_bits", "n",
]  # fmt: skip
DISTANCE_COLUMNS = [
    *WHERE, "layer", "size", "metric", "distance", "distance_se", "unmatched", "closer",
    "closer_se",
]  # fmt: skip


def parts(task: Task) -> dict[str, slice]:
    """The layers of a task, and behind them all its parameters together."""
    return layers(task) | {WHOLE: slice(0, task.parameter_count)}


def mi_rows(
    task: Task,
    samples: xr.Dataset,
    iteration: int,
    *,
    directions: int,
    among: int,
    permutations: int,
) -> list[dict]:
    """Mutual information of clients 0 and 1 at one checkpoint, layer by layer.

    Of each layer it is read in all directions (by the Gaussian formula, where there are seeds
    enough), in random ones, the same of both clients, and in the most correlated pairs among its
    principal components (SVCCA: Raghu et al. 2017). Components and pairs are fitted on one half of
    the seeds; what is random or canonical is read on the other.

    Args:
        task: of which the samples are.
        samples: finite samples (`fedmi.finite`).
        iteration: the checkpoint.
        directions: how many random ones, and how many canonical pairs, if a layer has so many.
        among: of how many principal components the canonical pairs are.
        permutations: re-pairings of seeds behind the null.

    Returns:
        Rows with `MI_COLUMNS` but "case".

    Raises:
        ValueError: if the samples are not what an estimator can take.
    """
    n = samples.sizes["seed"]
    key = scopes.root_key(samples.attrs["root_seed"])
    fitted_on, kept = halves(n, key)
    of_layers = parts(task)
    sides = [
        _scores(
            samples.theta.sel(client=client, iteration=iteration), of_layers, fitted_on, key,
            directions=directions, among=among,
        )
        for client in (0, 1)
    ]  # fmt: skip
    rows = []
    for name, place in of_layers.items():
        size = place.stop - place.start
        (random_x, principal_x), (random_y, principal_y) = (side[name] for side in sides)
        found: dict[str, tuple[Sequence[np.ndarray], Sequence[str]]] = {}
        found[RANDOM] = ((random_x[kept], random_y[kept]), ("gaussian", "ksg"))
        ranks = [whiten(a[fitted_on], name).rank for a in (principal_x, principal_y)]
        pairs = mi.reduce(principal_x, principal_y, components=min(directions, *ranks), key=key)
        found[CANONICAL] = ((pairs.x, pairs.y), ("gaussian", "ksg"))
        if n >= 2 * size + 2:
            own = samples.theta.sel(iteration=iteration).isel(parameter=place)
            found[ALL] = ([own.sel(client=q).values for q in (0, 1)], ("gaussian",))
        for kind, ((x, y), estimators) in found.items():
            for estimator in estimators:
                pair = mi.pairwise(
                    [x.astype(np.float32), y.astype(np.float32)],
                    estimator=estimator,
                    permutations=permutations,
                    key=jax.random.fold_in(key, zlib.crc32(estimator.encode())),
                )[0]
                row = dict(layer=name, size=size, kind=kind, directions=x.shape[1]) | pair.row()
                rows.append(where(samples, iteration) | row | dict(net_se=net_error(row)))
    return rows


def _scores(
    theta: xr.DataArray,
    of_layers: Mapping[str, slice],
    fitted_on: np.ndarray,
    key: Array,
    *,
    directions: int,
    among: int,
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Of each layer of one client the random directions (N, d) and the principal components (N, c).

    Args:
        theta: (N, t), not yet read.
        of_layers: the slices of theta.
        fitted_on: the seeds that the components are fitted on.
        key: of the random directions.
        directions, among: d and c, if a layer has so many.
    """
    sizes = {name: place.stop - place.start for name, place in of_layers.items()}
    maps = {
        name: random_directions(
            size, min(directions, size), jax.random.fold_in(key, zlib.crc32(name.encode()))
        )
        for name, size in sizes.items()
    }
    principal = {name: IncrementalPCA(min(among, size)) for name, size in sizes.items()}
    fits = np.zeros(len(theta), bool)
    fits[fitted_on] = True
    for rows, block in _read(theta):
        for name, place in of_layers.items():
            principal[name].partial_fit(block[fits[rows], place])
    found = {
        name: (
            np.empty((len(theta), min(directions, size)), np.float32),
            np.empty((len(theta), min(among, size)), np.float32),
        )
        for name, size in sizes.items()
    }
    for rows, block in _read(theta):
        for name, place in of_layers.items():
            own = block[:, place]
            # Less the mean, so that rounding follows the samples' spread.
            found[name][0][rows] = (own - principal[name].mean_) @ maps[name]
            found[name][1][rows] = principal[name].transform(own)
    return found


def _read(theta: xr.DataArray) -> Iterator[tuple[slice, np.ndarray]]:
    """The parameters (n, t) of all seeds, in blocks of nearly equal size that are one slice each.

    (Seeds here and there would cost the store many times the memory and time of a slice.)
    """
    count = -(-len(theta) // SEEDS_AT_ONCE)
    ends = [len(theta) * i // count for i in range(count + 1)]
    for rows in map(slice, ends, ends[1:]):
        yield rows, theta.isel(seed=rows).values


def distance_rows(task: Task, samples: xr.Dataset, iteration: int) -> list[dict]:
    """Distances (Eqs 7-9) between clients 0 and 1 at one checkpoint, layer by layer.

    `unmatched` is the distance of client 0 from client 1 of another seed; `closer` is the share of
    it by which clients of one seed are nearer to each other.

    Args:
        task, samples, iteration: as for `mi_rows`.

    Returns:
        Rows with `DISTANCE_COLUMNS` but "case".
    """
    of_layers = parts(task)
    theta = samples.theta.sel(iteration=iteration)
    found = {(name, metric): [] for name in of_layers for metric in distance.METRICS}
    sides = (_read(theta.sel(client=q)) for q in (0, 1))
    for (_, x), (_, y) in zip(*sides, strict=True):
        others = np.roll(y, 1, axis=0)  # of the block's seeds, each with the one before
        for (name, metric), values in found.items():
            place = of_layers[name]
            own = [distance.of_seeds(x[:, place], b[:, place], metric=metric) for b in (y, others)]
            values.append(np.stack(own))
    rows = []
    for (name, metric), values in found.items():
        apart, unmatched = np.concatenate(values, axis=1)
        ratio, ratio_se = ratio_and_error(apart, unmatched)
        place = of_layers[name]
        rows.append(
            where(samples, iteration)
            | dict(layer=name, size=place.stop - place.start, metric=metric)
            | mean_of("distance", apart)
            | dict(unmatched=unmatched.mean())
            | dict(closer=1 - ratio, closer_se=ratio_se)
        )
    return rows


def where(samples: xr.Dataset, iteration: int) -> dict:
    """The columns `WHERE` of a row, but the case."""
    return dict(
        task=samples.attrs["task"],
        parameters=samples.sizes["parameter"],
        clients=samples.sizes["client"],
        iteration=iteration,
    )
