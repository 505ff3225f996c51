"""Larger networks and more clients than the paper's: what remains of its questions there.

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
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import xarray as xr
from jax import Array
from sklearn.decomposition import IncrementalPCA

from fedmi import distance, mi, scopes
from fedmi.mi.gaussian import whiten
from fedmi.mi.variants.reduction import halves, random_directions
from fedmi.progress import track
from fedmi.sampling.replay import MEASURES, design_of, draw, measures, over_blocks
from fedmi.sampling.sampler import finite, sample
from fedmi.sampling.sgd import train_on
from fedmi.stats import bonferroni_limit, ratio_and_error, sign
from fedmi.study.params import Case, ScaleUp
from fedmi.study.tables import groups, mean_of, net_error
from fedmi.tasks.layers import WHOLE, layers
from fedmi.tasks.task import Assets, Task

ALL, RANDOM, CANONICAL = "all", "random", "canonical"
"""The directions of a layer in which mutual information is read."""

ALONE, POOLED = "client alone", "pooled data, same steps"
COUNTS = (1, 2, 3, 5, 10, 30, 100)
"""Of how many clients the mean is taken, as far as there are so many."""

SEEDS_AT_ONCE = 512  # half of a block must be as many as the components, `kinds.MOST_AMONG`

_WHERE = ["case", "task", "parameters", "clients", "iteration"]
MI_COLUMNS = [
    *_WHERE, "layer", "size", "kind", "directions", "estimator", "net_bits", "net_se", "bits",
    "perm_bits", "perm_sd", "p_value", "low", "high", "ceiling_bits", "n",
]  # fmt: skip
DISTANCE_COLUMNS = [
    *_WHERE, "layer", "size", "metric", "distance", "distance_se", "unmatched", "closer",
    "closer_se",
]  # fmt: skip
AVERAGING_COLUMNS = [
    *_WHERE, "model", "averaged", "seeds", "non_finite",
    *(f"{m}{what}" for m in MEASURES for what in ("", "_se", "_less_alone", "_less_alone_se")),
]  # fmt: skip


def parts(task: Task) -> dict[str, slice]:
    """The layers of a task, and behind them all its parameters together."""
    return layers(task) | {WHOLE: slice(0, task.parameter_count)}


def measure(plan: ScaleUp, case: Case, store: Path) -> dict[str, pd.DataFrame]:
    """The tables "mi", "distances" and "averaging" of a case, sampled first where need be.

    Args:
        plan: the params file.
        case: one of its cases.
        store: of the case's samples.
    """
    study = plan.study(case)
    task = study.make_task()
    samples = finite(sample(**dict(study.sampling(), task=task), store=store))
    readings, distances = [], []
    for iteration in track(study.checkpoints, what="measuring", unit="checkpoint"):
        readings += mi_rows(
            task,
            samples,
            iteration,
            directions=plan.directions,
            among=plan.among,
            permutations=plan.permutations,
        )
        distances += distance_rows(task, samples, iteration)
    averaging = averaging_rows(task, samples, seeds=plan.judged_seeds)
    made = {
        "mi": (readings, MI_COLUMNS),
        "distances": (distances, DISTANCE_COLUMNS),
        "averaging": (averaging, AVERAGING_COLUMNS),
    }
    return {
        name: pd.DataFrame([dict(row, case=case.name) for row in rows], columns=columns)
        for name, (rows, columns) in made.items()
    }


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
                rows.append(_where(samples, iteration) | row | dict(net_se=net_error(row)))
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
            _where(samples, iteration)
            | dict(layer=name, size=place.stop - place.start, metric=metric)
            | mean_of("distance", apart)
            | dict(unmatched=unmatched.mean())
            | dict(closer=1 - ratio, closer_se=ratio_se)
        )
    return rows


def averaging_rows(task: Task, samples: xr.Dataset, *, seeds: int) -> list[dict]:
    """What the mean of the first 1, 2, 3, ... clients yields at every checkpoint.

    Every model is judged as `fedmi.study.aggregators` judges: by F, the mean loss on the training
    data of all Q clients, and on their held-out data. Both are drawn anew from the samples' keys.
    Beside the means stands what training on the clients' data together reaches in as many steps.

    Args:
        task: of which the samples are, with held-out data.
        samples: finite samples.
        seeds: how many of them, from the first on, are judged.

    Returns:
        Rows with `AVERAGING_COLUMNS` but "case"; differences from client 0 are paired by seed.

    Raises:
        ValueError: if fewer than two of the seeds have finite losses.
    """
    clients = samples.sizes["client"]
    counts = np.array(sorted({*(q for q in COUNTS if q < clients), clients}))
    kept = samples.iteration.values.tolist()
    seen = task.examples * min(task.epochs, clients)
    together = replace(task, examples=seen, epochs=-(-task.steps * task.batch_size // seen))
    design, order = design_of(task, samples), task.stream("order")
    assert order is not None

    def of_seed(seed: Array, thetas: Array, assets: Assets) -> Array:
        """(models, K, 3) of a seed's clients (Q, K, t)."""
        data, held_out = jax.vmap(
            lambda client: draw(task, design.keys(seed=seed, client=client), assets)
        )(jnp.arange(clients))
        # As many steps see as many examples; whose they are is left to chance.
        keys = design.keys(seed=seed, client=clients)
        chosen = jax.random.permutation(keys[order], clients * task.examples)[: together.examples]
        pool = jax.tree.map(lambda a: a.reshape(-1, *a.shape[2:])[chosen], data)
        pooled = train_on(together, keys, pool, checkpoints=kept)[0]
        means = jnp.cumsum(thetas, axis=0)[counts - 1] / counts[:, None, None]
        models = jnp.concatenate([means, pooled[None]])
        values = jax.lax.map(
            lambda w: measures(task, data, held_out, w), models.reshape(-1, models.shape[-1])
        )
        return values.reshape(*models.shape[:2], -1)

    @jax.jit
    def evaluate(seeds: Array, thetas: Array, assets: Assets) -> Array:
        return jax.lax.map(lambda a: of_seed(*a, assets=assets), (seeds, thetas))

    samples, assets = samples.isel(seed=slice(seeds)), task.assets()

    def of_block(block: xr.Dataset, filled: np.ndarray) -> Array:
        return evaluate(block.seed.values[filled], block.theta.values[filled], assets)

    values = over_blocks(of_block, samples, what="judging").astype(np.float64)
    return _judged_rows(samples, counts, values)


def _judged_rows(samples: xr.Dataset, counts: np.ndarray, values: np.ndarray) -> list[dict]:
    """Means over seeds, and over their differences from client 0.

    Args:
        counts: of how many clients each model but the last is the mean.
        values: (seeds, models, K, 3).
    """
    good = np.isfinite(values).all(axis=(1, 2, 3))
    if good.sum() < 2:
        raise ValueError(
            f"samples: {good.sum()} of {good.size} seeds have finite losses; lower the task's "
            "learning rate or clip its gradients"
        )
    values = values[good]
    rows = []
    for k, iteration in enumerate(samples.iteration.values.tolist()):
        for m in range(values.shape[1]):
            averaged = int(counts[m]) if m < len(counts) else 0
            model = {0: POOLED, 1: ALONE}.get(averaged, f"mean of {averaged}")
            row = _where(samples, iteration) | dict(model=model, averaged=averaged)
            row |= dict(seeds=len(values), non_finite=int((~good).sum()))
            for i, measure in enumerate(MEASURES):
                own, alone = values[:, m, k, i], values[:, 0, k, i]
                row |= mean_of(measure, own) | mean_of(f"{measure}_less_alone", own - alone)
            rows.append(row)
    return rows


def _where(samples: xr.Dataset, iteration: int) -> dict:
    return dict(
        task=samples.attrs["task"],
        parameters=samples.sizes["parameter"],
        clients=samples.sizes["client"],
        iteration=iteration,
    )


def facts(readings: pd.DataFrame, distances: pd.DataFrame, averaging: pd.DataFrame) -> dict:
    """What the page "scale-up" says.

    Args:
        readings: rows with `MI_COLUMNS`.
        distances: rows with `DISTANCE_COLUMNS`.
        averaging: rows with `AVERAGING_COLUMNS`.
    """
    limit = bonferroni_limit(len(readings[["case", "layer"]].drop_duplicates()))
    euclidean = last(distances.loc[distances.metric == "euclidean"]).set_index(["case", "layer"])
    layers_found = [
        dict(
            case=case,
            layer=layer,
            size=of["size"].iloc[0],
            readings={
                kind: rows.set_index("estimator").to_dict("index")
                for kind, rows in of.groupby("kind")
            },
            **euclidean.loc[(case, layer), ["closer", "closer_se"]],
        )
        for (case, layer), of in last(readings).groupby(["case", "layer"], sort=False)
    ]
    final = last(averaging)
    return dict(
        limit=limit,
        seeds=averaging.seeds.min(),
        kinds=(ALL, RANDOM, CANONICAL),
        layers=layers_found,
        cases=[
            {name: of[name].iloc[0] for name in ("case", "task", "parameters", "clients")}
            | _course(of, limit)
            for _, of in groups(readings, "case")
        ],
        models=final.loc[final.model != ALONE].to_dict("records"),
        gains=[_gain(of) for _, of in groups(final, "case")],
    )


def last(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of each case's last iteration."""
    return table.loc[table.iteration == table.groupby("case").iteration.transform("max")]


def _course(of: pd.DataFrame, limit: float) -> dict:
    """Whether the readings of a case's layers in canonical directions rise between its ends."""
    of = of.loc[(of.kind == CANONICAL) & (of.estimator == "gaussian")]
    ends = [of.iteration.min(), of.iteration.max()]
    layers_of: dict[str, list[str]] = {}
    if ends[0] < ends[1]:
        for layer, rows in groups(of, "layer"):
            at = rows.set_index("iteration")
            change, error = np.diff(at.net_bits[ends])[0], np.hypot(*at.net_se[ends])
            layers_of.setdefault(sign(change, error, limit), []).append(layer)
    return dict(first=ends[0], last=ends[1], courses=layers_of)


def _gain(of: pd.DataFrame) -> dict:
    """What the mean of all clients of a case gains, and what share of it that of two.

    The error of the share is as if both erred independently. Where the gain may be chance, or the
    clients are two, there is no share.
    """
    means = of.loc[of.averaged > 0].set_index("averaged")
    clients = int(means.index.to_numpy().max())
    every, two = means.loc[clients], means.loc[2]
    found = dict(
        case=of.case.iloc[0],
        clients=clients,
        every=every.to_dict(),
        pooled=of.loc[of.model == POOLED].iloc[0].to_dict(),
        chance=sign(every.objective_less_alone, every.objective_less_alone_se) == "open",
        share=None,
    )
    if clients > 2 and not found["chance"]:
        share = two.objective_less_alone / every.objective_less_alone
        errors = [two.objective_less_alone_se, share * every.objective_less_alone_se]
        found |= dict(
            share=share,
            share_se=np.hypot(*errors) / abs(every.objective_less_alone),
            quadratic=0.5 / (1 - 1 / clients),
        )
    return found
