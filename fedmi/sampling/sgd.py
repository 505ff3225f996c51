"""Local SGD of one client, and its map over the clients of many seeds."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array
from jax.flatten_util import ravel_pytree

from fedmi import scopes
from fedmi.tasks.task import Data, Keys, Params, Task

CLIENTS = "client"
"""The name of the mapped axis of clients, over which rounds of federated learning aggregate."""


def train_on(
    task: Task,
    keys: Keys,
    data: Data,
    *,
    checkpoints: Sequence[int] | None = None,
    params: Params | None = None,
    examples: Array | None = None,
    rate: Array | float | None = None,
    adjusted: Callable[[Params, Params], Params] | None = None,
) -> tuple[Array, Array, Array]:
    """Local SGD at one client for the task's epochs (Step 2 of the paper's introduction).

    Args:
        task: the task.
        keys: the client's keys, stream -> key.
        data: the client's, as `task.data` makes them.
        checkpoints: the iterations whose parameters are kept, ascending, from 1 to `task.steps`;
            all of them by default.
        params: where the client starts, the task's own download by default.
        examples: how many of the data, from the first on, are the client's own; a whole number of
            minibatches. It takes no steps beyond them in any epoch. All by default.
        rate: what the task's learning rate is multiplied by, 1 by default.
        adjusted: (gradient, parameters) -> the gradient that is followed instead, clipped as the
            task's own would be.

    Returns:
        theta of shape (checkpoints, t), the parameters after each of these steps; the metric of
        shape (steps,), taken on each minibatch before the step that uses it, thus in the first
        epoch on examples not yet seen; and whether each step's gradient was clipped, of shape
        (steps,).
    """
    start: Params = task.init(keys) if params is None else params
    optimizer = task.optimizer
    for leaf in jax.tree.leaves(data):
        if leaf.shape[:1] != (task.examples,):
            raise ValueError(
                f"data: an array of shape {leaf.shape}, whose first axis must count the "
                f"{task.examples} examples of the task {task.name!r}"
            )
    an_epoch = task.steps // task.epochs
    kept = np.arange(1, task.steps + 1) if checkpoints is None else np.asarray(checkpoints)
    dropout = task.stream("dropout")

    def epoch(carry, number):
        order = epoch_order(task, keys, number)
        if examples is not None:  # its own first, in the random order that they have among all
            order = order[jnp.argsort(order >= examples, stable=True)]
        batches = jax.tree.map(
            lambda a: a[order].reshape(an_epoch, task.batch_size, *a.shape[1:]), data
        )
        return jax.lax.scan(partial(step, number), carry, (jnp.arange(an_epoch), batches))

    def step(number, carry, inputs):
        params, state, thetas = carry
        place, batch = inputs
        index = (number - 1) * an_epoch + place
        key = None if dropout is None else jax.random.fold_in(keys[dropout], index)
        (_, metric), gradient = jax.value_and_grad(task.loss, has_aux=True)(params, batch, key)
        if adjusted is not None:
            gradient = adjusted(gradient, params)
        clipped = (
            jnp.zeros((), bool)
            if task.clip_norm is None
            else optax.tree.norm(gradient) > task.clip_norm
        )
        updates, state = optimizer.update(gradient, state, params)
        if rate is not None:
            updates = jax.tree.map(lambda u: rate * u, updates)
        if examples is not None:
            own = place * task.batch_size < examples
            updates = jax.tree.map(lambda u: jnp.where(own, u, 0), updates)
            clipped = clipped & own
        params = optax.apply_updates(params, updates)
        # Written over by the next step until it is the checkpoint's; after the last one, nowhere.
        slot = jnp.searchsorted(kept, index + 1)
        thetas = thetas.at[slot].set(ravel_pytree(params)[0], mode="drop")
        return (params, state, thetas), (metric, clipped)

    theta = ravel_pytree(start)[0]
    carry = (start, optimizer.init(start), jnp.zeros((len(kept), theta.size), theta.dtype))
    (_, _, thetas), (metric, clipped) = jax.lax.scan(epoch, carry, jnp.arange(1, task.epochs + 1))
    return thetas, metric.reshape(-1), clipped.reshape(-1)


def epoch_order(task: Task, keys: Keys, number: Array | int) -> Array:
    """The random order in which an epoch, from 1 on, goes through the examples.

    The first has the order stream's key itself. The others' is folded twice, first with 0, so that
    none is that of a later round of federated learning, which folds in its number, from 2 on.
    """
    stream = task.stream("order")
    assert stream is not None  # every task has one
    key = keys[stream]
    later = jax.random.fold_in(jax.random.fold_in(key, 0), number)
    return jax.random.permutation(jnp.where(number == 1, key, later), task.examples)


def over_seeds_and_clients(
    one: Callable[..., Any], root: Array, coupling: Mapping[str, str], clients: int
) -> Callable[..., Any]:
    """Maps a function of one client of one seed over seeds and all clients.

    A stream's key is folded in with the seed (the client) only if it differs between them, so that
    `jax.vmap` computes what depends on the other streams alone once, not once a seed (a client).

    Args:
        one: (keys, *rest) -> a pytree of arrays, for one client of one seed.
        root: the study's root key.
        coupling: stream -> scope.
        clients: number of clients.

    Returns:
        A function (seeds of shape (n,), *rest) -> the pytree with the axes (seed, client) in
        front, as each of `rest` has them.
    """

    def of_seed_and_client(seed: Array, client: Array, *rest: Any) -> Any:
        return one(scopes.client_keys(root, coupling, seed=seed, client=client), *rest)

    def over_both(seeds: Array, *rest: Any) -> Any:
        over_seeds = jax.vmap(of_seed_and_client, (0, None, *(0 for _ in rest)))
        over_clients = jax.vmap(
            over_seeds, (None, 0, *(1 for _ in rest)), out_axes=1, axis_name=CLIENTS
        )
        return over_clients(seeds, jnp.arange(clients), *rest)

    return over_both
