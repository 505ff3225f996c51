"""The stages of a study, each at a size of its own, timed in a process of their own.

    python -m benchmarks.stages STAGE '[{"n": 512, "t": 110, ...}, ...]' [SECONDS]

Each is repeated for at least so many SECONDS. One line of JSON with the machine's facts, then one
for each size in turn. All else that is printed goes to standard error.
"""

import itertools
import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import xarray as xr

import fedmi
from benchmarks.work import seconds
from benchmarks.worker import peak_mib
from fedmi import scopes, tasks
from fedmi.sampling import provenance, store
from fedmi.sampling.sampler import TILE
from fedmi.study import aggregators, tables

CLASSES = 10
EXAMPLES, BATCH = 200, 10
COUPLING = "shared-source"
LEAST_SECONDS = 1.5


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


def sampling(size: SimpleNamespace) -> Iterator[Callable]:
    """A linear layer of t parameters, sampled into a store."""
    return _sampling(linear_layer(size.t), size)


def sampling_digits(size: SimpleNamespace) -> Iterator[Callable]:
    """The paper's digits, whose images take more than the training."""
    task = tasks.get("digits")
    if size.t != task.parameter_count:
        raise ValueError(f"t: {size.t}; the digits task has {task.parameter_count} parameters")
    task.assets()
    return _sampling(task, size)


def _sampling(task: fedmi.Task, size: SimpleNamespace) -> Iterator[Callable]:
    kept = np.linspace(0, task.steps, size.k + 1).astype(int)[1:].tolist()
    study = dict(seeds=size.n, clients=size.q, coupling=COUPLING, checkpoints=kept)
    with fresh_paths() as paths:
        yield lambda: fedmi.sample(task, store=next(paths), **study)


def writing(size: SimpleNamespace) -> Iterator[Callable]:
    """What sampling writes of N seeds, tile by tile; returns its bytes."""
    tile = samples(size, seeds=TILE)
    with fresh_paths() as paths:
        yield lambda: _write(next(paths), tile, size)


def reading(size: SimpleNamespace) -> Iterator[Callable]:
    """All clients at one checkpoint, as an estimate reads them."""
    with fresh_paths() as paths:
        path = next(paths)
        _write(path, samples(size, seeds=TILE), size)
        data = store.open_existing(path).dataset(size.n)

        def run() -> None:
            for client in range(size.q):
                data.theta.isel(client=client, iteration=0).load()

        yield run


def _write(path: Path, tile: np.ndarray, size: SimpleNamespace) -> int:
    parameters = dict(tile=len(tile), clients=size.q, checkpoints=list(range(1, size.k + 1)))
    written = store.create(path, parameters, steps=EXAMPLES // BATCH, size=size.t)
    written.grow(size.n)
    metric = np.zeros((len(tile), size.q, EXAMPLES // BATCH), np.float32)
    clipped = np.zeros((len(tile), size.q), np.int32)
    for index, first in enumerate(range(0, size.n, len(tile))):
        count = min(len(tile), size.n - first)
        arrays = dict(theta=tile, metric=metric, clipped=clipped)
        written.write(index, {name: array[:count] for name, array in arrays.items()})
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())


def gaussian(size: SimpleNamespace) -> Iterator[Callable]:
    """The Gaussian formula for all pairs at one checkpoint, and over m re-pairings."""
    yield _estimate("gaussian", size)


def ksg(size: SimpleNamespace) -> Iterator[Callable]:
    """Likewise by nearest neighbours."""
    yield _estimate("ksg", size)


def _estimate(estimator: str, size: SimpleNamespace) -> Callable[[], object]:
    data = dataset(size)
    return lambda: tables.mi_rows(data, 1, estimator=estimator, permutations=size.m)


def distances(size: SimpleNamespace) -> Iterator[Callable]:
    """All three distances of all pairs at one checkpoint, and those between unmatched seeds."""
    data = dataset(size)
    yield lambda: tables.distance_rows(data, 1)


def judging(size: SimpleNamespace) -> Iterator[Callable]:
    """Every aggregator but the fitted maps, judged on N seeds."""
    task = linear_layer(size.t)
    plan = aggregators.Comparison(
        task=task,
        setting=COUPLING,
        coupling=scopes.resolve(COUPLING, task.streams),
        clients=size.q,
        checkpoints=list(range(1, size.k + 1)),
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
    yield lambda: aggregators.judge(plan, [learnt] * size.k)


def product(size: SimpleNamespace) -> Iterator[Callable]:
    """A matrix product in float32: (N, t) by (t, N)."""
    x = jnp.ones((size.n, size.t), jnp.float32)
    multiply = jax.jit(lambda a: jnp.dot(a, a.T, precision=jax.lax.Precision.HIGHEST))
    yield lambda: multiply(x).block_until_ready()


def copying(size: SimpleNamespace) -> Iterator[Callable]:
    """Reading and writing an array (N, t) of float32."""
    x = jnp.ones((size.n, size.t), jnp.float32)
    add = jax.jit(lambda a: a + 1)
    yield lambda: add(x).block_until_ready()


@contextmanager
def fresh_paths() -> Iterator[Iterator[Path]]:
    """Places for stores, which are removed in the end."""
    with tempfile.TemporaryDirectory() as folder:
        yield (Path(folder) / str(i) for i in itertools.count())


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
    "sampling": sampling,
    "sampling, digits": sampling_digits,
    "writing": writing,
    "reading": reading,
    "Gaussian MI": gaussian,
    "KSG MI": ksg,
    "distances": distances,
    "judging aggregators": judging,
    "float32 product": product,
    "copying": copying,
}


def measured(stage: str, size: dict, least_seconds: float = LEAST_SECONDS) -> dict:
    """The least time of a stage at a size, what compiling took beside, memory and bytes.

    Args:
        stage: out of `STAGES`.
        size: n, t, q (clients), k (checkpoints), m (re-pairings) and devices.
        least_seconds: after the first run, which compiles, others follow for so long.
    """
    forget_peak()
    ready = STAGES[stage](SimpleNamespace(**size))
    run = next(ready)
    started = perf_counter()
    stored = run()
    first, times = perf_counter() - started, []
    while not times or sum(times) < least_seconds:
        times.append(seconds(run))
    for _ in ready:
        pass  # lets the stage clear up
    best = min(times)
    return dict(
        size,
        stage=stage,
        seconds=best,
        compile_seconds=max(first - best, 0.0),
        repeats=len(times),
        peak_mib=peak_mib(),
        stored_bytes=stored if isinstance(stored, int) else None,
    )


def forget_peak() -> None:
    """Lets the peak of memory begin anew, where the system can (proc(5), clear_refs)."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        pass  # the peaks are then those of the process so far


def facts() -> dict:
    """The machine, the code, and the time."""
    return dict(
        machine=provenance.hardware(),
        memory=os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"),
        commit=provenance.code()["commit"],
        taken=provenance.now(),
    )


if __name__ == "__main__":
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    print(json.dumps(facts()), file=answers, flush=True)
    least = [float(text) for text in sys.argv[3:4]]
    for size in json.loads(sys.argv[2]):
        print(json.dumps(measured(sys.argv[1], size, *least)), file=answers, flush=True)
