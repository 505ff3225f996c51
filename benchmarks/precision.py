"""`python -m benchmarks.precision`: is the fast recurrent stack as precise as the plain network?

Some gradients of the signal task explode, and what float32 rounds there decides where these seeds
go: two programs that add the same numbers in another order part ways. So both are held against the
same training in float64, from the same draws. Writes figures/precision.csv.
"""

import argparse

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pandas as pd
from jax.flatten_util import ravel_pytree

from benchmarks.output import publish
from fedmi import scopes
from fedmi.models.fast.recurrent import recurrent_stack
from fedmi.models.recurrent import RecurrentRegressor, dropout_masks
from fedmi.sampling import sgd
from fedmi.study import params
from fedmi.tasks.task import Task

CLIENTS = 3
QUANTILES = (0.5, 0.9, 0.99, 1.0)


def draws(task: Task, keys: dict) -> tuple:
    """One client's download, its minibatches in order and their dropout masks, in float32."""
    order = jax.random.permutation(keys[task.stream("order")], task.examples)
    batches = jax.tree.map(
        lambda a: a[order].reshape(task.steps, task.batch_size, *a.shape[1:]), task.data(keys, ())
    )
    shape = (task.batch_size, task.options["layers"], task.options["units"])
    masks = jax.vmap(
        lambda step: dropout_masks(
            jax.random.fold_in(keys[task.stream("dropout")], step), shape, task.options["dropout"]
        )
    )(jnp.arange(task.steps))
    return task.init(keys), batches, masks


def train(task: Task, predict, download, batches, masks) -> jax.Array:
    """One epoch in the precision of the arrays: parameters after each step, (steps, t)."""

    def step(weights, batch):
        (x, y), mask = batch
        gradient = jax.grad(lambda w: jnp.mean((predict(w, x, mask) - y) ** 2))(weights)
        scale = jnp.minimum(1, task.clip_norm / optax.tree.norm(gradient))
        weights = jax.tree.map(lambda w, g: w - task.learning_rate * scale * g, weights, gradient)
        return weights, ravel_pytree(weights)[0]

    return jax.lax.scan(step, download, (batches, masks))[1]


def errors(study: params.Study, seeds: int) -> pd.DataFrame:
    """Relative distance of every client's parameters from those of float64, by quantile."""
    task = study.make_task()
    coupling = scopes.resolve(study.coupling, task.streams)
    draw = sgd.over_seeds_and_clients(
        lambda keys: draws(task, keys), jax.random.key(study.root_seed), coupling, CLIENTS
    )
    drawn = jax.jit(draw)(jnp.arange(seeds))
    drawn = jax.tree.map(lambda a: np.asarray(a).reshape(-1, *a.shape[2:]), drawn)

    def plain(weights, x, mask):
        network = RecurrentRegressor(
            layers=task.options["layers"], units=task.options["units"], param_dtype=x.dtype
        )
        return network.apply({"params": weights}, x, mask)

    def run(predict, dtype):
        arrays = jax.tree.map(lambda a: a.astype(dtype), drawn)
        with jax.enable_x64(dtype == np.float64):
            mapped = jax.jit(jax.vmap(lambda *one: train(task, predict, *one)))
            return np.asarray(mapped(*arrays), np.float64)

    truth = run(plain, np.float64)
    rows = []
    for name, predict in (("fedmi's stack", recurrent_stack), ("plain Flax network", plain)):
        found = run(predict, np.float32)
        for iteration in (1, task.steps):
            exact = truth[:, iteration - 1]
            error = np.linalg.norm(found[:, iteration - 1] - exact, axis=1)
            error /= np.linalg.norm(exact, axis=1)
            quantiles = {f"{q:.0%}": np.quantile(error, q) for q in QUANTILES}
            rows.append(dict(float32=name, iteration=iteration) | quantiles)
    return pd.DataFrame(rows)


def main() -> None:
    """Measures and writes the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.precision", description=__doc__)
    parser.add_argument("--seeds", type=int, default=256)
    given = parser.parse_args()
    publish(errors(params.load("params/quick/signal.yaml"), given.seeds), "precision", digits=2)


if __name__ == "__main__":
    main()
