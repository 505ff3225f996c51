"""Draws a client's data again, from the keys of its samples, and judges weights on them.

The data of a client of a seed follow from its keys. So they need not be stored: whoever has the
samples and their task can ask of any weights how good they are on the very data that the clients
trained on, and on others of the same kind.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jax import Array
from jax.flatten_util import ravel_pytree

from fedmi.progress import track
from fedmi.sampling.checks import check_whole
from fedmi.sampling.design import Design
from fedmi.sampling.download import Constants, constants, starting
from fedmi.sampling.programs import Program, compiled
from fedmi.sampling.sgd import over_seeds_and_clients
from fedmi.scopes import root_key
from fedmi.tasks.task import Assets, Data, Keys, Params, Task

SEEDS_AT_ONCE = 32
MEASURES = ("objective", "held_out_loss", "held_out_metric")
"""What `measures` tells of a model."""


def design_of(task: Task, samples: xr.Dataset) -> Design:
    """The design that samples were taken by.

    Args:
        task: the task that the samples are of.
        samples: a dataset as `fedmi.sample` returns it.

    Raises:
        ValueError: if the samples are of another task.
    """
    of = samples.attrs
    if of["task"] != task.name:
        raise ValueError(f"task: {task.name!r}, but the samples are of {of['task']!r}")
    return Design(
        task=task,
        scopes=of["scopes"],
        clients=of["clients"],
        checkpoints=tuple(of["checkpoints"]),
        root_seed=of["root_seed"],
        rounds=of["rounds"],
        aggregator=of["aggregator"],
        examples=tuple(of["client_examples"]),
    )


def unraveller(task: Task) -> Callable[[Array], Params]:
    """(t,) -> the task's parameters, without computing any."""
    keys = {stream: root_key(0) for stream in task.streams}
    shapes = jax.eval_shape(task.init, keys)
    return ravel_pytree(jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes))[1]


def held_out_of(task: Task) -> Callable[[Keys, Assets], Data]:
    """What draws a task's held-out data; raises ValueError if it has none."""
    if task.held_out is None:
        raise ValueError(f"task: {task.name!r} has no held-out data")
    return task.held_out


def draw(
    task: Task, keys: Keys, assets: Assets, held_out_examples: int | None = None
) -> tuple[Data, Data]:
    """A client's training data, and its held-out data.

    Args:
        task: with held-out data.
        keys: of the client, stream -> key.
        assets: of the task.
        held_out_examples: how many of the held-out data are kept, the first; all by default.
    """
    held_out = held_out_of(task)(keys, assets)
    return task.data(keys, assets), jax.tree.map(lambda a: a[:held_out_examples], held_out)


def objective(task: Task, data: Data, theta: Array) -> Array:
    """The global objective F of a model: the mean over clients of the loss on their own data.

    All clients weigh alike, as they have equally many examples.

    Args:
        task: the task.
        data: of all clients, arrays (Q, examples, ...).
        theta: (t,), the model.
    """
    params = unraveller(task)(theta)
    return jnp.mean(jax.vmap(lambda own: task.loss(params, own, None)[0])(data))


def measures(task: Task, data: Data, held_out: Data, theta: Array) -> Array:
    """(3,): the `MEASURES` of a model, as means over the clients' data.

    Args:
        task: the task.
        data, held_out: of all clients, arrays (Q, examples, ...).
        theta: (t,), the model.
    """
    params = unraveller(task)(theta)

    def of_client(own: Data, others: Data) -> Array:
        return jnp.stack([task.loss(params, own, None)[0], *task.loss(params, others, None)])

    return jnp.mean(jax.vmap(of_client)(data, held_out), axis=0)


def fisher_information(task: Task, data: Data, theta: Array) -> Array:
    """(t,): the mean over examples of the squared gradient of the loss (the empirical Fisher).

    Args:
        task: the task.
        data: of one client, arrays (examples, ...).
        theta: (t,), its model.
    """
    unravel = unraveller(task)

    def squared(example: Data) -> Array:
        batch = jax.tree.map(lambda a: a[None], example)
        return jax.grad(lambda w: task.loss(unravel(w), batch, None)[0])(theta) ** 2

    return jnp.mean(jax.lax.map(squared, data, batch_size=task.batch_size), axis=0)


def over_blocks(
    of_block: Callable[[xr.Dataset, np.ndarray], Any],
    samples: xr.Dataset,
    size: int = SEEDS_AT_ONCE,
    what: str = "evaluating",
) -> Any:
    """What a function makes of samples, a block of seeds at a time.

    Args:
        of_block: of a block and the indices (size,) in it that fill it up to one size, so that all
            blocks compile to one call, makes an array (size, ...) or a pytree of such arrays.
        samples: a dataset as `fedmi.sample` returns it, with a seed at least.
        size: seeds a block.
        what: is being done, to be shown.

    Returns:
        (seeds, ...), or a pytree of these.
    """
    count = samples.sizes["seed"]
    parts = []
    starts = range(0, count, size)
    for first in track(starts, what=what, unit="block"):
        block = samples.isel(seed=slice(first, first + size))
        own = block.sizes["seed"]
        made = of_block(block, np.resize(np.arange(own), size))
        parts.append(jax.tree.map(lambda a, own=own: np.asarray(a)[:own], made))
    return jax.tree.map(lambda *a: np.concatenate(a), *parts)


def _judging(
    design: Design,
    drawn: Callable[[Keys, Assets], Data],
    judge: Callable[[Params, Data], Any],
) -> Callable[..., Any]:
    """What a judge makes of the download and of weights, each on a client's data.

    Args:
        design: of the samples.
        drawn: what data are drawn.
        judge: (params, data) -> a pytree of scalars.

    Returns:
        A function (root key, seeds (n,), weights (n, Q, K, t), downloads of a later round
        (n, Q, t) or None, constants) -> the pytree, of arrays (n, Q, 1 + K).
    """

    def evaluate(
        root: Array, seeds: Array, weights: Array, later: Array | None, given: Constants
    ) -> Any:
        assets, downloads = given
        (begun,) = starting([design], downloads)

        def one(keys: Keys, weights: Array, later: Array | None) -> Any:
            download, unravel = ravel_pytree(begun.task.init(keys))
            download = download if later is None else later
            data = drawn(keys, assets)
            every = jnp.concatenate([download[None], weights])
            return jax.lax.map(lambda theta: judge(unravel(theta), data), every)

        mapped = over_seeds_and_clients(one, root, design.scopes, design.clients)
        return mapped(seeds, weights, later)

    return evaluate


def objectives(task: Task, samples: xr.Dataset) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """The `objective` of weights at the samples' seeds.

    Args:
        task: the task that the samples are of.
        samples: whose keys, coupling and clients are meant.

    Returns:
        A function (seeds of shape (n,), weights of shape (n, K, t)) -> (n, 1 + K), the objective
        of the download and of the weights. It is compiled for one n and K.

    Raises:
        ValueError: if the samples are of another task, of a later round than the first, or of
            clients with unequal data.
    """
    design = design_of(task, samples)
    if design.rounds > 1 or not design.alike:
        raise ValueError("samples: of a later round, or of clients with unequal data; give others")
    losses = _judging(design, task.data, lambda params, data: task.loss(params, data, None)[0])

    def evaluate(root: Array, seeds: Array, weights: Array, given: Constants) -> Array:
        shape = (len(weights), design.clients, *weights.shape[1:])
        everywhere = jnp.broadcast_to(weights[:, None], shape)
        return losses(root, seeds, everywhere, None, given).mean(axis=1)

    program, given = (
        Program(evaluate, ("objectives", design.identity)),
        constants([design], task.assets()),
    )

    def of_weights(seeds: np.ndarray, weights: np.ndarray) -> np.ndarray:
        found = compiled(program, design.root, seeds, weights, given)
        return np.asarray(found, dtype=np.float64)

    return of_weights


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
    return held_out_metrics(task, samples, seeds=seeds)[task.metric]


def held_out_metrics(task: Task, samples: xr.Dataset, *, seeds: int) -> xr.Dataset:
    """`held_out_metric`, and beside it the error of each of a regression's targets.

    Args:
        task, samples, seeds: as `held_out_metric` takes them.

    Returns:
        The metric, under its name, and the errors, as for instance "mse of shift".

    Raises:
        ValueError: as `held_out_metric` does.
    """
    check_whole("seeds", seeds, 1)
    held_out = held_out_of(task)
    design = design_of(task, samples)
    if not samples.sizes["seed"]:
        raise ValueError(
            "samples: no finite seed is left to evaluate; lower the task's learning rate or clip "
            "its gradients"
        )
    samples = samples.isel(seed=slice(seeds))
    given = constants([design], task.assets())

    def judge(params: Params, data: Data) -> dict[str, Array]:
        judged = {task.metric: task.loss(params, data, None)[1]}
        if task.target_errors is not None:
            errors = task.target_errors(params, data)
            if len(errors) != len(task.targets):
                raise ValueError(
                    f"target_errors: {len(errors)} errors for {len(task.targets)} targets"
                )
            for target, error in zip(task.targets, errors, strict=True):
                judged[f"{task.metric} of {target}"] = error
        return judged

    judging = Program(_judging(design, held_out, judge), ("held out", design.identity))

    def of_block(block: xr.Dataset, filled: np.ndarray) -> dict[str, Array]:
        block = block[["theta", *({"download"} & set(block))]].compute()
        if not all(np.isfinite(values).all() for values in block.data_vars.values()):
            raise ValueError(
                "samples: seeds whose parameters are not finite have no metric; leave them out "
                "with fedmi.finite"
            )
        later = None
        if "download" in block:  # of a later round, the same for all clients
            later = np.repeat(block.download.values[filled][:, None], design.clients, axis=1)
        seeds, thetas = block.seed.values[filled], block.theta.values[filled]
        return compiled(judging, design.root, seeds, thetas, later, given)

    dims = ("seed", "client", "iteration")
    return xr.Dataset(
        {name: (dims, values) for name, values in over_blocks(of_block, samples).items()},
        coords=dict(seed=samples.seed, iteration=[0, *samples.iteration.values]),
    )
