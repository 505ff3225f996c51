"""Local SGD of one client, and its map over the clients of many seeds."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax import Array
from jax.flatten_util import ravel_pytree

from fedmi import scopes
from fedmi.tasks.base import Assets, Data, Keys, Params, Task

CLIENTS = "client"
"""The name of the mapped axis of clients, over which rounds of federated learning aggregate."""


def train(task: Task, keys: Keys, assets: Assets) -> tuple[Array, Array, Array]:
    """One epoch of local SGD at one client (Step 2 of the paper's introduction).

    Args:
        task: the task.
        keys: the client's keys, stream -> key.
        assets: the task's assets.

    Returns:
        theta of shape (steps, t), the parameters after each step; the metric of shape (steps,),
        taken on each minibatch before the step that uses it, thus on examples not yet seen; and
        whether each step's gradient was clipped, of shape (steps,).
    """
    return train_on(task, keys, task.data(keys, assets))


def train_on(
    task: Task,
    keys: Keys,
    data: Data,
    *,
    params: Params | None = None,
    examples: Array | None = None,
) -> tuple[Array, Array, Array]:
    """`train` on data that are there already, as `task.data` makes them.

    Args:
        task, keys: as for `train`.
        data: of the client.
        params: where the client starts, the task's own download by default.
        examples: how many of the data, from the first on, are the client's own; a whole number of
            minibatches. It takes no steps beyond them. All by default.
    """
    params = task.init(keys) if params is None else params
    optimizer = task.optimizer
    order = jax.random.permutation(keys[task.stream("order")], task.examples)
    if examples is not None:  # its own first, in the random order that they have among all
        order = order[jnp.argsort(order >= examples, stable=True)]
    for leaf in jax.tree.leaves(data):
        if leaf.shape[:1] != (task.examples,):
            raise ValueError(
                f"data: an array of shape {leaf.shape}, whose first axis must count the "
                f"{task.examples} examples of the task {task.name!r}"
            )
    batches = jax.tree.map(
        lambda a: a[order].reshape(task.steps, task.batch_size, *a.shape[1:]), data
    )
    dropout = task.stream("dropout")

    def step(carry, inputs):
        params, state = carry
        index, batch = inputs
        key = None if dropout is None else jax.random.fold_in(keys[dropout], index)
        (_, metric), gradient = jax.value_and_grad(task.loss, has_aux=True)(params, batch, key)
        clipped = (
            jnp.zeros((), bool)
            if task.clip_norm is None
            else optax.tree.norm(gradient) > task.clip_norm
        )
        updates, state = optimizer.update(gradient, state, params)
        if examples is not None:
            own = index * task.batch_size < examples
            updates = jax.tree.map(lambda u: jnp.where(own, u, 0), updates)
            clipped = clipped & own
        params = optax.apply_updates(params, updates)
        return (params, state), (ravel_pytree(params)[0], metric, clipped)

    carry = (params, optimizer.init(params))
    _, history = jax.lax.scan(step, carry, (jnp.arange(task.steps), batches))
    return history


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
