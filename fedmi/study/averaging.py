"""What the mean of ever more clients yields."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jax import Array

from fedmi.sampling.replay import MEASURES, design_of, draw, measures, over_blocks
from fedmi.sampling.sgd import train_on
from fedmi.study.layerwise import WHERE, where
from fedmi.study.tables import mean_of
from fedmi.tasks.task import Assets, Task

ALONE, POOLED = "client alone", "pooled data, same steps"
COUNTS = (1, 2, 3, 5, 10, 30, 100)
"""Of how many clients the mean is taken, as far as there are so many."""

AVERAGING_COLUMNS = [
    *WHERE, "model", "averaged", "seeds", "non_finite",
    *(f"{m}{what}" for m in MEASURES for what in ("", "_se", "_less_alone", "_less_alone_se")),
]  # fmt: skip


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
            row = where(samples, iteration) | dict(model=model, averaged=averaged)
            row |= dict(seeds=len(values), non_finite=int((~good).sum()))
            for i, measure in enumerate(MEASURES):
                own, alone = values[:, m, k, i], values[:, 0, k, i]
                row |= mean_of(measure, own) | mean_of(f"{measure}_less_alone", own - alone)
            rows.append(row)
    return rows
