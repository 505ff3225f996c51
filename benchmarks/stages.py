"""The stages of a study: functions of a size that make all ready and return what is timed."""

import itertools
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import xarray as xr

import fedmi
from benchmarks.work import Work
from fedmi import tasks
from fedmi.sampling import store
from fedmi.sampling.design import Design
from fedmi.sampling.sampler import TILE
from fedmi.study import aggregators, tables

CLASSES = 10
EXAMPLES, BATCH = 200, 10
COUPLING = "shared-source"
FOLDER = tempfile.TemporaryDirectory()
PLACES = (Path(FOLDER.name) / str(i) for i in itertools.count())
"""For stores, which are removed when the process ends."""

Run = Callable[[], object]


def linear_layer(t: int) -> fedmi.Task:
    """The last layer of a network, as in the digits task, but of any size and on random features.

    Args:
        t: parameters, a multiple of the ten classes: t / 10 - 1 features.
    """
    features = t // CLASSES - 1
    if t % CLASSES or features < 1:
        raise ValueError(f"t: {t} is not a multiple of {CLASSES} from {2 * CLASSES} on")

    def draw(source: jax.Array, variation: jax.Array) -> dict[str, jax.Array]:
        labels = jax.random.randint(source, (EXAMPLES,), 0, CLASSES)
        return dict(x=jax.random.normal(variation, (EXAMPLES, features)), labels=labels)

    def loss(params, batch, key):
        logits = batch["x"] @ params["w"] + params["b"]
        entropy = optax.softmax_cross_entropy_with_integer_labels(logits, batch["labels"])
        return jnp.mean(entropy), jnp.mean(entropy)

    return fedmi.Task(
        name="linear layer",
        streams=dict(start="init", source="source", variation="variation", order="order"),
        init=lambda keys: dict(w=jnp.zeros((features, CLASSES)), b=jnp.zeros(CLASSES)),
        data=lambda keys, assets: draw(keys["source"], keys["variation"]),
        held_out=lambda keys, assets: draw(
            jax.random.fold_in(keys["source"], 1), jax.random.fold_in(keys["variation"], 1)
        ),
        loss=loss,
        examples=EXAMPLES,
        batch_size=BATCH,
        learning_rate=0.02,
    )


def sampling(task: fedmi.Task | None, size: SimpleNamespace) -> Run:
    """A task, by default a linear layer of t parameters, sampled into a store."""
    task = task or linear_layer(size.t)
    task.assets()
    kept = np.linspace(0, task.steps, size.k + 1).astype(int)[1:].tolist()
    study = dict(seeds=size.n, clients=size.q, coupling=COUPLING, checkpoints=kept)
    return lambda: fedmi.sample(task, store=next(PLACES), **study)


def writing(size: SimpleNamespace) -> Run:
    """What sampling writes of N seeds, tile by tile, and its bytes."""
    tile = samples(size, seeds=TILE)
    return lambda: dict(stored_bytes=_write(next(PLACES), tile, size))


def reading(size: SimpleNamespace) -> Run:
    """All clients at one checkpoint, as an estimate reads them."""
    path = next(PLACES)
    _write(path, samples(size, seeds=TILE), size)
    data = store.open_existing(path).dataset(size.n)

    def run() -> None:
        for client in range(size.q):
            data.theta.isel(client=client, iteration=0).load()

    return run


def _write(path: Path, tile: np.ndarray, size: SimpleNamespace) -> int:
    parameters = dict(
        tile=len(tile),
        clients=size.q,
        checkpoints=list(range(1, size.k + 1)),
        steps=EXAMPLES // BATCH,
        parameters=size.t,
        rounds=1,
    )
    written = store.create(path, parameters)
    written.grow(size.n)
    metric = np.zeros((len(tile), size.q, EXAMPLES // BATCH), np.float32)
    clipped = np.zeros((len(tile), size.q), np.int32)
    for index, first in enumerate(range(0, size.n, len(tile))):
        count = min(len(tile), size.n - first)
        arrays = dict(theta=tile, metric=metric, clipped=clipped)
        written.write(index, {name: array[:count] for name, array in arrays.items()})
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())


def estimating(estimator: str, size: SimpleNamespace) -> Run:
    """The MI of all pairs at one checkpoint, and over m re-pairings."""
    data = dataset(size)
    return lambda: tables.mi_rows(data, 1, estimator=estimator, permutations=size.m)


def distances(size: SimpleNamespace) -> Run:
    """All three distances of all pairs at one checkpoint, and those between unmatched seeds."""
    data = dataset(size)
    return lambda: tables.distance_rows(data, 1)


def judging(size: SimpleNamespace) -> Run:
    """Every aggregator but the fitted maps, judged on N seeds."""
    task = linear_layer(size.t)
    plan = aggregators.Comparison(
        design=Design.of(task, clients=size.q, coupling=COUPLING, checkpoints=range(1, size.k + 1)),
        setting=COUPLING,
        fitting_seeds=0,
        judged_seeds=size.n,
        oracle_seeds=0,
    )
    learnt = aggregators.Fitted(
        seeds=0,
        step=1.0,
        variances=np.ones((size.q, size.t)),
        rules={},
        elsewhere=np.zeros(size.t),
    )
    return lambda: aggregators.judge(plan, [learnt] * size.k)


def product(size: SimpleNamespace) -> Run:
    """A matrix product in float32: (N, t) by (t, N)."""
    x = jnp.ones((size.n, size.t), jnp.float32)
    multiply = jax.jit(lambda a: jnp.dot(a, a.T, precision=jax.lax.Precision.HIGHEST))
    return lambda: multiply(x).block_until_ready()


def copying(size: SimpleNamespace) -> Run:
    """Reading and writing an array (N, t) of float32."""
    x = jnp.ones((size.n, size.t), jnp.float32)
    add = jax.jit(lambda a: a + 1)
    return lambda: add(x).block_until_ready()


def samples(size: SimpleNamespace, seeds: int | None = None) -> np.ndarray:
    """(seeds, Q, K, t) independent normal float32 numbers; N seeds by default."""
    shape = (seeds or size.n, size.q, size.k, size.t)
    return np.random.default_rng(0).standard_normal(shape, np.float32)


def dataset(size: SimpleNamespace) -> xr.Dataset:
    """Such samples as `fedmi.finite` returns them."""
    return xr.Dataset(
        dict(theta=(("seed", "client", "iteration", "parameter"), samples(size))),
        coords=dict(client=np.arange(size.q), iteration=np.arange(1, size.k + 1)),
        attrs=dict(task="none", coupling="null", root_seed=0, excluded=0),
    )


STAGES = {
    "sampling": partial(sampling, None),
    "sampling, digits": partial(sampling, tasks.get("digits")),
    "writing": writing,
    "reading": reading,
    "Gaussian MI": partial(estimating, "gaussian"),
    "KSG MI": partial(estimating, "ksg"),
    "distances": distances,
    "judging aggregators": judging,
    "float32 product": product,
    "copying": copying,
}


def ready(*, stage: str, size: dict[str, int]) -> Work:
    """A stage at a size, not yet compiled.

    Args:
        stage: out of `STAGES`.
        size: n, t, q (clients), k (checkpoints), m (re-pairings) and devices.
    """
    return Work(STAGES[stage](SimpleNamespace(**size)))
